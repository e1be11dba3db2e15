"""Claims and the inventory that keeps them, as values and as a file."""

import re
import stat
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InputError
from tools.fleet.enrol import claims, inventory
from tools.fleet.enrol.inventory import Claim, Incident, Inventory, Use

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def made(known: Inventory | None = None, *, serial: str = "") -> tuple[Claim, str]:
    return claims.make(known or Inventory(), site="a", serial=serial, now=NOW, days=30)


def test_a_claim_is_an_id_and_a_secret_that_is_kept_nowhere(tmp_path: Path) -> None:
    claim, words = made()
    inventory.write(tmp_path, Inventory().with_claim(claim))

    word, secret = words.split(".")
    assert re.fullmatch("[0-9a-f]{8}", word)
    assert len(secret) * 6 >= 128  # each letter is one of 64
    kept = inventory.path_of(tmp_path).read_text()
    assert secret not in kept
    assert sha256(secret.encode()).hexdigest() in kept
    assert stat.S_IMODE(inventory.path_of(tmp_path).stat().st_mode) == 0o600


def test_no_two_claims_are_alike() -> None:
    known, words = Inventory(), set()
    for _ in range(200):
        claim, said = made(known)
        known = known.with_claim(claim)
        words.add(said.split(".")[1])

    assert (len(known.claims), len(words)) == (200, 200)


def test_a_claim_is_found_by_its_words_and_by_nothing_near_them() -> None:
    claim, words = made()
    known = Inventory().with_claim(claim)

    assert claims.find(known, words) == claim
    word, secret = words.split(".")
    for wrong in (word, secret, f"{word}.", f".{secret}", f"{words} ", words.upper(), f"{word}.{claim.digest}", ""):
        assert claims.find(known, wrong) is None


@given(st.text(max_size=80))
def test_no_text_finds_a_claim_by_chance(text: str) -> None:
    assert claims.find(Inventory().with_claim(made()[0]), text) is None


def test_what_can_be_done_with_a_claim_depends_on_what_was_done_and_on_the_time() -> None:
    claim, _ = made()
    void = claims.void(Inventory().with_claim(claim), claim.id, now=NOW).claim(claim.id)
    used = msgspec.structs.replace(claim, used=Use(device="door", key="00", at=NOW))

    assert void is not None
    late = NOW + timedelta(days=30)
    assert [claim.state(NOW), claim.state(late - timedelta(seconds=1)), claim.state(late)] == [
        "open",
        "open",
        "expired",
    ]
    assert (void.state(NOW), void.state(late)) == ("void", "void")
    assert (used.state(NOW), used.state(late)) == ("used", "used")


def test_a_claim_that_is_used_or_unknown_cannot_be_withdrawn() -> None:
    claim, _ = made()
    used = Inventory().with_claim(msgspec.structs.replace(claim, used=Use(device="door", key="00", at=NOW)))
    with pytest.raises(InputError, match="revoke DIR door"):
        claims.void(used, claim.id, now=NOW)
    with pytest.raises(InputError, match="did you mean"):
        claims.void(used, claim.id[:-1] + "x", now=NOW)


def test_the_same_incident_is_counted_and_the_list_has_an_end() -> None:
    known = Inventory()
    for number in range(30):
        for minute in range(2):
            at = NOW + timedelta(minutes=minute)
            incident = Incident(error="used", device=f"d{number}", key="00", claim="c", first=at, last=at)
            known = known.with_incident(incident)

    assert len(known.incidents) == 20
    assert {(one.count, one.first, one.last) for one in known.incidents} == {(2, NOW, NOW + timedelta(minutes=1))}


def test_an_inventory_reads_back_as_it_was_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    known = Inventory().with_claim(made(serial="ABC")[0])
    assert inventory.read(tmp_path) == Inventory()
    inventory.write(tmp_path, known)
    assert inventory.read(tmp_path) == known
    assert known.claims[0].serial == "abc"
    inventory.path_of(tmp_path).write_text('{"format": 2}')
    with pytest.raises(InputError, match="bring back the backup"):
        inventory.read(tmp_path)
