"""How many events are given up at once, and what the gap says of them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from agent.delivery import quota
from agent.events.types import Gap

COUNTS, NEW = "maskwatch.counts.v1", "maskwatch.person.new.v1"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        made.execute("CREATE TABLE events (sequence INTEGER PRIMARY KEY, done INTEGER, type TEXT, data BLOB)")
        yield made


def wait(db: sqlite3.Connection, *sequences: int, kind: str = COUNTS, data: bytes = b"{}", done: bool = False) -> None:
    rows = [(sequence, done, kind, data) for sequence in sequences]
    db.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)


@pytest.mark.parametrize(
    ("waiting", "given_up"), [(1, 1), (10, 10), (64, 64), (6400, 64), (10_100, 101), (50_000, 500), (60_000, 500)]
)
def test_a_hundredth_is_given_up_at_once_but_64_at_least_and_500_at_most(
    db: sqlite3.Connection, waiting: int, given_up: int
) -> None:
    wait(db, 7, done=True)
    wait(db, *range(11, 11 + waiting))
    loss = quota.oldest(db, after=10, why="quota")
    gap = Gap(first=11, last=10 + given_up, by_type={COUNTS: given_up}, why="quota")
    assert loss == quota.Loss(count=given_up, gap=gap)


def test_what_is_acknowledged_is_not_given_up(db: sqlite3.Connection) -> None:
    wait(db, *range(1, 101))
    loss = quota.oldest(db, after=50, why="disk")
    assert loss == quota.Loss(count=50, gap=Gap(first=51, last=100, by_type={COUNTS: 50}, why="disk"))


def test_a_gap_that_is_given_up_is_told_with_what_it_named(db: sqlite3.Connection) -> None:
    earlier = Gap(first=2, last=9, by_type={COUNTS: 3, NEW: 5}, why="quota")
    wait(db, 10, kind=Gap.TYPE, data=msgspec.json.encode(earlier))
    wait(db, 11, 12)
    loss = quota.oldest(db, after=1, why="quota")
    by_type = {COUNTS: 5, NEW: 5, Gap.TYPE: 1}
    assert loss == quota.Loss(count=3, gap=Gap(first=2, last=12, by_type=by_type, why="quota"))


def test_there_is_nothing_to_give_up_where_nothing_or_only_a_gap_waits(db: sqlite3.Connection) -> None:
    assert quota.oldest(db, after=0, why="quota") is None
    gap = msgspec.json.encode(Gap(first=1, last=2, by_type={}, why="quota"))
    wait(db, 3, kind=Gap.TYPE, data=gap)
    assert quota.oldest(db, after=0, why="quota") is None
    wait(db, 4, kind=Gap.TYPE, data=gap)
    loss = quota.oldest(db, after=0, why="quota")
    assert loss is not None
    assert loss.count == 2
