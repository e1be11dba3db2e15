"""What a board asks for: a certificate request (PKCS 10), of which the name and the key are taken and nothing else."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.errors import InputError
from tools.fleet.ca.authority import check_name


@dataclass(frozen=True, kw_only=True)
class Request:
    """The holder of this key wants to be called `name`."""

    name: str
    public_key: ec.EllipticCurvePublicKey


def read_request(text: bytes, *, where: str = "CSR") -> Request:
    """Read a request in PEM.

    Raises InputError unless it is signed by its own key, the key is P-256 and the name is one for a device.
    """
    try:
        request = x509.load_pem_x509_csr(text)
        key = request.public_key()
        names = [str(name.value) for name in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError("no certificate request", where=where, remedy="give the PEM that openssl req makes") from error
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise InputError("its key is not on the curve P-256", where=where, remedy="make an EC key, prime256v1")
    if len(names) != 1:
        raise InputError("it does not name one device", where=where, remedy="give it one common name, the device id")
    check_name(names[0], "device")
    if not _is_signed(request):
        raise InputError("its signature is wrong", where=where, remedy="make it anew with the device's own key")
    return Request(name=names[0], public_key=key)


def _is_signed(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except UnsupportedAlgorithm:
        return False
