"""All devices judged once for everybody: as fresh as it has to be."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery_parts import TurnedClock
from tools.fleet.collector.messages import Sight, sight
from tools.fleet.collector.sqlite import SqliteStore
from tools.fleet.page.database import open_database
from tools.fleet.page.queries import Fleet
from tools.fleet.page.roster import Roster


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "events.db")
    yield made
    made.close()


def told(kind: str, message: bytes) -> Sight:
    found = sight(f"maskwatch/lab/cam1/{kind}", message)
    assert found is not None
    return found


def test_a_state_that_has_changed_is_seen_at_once_and_telemetry_within_a_second(
    store: SqliteStore, tmp_path: Path
) -> None:
    database, clock = open_database(f"sqlite://{tmp_path}/events.db"), TurnedClock()
    roster = Roster(Fleet(database), clock)
    assert roster.seen() == []

    store.commit([told("status", b'{"session":1,"state":"online"}')], now_ms=1000)
    (online,) = roster.seen()
    store.commit([told("telemetry", b'{"temperature_c":90}')], now_ms=1000)
    assert roster.seen() == [online], "a look is kept for a second"
    clock.turn(1.5)
    (hot,) = roster.seen()
    store.commit([told("status", b'{"session":1,"state":"offline"}')], now_ms=1000)
    (offline,) = roster.seen()

    assert online.state.online is True
    assert hot.state.telemetry.temperature_c == 90
    assert offline.health.level == "offline"
    database.close()
