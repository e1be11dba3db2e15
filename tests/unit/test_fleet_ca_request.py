"""What is taken from a certificate request, and which ones are refused; made by OpenSSL."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InputError
from tests.real import need
from tools.fleet.ca.authority import appoint, describe, found, sign
from tools.fleet.ca.request import read_request

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
P256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
Ask = Callable[..., bytes]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Give a request as `openssl req` makes it."""
    openssl = need("openssl", "openssl")

    def run(subject: str = "/CN=door", key: tuple[str, ...] = P256, *words: str) -> bytes:
        command = [openssl, "req", "-new", *key, "-nodes", "-keyout", str(tmp_path / "key.pem"), "-subj", subject]
        return subprocess.run([*command, *words], check=True, capture_output=True).stdout

    return run


def test_name_and_key_are_taken_and_nothing_else(ask: Ask, tmp_path: Path) -> None:
    wanted = ("basicConstraints=critical,CA:TRUE", "subjectAltName=DNS:operator", "keyUsage=keyCertSign")
    text = ask("/O=Somebody/OU=Else/CN=door", P256, *(word for one in wanted for word in ("-addext", one)))

    request = read_request(text)
    issuing = appoint(found("fleet", now=NOW, days=9), "fleet issuing 1", now=NOW, days=9)
    made = sign(issuing, request.public_key, name=request.name, role="device", now=NOW, days=1)

    assert made.subject.rfc4514_string() == "CN=door"
    assert describe(made).role == "device"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["door"]
    assert not made.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (("-newkey", "rsa:2048"), "P-256"),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"), "P-256"),
        (("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"), "P-256"),
        (("-newkey", "ed25519"), "P-256"),
    ],
)
def test_another_kind_of_key_is_refused(ask: Ask, key: tuple[str, ...], what: str) -> None:
    with pytest.raises(InputError, match=what):
        read_request(ask("/CN=door", key))


@pytest.mark.parametrize("subject", ["/O=nobody", "/CN=door/CN=gate", "/CN=collector", "/CN=a.b", r"/CN=a\+b", "/CN=#"])
def test_a_name_that_is_none_for_one_device_is_refused(ask: Ask, subject: str) -> None:
    with pytest.raises(InputError):
        read_request(ask(subject))


def test_a_request_that_its_key_has_not_signed_is_refused(ask: Ask) -> None:
    lines = ask().decode().splitlines()
    at = len(lines) - 2  # the signature is what comes last
    lines[at] = lines[at][:-8] + ("AAAA" if lines[at][-8:-4] != "AAAA" else "BBBB") + lines[at][-4:]
    with pytest.raises(InputError, match="signature is wrong"):
        read_request("\n".join(lines).encode())


@given(st.binary(max_size=300))
def test_garbage_is_refused_as_such(garbage: bytes) -> None:
    for text in (
        garbage,
        b"-----BEGIN CERTIFICATE REQUEST-----\n" + garbage + b"\n-----END CERTIFICATE REQUEST-----\n",
    ):
        with pytest.raises(InputError, match="no certificate request"):
            read_request(text)
