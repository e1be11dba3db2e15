"""The bundle: everything that a board needs, in one folder, checked file by file before any of it is used."""

import calendar
import fcntl
import hashlib
import json
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from .options import Options, read_options
from .problem import Exit, Problem

_FORMAT = 1
_UNPACK_IN = "/var/tmp"
_LOCK = "lock"
_AGAIN = "copy the bundle to the board again"
_CHUNK = 1 << 20
T = TypeVar("T")
_MANIFEST = {
    **dict.fromkeys(("version", "wheel", "pip", "site", "made"), str),
    **dict.fromkeys(("machines", "pythons"), list),
    "files": dict,
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The right to one certificate, once. url: of the enrolment server. claim: a secret, never shown."""

    url: str
    claim: str
    expires: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """bundle.json. made: when, RFC 3339 in UTC. files: sha256 by relative path, all but itself."""

    version: str
    wheel: str
    pip: str
    site: str
    machines: list[str]
    pythons: list[str]
    made: str
    files: dict[str, str]

    @property
    def made_s(self) -> float:
        """Give when it was made, seconds since 1970."""
        return float(calendar.timegm(time.strptime(self.made, "%Y-%m-%dT%H:%M:%SZ")))


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle whose files are what its manifest says. beside: where its user keeps it, for what is carried by hand."""

    folder: Path
    beside: Path
    manifest: Manifest
    options: Options
    claim: Claim | None

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    def data(self, name: str) -> bytes:
        """Give the content of one of its files. Raises Problem if the bundle has none of that name."""
        if name not in self.manifest.files:
            raise _damaged(self.folder / name, "the bundle has no such file", "make the bundle again")
        return (self.folder / name).read_bytes()

    def has(self, name: str) -> bool:
        return name in self.manifest.files


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Give a bundle, from a folder or a tar file; the latter is unpacked for the time being.

    Raises Problem: no such thing, or a file in it that is missing or damaged, by name.
    """
    if path.is_dir():
        yield _read(path, path)
    elif path.is_file():
        _remove_leftovers()
        with _unpack_folder() as folder:
            yield _read(_unpack(path, folder), path.parent)
    else:
        raise Problem(
            "there is no such bundle", where=str(path), remedy="name its folder or tar file", code=Exit.DAMAGED
        )


def _remove_leftovers() -> None:
    """Remove what runs that were killed had unpacked; a folder in use is locked."""
    for old in Path(_UNPACK_IN).glob("maskwatch-bundle-*"):
        with suppress(OSError), (old / _LOCK).open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _unpack_folder() -> Iterator[Path]:
    """Give an empty folder that no other run removes as a leftover, and remove it afterwards."""
    with ExitStack() as stack:
        while True:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="maskwatch-bundle-", dir=_UNPACK_IN)))
            with suppress(FileNotFoundError):  # removed between the making and the lock
                lock = stack.enter_context((folder / _LOCK).open("a"))
                fcntl.flock(lock, fcntl.LOCK_EX)
                (folder / "bundle").mkdir()
                break
        yield folder / "bundle"


def _unpack(path: Path, into: Path) -> Path:
    """Unpack plain files and folders only, none of them elsewhere. Returns the folder with bundle.json."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                place = into / _relative(member.name, path)
                if member.isdir():
                    place.mkdir(parents=True, exist_ok=True)
                    continue
                source = archive.extractfile(member) if member.isreg() else None
                if source is None:
                    raise _damaged(path, f"{member.name!r} is neither a file nor a folder", "make the bundle again")
                place.parent.mkdir(parents=True, exist_ok=True)
                with source, place.open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(path, f"not a tar file, or damaged: {error}") from error
    found = sorted(into.rglob("bundle.json"))
    if not found:
        raise _damaged(path, "has no bundle.json", "name a bundle that enrol has made")
    return found[0].parent


def _read(folder: Path, beside: Path) -> Bundle:
    manifest = _manifest(folder)
    for name, digest in manifest.files.items():
        _check(folder, name, digest)
    return Bundle(
        folder=folder.absolute(),
        beside=beside.absolute(),
        manifest=manifest,
        options=read_options(folder / "board.toml" if "board.toml" in manifest.files else None),
        claim=_claim(folder) if "claim.json" in manifest.files else None,
    )


def _manifest(folder: Path) -> Manifest:
    file = folder / "bundle.json"
    table = _json(file)
    if table.pop("format", None) != _FORMAT:
        raise _damaged(file, f"not a bundle of format {_FORMAT}", "use the provision program that lies in the bundle")
    made = _fill(Manifest, _MANIFEST, table, file)
    if not re.fullmatch(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}", made.version):
        raise _damaged(file, f"version {made.version!r} cannot be the name of a folder", "make the bundle again")
    try:
        _ = made.made_s  # reading it is what checks it
    except ValueError as error:
        raise _damaged(file, f"made {made.made!r} is not a time", "make the bundle again") from error
    return made


def _claim(folder: Path) -> Claim:
    file = folder / "claim.json"
    claim = _fill(Claim, {"url": str, "claim": str, "expires": str}, _json(file), file)
    if not claim.url.startswith("https://"):
        raise _damaged(file, f"{claim.url!r} is not https", "make the bundle again")
    return claim


def _json(file: Path) -> dict[str, Any]:
    try:
        table = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise _damaged(file, "is missing", "name a bundle that enrol has made") from None
    except ValueError as error:
        raise _damaged(file, f"not JSON: {error}") from error
    if not isinstance(table, dict):
        raise _damaged(file, "not a JSON object", "make the bundle again")
    return table


def _fill(kind: Callable[..., T], shapes: Mapping[str, type], table: dict[str, Any], file: Path) -> T:
    """Make a value of a table that has every key, of texts throughout; further keys are for other programs."""
    for key, shape in shapes.items():
        value = table.get(key)
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        if not isinstance(value, shape) or not all(isinstance(each, str) for each in inner):
            raise _damaged(file, f"{key} is missing or no {shape.__name__} of texts", "make the bundle again")
    return kind(**{key: table[key] for key in shapes})


def _check(folder: Path, name: str, digest: str) -> None:
    file = folder / _relative(name, folder / "bundle.json")
    found = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                found.update(chunk)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise _damaged(file, "is missing from the bundle") from None
    if found.hexdigest() != digest:
        raise _damaged(file, "damaged: its sha256 is not the one in bundle.json")


def _relative(name: str, where: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise _damaged(where, f"{name!r} lies outside the bundle", "make the bundle again")
    return path


def _damaged(file: Path, what: str, remedy: str = _AGAIN) -> Problem:
    return Problem(what, where=str(file), remedy=remedy, code=Exit.DAMAGED)
