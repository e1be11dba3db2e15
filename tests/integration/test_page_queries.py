"""What the page asks, beside the same asked in plain Python: SQLite and a real PostgreSQL server."""

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collector_parts import WALL_MS, event, gap
from tests.integration.test_collector_store import Opened
from tests.postgres import Postgres
from tools.fleet.collector.messages import Birth, Event, sight
from tools.fleet.page import queries
from tools.fleet.page.database import Database, open_database
from tools.fleet.page.filters import Cursor
from tools.fleet.page.queries import Asked, Fleet, Line

HOUR_MS = 3_600_000
KINDS = ["maskwatch.person.end.v1", "maskwatch.person.new.v1", "maskwatch.counts.v1", "maskwatch.camera.blind.v1"]
LABELS = ["mask", "no_mask", "incorrect"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Iterator[Opened]:
    made = Opened(request.param, tmp_path, postgres)
    made.store.figures()
    yield made
    made.store.close()


@pytest.fixture
def database(opened: Opened) -> Iterator[Database]:
    made = open_database(opened.url if "://" in opened.url else f"sqlite://{opened.url}")
    yield made
    made.close()


@pytest.fixture
def fleet(database: Database) -> Fleet:
    return Fleet(database)


def scattered(number: int) -> list[Event]:
    """Make events of three devices; many share a millisecond, some have no time."""
    rng = random.Random(number)
    found = []
    for sequence in range(1, number // 3 + 1):
        for device in ("cam1", "cam2", "cam-3"):
            kind = rng.choices(KINDS, (4, 4, 4, 1))[0]
            data = {"person": "1-1", "label": rng.choice(LABELS)} if "person" in kind else {"n": sequence}
            wall_ms = None if device == "cam-3" and sequence < 5 else WALL_MS
            mono_ms = rng.randrange(20) * HOUR_MS // 4
            found.append(event(sequence, device=device, kind=kind, data=data, mono_ms=mono_ms, wall_ms=wall_ms))
    return found


def lines(opened: Opened) -> list[Line]:
    columns = "device, stream, sequence, site, type, label, payload, happened_ms, received_ms"
    rows = opened.rows(f"SELECT {columns} FROM events")
    made = [Line(*(*row, row[7] if row[7] is not None else row[8])) for row in rows]
    return sorted(made, key=lambda one: (one.at_ms, one.device, one.stream, one.sequence), reverse=True)


def expected(every: list[Line], asked: Asked) -> list[Line]:
    return [
        one
        for one in every
        if all(getattr(asked, name) in (None, getattr(one, name)) for name in ("site", "device", "type", "label"))
        and (asked.since_ms is None or one.at_ms >= asked.since_ms)
        and (asked.until_ms is None or one.at_ms < asked.until_ms)
    ]


ASKED = [
    Asked(),
    Asked(device="cam1"),
    Asked(device="cam-3", label="no_mask"),
    Asked(type="maskwatch.camera.blind.v1"),
    Asked(type="maskwatch.camera.blind.v1", device="cam2", site="lab"),
    Asked(type="maskwatch.person.end.v1", label="mask"),
    Asked(type="maskwatch.outbox.reset.v1"),
    Asked(label="unsure"),
    Asked(site="nowhere"),
    Asked(since_ms=WALL_MS + HOUR_MS, until_ms=WALL_MS + 3 * HOUR_MS),
    Asked(device="cam2", since_ms=WALL_MS + HOUR_MS, label="mask"),
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_page_after_page_gives_each_event_that_is_asked_for_once_and_in_order(
    opened: Opened, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, asked: Asked
) -> None:
    opened.commit(*scattered(210))
    monkeypatch.setattr(queries, "LOOKED_MAX", 16)
    found: list[Line] = []
    place: Cursor | None = None
    for _ in range(100):
        page = fleet.events(asked, place, limit=7)
        assert len(page.lines) <= 7
        found += page.lines
        place = page.further
        if place is None:
            break

    assert found == expected(lines(opened), asked)
    assert list(fleet.all_events(asked)) == found


def test_a_filter_that_finds_little_says_how_far_back_it_has_looked(
    opened: Opened, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.commit(*scattered(90))
    monkeypatch.setattr(queries, "LOOKED_MAX", 16)

    found = fleet.events(Asked(label="unsure"), limit=7)

    assert (found.lines, found.looked_ms) == ([], lines(opened)[15].at_ms)


def test_a_rare_kind_is_found_at_once_however_long_ago_it_was(
    opened: Opened, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.commit(gap(1, 1, 1, mono_ms=0), *(event(number, mono_ms=number) for number in range(2, 60)))
    monkeypatch.setattr(queries, "LOOKED_MAX", 16)

    found = fleet.events(Asked(type="maskwatch.gap.v1"), limit=7)

    assert [line.sequence for line in found.lines] == [1]


def test_a_chart_of_all_sites_and_one_of_a_device_count_what_is_stored(opened: Opened, fleet: Fleet) -> None:
    opened.commit(*scattered(210))
    first_ms = WALL_MS // HOUR_MS * HOUR_MS
    edges = [first_ms + hours * HOUR_MS for hours in (0, 1, 3, 4)]

    def counted(device: str | None) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
        persons: list[dict[str, int]] = []
        marks: list[dict[str, int]] = []
        for begin_ms, end_ms in itertools.pairwise(edges):
            within = [
                one
                for one in lines(opened)
                if one.happened_ms is not None and begin_ms <= one.happened_ms < end_ms and device in (None, one.device)
            ]
            persons.append(dict(Counter(one.label or "" for one in within if one.type == KINDS[0])))
            marks.append(dict(Counter("blind" for one in within if one.type == KINDS[3])))
        return persons, marks

    everywhere, here, own = fleet.tally(edges, site=None), fleet.tally(edges, site="lab"), fleet.tally_of("cam2", edges)

    assert (everywhere.persons, everywhere.marks) == counted(None)
    assert here == everywhere
    assert (own.persons, own.marks) == counted("cam2")
    assert sum(map(len, everywhere.marks)) > 0
    assert fleet.tally(edges, site="nowhere").heard == [False] * 3
    assert fleet.tally_of("nobody", edges).persons == [{}] * 3


def test_spans_from_which_nothing_came_are_told_apart(opened: Opened, fleet: Fleet) -> None:
    first_ms = WALL_MS // HOUR_MS * HOUR_MS
    times_ms = [first_ms - WALL_MS + number * HOUR_MS for number in (1, 5)]
    opened.commit(*(event(number, mono_ms=at_ms) for number, at_ms in enumerate(times_ms, start=1)))
    opened.commit(event(1, device="cam2", mono_ms=times_ms[0] + 2 * HOUR_MS))
    edges = [first_ms + number * HOUR_MS for number in range(7)]

    assert fleet.tally_of("cam1", edges).heard == [False, True, False, False, False, True]
    assert fleet.tally(edges, site=None).heard == [False, True, False, True, False, True]


def told(device: str, kind: str, **fields: Any) -> Any:
    return sight(f"maskwatch/lab/{device}/{kind}", json.dumps({"session": 1} | fields).encode())


def test_a_device_is_what_its_status_its_telemetry_and_its_events_say_together(opened: Opened, fleet: Fleet) -> None:
    opened.store.commit(
        [
            Birth(device="cam1", site="lab", stream=None, acknowledged=0),
            told("cam1", "status", state="online", camera="ok", version="1.2", backlog=3),
            told("cam1", "telemetry", temperature_c=51.5, backlog=2, news={"of": "a later release"}),
            told("cam2", "status", state="offline", reason="<b>gone</b>"),
            event(1, device="cam3"),
        ],
        now_ms=5000,
    )

    one, two, three = fleet.states()

    assert (one.device, one.online, one.camera, one.status.version) == ("cam1", True, "ok", "1.2")
    assert (one.telemetry.temperature_c, one.telemetry_ms, one.backlog, one.event_ms) == (51.5, 5000, 2, 5000)
    assert (two.online, two.reason, two.heard_ms) == (False, "<b>gone</b>", None)
    assert (three.online, three.event_ms) == (None, 5000)
    assert fleet.states("cam2") == [two]
    assert fleet.states(site="nowhere") == []
    assert fleet.sites() == ["lab"]


def test_telemetry_that_says_something_else_than_this_release_knows_is_no_telemetry(
    opened: Opened, fleet: Fleet
) -> None:
    opened.store.commit([told("cam1", "telemetry", temperature_c={"cpu": 51})], now_ms=5000)

    (one,) = fleet.states()
    assert (one.telemetry.temperature_c, one.telemetry_ms) == (None, 5000)


def test_the_fingerprint_changes_with_a_state_and_with_nothing_else(opened: Opened, fleet: Fleet) -> None:
    def after(*messages: Any) -> int:
        opened.store.commit(messages, now_ms=5000)
        return fleet.fingerprint()

    seen = [
        fleet.fingerprint(),
        after(told("cam1", "status", state="online", camera="ok")),
        after(told("cam1", "status", state="online", camera="blind")),
        after(told("cam1", "status", state="offline")),
        after(told("cam2", "telemetry")),
    ]

    assert len(set(seen)) == len(seen)
    assert after(told("cam1", "status", state="offline", backlog=7)) == seen[-1]
    assert after(told("cam2", "telemetry", temperature_c=40)) == seen[-1]


def test_an_instance_that_has_said_nothing_for_a_while_is_away(opened: Opened, fleet: Fleet) -> None:
    now_ms = time.time_ns() // 1_000_000
    opened.store.attest("one", connected=True, now_ms=now_ms)
    opened.store.attest("two", connected=False, now_ms=now_ms)

    assert [link.connected for link in fleet.links(now_ms)] == [True, False]
    assert [link.connected for link in fleet.links(now_ms + 60_000)] == [False, False]


def test_what_is_missing_is_told_by_its_kind(opened: Opened, fleet: Fleet) -> None:
    opened.commit(event(1), event(4), gap(6, 5, 5))
    opened.commit(Birth(device="cam2", site="lab", stream="5eed", acknowledged=9))

    ((waiting),) = fleet.waiting()
    ((hole),) = fleet.holes()
    assert (waiting.device, waiting.hwm, waiting.top) == ("cam1", 1, 6)
    assert (hole.device, hole.first, hole.last) == ("cam2", 1, 9)
    assert not fleet.waiting("cam2")
    assert not fleet.holes("cam1")
