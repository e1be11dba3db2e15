"""The ledger of the fault suite: what a producer said before its end counts, and no more."""

import io
import random
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.events.envelope import Stored as OutboxStored
from agent.events.envelope import encode
from agent.events.types import Event
from tests.delivery_parts import came, counted
from tools.chaos.contents import digest_of_event, digest_of_payload
from tools.chaos.ledger import Account, Begun, Decided, Handed, Ledger, Line, Stored, Told, Trying, write
from tools.chaos.street import Street

STREAM = "5eed"


def said(*lines: Line) -> io.BytesIO:
    return io.BytesIO(b"".join(write(line) for line in lines))


def ledger_of(folder: Path, text: io.BytesIO) -> Account:
    ledger = Ledger(folder / "ledger")
    ledger.read("cam1", text)
    ledger.close()
    return ledger.account("cam1")


def group(first: int, *digests: str) -> list[Line]:
    return [Trying(digests=list(digests)), Stored(stream=STREAM, first=first, count=len(digests), at_ns=0)]


def test_an_event_is_decided_when_its_append_has_returned(tmp_path: Path) -> None:
    account = ledger_of(tmp_path, said(*group(1, "a", "b"), *group(3, "c"), Trying(digests=["d"])))
    assert account.decided == [Decided(STREAM, 1, "a"), Decided(STREAM, 2, "b"), Decided(STREAM, 3, "c")]
    assert account.maybe == {"d"}
    assert account.mark == (STREAM, 3)


def test_a_line_that_a_kill_cut_short_does_not_count(tmp_path: Path) -> None:
    whole = said(*group(1, "a")).getvalue()
    cut = said(*group(2, "b")).getvalue()
    for length in range(len(cut)):
        account = Ledger(tmp_path / f"{length}")
        account.read("cam1", io.BytesIO(whole + cut[:length]))
        account.close()
        assert account.decided == 1


def test_an_append_that_failed_and_was_repeated_decides_once(tmp_path: Path) -> None:
    account = ledger_of(tmp_path, said(Trying(digests=["a", "b"]), *group(1, "a", "b", "c")))
    assert [event.digest for event in account.decided] == ["a", "b", "c"]
    assert account.maybe == set()


def test_what_was_in_memory_at_the_end_is_counted_with_its_age(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    handed = [Handed(count=count, at_ns=at_ns) for count, at_ns in ((2, 100), (1, 2_000_000_000))]
    ledger.read("cam1", said(*handed, *group(1, "a", "b")))
    ledger.ended("cam1", 2_500_000_000)
    ledger.ended("cam1", 9_000_000_000)
    ledger.close()
    (unstored,) = ledger.account("cam1").unstored
    assert (unstored.count, unstored.age_s) == (1, 0.5)


def test_the_file_holds_every_decision(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    begun = Begun(stream=STREAM, sequence=0, previous_stop="none", at_ns=0)
    told = Told(stream=STREAM, sequence=1, acknowledged=0, backlog=1, connected=True, trouble="", storage="")
    ledger.read("cam1", said(begun, *group(1, "a"), told))
    ledger.close()
    kinds = [msgspec.json.decode(line.split(b" ", 1)[1])["type"] for line in (tmp_path / "ledger").open("rb")]
    assert kinds == ["begun", "trying", "stored"]


@given(st.integers(0, 2**32), st.integers(0, 2**60))
def test_ledger_and_store_see_the_same_event_alike(seed: int, now_ns: int) -> None:
    street = Street(random.Random(seed), run_id="aa")
    events = [street.next(now_ns) for _ in range(20)]
    assert len({digest_of_event(event) for event in events}) == len(events)
    for event in events:
        assert digest_of_payload(as_stored(event))[0] == digest_of_event(event)


def test_another_instant_or_person_is_another_event() -> None:
    alike = [came("aa-1", 0), came("aa-2", 0), came("aa-1", 1_000_000), counted(1), counted(2)]
    assert len({digest_of_event(event) for event in alike}) == len(alike)


def as_stored(event: Event) -> bytes:
    stored = OutboxStored(
        stream=STREAM,
        sequence=1,
        type=event.type,
        person=event.person,
        boot_id="ab" * 16,
        at_ns=event.at_ns,
        at_wall_ns=None,
        recorded_wall_ns=None,
        data=msgspec.json.encode(event.data),
    )
    return encode(stored, source="/maskwatch/lab/cam1", historical=False)
