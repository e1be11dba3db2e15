"""The counts that the page shows, beside a count over the stored events: SQLite and a real PostgreSQL server."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.collector_parts import WALL_MS, event
from tests.integration.test_collector_store import Opened, numbers
from tests.postgres import Postgres
from tools.fleet.collector.messages import Birth, Event, Sight, sight

HOUR_MS = 3_600_000
LABELS = ["mask", "no_mask", "incorrect", "unsure"]
KINDS = ["maskwatch.person.end.v1", "maskwatch.person.new.v1", "maskwatch.counts.v1", "maskwatch.gap.v1"]
RAW = """
SELECT site, type, coalesce(label, ''), CASE WHEN happened_ms >= 0 THEN happened_ms / 3600000 ELSE -1 END, count(*)
FROM events GROUP BY 1, 2, 3, 4
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Iterator[Opened]:
    made = Opened(request.param, tmp_path, postgres)
    yield made
    made.store.close()


def person(sequence: int, label: str = "mask", kind: str = KINDS[0], **more: Any) -> Event:
    return event(sequence, kind=kind, data={"person": "1-1", "label": label}, **more)


def raw(opened: Opened) -> dict[tuple[Any, ...], int]:
    return {tuple(key): number for *key, number in opened.rows(RAW)}


def counted(opened: Opened) -> dict[tuple[Any, ...], int]:
    rows = opened.rows("SELECT site, type, label, hour, events FROM hours WHERE events <> 0")
    by_site = {tuple(key): number for *key, number in rows if key[0]}
    everywhere = Counter[tuple[Any, ...]]()
    for (_, *key), number in by_site.items():
        everywhere["", *key] += number
    assert {tuple(key): number for *key, number in rows if not key[0]} == dict(everywhere)
    return by_site


TOLD = st.fixed_dictionaries(
    {
        "sequence": st.integers(1, 12),
        "label": st.sampled_from(LABELS),
        "kind": st.sampled_from(KINDS),
        "device": st.sampled_from(["cam1", "cam2"]),
        "boot": st.sampled_from(["a", "b"]),
        "mono_ms": st.integers(0, 5).map(lambda hours: hours * HOUR_MS),
        "wall_ms": st.sampled_from([None, WALL_MS, WALL_MS + 7 * HOUR_MS]),
    }
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(TOLD, min_size=1, max_size=12), min_size=1, max_size=6))
def test_whatever_comes_how_often_and_in_whatever_order_the_hours_count_what_is_stored(
    opened: Opened, batches: list[list[dict[str, Any]]]
) -> None:
    number = next(numbers)  # one database for all examples: each has streams and boots of its own
    for batch in batches:
        opened.commit(
            *(person(**told | {"stream": f"s{number}", "boot": f"{told['boot']}{number:x}"}) for told in batch)
        )

    assert counted(opened) == raw(opened)


def test_a_person_counts_in_the_hour_of_its_event_under_its_label(opened: Opened) -> None:
    opened.commit(person(1, "no_mask", mono_ms=0), person(2, "no_mask", mono_ms=1), person(3, "mask", mono_ms=HOUR_MS))

    hour = WALL_MS // HOUR_MS
    assert counted(opened) == {
        ("lab", KINDS[0], "no_mask", hour): 2,
        ("lab", KINDS[0], "mask", hour + 1): 1,
    }


def test_an_event_without_a_time_moves_to_its_hour_when_its_time_is_found_out(opened: Opened) -> None:
    opened.commit(person(1, wall_ms=None, mono_ms=0))
    assert counted(opened) == {("lab", KINDS[0], "mask", -1): 1}

    opened.commit(event(2, mono_ms=2 * HOUR_MS))

    assert counted(opened)["lab", KINDS[0], "mask", WALL_MS // HOUR_MS] == 1
    assert counted(opened) == raw(opened)


def test_a_label_that_is_none_of_ours_is_no_label(opened: Opened) -> None:
    opened.commit(person(1, "<script>"), event(2, kind=KINDS[0], data=["mask"]), event(3, data={"label": "mask"}))

    assert {key[2] for key in counted(opened)} == {""}


def test_two_instances_that_store_the_same_and_other_events_at_once_count_each_once(postgres: Postgres) -> None:
    opened = Opened("postgresql", Path(), postgres)
    rng = random.Random(8)
    devices = [f"cam{number}" for number in range(6)]
    messages = [
        person(sequence, rng.choice(LABELS), kind=rng.choice(KINDS), device=device, mono_ms=sequence * 600_000)
        for device in devices
        for sequence in range(1, 41)
    ]

    def pour(seed: int) -> int:
        store = opened.another()
        ours = random.Random(seed).sample(messages, len(messages))
        stored = sum(store.commit(ours[at : at + 15], now_ms=WALL_MS).stored for at in range(0, len(ours), 15))
        store.close()
        return stored

    with ThreadPoolExecutor(3) as threads:
        stored = list(threads.map(pour, range(3)))

    assert sum(stored) == len(messages)
    assert min(stored) > 0
    assert counted(opened) == raw(opened)
    assert sum(counted(opened).values()) == len(messages)
    opened.store.close()


def status(session: int, state: str, **more: Any) -> Sight:

    found = sight("maskwatch/lab/cam1/status", json.dumps({"session": session, "state": state, **more}).encode())
    assert found is not None
    return found


def states(opened: Opened) -> list[tuple[Any, ...]]:
    rows = opened.rows("SELECT session, online, camera, reason, since_ms, changes FROM states")
    return [(session, bool(online), *more) for session, online, *more in rows]


def test_the_state_of_a_device_is_its_last_word_and_tells_since_when(opened: Opened) -> None:
    opened.store.commit([status(3, "online", camera="ok")], now_ms=1000)
    opened.store.commit([status(3, "online", camera="blind")], now_ms=2000)
    assert states(opened) == [(3, True, "blind", "", 1000, 1)]

    opened.store.commit([status(3, "offline", reason="connection lost")], now_ms=3000)
    assert states(opened) == [(3, False, "", "connection lost", 3000, 2)]


def test_the_will_of_an_older_connection_that_comes_late_is_no_news(opened: Opened) -> None:
    opened.commit(status(4, "online"), status(3, "offline"))
    assert states(opened)[0][:2] == (4, True)

    opened.commit(status(3, "offline"))
    assert states(opened)[0][:2] == (4, True)

    opened.commit(status(1, "online"))  # a new card: its numbers begin again
    assert states(opened)[0][:2] == (1, True)


def test_telemetry_tells_how_often_a_device_speaks(opened: Opened) -> None:
    def hear(session: int, now_ms: int) -> tuple[Any, ...]:
        found = sight("maskwatch/lab/cam1/telemetry", b'{"session":%d}' % session)
        assert found is not None
        opened.store.commit([found], now_ms=now_ms)
        ((*row,),) = opened.rows("SELECT telemetry_ms, every_ms FROM states")
        return tuple(row)

    assert hear(1, 1000) == (1000, None)
    assert hear(1, 61_000) == (61_000, 60_000)
    assert hear(1, 181_000) == (181_000, 60_000)
    assert hear(2, 90_000_000) == (90_000_000, None)


def test_a_birth_and_the_state_it_tells_of_are_stored_together(opened: Opened) -> None:
    told = Birth(device="cam1", site="lab", stream="5eed", acknowledged=0)

    assert opened.commit(told, status(1, "online")).marks

    assert len(states(opened)) == 1
