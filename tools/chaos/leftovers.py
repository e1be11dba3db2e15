"""What a run makes outside its own memory, written down before it is made, and undone in reverse whatever happens.

The list is a file with a lock, so that a run that was killed is tidied up by the next one, and one that still goes on
(a soak beside a chaos run) is left alone.
"""

import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import msgspec
import psutil

Kind = Literal["process", "mount", "namespace", "folder"]


class Leftover(msgspec.Struct, frozen=True):
    """A thing to undo. name: pid, path, name of the namespace. born: a process's start, so that no other with
    its number is ended."""

    kind: Kind
    name: str
    born: float = 0.0


class Leftovers:
    """The list of one run. Any thread may add to it."""

    def __init__(self, directory: Path) -> None:
        """Tidy up after runs that ended without doing so, and begin a list."""
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("*.left"):
            _tidy_if_abandoned(old)
        self._path = directory / f"{os.getpid()}.left"
        self._file = self._path.open("ab", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._list: list[Leftover] = []

    def process(self, pid: int) -> None:
        self._add(Leftover("process", str(pid), psutil.Process(pid).create_time()))

    def mount(self, path: Path) -> None:
        self._add(Leftover("mount", str(path)))

    def namespace(self, name: str) -> None:
        self._add(Leftover("namespace", name))

    def folder(self, path: Path) -> None:
        self._add(Leftover("folder", str(path)))

    @staticmethod
    def fresh(folder: Path) -> Path:
        """Give an empty folder, whatever an earlier run has left in it."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def children(self) -> None:
        """Add the processes of ours that others have started for us."""
        known = {item.name for item in self._list if item.kind == "process"}
        for child in psutil.Process().children():
            if str(child.pid) not in known:
                self.process(child.pid)

    def _add(self, item: Leftover) -> None:
        self._list.append(item)
        self._file.write(msgspec.json.encode(item) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        undo(self._list)
        self._file.close()
        self._path.unlink()


def undo(items: Sequence[Leftover]) -> None:
    """Undo all of it, the newest first; what is gone already is no trouble."""
    for item in reversed(items):
        match item.kind:
            case "process":
                _kill(int(item.name), item.born)
            case "mount":
                while Path(item.name).is_mount():
                    if subprocess.run(["umount", item.name], check=False, capture_output=True).returncode:
                        subprocess.run(["umount", "--lazy", item.name], check=False, capture_output=True)
            case "folder":
                shutil.rmtree(item.name, ignore_errors=True)
            case "namespace":
                subprocess.run(["ip", "netns", "delete", item.name], check=False, capture_output=True)


def _tidy_if_abandoned(old: Path) -> None:
    with old.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        lines = [line for line in file if line.endswith(b"\n")]
        undo([msgspec.json.decode(line, type=Leftover) for line in lines])
        old.unlink()


def _kill(pid: int, born: float) -> None:
    try:
        process = psutil.Process(pid)
        if process.create_time() != born:
            return
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)
    except (psutil.NoSuchProcess, psutil.TimeoutExpired, ChildProcessError):
        return
