"""What the authority signs, as values; OpenSSL's verdict on it is asked in tests/integration/test_fleet_ca.py."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from agent.config import load
from agent.errors import InputError, MaskwatchError
from tools.fleet.ca.authority import (
    ROLES,
    Authority,
    Role,
    appoint,
    check_name,
    check_role,
    describe,
    found,
    new_key,
    program_of,
    revocation_list,
    sign,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return appoint(found("test fleet", now=NOW, days=7300), "test fleet issuing 1", now=NOW, days=3650)


@pytest.mark.parametrize(
    ("name", "role", "hosts"),
    [
        ("door", "device", ()),
        ("collector", "collector", ()),
        ("collector-2", "collector", ()),
        ("operator", "operator", ()),
        ("homeassistant", "homeassistant", ()),
        ("broker", "server", ("broker.example", "10.0.0.1", "::1")),
    ],
)
def test_a_certificate_reads_back_as_it_was_asked_for(
    authority: Authority, name: str, role: Role, hosts: tuple[str, ...]
) -> None:
    made = sign(authority, new_key().public_key(), name=name, role=role, hosts=hosts, now=NOW, days=90)

    entry = describe(made)
    assert (entry.name, entry.role, entry.hosts) == (name, role, hosts)
    assert entry.ends == NOW + timedelta(days=90)
    assert entry.begins == NOW - timedelta(hours=1)  # a board's clock may be a little behind


@pytest.mark.parametrize("role", ROLES)
def test_a_client_cannot_serve_and_a_server_cannot_be_a_client(authority: Authority, role: Role) -> None:
    name, hosts = (role, ()) if role in ("collector", "operator", "homeassistant") else ("one", ())
    made = sign(
        authority,
        new_key().public_key(),
        name=name,
        role=role,
        hosts=("localhost",) if role == "server" else hosts,
        now=NOW,
        days=1,
    )
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value

    expected = ExtendedKeyUsageOID.SERVER_AUTH if role == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
    assert list(usage) == [expected]


def test_the_root_may_sign_an_authority_that_may_sign_no_further_one(authority: Authority) -> None:
    root = found("test fleet", now=NOW, days=1).certificate
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 1
    constraints = authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints)

    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)


@given(st.text(min_size=1, max_size=70))
def test_a_device_has_a_name_only_if_the_agent_takes_it_as_its_id(name: str) -> None:
    try:
        check_name(name, "device")
    except InputError:
        return
    settings = load(None, environ={}, overrides=[f"device.id={name}"])
    assert settings.settings.device.id == name
    assert not set(name) & set("+#/%$ \0")


@pytest.mark.parametrize("name", ["collector", "operator", "homeassistant", "Collector", "operator-2", "COLLECTOR-x"])
@pytest.mark.parametrize("role", ["device", "server"])
def test_no_device_and_no_server_bears_the_name_of_a_program(name: str, role: Role) -> None:
    with pytest.raises(InputError) as refused:
        check_name(name, role)
    assert f"--role {program_of(name)}" in str(refused.value)


@pytest.mark.parametrize("name", ["collector", "door", "operators", "Operator", "operator2"])
def test_an_operator_is_called_operator(name: str) -> None:
    with pytest.raises(InputError):
        check_name(name, "operator")


@pytest.mark.parametrize("name", ["", "a+b", "#", "%u", "a/b", "$SYS", "ä", "a b", "a\n", "x" * 65, "a.b"])
def test_a_name_that_means_something_in_a_topic_is_refused(name: str) -> None:
    for role in ROLES:
        with pytest.raises(InputError):
            check_name(name, role)


@pytest.mark.parametrize(
    "host", ["", "mqtts://broker", "broker:8883", "-x", "a..b", "*.example", "x" * 64, "ö.example"]
)
def test_a_host_that_is_none_is_refused(authority: Authority, host: str) -> None:
    with pytest.raises(InputError, match="neither a host name nor an address"):
        sign(authority, new_key().public_key(), name="broker", role="server", hosts=[host], now=NOW, days=1)


def test_hosts_are_for_servers_and_servers_need_them(authority: Authority) -> None:
    with pytest.raises(InputError, match="only a server has hosts"):
        sign(authority, new_key().public_key(), name="door", role="device", hosts=["x"], now=NOW, days=1)
    with pytest.raises(InputError, match="a server needs"):
        sign(authority, new_key().public_key(), name="broker", role="server", now=NOW, days=1)


def test_nothing_outlives_the_authority(authority: Authority) -> None:
    with pytest.raises(InputError, match="2036-11-18"):
        sign(authority, new_key().public_key(), name="door", role="device", now=NOW, days=3651)


def test_a_role_that_nobody_knows_is_told_with_the_nearest() -> None:
    with pytest.raises(MaskwatchError, match="did you mean 'operator'"):
        check_role("operater")


def test_the_revocation_list_lasts_as_long_as_the_authority(authority: Authority) -> None:
    made = revocation_list(authority, [(7, NOW)], now=NOW)

    assert made.next_update_utc == authority.certificate.not_valid_after_utc
    assert [entry.serial_number for entry in made] == [7]
    assert made.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]
