"""What is read of a certificate, against the cryptography library that wrote it."""

import ssl
from datetime import datetime

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.delivery.certificate import read_certificate
from tests.certificates import NOW, Signer, new_key

_SIGNER = Signer()
_KEY = new_key()
_GOOD = _SIGNER.sign(_KEY, "entrance-1", days=90, chain=False)


@pytest.mark.parametrize("days", [30, 20_000])  # 20,000 days are beyond 2049: another time format in the certificate
@pytest.mark.parametrize("name", ["entrance-1", "Tür 7", "x" * 64])
def test_name_and_end_are_those_that_were_signed(days: int, name: str) -> None:
    pem = _SIGNER.sign(_KEY, name, days=days)
    expected = x509.load_pem_x509_certificate(pem.encode())
    found = read_certificate(pem)
    assert found.name == name
    assert found.ends_ns == int(expected.not_valid_after_utc.timestamp()) * NS_PER_S


def test_the_holder_s_own_is_read_where_a_chain_follows() -> None:
    chain = _SIGNER.sign(_KEY, "entrance-1", days=90)
    assert chain.count("BEGIN CERTIFICATE") == 2
    assert read_certificate("a comment\n" + chain).name == "entrance-1"


def test_a_subject_without_a_name_has_an_empty_one() -> None:
    assert read_certificate(_SIGNER.sign(_KEY, None, days=1)).name == ""


def test_two_of_the_same_text_are_the_same_and_others_are_not() -> None:
    other = _SIGNER.sign(_KEY, "entrance-1", days=90)
    assert read_certificate(_GOOD).der == read_certificate(_GOOD + other).der != read_certificate(other).der


@given(st.integers(0, 200))
def test_a_damaged_certificate_is_a_value_error_and_nothing_else(cut: int) -> None:
    text = "".join(_GOOD.splitlines()[1:-1])
    damaged = "-----BEGIN CERTIFICATE-----\n" + text[: cut - cut % 4] + "\n-----END CERTIFICATE-----\n"
    with pytest.raises(ValueError):
        read_certificate(damaged)


@given(st.integers(0, 2000), st.integers(1, 255))
def test_a_changed_byte_is_read_or_a_value_error(at: int, change: int) -> None:
    der = bytearray(read_certificate(_GOOD).der)
    der[at % len(der)] ^= change
    try:
        read_certificate(ssl.DER_cert_to_PEM_cert(bytes(der)))
    except ValueError:
        return


def test_a_text_without_a_certificate_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="holds no PEM certificate"):
        read_certificate("hello")


def test_the_days_begin_when_they_should() -> None:
    begins = datetime.fromtimestamp(read_certificate(_GOOD).ends_ns / NS_PER_S, NOW.tzinfo)
    assert (begins - NOW).days == 90
