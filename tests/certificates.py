"""Certificates for tests, as values: any authority, any name, any key, any days."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

NOW = datetime(2026, 12, 1, tzinfo=UTC)
"""When certificates of `Signer` are made unless a test says otherwise."""


class Signer:
    """An authority of one test, known to nobody."""

    def __init__(self, name: str = "a test's authority") -> None:
        self._key = new_key()
        self._name = _named(name)
        self.certificate = _pem(self._sign(self._key.public_key(), self._name, begins=NOW, days=3650))

    def sign(
        self,
        key: ec.EllipticCurvePrivateKey,
        name: str | None,
        *,
        days: float,
        begins: datetime = NOW,
        chain: bool = True,
    ) -> str:
        """Give a certificate as PEM, the authority's behind it if it is a chain. name: None for a subject without."""
        subject = x509.Name([]) if name is None else _named(name)
        leaf = _pem(self._sign(key.public_key(), subject, begins=begins, days=days))
        return leaf + self.certificate if chain else leaf

    def _sign(
        self, key: ec.EllipticCurvePublicKey, subject: x509.Name, *, begins: datetime, days: float
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=days))
        )
        return builder.sign(self._key, hashes.SHA256())


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def write_key(key: ec.EllipticCurvePrivateKey, file: Path) -> Path:
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def _named(name: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
