"""The authority's folder.

    ca.pem                      the root's certificate: what boards, programs and brokers trust
    issuing.key                 the authority that signs them, key and certificate; it never leaves the folder
    issuing.pem                 its certificate alone
    ca.crl                      what it has taken back
    issued/NAME.pem  NAME.key   the newest certificate of a name and after it issuing.pem, to be carried to its place
    signed/SERIAL.pem           everything that was ever signed: what is not remembered cannot be taken back
    root/root.key               the root, key and certificate, until somebody carries it away; `reissue` alone needs it

Rules: a certificate is remembered before it is handed out; a key is written once and a file replaced whole; one
process at a time, by a lock on ca.pem.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from agent.errors import InputError, nearest
from tools.fleet.ca import authority as core
from tools.fleet.ca.authority import DEVICE_DAYS, Authority, Entry, Role
from tools.fleet.ca.files import replace, told

State = Literal["valid", "expired", "revoked"]
ROOT_DAYS, ISSUING_DAYS = 7300, 1825


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The newest good certificate of a name, or the newest, and whether it is still good."""

    entry: Entry
    state: State


class Store:
    """An authority with its folder. Made by `create` or `opened`."""

    def __init__(self, folder: Path, issuing: Authority) -> None:
        self.folder = folder
        self._issuing = issuing

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        root: Path | None = None,
        name: str,
        now: datetime,
        days: int = ROOT_DAYS,
        issuing_days: int = ISSUING_DAYS,
    ) -> Self:
        """Found an authority. root: where its key goes, a folder; `root` in the first one if not said.

        Raises InputError where there is one already.
        """
        place = root or folder / "root"
        with told(folder):
            if (folder / "ca.pem").exists():
                raise InputError(
                    "there is an authority already", where=str(folder), remedy="name an empty or a new folder"
                )
            if (place / "root.key").exists():  # of another fleet, on the same stick; or of an `init` cut short
                raise InputError("there is a root already", where=str(place), remedy="name another --root")
            for part in (folder, folder / "issued", folder / "signed", place):
                part.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = core.found(name, now=now, days=days)
            issuing = core.appoint(found, f"{name} issuing 1", now=now, days=min(days, issuing_days))
            store = cls(folder, issuing)
            store._install(issuing, (), now=now)
            replace(place / "root.key", _pem_of(found), mode=0o600)
            replace(folder / "ca.pem", core.pem(found.certificate))  # the last: with it the folder is one
        return store

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Self]:
        """Read the authority and keep others out meanwhile. Raises InputError, NotPermittedError or StorageError."""
        with told(folder):
            if not (folder / "ca.pem").exists():
                raise InputError("no authority here", where=str(folder), remedy="found one with init, or correct DIR")
            with (folder / "ca.pem").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                backup = "bring back the backup of this folder"
                yield cls(folder, _read_authority(folder / "issuing.key", remedy=backup))

    def reissue(self, root: Path, *, now: datetime, days: int = ISSUING_DAYS, new_key: bool = False) -> datetime:
        """Let the root, from its place, sign the issuing authority again; gives until when that is good.

        With the same key what it has signed stays good. new_key: the old one is not to be believed any more; the
        revocation list then speaks for the new one alone, so a broker that reads it lets nobody else in.
        Raises InputError, NotPermittedError or StorageError.
        """
        remedy = "name the place of root.key with --root"
        if not (root / "root.key").exists():
            raise InputError("no root here", where=str(root), remedy=remedy)
        with told(root):
            parent = _read_authority(root / "root.key", remedy=remedy)
        if core.pem(parent.certificate) != self.ca_path.read_bytes():
            raise InputError("not the root of this authority", where=str(root), remedy=remedy)
        old = core.common_name(self._issuing.certificate)
        stem, _, number = old.rpartition(" ")
        name, key = (f"{stem} {int(number) + 1}", None) if new_key else (old, self._issuing.key)
        issuing = core.appoint(parent, name, now=now, days=days, key=key)
        self._install(issuing, () if new_key else self._taken_back(), now=now)
        return self.ends

    def issue(
        self, name: str, *, role: Role = "device", hosts: Sequence[str] = (), now: datetime, days: int | None = None
    ) -> Entry:
        """Make a key and a certificate for a name that nobody bears. days: None is what the role has by default.

        Raises InputError.
        """
        core.check_name(name, role)
        for borne in self.bearers(name):
            raise InputError(
                f"the name is borne since {borne.begins:%Y-%m-%d} ({borne.name})",
                where=name,
                remedy="choose another, renew it, or revoke it first",
            )
        key = core.new_key()
        days = days or core.days_of(role)
        certificate = core.sign(self._issuing, key.public_key(), name=name, role=role, hosts=hosts, now=now, days=days)
        replace(self.key_of(name), core.pem_of_key(key), mode=0o600)
        return self._put_out(self._keep(certificate))

    def certify(
        self, name: str, public_key: ec.EllipticCurvePublicKey, *, now: datetime, days: int = DEVICE_DAYS
    ) -> Entry:
        """Sign a key that was made elsewhere for a device and remember that; whose name it is the caller has judged.

        Raises InputError.
        """
        return self._keep(core.sign(self._issuing, public_key, name=name, role="device", now=now, days=days))

    def renew(self, name: str, *, now: datetime, days: int | None = None) -> Entry:
        """Sign the same key for the same name and role again; the old certificate stays good until it ends.

        Raises InputError for a name that nobody bears.
        """
        good = [entry for entry in self._good() if entry.name == name]
        if not good:
            raise InputError(f"nobody bears this name{self._nearest(name)}", where=name, remedy="issue it, or see list")
        old = max(good, key=lambda entry: entry.begins)
        public_key, days = core.key_of(self._remembered(old.serial)), days or core.days_of(old.role)
        return self._put_out(
            self._keep(
                core.sign(self._issuing, public_key, name=name, role=old.role, hosts=old.hosts, now=now, days=days)
            )
        )

    def revoke(self, name: str, *, now: datetime) -> int:
        """Take back every certificate of a name; the name is free again. Gives how many. Raises InputError."""
        taken = [entry.serial for entry in self._good() if entry.name == name]
        if not taken:
            raise InputError(f"nobody bears this name{self._nearest(name)}", where=name, remedy="see list")
        self._write_list([*self._taken_back(), *((serial, now) for serial in taken)], now=now)
        return len(taken)

    def bearers(self, name: str) -> list[Entry]:
        """Give the certificates by which a name is borne, the newest last: not taken back, expired or not.

        However it is capitalised: two boards whose names differ by that alone are a trap for people.
        """
        good = [entry for entry in self._good() if entry.name.lower() == name.lower()]
        return sorted(good, key=lambda entry: entry.begins)

    def holders(self, key: ec.EllipticCurvePublicKey) -> list[Entry]:
        """Give the certificates that a key has, the newest last: not taken back, expired or not."""
        wanted = core.fingerprint(key)
        good = [entry for entry in self._good() if entry.key == wanted]
        return sorted(good, key=lambda entry: entry.begins)

    def good(self) -> frozenset[int]:
        """Give the serial numbers of what was signed and not taken back, expired or not."""
        return frozenset(entry.serial for entry in self._good())

    def chain(self, serial: int) -> str:
        """Give what its owner shows: the certificate and that of the issuing authority, PEM."""
        return (core.pem(self._remembered(serial)) + core.pem(self._issuing.certificate)).decode()

    def public_key(self, serial: int) -> ec.EllipticCurvePublicKey:
        """Give the key that a remembered certificate is for."""
        return core.key_of(self._remembered(serial))

    def entries(self, *, now: datetime) -> list[Listed]:
        """Give one certificate of each name, a good one before a revoked one and the newest; the first to end first."""
        good = {entry.serial for entry in self._good()}
        newest: dict[str, Entry] = {}
        for entry in sorted(self._signed(), key=lambda entry: (entry.serial in good, entry.begins)):
            newest[entry.name] = entry
        listed = [Listed(entry=entry, state=_state(entry, good, now)) for entry in newest.values()]
        return sorted(listed, key=lambda item: (item.entry.ends, item.entry.name))

    @property
    def ca_path(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def crl_path(self) -> Path:
        return self.folder / "ca.crl"

    @property
    def ends(self) -> datetime:
        """Until when the issuing authority is good: nothing that it signs outlives it."""
        return self._issuing.certificate.not_valid_after_utc

    def certificate_of(self, name: str) -> Path:
        return self.folder / "issued" / f"{name}.pem"

    def key_of(self, name: str) -> Path:
        return self.folder / "issued" / f"{name}.key"

    def _install(self, issuing: Authority, taken_back: Sequence[tuple[int, datetime]], *, now: datetime) -> None:
        self._issuing = issuing
        replace(self.folder / "issuing.key", _pem_of(issuing), mode=0o600)
        replace(self.folder / "issuing.pem", core.pem(issuing.certificate))
        self._write_list(taken_back, now=now)

    def _keep(self, certificate: x509.Certificate) -> Entry:
        entry = core.describe(certificate)
        replace(self._memory_of(entry.serial), core.pem(certificate))
        return entry

    def _put_out(self, entry: Entry) -> Entry:
        replace(self.certificate_of(entry.name), self.chain(entry.serial).encode())
        return entry

    def _remembered(self, serial: int) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self._memory_of(serial).read_bytes())

    def _memory_of(self, serial: int) -> Path:
        return self.folder / "signed" / f"{serial:x}.pem"

    def _signed(self) -> list[Entry]:
        files = sorted(self.folder.glob("signed/*.pem"))
        return [core.describe(x509.load_pem_x509_certificate(file.read_bytes())) for file in files]

    def _good(self) -> list[Entry]:
        """Give what the present issuing authority has signed and not taken back, expired or not."""
        revoked = {serial for serial, _ in self._taken_back()}
        issuer = core.key_id(self._issuing.certificate)
        return [entry for entry in self._signed() if entry.issuer == issuer and entry.serial not in revoked]

    def _taken_back(self) -> list[tuple[int, datetime]]:
        crl = x509.load_pem_x509_crl(self.crl_path.read_bytes())
        return [(entry.serial_number, entry.revocation_date_utc) for entry in crl]

    def _write_list(self, taken_back: Sequence[tuple[int, datetime]], *, now: datetime) -> None:
        replace(self.crl_path, core.pem(core.revocation_list(self._issuing, taken_back, now=now)))

    def _nearest(self, name: str) -> str:
        return nearest(name, {entry.name for entry in self._good()})


def _pem_of(authority: Authority) -> bytes:
    """Give key and certificate as one text: two files would not change together."""
    return core.pem_of_key(authority.key) + core.pem(authority.certificate)


def _read_authority(file: Path, *, remedy: str) -> Authority:
    text = file.read_bytes()
    try:
        certificate, key = x509.load_pem_x509_certificate(text), load_pem_private_key(text, password=None)
    except (ValueError, TypeError) as error:
        raise InputError("not an authority's key and certificate", where=str(file), remedy=remedy) from error
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(certificate=certificate, key=key)


def _state(entry: Entry, good: set[int], now: datetime) -> State:
    if entry.serial not in good:
        return "revoked"
    return "valid" if now <= entry.ends else "expired"
