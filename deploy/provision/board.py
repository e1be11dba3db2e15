"""The board: the only thing here that touches the system. Paths are those of the board, whatever folder its root is.

A file is written whole: beside its place, to the disk, then renamed. Whoever looks finds the old one or the new one,
and after a power cut too. A file is never wider open than it is meant to be, not for a moment.
"""

import contextlib
import fcntl
import os
import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .problem import Exit, Problem

_SECRET_MASK = 0o077
_RUN_S = 120.0
_LOCKED = "/var/lib"  # a folder that is always there: a lock file of our own would be one more thing to leave behind
_LOCK_WAIT_S = 10.0  # children of a run that was killed end at once, but not in no time
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "TMPDIR": "/var/tmp",  # /tmp is memory on trixie, and on a small board there is little of it
}


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last thing that it said, or its exit code where it said nothing."""
        said = (self.out + "\n" + self.err).strip().splitlines()
        return said[-1].strip() if said else f"ended with {self.code}"


class Runner(Protocol):
    """Runs a command to its end. Raises FileNotFoundError where the program is missing, subprocess.TimeoutExpired."""

    def __call__(self, words: Sequence[str], *, timeout_s: float, keep: Sequence[int]) -> Done: ...


def run_command(words: Sequence[str], *, timeout_s: float, keep: Sequence[int]) -> Done:
    """Run a command that dies with us. keep: descriptors that it holds open too."""
    program = shutil.which(words[0], path=_ENVIRONMENT["PATH"])
    if program is None:
        raise FileNotFoundError(words[0])
    # A pip that lived on after us would write into the release that the next run builds.
    done = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "--", program, *words[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
        env=_ENVIRONMENT,
        umask=0o022,
        pass_fds=tuple(keep),
    )
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


class Board:
    """A system below a root folder.

    Every method may raise OSError; what a full, read-only or broken disk says is put into words once, in `command`.
    """

    def __init__(self, root: Path = Path("/"), runner: Runner = run_command) -> None:
        self.root = root
        self._runner = runner
        self._lock: int | None = None

    def path(self, path: str) -> Path:
        """Give the real place of a path of the board."""
        return self.root / path.lstrip("/")

    # What is there.

    def is_root(self) -> bool:
        return os.geteuid() == 0

    def machine(self) -> str:
        """Give the architecture of the programs here, `aarch64`: a 64-bit kernel may carry 32-bit ones."""
        name = platform.machine()
        return name if sys.maxsize > 2**32 else f"{name} with 32-bit programs"

    def python(self) -> str:
        return f"{sys.version_info.major}.{sys.version_info.minor}"

    def has_program(self, name: str) -> bool:
        return shutil.which(name, path=_ENVIRONMENT["PATH"]) is not None

    def wall_s(self) -> float:
        return time.time()

    def now_s(self) -> float:
        """Give a time that never jumps."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def free_mb(self, path: str) -> float:
        """Give the room on the file system that a path lies on, or will."""
        place = self.path(path)
        while not place.exists():
            place = place.parent
        return shutil.disk_usage(place).free / 1e6

    def is_there(self, path: str) -> bool:
        """Tell whether anything has this name, a broken link too."""
        return os.path.lexists(self.path(path))

    def is_folder(self, path: str) -> bool:
        return self.path(path).is_dir()

    def read(self, path: str) -> bytes | None:
        """Give a file's content, or None where there is none."""
        try:
            return self.path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None

    def text(self, path: str) -> str:
        """Give a file's text, without the line's end or the NUL that kernels put there; empty where there is none."""
        return (self.read(path) or b"").decode(errors="replace").strip("\0 \n")

    def link_target(self, path: str) -> str | None:
        try:
            return str(self.path(path).readlink())
        except OSError:
            return None

    def names(self, folder: str) -> list[str]:
        """List a folder, sorted; nothing where there is none."""
        try:
            return sorted(place.name for place in self.path(folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def mode(self, path: str) -> int | None:
        """Give the rights of a file or folder; None for a link or where there is nothing."""
        try:
            found = os.lstat(self.path(path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if stat.S_ISLNK(found.st_mode) else stat.S_IMODE(found.st_mode)

    def owner_id(self, path: str) -> int | None:
        try:
            return os.lstat(self.path(path)).st_uid
        except (FileNotFoundError, NotADirectoryError):
            return None

    def user(self, name: str) -> tuple[int, int] | None:
        """Give the numbers of a user and its group, as the board counts, or None."""
        for line in self.text("/etc/passwd").splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return int(fields[2]), int(fields[3])
        return None

    def group_members(self, name: str) -> list[str] | None:
        for line in self.text("/etc/group").splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return [member for member in fields[3].split(",") if member]
        return None

    def ask(self, *words: str, timeout_s: float = _RUN_S) -> Done:
        """Run a command that only looks. Raises Problem where it is missing or does not end."""
        return self._run(words, timeout_s)

    # What changes it.

    def run(self, *words: str, timeout_s: float = _RUN_S, may_fail: bool = False) -> Done:
        """Run a command that changes the board. may_fail: how it ended is the caller's to judge.

        Raises Problem where it is missing, fails or does not end.
        """
        done = self._run(words, timeout_s)
        if done.code != 0 and not may_fail:
            raise Problem(
                done.last_line, where=" ".join(words), remedy="run the same command again", code=Exit.UNAVAILABLE
            )
        return done

    def write(self, path: str, data: bytes, *, mode: int = 0o644, owner: str = "root") -> None:
        """Put a file in its place, whole and on the disk. Its folder is there."""
        place = self.path(path)
        new = place.with_name(f".{place.name}.new")
        new.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(new, flags, mode & ~_SECRET_MASK)
        try:
            self._own(file, owner)
            if mode & _SECRET_MASK:
                os.fchmod(file, mode)  # wider only now, and never for what is secret
            with os.fdopen(os.dup(file), "wb") as stream:
                stream.write(data)
            os.fsync(file)
        finally:
            os.close(file)
        new.replace(place)
        self._flush(place.parent)

    def folder(self, path: str, *, mode: int = 0o755, owner: str = "root") -> None:
        """Make a folder that is not there yet; the one above it is."""
        place = self.path(path)
        with contextlib.suppress(FileExistsError):
            place.mkdir(mode=mode)
        file = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._own(file, owner)
            os.fchmod(file, mode)
        finally:
            os.close(file)
        self._flush(place.parent)

    def link(self, path: str, target: str) -> None:
        """Point a symbolic link somewhere, in one step."""
        place = self.path(path)
        new = place.with_name(f".{place.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        new.replace(place)
        self._flush(place.parent)

    def move(self, path: str, to: str) -> None:
        """Rename, within one file system."""
        self.path(path).rename(self.path(to))
        self._flush(self.path(to).parent)
        self._flush(self.path(path).parent)

    def remove(self, path: str) -> None:
        """Remove a file or link, with what an interrupted writing of it left; it is no error if there is none."""
        place = self.path(path)
        place.with_name(f".{place.name}.new").unlink(missing_ok=True)
        if os.path.lexists(place):
            place.unlink()
            self._flush(place.parent)

    def remove_tree(self, path: str) -> None:
        """Remove a folder with all in it; it is no error if there is none."""
        place = self.path(path)
        if os.path.lexists(place):
            shutil.rmtree(place)
            self._flush(place.parent)

    def remove_if_empty(self, path: str) -> None:
        with contextlib.suppress(OSError):
            self.path(path).rmdir()

    def flush(self) -> None:
        """Put everything on the disk that any process has written."""
        os.sync()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the board, so that one run is at work at a time. Raises Problem when another one is."""
        file = os.open(self.path(_LOCKED), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            end_s = self.now_s() + _LOCK_WAIT_S
            while not _locked(file):
                if self.now_s() > end_s:
                    raise Problem(
                        "another run is at work on this board",
                        where="provision",
                        remedy="wait for its end, then run it again",
                        code=Exit.LATER,
                    )
                self.sleep(0.2)
            self._lock = file
            yield
        finally:
            self._lock = None
            os.close(file)

    def _run(self, words: Sequence[str], timeout_s: float) -> Done:
        keep = () if self._lock is None else (self._lock,)  # a child that outlives us keeps the next run out
        try:
            return self._runner(words, timeout_s=timeout_s, keep=keep)
        except FileNotFoundError:
            what, remedy = "there is no such program", "install it"
        except subprocess.TimeoutExpired:
            what, remedy = f"no end within {timeout_s:.0f} s", "run it by hand to see why"
        raise Problem(what, where=words[0], remedy=f"{remedy}, then run the same command again", code=Exit.UNAVAILABLE)

    def _own(self, file: int, owner: str) -> None:
        numbers = self.user(owner)
        if numbers is None:
            raise Problem("no such user", where=owner, remedy="see /etc/passwd", code=Exit.UNAVAILABLE)
        os.fchown(file, *numbers)

    @staticmethod
    def _flush(folder: Path) -> None:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
