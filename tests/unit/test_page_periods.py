"""Where bars of hours, days and weeks begin."""

import itertools
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from tools.fleet.page.periods import BARS, By, period, shift

MADRID, UTC_ZONE = ZoneInfo("Europe/Madrid"), ZoneInfo("UTC")
NOW = datetime(2026, 11, 21, 20, 30, tzinfo=UTC)  # a Saturday
HOUR_MS = 3_600_000


def hours(by: By, now: datetime = NOW, until: date | None = None, zone: ZoneInfo = MADRID) -> list[int]:
    edges = period(by, now=now, until=until, zone=zone).edges_ms
    return [(later - earlier) // HOUR_MS for earlier, later in itertools.pairwise(edges)]


def local(edge_ms: int, zone: ZoneInfo = MADRID) -> str:
    return datetime.fromtimestamp(edge_ms / 1000, tz=UTC).astimezone(zone).strftime("%a %Y-%m-%d %H:%M")


@pytest.mark.parametrize("by", ["hour", "day", "week"])
def test_the_last_bar_holds_this_moment(by: By) -> None:
    found = period(by, now=NOW, until=None, zone=MADRID)

    assert found.edges_ms[-2] <= NOW.timestamp() * 1000 < found.end_ms
    assert len(found.edges_ms) == BARS[by] + 1


def test_a_day_begins_at_midnight_of_the_zone_and_a_week_on_its_monday() -> None:
    assert local(period("day", now=NOW, until=None, zone=MADRID).edges_ms[-2]) == "Sat 2026-11-21 00:00"
    assert local(period("week", now=NOW, until=None, zone=MADRID).edges_ms[-2]) == "Mon 2026-11-16 00:00"


def test_the_days_on_which_clocks_are_turned_have_23_and_25_hours() -> None:
    spring, autumn = hours("day", until=date(2026, 4, 10)), hours("day", until=date(2026, 11, 10))

    assert sorted(set(spring)) == [23, 24]
    assert sorted(set(autumn)) == [24, 25]
    assert hours("week", until=date(2026, 11, 10)).count(169) == 1
    assert set(hours("hour", until=date(2026, 10, 25))) == {1}


def test_bars_up_to_a_day_end_with_it() -> None:
    assert local(period("hour", now=NOW, until=date(2026, 11, 3), zone=MADRID).end_ms) == "Wed 2026-11-04 00:00"
    assert local(period("day", now=NOW, until=date(2026, 11, 3), zone=MADRID).end_ms) == "Wed 2026-11-04 00:00"


def test_in_a_zone_of_half_an_hour_edges_are_on_the_hour_below() -> None:
    edges = period("day", now=NOW, until=None, zone=ZoneInfo("Asia/Kolkata")).edges_ms

    assert {edge % HOUR_MS for edge in edges} == {0}


def test_turning_back_and_forth_comes_to_the_same_bars_and_ends_now() -> None:
    back = shift("day", now=NOW, until=None, zone=MADRID, pages=-1)

    assert back == date(2026, 10, 22)
    assert shift("day", now=NOW, until=back, zone=MADRID, pages=1) is None
    assert shift("day", now=NOW, until=date(2026, 9, 1), zone=MADRID, pages=1) == date(2026, 10, 1)
    first = period("day", now=NOW, until=None, zone=MADRID).first_ms
    assert period("day", now=NOW, until=back, zone=MADRID).end_ms == first


def test_the_zone_decides_which_day_it_is() -> None:
    late = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)

    assert local(period("day", now=late, until=None, zone=MADRID).edges_ms[-2]) == "Sun 2026-11-22 00:00"
    assert local(period("day", now=late, until=None, zone=UTC_ZONE).edges_ms[-2], UTC_ZONE) == "Sat 2026-11-21 00:00"
