"""Passwords and sessions."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import UsageError
from tests.delivery_parts import TurnedClock
from tools.fleet.page.accounts import SESSION_MS, Accounts, csrf_of, hash_password, is_right
from tools.fleet.page.database import SqliteDatabase


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def accounts(tmp_path: Path, clock: TurnedClock) -> Iterator[Accounts]:
    database = SqliteDatabase(tmp_path / "events.db")
    yield Accounts(database, clock)
    database.close()


def test_a_password_is_known_by_its_hash_and_two_of_the_same_have_two_hashes() -> None:
    one, other = hash_password("correct horse"), hash_password("correct horse")

    assert one != other
    assert is_right("correct horse", one)
    assert is_right("correct horse", other)
    assert not is_right("correct horsf", one)


def test_a_try_costs_32_mib() -> None:
    _, n, r, p, salt, found = hash_password("x").split("$")

    assert 128 * int(n) * int(r) * int(p) == 32 * 2**20
    assert (len(salt), len(found)) == (32, 64)


def test_a_hash_made_with_other_parameters_is_still_good() -> None:
    found = hashlib.scrypt(b"old", salt=b"salt", n=4, r=8, p=1, dklen=32)

    assert is_right("old", f"scrypt$4$8$1${b'salt'.hex()}${found.hex()}")


def test_a_zero_byte_more_is_another_password(accounts: Accounts) -> None:
    accounts.put("ana", "correct horse")

    assert accounts.check("ana", "correct horse")
    assert not accounts.check("ana", "correct horse\0")


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("", "x" * 12),
        ("a b", "x" * 12),
        ("ana\n", "x" * 12),
        ("ana", "x" * 11),
        ("ana", "x" * 257),
        ("ana", "x" * 12 + "\0"),
    ],
)
def test_a_name_or_password_that_will_not_do_is_told(accounts: Accounts, name: str, password: str) -> None:
    with pytest.raises(UsageError):
        accounts.put(name, password)


def test_a_session_ends_after_half_a_day(accounts: Accounts, clock: TurnedClock) -> None:
    token = accounts.begin("ana")

    clock.turn((SESSION_MS - 1) / 1000)
    assert accounts.who(token) == "ana"
    clock.turn(1)
    assert accounts.who(token) is None


def test_sessions_that_have_ended_are_forgotten(accounts: Accounts, clock: TurnedClock) -> None:
    accounts.begin("ana")
    clock.turn(SESSION_MS / 1000 + 1)
    accounts.begin("ana")

    assert accounts._database.rows("SELECT count(*) FROM page_sessions") == [(1,)]


def test_the_token_of_a_form_is_another_for_another_cookie() -> None:
    assert csrf_of("a") != csrf_of("b")
    assert csrf_of("a") == csrf_of("a")
    assert "a" * 40 not in csrf_of("a" * 40)
