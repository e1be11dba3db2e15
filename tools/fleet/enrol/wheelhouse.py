"""The wheels of a board, for machines and Pythons that are not ours; downloaded once and kept.

Three traps, all of pip: it takes a wheel for another machine only if each platform tag is named, of newer glibc too; it
judges environment markers (`python_full_version < "3.12"`) by the Python that it runs in, whatever --python-version
says, so they are judged here; and it resolves dependencies by those markers, so the locked list is taken as it is.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import InvalidRequirement, Requirement

from agent.errors import InputError, UnavailableError
from tools.fleet.ca.files import told

ROOT = Path(__file__).parents[3]
BOARD = ROOT / "requirements" / "board.txt"
PIP = Path(__file__).with_name("pip.txt")
MACHINES = ("aarch64", "x86_64")
PYTHONS = ("3.11", "3.13")
"""Those of Raspberry Pi OS and Debian, Bookworm and Trixie."""

_GLIBC_MINORS = range(17, 37)  # Bookworm has 2.36; below 2.17 there is nothing for aarch64
_DOWNLOAD_S = 1800.0
_SUMS = "sums.json"
_SOURCES = ("agent", "models", "pyproject.toml", "README.md", "LICENSE")
_OURS = re.compile(r"maskwatch-([0-9][0-9A-Za-z.+_]*)-py3-none-any\.whl")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A kind of board. machine: as uname says. python: `3.11`."""

    machine: str
    python: str

    @property
    def options(self) -> list[str]:
        """What makes pip take wheels for this kind of board and no others."""
        short = self.python.replace(".", "")
        platforms = [f"manylinux_2_{minor}_{self.machine}" for minor in _GLIBC_MINORS]
        platforms += [f"manylinux2014_{self.machine}", f"linux_{self.machine}", "any"]
        words = ["--only-binary=:all:", "--implementation", "cp", "--python-version", short]
        for abi in (f"cp{short}", "abi3", "none"):
            words += ["--abi", abi]
        for platform in platforms:
            words += ["--platform", platform]
        return words

    @property
    def environment(self) -> dict[str, str]:
        """What markers are judged by (PEP 508)."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }


_ANY = Target(machine="any", python=PYTHONS[0])


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A file in the cache, whose sha256 is what it was when it came."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def locked(text: str, target: Target) -> str:
    """Give the lines of a locked requirements file that concern a kind of board, without their markers.

    Raises InputError for a line that is none.
    """
    lines = []
    for line in text.replace("\\\n", " ").splitlines():
        words = line.partition(" #")[0].split()
        if not words or words[0].startswith("#"):
            continue
        hashes = [word for word in words if word.startswith("--hash=")]
        try:
            requirement = Requirement(" ".join(word for word in words if not word.startswith("--hash=")))
        except InvalidRequirement as error:
            raise InputError(f"not a requirement: {line.strip()}", where=str(BOARD), remedy="make lock") from error
        if requirement.marker is None or requirement.marker.evaluate(target.environment):
            lines.append(" ".join([f"{requirement.name}{requirement.specifier}", *hashes]))
    return "\n".join(lines) + "\n"


class Cache:
    """What was downloaded or built, in a folder; each set of files whole, checked when it is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def for_target(self, target: Target) -> list[Wheel]:
        """Give all wheels of a kind of board. Raises UnavailableError when they cannot be had."""
        return self._download(locked(BOARD.read_text(), target), target)

    def pip(self) -> Wheel:
        """Give pip itself. Raises UnavailableError."""
        (wheel,) = self._download(locked(PIP.read_text(), _ANY), _ANY)
        return wheel

    def ours(self) -> Wheel:
        """Give the agent's wheel, built of this checkout. Raises UnavailableError."""
        digest = hashlib.sha256()
        for name in _SOURCES:
            for file in _files(ROOT / name):
                digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
        (wheel,) = self._kept(
            f"ours-{digest.hexdigest()[:16]}",
            lambda into: ["wheel", "--no-deps", "--wheel-dir", str(into), str(ROOT)],
        )
        return wheel

    def _download(self, requirements: str, target: Target) -> list[Wheel]:
        key = hashlib.sha256("\0".join([requirements, *target.options]).encode()).hexdigest()[:16]

        def command(into: Path) -> list[str]:
            listed = into.with_suffix(".txt")
            listed.write_text(requirements)
            words = ["download", "--no-deps", "--require-hashes", "-d", str(into), "-r", str(listed)]
            return words + target.options

        return self._kept(f"{target.machine}-{target.python}-{key}", command)

    def _kept(self, key: str, command: Callable[[Path], list[str]]) -> list[Wheel]:
        place = self._folder / key
        with told(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # of two at once, one downloads and the other waits
                found = _read(place)
                if found is None:
                    self._fetch(place, command)
                    found = _read(place)
            assert found is not None
            return found

    def _fetch(self, place: Path, command: Callable[[Path], list[str]]) -> None:
        shutil.rmtree(place, ignore_errors=True)
        with TemporaryDirectory(prefix=".new-", dir=self._folder) as scratch:
            into = Path(scratch) / "wheels"
            into.mkdir()
            _pip(command(into))
            sums = {file.name: _digest(file) for file in sorted(into.glob("*.whl"))}
            (into / _SUMS).write_text(json.dumps(sums))
            for file in into.iterdir():
                file.chmod(0o444)  # bundles share it
            into.rename(place)


def given(file: Path) -> Wheel:
    """Take the agent's wheel from a file. Raises InputError."""
    with told(file):
        wheel = Wheel(path=file, sha256=_digest(file))
    version_of(wheel)
    return wheel


def version_of(wheel: Wheel) -> str:
    """Give the version of the agent's wheel, by its name. Raises InputError for another one."""
    match = _OURS.fullmatch(wheel.name)
    if match is None:
        raise InputError(
            "not a wheel of maskwatch", where=str(wheel.path), remedy="name one that `pip wheel --no-deps .` has made"
        )
    return match[1]


def put(wheels: Iterable[Wheel], folder: Path) -> None:
    """Put wheels into a folder, as links to one file on the disk where that can be."""
    for wheel in wheels:
        place = folder / wheel.name
        if place.exists():  # the same one for several kinds of board
            continue
        try:
            os.link(wheel.path, place)
        except OSError:  # another file system, or one that has no links
            shutil.copyfile(wheel.path, place)


def _read(place: Path) -> list[Wheel] | None:
    """Give what is kept in a folder; None where something is missing or was changed since."""
    try:
        sums: dict[str, str] = json.loads((place / _SUMS).read_bytes())
        wheels = [Wheel(path=place / name, sha256=digest) for name, digest in sums.items()]
        return wheels if all(_digest(wheel.path) == wheel.sha256 for wheel in wheels) else None
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from (file for file in sorted(path.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _pip(words: list[str]) -> None:
    command = [sys.executable, "-m", "pip", *words, "--disable-pip-version-check", "--quiet"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_S, check=False, cwd="/")
    except subprocess.TimeoutExpired as error:
        remedy = "try again: what is here already is not downloaded again"
        raise UnavailableError(f"took more than {_DOWNLOAD_S:g} s", where=f"pip {words[0]}", remedy=remedy) from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        said = errors[0].removeprefix("ERROR: ") if errors else f"ended with {done.returncode}"
        remedy = "see that this machine reaches its package index"
        raise UnavailableError(said, where=f"pip {words[0]}", remedy=remedy)
