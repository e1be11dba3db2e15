"""What a certificate says, read without a library for it: the board has none, and needs three fields.

Source: RFC 5280, sections 4.1 and 4.1.2.5; X.690 for DER.
"""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from agent.clock import NS_PER_S

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VERSION = 0xA0  # the optional first element
_UTC_TIME = 0x17
_COMMON_NAME = b"\x55\x04\x03"  # 2.5.4.3


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """name: the subject's common name, empty if it has none. ends_ns: since 1970. der: all of it."""

    name: str
    ends_ns: int
    der: bytes


def read_certificate(pem: str) -> Certificate:
    """Read a PEM's first certificate: the holder's own, where a chain follows.

    Raises ValueError if there is none in it, or a damaged one.
    """
    begin, end = pem.find(_BEGIN), pem.find(_END)
    if begin < 0 or end < begin:
        raise ValueError("holds no PEM certificate")
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[begin:end] + _END)
        _, signed = next(_parts(der))
        _, body = next(_parts(signed))
        _serial, _algorithm, _issuer, validity, subject, *_ = (value for tag, value in _parts(body) if tag != _VERSION)
        _, (tag, not_after) = _parts(validity)
        text = not_after.decode("ascii")
        if tag == _UTC_TIME:  # two digits of the year, 50 and above are the last century
            text = ("19" if text >= "50" else "20") + text
        moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
        name = _common_name(subject)
    except (StopIteration, IndexError, ValueError) as error:
        raise ValueError("the certificate in it is damaged") from error
    return Certificate(name=name, ends_ns=int(moment.timestamp()) * NS_PER_S, der=der)


def _common_name(subject: bytes) -> str:
    for _, one in _parts(subject):
        for _, pair in _parts(one):
            (_, kind), (_, value) = _parts(pair)
            if kind == _COMMON_NAME:
                return value.decode("utf-8")
    return ""


def _parts(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Give tag and content of each element of a DER sequence's content."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:  # the long form: the low bits count the bytes of the length
            width = length & 0x7F
            length = int.from_bytes(der[at : at + width], "big")
            at += width
        if at + length > len(der):
            raise ValueError("an element is longer than what holds it")
        yield tag, der[at : at + length]
        at += length
