"""Certificates as values: two authorities, what is signed, and the list of what is taken back. No files, no clock.

The root is what everybody trusts, and it signs one thing: the issuing authority, which signs all the rest. So the key
of the root can lie in a drawer, and what is online can be replaced without a visit to every board.

A certificate's common name is all a broker asks for: it becomes user name and client id, and the access list goes by
it (RabbitMQ binds a client id to nothing but an alternative name, so the name stands there as well). So a name is borne
once in a fleet, holds no character that means something in a topic, and the names of the programs that may read other
people's topics are not for devices.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Literal, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.errors import InputError, nearest

Role = Literal["device", "collector", "operator", "homeassistant", "server"]
ROLES: tuple[Role, ...] = get_args(Role)
PROGRAMS: tuple[Role, ...] = ("collector", "operator", "homeassistant")
DEVICE_DAYS, OTHER_DAYS = 90, 365
"""How long a certificate is good: boards get a new one by themselves, the others by hand."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what device.id takes; X.509 allows a common name 64 characters
_HOST = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})*")
_EARLIER = timedelta(hours=1)  # a board's clock may be behind that of the authority


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate that signs others, with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a certificate says. hosts: a server's names and addresses, as text. key: its fingerprint.

    issuer: the identifier of the key that signed it.
    """

    name: str
    role: Role
    hosts: tuple[str, ...]
    serial: int
    key: str
    issuer: bytes
    begins: datetime
    ends: datetime


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a key: P-256, which every board signs with in a millisecond or so."""
    return ec.generate_private_key(ec.SECP256R1())


def found(name: str, *, now: datetime, days: int) -> Authority:
    """Make a root: it may sign issuing authorities, and these no further ones (path length 1)."""
    key = new_key()
    subject = _named(name)
    builder = (
        _begun(key.public_key(), now=now, ends=now + timedelta(days=days))
        .subject_name(subject)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    return Authority(certificate=builder.sign(key, hashes.SHA256()), key=key)


def appoint(
    root: Authority, name: str, *, now: datetime, days: int, key: ec.EllipticCurvePrivateKey | None = None
) -> Authority:
    """Let a root sign an issuing authority, which may sign boards, programs and brokers and no authority.

    key: that of an earlier one, whose signatures then stay good. Raises InputError for a life longer than the root's.
    """
    key = key or new_key()
    ends = _end_within(root, now, days, where=name)
    builder = (
        _begun(key.public_key(), now=now, ends=ends)
        .subject_name(_named(name))
        .issuer_name(root.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(_signed_by(root), critical=False)
    )
    return Authority(certificate=builder.sign(root.key, hashes.SHA256()), key=key)


def sign(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey,
    *,
    name: str,
    role: Role,
    hosts: Sequence[str] = (),
    now: datetime,
    days: int,
) -> x509.Certificate:
    """Make a certificate that says: the holder of this key is `name`.

    A server's is good for being a server and nothing else, every other one for being a client and nothing else: a
    stolen board cannot pose as the broker.
    Raises InputError for a name or host that will not do, or a life longer than the authority's own.
    """
    check_name(name, role)
    names = _alternative_names(name, hosts, role)
    ends = _end_within(authority, now, days, where=name)
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if role == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _begun(public_key, now=now, ends=ends)
        .subject_name(_named(name))
        .issuer_name(authority.certificate.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(_signed_by(authority), critical=False)
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Give the SHA-256 of a public key (its SubjectPublicKeyInfo) in hexadecimal digits."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def key_of(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Give the key that a certificate of ours is for."""
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def key_id(certificate: x509.Certificate) -> bytes:
    """Give the identifier of a certificate's key (RFC 5280, 4.2.1.2), which is in all that it signs."""
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def common_name(certificate: x509.Certificate) -> str:
    """Give the name that a certificate of ours bears."""
    (attribute,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attribute.value)


def days_of(role: Role) -> int:
    """Give for how many days a certificate is good if nobody says otherwise."""
    return DEVICE_DAYS if role == "device" else OTHER_DAYS


def revocation_list(
    authority: Authority, revoked: Iterable[tuple[int, datetime]], *, now: datetime
) -> x509.CertificateRevocationList:
    """Make the list of serial numbers that are good no more, with the instant of each.

    It does not grow stale before the authority does: a broker whose list has expired lets nobody in at all.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now)
        .next_update(authority.certificate.not_valid_after_utc)
    )
    for serial, since in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(since).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, hashes.SHA256())


def describe(certificate: x509.Certificate) -> Entry:
    """Read back what `sign` has written."""
    name = common_name(certificate)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    serves = ExtendedKeyUsageOID.SERVER_AUTH in usage
    hosts: tuple[str, ...] = ()
    if serves:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        hosts = tuple(str(host.value) for host in names)
    return Entry(
        name=name,
        role="server" if serves else program_of(name) or "device",
        hosts=hosts,
        serial=certificate.serial_number,
        key=fingerprint(key_of(certificate)),
        issuer=_issuer_id(certificate),
        begins=certificate.not_valid_before_utc,
        ends=certificate.not_valid_after_utc,
    )


def pem(signed: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """Write a certificate or a list as the text that every program reads."""
    return signed.public_bytes(Encoding.PEM)


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Write a key as text, unencrypted: who reads the file is it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def program_of(name: str) -> Role | None:
    """Give the program that a name belongs to: `collector`, and `collector-2` as well; None for a device's name."""
    plain = name.lower()
    return next((role for role in PROGRAMS if plain == role or plain.startswith(f"{role}-")), None)


def check_name(name: str, role: Role) -> None:
    """Raises InputError unless a certificate of this role may bear the name."""
    if not _NAME.fullmatch(name):
        raise InputError(
            "not a name that fits into a topic", where=repr(name), remedy="use 1 to 64 of A-Z a-z 0-9 _ and -"
        )
    if role in PROGRAMS:
        if name != role and not (name == name.lower() and program_of(name) == role):
            raise InputError(f"not a name for a {role}", where=name, remedy=f"call it {role}, {role}-2 and so on")
    elif program_of(name) is not None:
        raise InputError(
            f"the broker grants this name the rights of a {program_of(name)}",
            where=name,
            remedy=f"choose another name, or ask for --role {program_of(name)}",
        )


def check_role(word: str) -> Role:
    """Give the role of this name. Raises InputError."""
    for role in ROLES:
        if word == role:
            return role
    raise InputError(f"no such role{nearest(word, ROLES)}", where=word, remedy=f"name one of {', '.join(ROLES)}")


def _alternative_names(name: str, hosts: Sequence[str], role: Role) -> list[x509.GeneralName]:
    if role != "server":
        if hosts:
            raise InputError("only a server has hosts", where=hosts[0], remedy="add --role server, or drop --host")
        return [x509.DNSName(name)]
    if not hosts:
        raise InputError(
            "a server needs the names by which boards call it", where="--host", remedy="add --host broker.example"
        )
    return [_host(host) for host in hosts]


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if _HOST.fullmatch(host) and len(host) <= 253:
            return x509.DNSName(host)
    raise InputError("neither a host name nor an address", where=repr(host), remedy="give it without scheme and port")


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _end_within(authority: Authority, now: datetime, days: int, *, where: str) -> datetime:
    ends, last = now.replace(microsecond=0) + timedelta(days=days), authority.certificate.not_valid_after_utc
    if ends > last:
        raise InputError(
            f"{days} days are longer than the authority itself is good for ({last:%Y-%m-%d})",
            where=where,
            remedy="give fewer --days, or give the authority a longer life (reissue)",
        )
    return ends


def _signed_by(authority: Authority) -> x509.AuthorityKeyIdentifier:
    identifier = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _issuer_id(certificate: x509.Certificate) -> bytes:
    found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert found is not None
    return found


def _begun(key: ec.EllipticCurvePublicKey, *, now: datetime, ends: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
