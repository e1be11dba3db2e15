"""The authority's folder.

    ca.pem  ca.key  ca.crl      the authority; its key never leaves the folder
    issued/NAME.pem  NAME.key   the newest certificate of a name, to be carried to where it is used
    signed/SERIAL.pem           everything that was ever signed: what is not remembered cannot be taken back

Rules: a certificate is remembered before it is handed out; a key is written once and a file replaced whole; one
process at a time, by a lock on ca.pem.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.errors import InputError, MaskwatchError, NotPermittedError, StorageError, nearest
from tools.fleet.ca import authority as core
from tools.fleet.ca.authority import Authority, Entry, Role

State = Literal["valid", "expired", "revoked"]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The newest good certificate of a name, or the newest, and whether it is still good."""

    entry: Entry
    state: State


class Store:
    """An authority with its folder. Made by `create` or `opened`."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder = folder
        self._authority = authority

    @classmethod
    def create(cls, folder: Path, *, name: str, now: datetime, days: int) -> Self:
        """Found an authority. Raises InputError where there is one already."""
        with _told(folder):
            if (folder / "ca.pem").exists() or (folder / "ca.key").exists():
                raise InputError(
                    "there is an authority already", where=str(folder), remedy="name an empty or a new folder"
                )
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in ("issued", "signed"):
                (folder / part).mkdir(mode=0o700, exist_ok=True)
            authority = core.found(name, now=now, days=days)
            _write(folder / "ca.key", core.pem_of_key(authority.key), mode=0o600)
            _write(folder / "ca.crl", core.pem(core.revocation_list(authority, (), now=now)))
            _write(folder / "ca.pem", core.pem(authority.certificate))  # the last: with it the folder is one
        return cls(folder, authority)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Self]:
        """Read the authority and keep others out meanwhile. Raises InputError, NotPermittedError or StorageError."""
        with _told(folder):
            if not (folder / "ca.pem").exists():
                raise InputError("no authority here", where=str(folder), remedy="found one with init, or correct DIR")
            with (folder / "ca.pem").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                try:
                    certificate = x509.load_pem_x509_certificate(lock.read())
                    key = load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
                except (ValueError, TypeError) as error:
                    raise InputError(
                        "not an authority's certificate with its key",
                        where=f"{folder}/ca.pem, ca.key",
                        remedy="bring back the backup of this folder",
                    ) from error
                assert isinstance(key, ec.EllipticCurvePrivateKey)
                yield cls(folder, Authority(certificate=certificate, key=key))

    def issue(self, name: str, *, role: Role = "device", hosts: Sequence[str] = (), now: datetime, days: int) -> Entry:
        """Make a key and a certificate for a name that nobody bears. Raises InputError."""
        core.check_name(name, role)
        # However it is capitalised: two boards whose names differ by that alone are a trap for people.
        for borne in self._good():
            if borne.name.lower() == name.lower():
                raise InputError(
                    f"the name is borne since {borne.begins:%Y-%m-%d} ({borne.name})",
                    where=name,
                    remedy="choose another, renew it, or revoke it first",
                )
        key = core.new_key()
        certificate = core.sign(
            self._authority, key.public_key(), name=name, role=role, hosts=hosts, now=now, days=days
        )
        _write(self.key_of(name), core.pem_of_key(key), mode=0o600)
        return self._keep(certificate)

    def renew(self, name: str, *, now: datetime, days: int) -> Entry:
        """Sign the same key for the same name and role again; the old certificate stays good until it ends.

        Raises InputError for a name that nobody bears.
        """
        good = [entry for entry in self._good() if entry.name == name]
        if not good:
            raise InputError(f"nobody bears this name{self._nearest(name)}", where=name, remedy="issue it, or see list")
        old = max(good, key=lambda entry: entry.begins)
        public_key = self._remembered(old.serial).public_key()
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        return self._keep(
            core.sign(self._authority, public_key, name=name, role=old.role, hosts=old.hosts, now=now, days=days)
        )

    def revoke(self, name: str, *, now: datetime) -> int:
        """Take back every certificate of a name; the name is free again. Gives how many. Raises InputError."""
        taken = [entry.serial for entry in self._good() if entry.name == name]
        if not taken:
            raise InputError(f"nobody bears this name{self._nearest(name)}", where=name, remedy="see list")
        before = [(entry.serial_number, entry.revocation_date_utc) for entry in self._crl()]
        crl = core.revocation_list(self._authority, [*before, *((serial, now) for serial in taken)], now=now)
        _write(self.crl_path, core.pem(crl))
        return len(taken)

    def entries(self, *, now: datetime) -> list[Listed]:
        """Give one certificate of each name, a good one before a revoked one and the newest; the first to end first."""
        revoked = self._revoked()
        newest: dict[str, Entry] = {}
        for entry in sorted(self._signed(), key=lambda entry: (entry.serial not in revoked, entry.begins)):
            newest[entry.name] = entry
        listed = [Listed(entry=entry, state=_state(entry, revoked, now)) for entry in newest.values()]
        return sorted(listed, key=lambda item: (item.entry.ends, item.entry.name))

    @property
    def ca_path(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def crl_path(self) -> Path:
        return self.folder / "ca.crl"

    @property
    def ends(self) -> datetime:
        return self._authority.certificate.not_valid_after_utc

    def certificate_of(self, name: str) -> Path:
        return self.folder / "issued" / f"{name}.pem"

    def key_of(self, name: str) -> Path:
        return self.folder / "issued" / f"{name}.key"

    def _keep(self, certificate: x509.Certificate) -> Entry:
        entry = core.describe(certificate)
        _write(self._memory_of(entry.serial), core.pem(certificate))
        _write(self.certificate_of(entry.name), core.pem(certificate))
        return entry

    def _remembered(self, serial: int) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self._memory_of(serial).read_bytes())

    def _memory_of(self, serial: int) -> Path:
        return self.folder / "signed" / f"{serial:x}.pem"

    def _signed(self) -> list[Entry]:
        files = sorted(self.folder.glob("signed/*.pem"))
        return [core.describe(x509.load_pem_x509_certificate(file.read_bytes())) for file in files]

    def _good(self) -> list[Entry]:
        """Give what was signed and not taken back, expired or not."""
        revoked = self._revoked()
        return [entry for entry in self._signed() if entry.serial not in revoked]

    def _crl(self) -> x509.CertificateRevocationList:
        return x509.load_pem_x509_crl(self.crl_path.read_bytes())

    def _revoked(self) -> frozenset[int]:
        return frozenset(entry.serial_number for entry in self._crl())

    def _nearest(self, name: str) -> str:
        return nearest(name, {entry.name for entry in self._good()})


def _state(entry: Entry, revoked: frozenset[int], now: datetime) -> State:
    if entry.serial in revoked:
        return "revoked"
    return "valid" if now <= entry.ends else "expired"


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put a whole new file in place of an old one, on the disk before anybody sees it."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn what the file system says into the family of errors."""
    try:
        yield
    except MaskwatchError:
        raise
    except PermissionError as error:
        where = str(error.filename or folder)
        raise NotPermittedError("no permission", where=where, remedy="run as the folder's owner") from error
    except (FileExistsError, NotADirectoryError, FileNotFoundError, IsADirectoryError) as error:
        where = str(error.filename or folder)
        raise InputError(error.strerror or "not there", where=where, remedy="name the authority's folder") from error
    except OSError as error:
        raise StorageError(error.strerror or "I/O error", where=str(folder), remedy="see to the disk") from error
