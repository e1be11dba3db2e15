"""From what the database says to what a template shows."""

from zoneinfo import ZoneInfo

import pytest

from tools.fleet.page.filters import Sort
from tools.fleet.page.health import State, Telemetry
from tools.fleet.page.periods import Period
from tools.fleet.page.queries import Line, Tally
from tools.fleet.page.views import buckets, by_level, choose, entry, see, totals

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
UTC = ZoneInfo("UTC")


def device(name: str, *, site: str = "lab", **more: object) -> State:
    told = {"online": True, "camera": "ok", "since_ms": NOW_MS, "telemetry_ms": NOW_MS} | more
    return State(device=name, site=site, **told)  # type: ignore[arg-type]


FLEET = see(
    [
        device("b-well", telemetry=Telemetry(temperature_c=50.0, backlog=3, certificate_days=90.0)),
        device("a-well", site="attic", telemetry_ms=NOW_MS - 5000, since_ms=0),
        device("gone", online=False, reason="power"),
        device("Hot", telemetry=Telemetry(temperature_c=90.0, backlog=1, certificate_days=40.0)),
        State(device="new", site="lab"),
    ],
    NOW_MS,
)


def names(
    *, site: str | None = None, level: str | None = None, part: str | None = None, sort: Sort = "name"
) -> list[str]:
    return [one.name for one in choose(FLEET, site=site, level=level, part=part, sort=sort)]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("state", ["gone", "Hot", "new", "a-well", "b-well"]),
        ("name", ["Hot", "a-well", "b-well", "gone", "new"]),
        ("site", ["a-well", "Hot", "b-well", "gone", "new"]),
        ("heard", ["a-well", "Hot", "b-well", "gone", "new"]),
        ("queue", ["b-well", "Hot", "a-well", "gone", "new"]),
        ("temperature", ["Hot", "b-well", "a-well", "gone", "new"]),
        ("certificate", ["Hot", "b-well", "a-well", "gone", "new"]),
    ],
)
def test_what_needs_a_look_comes_first_and_what_says_nothing_last(sort: Sort, expected: list[str]) -> None:
    assert names(sort=sort) == expected


def test_filters_are_by_site_state_and_part_of_the_name() -> None:
    assert names(site="attic") == ["a-well"]
    assert names(level="well") == ["a-well", "b-well"]
    assert names(level="problem") == ["Hot", "gone"]
    assert names(part="HO") == ["Hot"]
    assert names(site="attic", part="b") == []


def test_every_device_is_counted_under_one_level() -> None:
    assert by_level(FLEET) == {
        "offline": 1, "silent": 0, "blind": 0, "ill": 1, "starting": 0, "unknown": 1, "well": 2
    }  # fmt: skip


def test_a_bar_has_every_label_or_the_one_that_is_asked_for() -> None:
    begin_ms = NOW_MS // HOUR_MS * HOUR_MS
    span = Period("hour", tuple(begin_ms + number * HOUR_MS for number in (0, 1, 2, 3)))
    tally = Tally(
        persons=[{"mask": 5, "": 7}, {"no_mask": 1}, {}], marks=[{"gap": 4}, {}, {}], heard=[True, False, False]
    )

    every = buckets(span, tally, now_ms=begin_ms + HOUR_MS, label=None, zone=UTC)
    alone = buckets(span, tally, now_ms=begin_ms + HOUR_MS, label="no_mask", zone=UTC)

    assert [bar.counts for bar in every[:2]] == [
        {"no mask": 0, "worn wrongly": 0, "unsure": 0, "mask": 5},
        {"no mask": 1, "worn wrongly": 0, "unsure": 0, "mask": 0},
    ]
    assert [bar.counts for bar in alone] == [{"no mask": 0}, {"no mask": 1}, {"no mask": 0}]
    assert [bar.heard for bar in every] == [True, False, True], "what has not begun cannot have been heard of"
    assert every[0].marks == {"gap": 4}
    assert [(total.label, total.number) for total in totals(every)] == [
        ("no_mask", 1), ("incorrect", 0), ("unsure", 0), ("mask", 5)
    ]  # fmt: skip
    assert totals(every)[3].share == pytest.approx(5 / 6)
    assert totals([])[0].share == 0


def test_an_event_that_nobody_can_date_is_said_to_be_one() -> None:
    line = Line("cam1", "s", 1, "lab", "maskwatch.thing.v9", None, "{}", None, NOW_MS, NOW_MS)

    found = entry(line, UTC)

    assert (found.is_dated, found.at, found.kind) == (False, "2027-01-15 08:00:00", "thing")
