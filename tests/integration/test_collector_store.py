"""The collector's database, the same tests on SQLite and on a real PostgreSQL server."""

import itertools
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import NotPermittedError, StorageError, UnavailableError, UsageError
from tests.collector_parts import WALL_MS, event, gap, payload, rejected, topic
from tests.postgres import Postgres
from tests.real import wait_for
from tools.fleet.collector.messages import Birth, Event, Message, Rejected, read
from tools.fleet.collector.postgres import PostgresStore
from tools.fleet.collector.sqlite import SqliteStore
from tools.fleet.collector.store import REJECTED_MAX, Committed, Figures, Store, Stream, StreamKey

NOW_MS = WALL_MS + 500_000
numbers = itertools.count(1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


class Opened:
    """A store, and a look into its database from outside. `again` opens it anew, or a second time."""

    def __init__(self, kind: str, folder: Path, postgres: Postgres) -> None:
        self._kind = kind
        self._postgres = postgres
        self.url = postgres.new_schema() if kind == "postgresql" else str(folder / f"{next(numbers)}.db")
        self.store = self.another()

    def another(self) -> Store:
        return PostgresStore(self.url) if self._kind == "postgresql" else SqliteStore(Path(self.url))

    def commit(self, *messages: Message) -> Committed:
        return self.store.commit(messages, now_ms=NOW_MS)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if self._kind == "postgresql":
            return self._postgres.execute(query, url=self.url)
        assert isinstance(self.store, SqliteStore)
        return self.store._db.execute(query).fetchall()

    def happened(self, device: str = "cam1") -> dict[int, int | None]:
        return dict(self.rows(f"SELECT sequence, happened_ms FROM events WHERE device = '{device}'"))


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Iterator[Opened]:
    made = Opened(request.param, tmp_path, postgres)
    yield made
    made.store.close()


def marks(committed: Committed) -> dict[str, int]:
    return {mark.stream: mark.hwm for mark in committed.marks}


def test_an_event_is_stored_as_it_came(opened: Opened) -> None:
    opened.commit(event(1, mono_ms=1500))

    columns = "device, stream, sequence, site, type, mono_ms, time_ms, happened_ms, received_ms, payload"
    assert opened.rows(f"SELECT {columns} FROM events") == [
        (
            "cam1",
            "5eed",
            1,
            "lab",
            "maskwatch.counts.v1",
            1500,
            WALL_MS + 1500,
            WALL_MS + 1500,
            NOW_MS,
            event(1, mono_ms=1500).payload,
        )
    ]


def test_what_is_there_already_is_a_duplicate_within_a_batch_and_across_batches(opened: Opened) -> None:
    first = opened.commit(event(1), event(1), event(2))
    second = opened.commit(event(2, historical=True), event(3))

    assert (first.stored, first.duplicates) == (2, 1)
    assert (second.stored, second.duplicates) == (1, 1)
    assert marks(second) == {"5eed": 3}


def test_the_mark_is_said_again_for_duplicates_alone(opened: Opened) -> None:
    opened.commit(event(1), event(2))

    assert marks(opened.commit(event(1))) == {"5eed": 2}


def test_an_event_that_contradicts_the_stored_one_is_kept_apart_and_never_overwrites_it(opened: Opened) -> None:
    opened.commit(event(1))
    other = event(1, data={"number": 99})

    found = opened.commit(other)

    assert (found.stored, found.duplicates, list(found.conflicts)) == (0, 0, [other])
    assert opened.rows("SELECT payload FROM events") == [(event(1).payload,)]
    assert opened.rows("SELECT device, stream, sequence, payload FROM conflicts") == [(*other.key, other.payload)]


def test_two_events_that_contradict_each_other_in_one_batch_are_one_and_a_conflict(opened: Opened) -> None:
    other = event(1, data={"number": 99})

    found = opened.commit(event(1), other)

    assert (found.stored, list(found.conflicts)) == (1, [other])


def test_a_mark_waits_for_a_hole_and_jumps_when_it_is_filled(opened: Opened) -> None:
    assert marks(opened.commit(event(1), event(3), event(4))) == {"5eed": 1}
    assert marks(opened.commit(event(5))) == {"5eed": 1}
    assert opened.store.figures() == Figures(devices=1, streams=1, behind=1)
    assert marks(opened.commit(event(2))) == {"5eed": 5}
    assert opened.store.figures() == Figures(devices=1, streams=1, behind=0)


def test_what_a_gap_names_counts_as_present_whether_the_gap_or_its_neighbours_come_first(opened: Opened) -> None:
    assert marks(opened.commit(event(5), gap(6, 2, 4))) == {"5eed": 0}
    assert marks(opened.commit(event(1))) == {"5eed": 6}
    assert opened.rows("SELECT first, last, why FROM gaps") == [(2, 4, "given up")]


def test_a_gap_that_lies_behind_an_older_event_counts_in_the_batch_that_fills_the_hole_before_it(
    opened: Opened,
) -> None:
    assert marks(opened.commit(event(2))) == {"5eed": 0}
    assert marks(opened.commit(event(1), gap(5, 3, 4))) == {"5eed": 5}


def test_a_gap_alone_moves_the_mark_over_what_it_names(opened: Opened) -> None:
    assert marks(opened.commit(event(1))) == {"5eed": 1}
    assert marks(opened.commit(gap(10, 2, 9))) == {"5eed": 10}


def test_devices_and_streams_have_marks_of_their_own(opened: Opened) -> None:
    found = opened.commit(event(1), event(1, device="cam2"), event(2, device="cam2"), event(1, stream="0ther"))

    assert {(mark.device, mark.stream): mark.hwm for mark in found.marks} == {
        ("cam1", "5eed"): 1,
        ("cam1", "0ther"): 1,
        ("cam2", "5eed"): 2,
    }


def test_a_device_that_comes_online_hears_the_mark_of_the_stream_it_names(opened: Opened) -> None:
    opened.commit(event(1), event(1, stream="0ther"))

    found = opened.commit(Birth(device="cam1", site="lab", stream="5eed", acknowledged=1))

    assert marks(found) == {"5eed": 1}


def test_a_device_that_names_no_stream_hears_the_mark_of_its_newest(opened: Opened) -> None:
    opened.commit(event(1), event(1, stream="0ther"))

    assert marks(opened.commit(Birth(device="cam1", site="lab", stream=None, acknowledged=0))) == {"0ther": 1}


def test_a_device_that_was_never_heard_of_hears_zero_or_nothing(opened: Opened) -> None:
    found = opened.commit(
        Birth(device="cam1", site="lab", stream="5eed", acknowledged=0),
        Birth(device="cam2", site="lab", stream=None, acknowledged=0),
    )

    assert marks(found) == {"5eed": 0}


def test_what_a_device_holds_no_more_is_said_to_be_lost_once_and_holds_nothing_up(opened: Opened) -> None:
    birth = Birth(device="cam1", site="lab", stream="5eed", acknowledged=1000)

    first = opened.commit(birth)
    again = opened.commit(birth, event(1001))

    assert [(lost.first, lost.last, lost.why) for lost in first.lost] == [(1, 1000, "acknowledged")]
    assert list(again.lost) == []
    assert marks(again) == {"5eed": 1001}


def test_an_event_that_comes_after_its_device_counted_it_as_done_is_stored_all_the_same(opened: Opened) -> None:
    opened.commit(Birth(device="cam1", site="lab", stream="5eed", acknowledged=3))

    assert opened.commit(event(2)).stored == 1


def test_messages_that_are_none_of_ours_are_kept_the_newest_of_them(opened: Opened) -> None:
    for first in range(0, REJECTED_MAX + 200, 300):
        opened.commit(*(rejected(number) for number in range(first, first + 300)))

    (count, newest), *_ = opened.rows("SELECT count(*), max(id) FROM rejected")
    assert count == REJECTED_MAX
    assert newest == 1200


def test_an_event_without_wall_time_gets_it_from_a_later_one_of_the_same_boot(opened: Opened) -> None:
    opened.commit(event(1, mono_ms=1000, wall_ms=None), event(2, mono_ms=2000, wall_ms=None))
    assert opened.happened() == {1: None, 2: None}

    opened.commit(event(3, mono_ms=60_000))

    assert opened.happened() == {1: WALL_MS + 1000, 2: WALL_MS + 2000, 3: WALL_MS + 60_000}
    assert opened.rows("SELECT count(time_ms) FROM events") == [(1,)]


def test_an_event_without_wall_time_gets_it_from_an_earlier_one_too(opened: Opened) -> None:
    opened.commit(event(1, mono_ms=1000))
    opened.commit(event(2, mono_ms=5000, wall_ms=None))

    assert opened.happened()[2] == WALL_MS + 5000


def test_another_boot_or_another_device_gives_no_time(opened: Opened) -> None:
    opened.commit(event(1, mono_ms=1000, wall_ms=None))
    opened.commit(event(2, mono_ms=2000, boot="cd" * 16), event(1, mono_ms=2000, device="cam2"))

    assert opened.happened()[1] is None


def test_after_a_jump_of_the_clock_the_nearest_event_counts(opened: Opened) -> None:
    two_years_ms = 63_072_000_000
    opened.commit(
        event(1, mono_ms=1000), event(2, mono_ms=40_000, wall_ms=None), event(3, mono_ms=90_000, wall_ms=None)
    )
    assert opened.happened()[3] == WALL_MS + 90_000

    opened.commit(event(4, mono_ms=100_000, wall_ms=WALL_MS + two_years_ms))

    assert opened.happened()[2] == WALL_MS + 40_000
    assert opened.happened()[3] == WALL_MS + two_years_ms + 90_000


EVENTS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["a1", "b2"]), st.sampled_from([None, 0, 10**9])),
    min_size=1,
    max_size=25,
    unique_by=lambda it: it[0],
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(EVENTS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_whatever_the_order_of_arrival_every_event_is_dated_by_the_nearest_of_its_boot(
    opened: Opened, told: list[tuple[int, str, int | None]], rng: Any, size: int
) -> None:
    device = f"cam{next(numbers)}"
    events = [
        event(
            number,
            device=device,
            mono_ms=mono_s * 1000,
            boot=boot,
            wall_ms=None if offset is None else WALL_MS + offset,
        )
        for number, (mono_s, boot, offset) in enumerate(told, start=1)
    ]
    rng.shuffle(events)
    for first in range(0, len(events), size):
        opened.commit(*events[first : first + size])

    happened = opened.happened(device)
    for one in events:
        dated = [
            (abs(it.mono_ms - one.mono_ms), it.time_ms - it.mono_ms)
            for it in events
            if it.boot == one.boot and it.time_ms
        ]
        nearest = min(dated, default=(0, 0))[0]
        right: set[int | None] = {one.mono_ms + offset for away, offset in dated if away == nearest}
        assert happened[one.sequence] in (right or {None})


def oracle(stored: Sequence[Event], stream: str) -> int:
    """Give the mark by definition."""
    there = {one.sequence for one in stored if one.stream == stream}
    gaps = [one.gap for one in stored if one.stream == stream and one.gap is not None]
    mark = 0
    while mark + 1 in there or any(first <= mark + 1 <= last for first, last in gaps):
        mark += 1
    return mark


MIXED = st.lists(
    st.one_of(
        st.builds(lambda sequence, stream: event(sequence, stream=stream), st.integers(1, 15), st.sampled_from("xy")),
        st.builds(
            lambda first, length, stream: gap(first + length + 16, first, first + length, stream=stream),
            st.integers(1, 12),
            st.integers(0, 4),
            st.sampled_from("xy"),
        ),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(MIXED, st.integers(1, 9), st.lists(st.integers(0, 1), min_size=60, max_size=60))
def test_marks_are_right_and_never_move_back_whatever_two_instances_get(
    opened: Opened, told: list[Event], size: int, whose: list[int]
) -> None:
    device = f"cam{next(numbers)}"
    told = [msgspec.structs.replace(one, device=device) for one in told]
    stored: dict[tuple[str, str, int], Event] = {}
    before: dict[str, int] = {}
    with ExitStack() as at_end:
        instances = [opened.store]
        if isinstance(opened.store, PostgresStore):
            instances.append(opened.another())
            at_end.callback(instances[1].close)
        for start in range(0, len(told), size):
            batch = told[start : start + size]
            committed = instances[whose[start] % len(instances)].commit(batch, now_ms=NOW_MS)
            for one in batch:
                stored.setdefault(one.key, one)
            assert marks(committed) == {one.stream: oracle(list(stored.values()), one.stream) for one in batch}
            assert all(hwm >= before.get(stream, 0) for stream, hwm in marks(committed).items())
            before |= marks(committed)


def spoilt(places: list[tuple[int, int]]) -> bytes:
    """Give an event's message with some of its bytes overwritten."""
    message = bytearray(payload(1))
    for place, byte in places:
        message[place % len(message)] = byte
    return bytes(message)


harms = st.integers(0, 255) | st.sampled_from(b"0123456789abcdef")  # the latter often leave it an event, of other facts


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 2000), harms), min_size=1, max_size=4), st.text(max_size=30))
def test_whatever_arrives_can_be_committed(opened: Opened, places: list[tuple[int, int]], name: str) -> None:
    found = [read(topic(), spoilt(places)), read(name, spoilt(places)), read(topic(kind="status"), spoilt(places))]

    opened.commit(*(message for message in found if message is not None))

    events = {(one.device, one.stream, one.sequence) for one in found if isinstance(one, Event)}
    assert events <= set(opened.rows("SELECT device, stream, sequence FROM events"))
    refused = {one.payload for one in found if isinstance(one, Rejected)}
    assert refused <= {bytes(kept) for (kept,) in opened.rows("SELECT payload FROM rejected")}


def test_two_instances_that_commit_at_the_same_time_agree_and_say_only_what_is_there(postgres: Postgres) -> None:
    url = postgres.new_schema()
    told = [event(number // 3 + 1, device=f"cam{number % 3}") for number in range(600)]
    start = threading.Barrier(2)

    def run(number: int) -> dict[str, int]:
        store = PostgresStore(url)
        said: dict[str, int] = {}
        start.wait(20)
        mine = told if number == 0 else told[::-1]
        for first in range(0, len(mine), 20):
            committed = store.commit(mine[first : first + 20], now_ms=NOW_MS)
            for mark in committed.marks:
                query = "SELECT count(*) FROM events WHERE device = %s AND sequence <= %s"
                assert postgres.execute(query, mark.device, mark.hwm, url=url) == [(mark.hwm,)]
                assert mark.hwm >= said.get(mark.device, 0)
                said[mark.device] = mark.hwm
        store.close()
        return said

    with ThreadPoolExecutor(2) as pool:
        last = list(pool.map(run, range(2)))

    assert [max(said[device] for said in last) for device in ("cam0", "cam1", "cam2")] == [200, 200, 200]
    with closing(PostgresStore(url)) as watch:
        assert watch.figures() == Figures(devices=3, streams=3, behind=0)


def test_who_commits_while_another_is_at_it_waits_and_sees_what_it_stored(postgres: Postgres) -> None:
    url = postgres.new_schema()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO devices%'"

    class Interrupted(PostgresStore):
        def _write_streams(self, streams: Mapping[StreamKey, Stream]) -> None:
            found.append(aside.submit(other.commit, [event(2)], now_ms=NOW_MS))
            wait_for(lambda: found[0].done() or postgres.execute(waiting) == [(1,)])
            super()._write_streams(streams)

    found: list[Future[Committed]] = []
    with (
        closing(PostgresStore(url)) as other,
        closing(Interrupted(url)) as first,
        ThreadPoolExecutor(1) as aside,
    ):
        other.commit([event(1, stream="0ther")], now_ms=NOW_MS)  # the device is known now
        assert marks(first.commit([event(1)], now_ms=NOW_MS)) == {"5eed": 1}

        assert marks(found[0].result()) == {"5eed": 2}
        assert other.figures() == Figures(devices=1, streams=2, behind=0)


def test_a_second_collector_on_one_file_says_so(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / "events.db")

    with pytest.raises(StorageError) as refused:
        SqliteStore(tmp_path / "events.db")
    first.close()

    assert "another collector uses this file" in str(refused.value)
    SqliteStore(tmp_path / "events.db").close()


@pytest.mark.parametrize("contents", [b"this is no database, but a text of some length" * 100, b"\0" * 5000])
def test_a_file_that_is_no_database_is_one_line(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "events.db").write_bytes(contents)

    with pytest.raises(StorageError) as refused:
        SqliteStore(tmp_path / "events.db")

    assert str(refused.value).count("\n") == 0


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "events.db") as db:
        db.execute("CREATE TABLE events (mine TEXT)")
    db.close()

    with pytest.raises(StorageError, match="not a collector's file"):
        SqliteStore(tmp_path / "events.db")


def test_a_server_that_restarts_fails_a_commit_and_takes_the_next(postgres: Postgres) -> None:
    store = PostgresStore(postgres.new_schema())
    store.commit([event(1)], now_ms=NOW_MS)
    postgres.crash()

    with pytest.raises(UnavailableError):
        store.commit([event(2)], now_ms=NOW_MS)
    postgres.start()

    assert marks(store.commit([event(2)], now_ms=NOW_MS)) == {"5eed": 2}
    store.close()


def test_a_database_that_knows_no_encoding_is_as_good_as_any(postgres: Postgres) -> None:
    with closing(PostgresStore(postgres.new_database(encoding="SQL_ASCII"))) as store:
        store.commit([event(1, data={"text": "héé"})], now_ms=NOW_MS)

        assert store.commit([event(1, data={"text": "héé"}), event(2)], now_ms=NOW_MS).duplicates == 1


@pytest.mark.parametrize("may", ["see nothing", "read"])
def test_a_user_who_may_not_write_is_told(postgres: Postgres, may: str) -> None:
    url = postgres.new_schema()
    user, schema = f"reader{next(numbers)}", url.rsplit("%3D", 1)[1]
    with closing(PostgresStore(url)) as owner:
        owner.commit([event(1)], now_ms=NOW_MS)
    postgres.execute(f"CREATE ROLE {user} LOGIN")
    if may == "read":
        postgres.execute(f"GRANT USAGE ON SCHEMA {schema} TO {user}")
        postgres.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user}")

    with closing(PostgresStore(url.replace("postgres@", f"{user}@"))) as store, pytest.raises(NotPermittedError):
        store.commit([event(2)], now_ms=NOW_MS)


def test_a_url_that_libpq_does_not_understand_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        PostgresStore("postgresql://host/name?nonsense=1")


def test_an_instance_that_stops_in_the_middle_of_a_commit_does_not_hold_the_others_up(postgres: Postgres) -> None:
    url = postgres.new_schema()
    frozen, other = PostgresStore(url), PostgresStore(url)
    frozen.commit([event(1)], now_ms=NOW_MS)
    with ExitStack() as stopped:
        stopped.enter_context(frozen._transaction())
        frozen._lock([("cam1", "lab", "5eed")], NOW_MS)

        # The server ends a transaction in which nothing is said for five seconds; this takes as long.
        assert marks(other.commit([event(2)], now_ms=NOW_MS)) == {"5eed": 2}
        with pytest.raises(UnavailableError):
            stopped.close()
    frozen.close()
    other.close()
