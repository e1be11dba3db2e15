"""From what the database says to what a template shows. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from agent.seams import Verdict
from tools.fleet.page import bars, words
from tools.fleet.page.filters import Sort
from tools.fleet.page.health import LEVELS, Health, Level, State, judge
from tools.fleet.page.periods import By, Period
from tools.fleet.page.queries import Line, Tally

PROBLEMS: frozenset[Level] = frozenset({"offline", "silent", "blind", "ill"})
_SHORT: dict[By, str] = {"hour": "%H:%M", "day": "%-d %b", "week": "%-d %b"}
_LONG: dict[By, str] = {"hour": "%a %-d %b, %H:%M", "day": "%a %-d %b %Y", "week": "week of %-d %b %Y"}
_EVERY: dict[By, int] = {"hour": 6, "day": 5, "week": 4}
_MARKS = {"gap": "gap", "reset": "new stream", "blind": "camera blind"}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is shown. certificate_days: until it expires."""

    state: State
    health: Health
    certificate_days: float | None

    @property
    def name(self) -> str:
        return self.state.device


class Total(msgspec.Struct, frozen=True):
    """Persons of a label in a chart. share: of all of them, 0..1."""

    label: Verdict
    name: str
    number: int
    share: float


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is shown, and sent to browsers. about: `approximate` when only its arrival is known."""

    at: str
    arrived: str
    is_dated: bool
    device: str
    site: str
    type: str
    label: str
    kind: str
    text: str
    sequence: int
    stream: str


def see(states: Iterable[State], now_ms: int) -> list[Seen]:
    """Judge devices."""
    return [Seen(state=one, health=judge(one, now_ms), certificate_days=one.certificate_days(now_ms)) for one in states]


def by_level(devices: Iterable[Seen]) -> dict[Level, int]:
    """Count devices by how they are, worst first."""
    found: dict[Level, int] = dict.fromkeys(LEVELS, 0)
    for one in devices:
        found[one.health.level] += 1
    return found


def choose(devices: Iterable[Seen], *, site: str | None, level: str | None, part: str | None, sort: Sort) -> list[Seen]:
    """Give those that are asked for, in the order that is asked for. level: `problem` for all that are one."""
    found = [
        one
        for one in devices
        if (site is None or one.state.site == site)
        and (level is None or one.health.level == level or (level == "problem" and one.health.level in PROBLEMS))
        and (part is None or part.lower() in one.name.lower())
    ]
    return sorted(found, key=lambda one: (_ORDER[sort](one), one.name))


def _last(value: float | None) -> tuple[bool, float]:
    """Order by a number, those without one last."""
    return (value is None, 0.0 if value is None else value)


_ORDER: dict[Sort, Callable[[Seen], tuple[object, ...]]] = {
    "state": lambda one: (LEVELS.index(one.health.level),),
    "name": lambda one: (),
    "site": lambda one: (one.state.site,),
    "heard": lambda one: _last(one.state.heard_ms),
    "queue": lambda one: _last(None if one.state.backlog is None else -one.state.backlog),
    "temperature": lambda one: _last(
        None if one.state.telemetry.temperature_c is None else -one.state.telemetry.temperature_c
    ),
    "certificate": lambda one: _last(one.certificate_days),
}


def buckets(period: Period, tally: Tally, *, now_ms: int, label: Verdict | None, zone: ZoneInfo) -> list[bars.Bucket]:
    """Give the bars of a chart. label: show this one alone. Of what has not begun nothing can have been heard."""
    shown = words.LABELS if label is None else {label: words.LABELS[label]}
    found = []
    for number, begin_ms in enumerate(period.edges_ms[:-1]):
        begin = datetime.fromtimestamp(begin_ms / 1000, tz=UTC).astimezone(zone)
        found.append(
            bars.Bucket(
                name=begin.strftime(_LONG[period.by]),
                short=begin.strftime(_SHORT[period.by]),
                counts={name: tally.persons[number].get(kind, 0) for kind, name in shown.items()},
                heard=tally.heard[number] or begin_ms > now_ms,
                marks={_MARKS[name]: count for name, count in tally.marks[number].items()},
            )
        )
    return found


def draw(found: Sequence[bars.Bucket], by: By) -> bars.Chart:
    """Lay the bars of a chart out."""
    return bars.chart(found, {name: kind for kind, name in words.LABELS.items()}, every=_EVERY[by])


def totals(found: Sequence[bars.Bucket]) -> list[Total]:
    """Sum a chart up."""
    sums = {label: sum(one.counts.get(name, 0) for one in found) for label, name in words.LABELS.items()}
    every = sum(sums.values())
    return [Total(label, words.LABELS[label], number, number / every if every else 0) for label, number in sums.items()]


def entries(lines: Iterable[Line], zone: ZoneInfo) -> list[Entry]:
    """Write events out."""
    return [entry(line, zone) for line in lines]


def entry(line: Line, zone: ZoneInfo) -> Entry:
    return Entry(
        at=words.clock(line.at_ms, zone),
        arrived=words.clock(line.received_ms, zone),
        is_dated=line.happened_ms is not None,
        device=line.device,
        site=line.site,
        type=line.type,
        label=line.label or "",
        kind=_kind(line.type),
        text=words.clean(words.sentence(line.type, line.payload)),
        sequence=line.sequence,
        stream=line.stream,
    )


def _kind(name: str) -> str:
    return name.removeprefix("maskwatch.").rpartition(".")[0] or name


_DEVICE_SHEET = """
device site state why version online_or_offline_since heard queue temperature_c certificate_days
disk_free_mb memory_mb frames_per_s uptime_s accelerator
"""
_EVENT_SHEET = "time arrived device site type label stream sequence says message"
SHEETS: Mapping[str, Sequence[str]] = {"devices": tuple(_DEVICE_SHEET.split()), "events": tuple(_EVENT_SHEET.split())}
"""The columns of exports; times are of the page's zone, and a time is empty while the device's clock is not trusted."""


def device_row(one: Seen, zone: ZoneInfo) -> list[str | int | float | None]:
    state, told = one.state, one.state.telemetry
    since = [None if at is None else words.clock(at, zone) for at in (state.since_ms, state.heard_ms)]
    return [
        one.name,
        state.site,
        one.health.level,
        words.clean("; ".join(one.health.whys)),
        state.status.version,
        *since,
        state.backlog,
        told.temperature_c,
        None if one.certificate_days is None else round(one.certificate_days, 1),
        told.disk_free_mb,
        told.memory_mb,
        told.frames_per_s,
        told.uptime_s,
        told.accelerator,
    ]


def event_row(line: Line, zone: ZoneInfo) -> list[str | int | float | None]:
    told = entry(line, zone)
    at = told.at if told.is_dated else None
    where = [line.device, line.site, line.type, line.label, line.stream, line.sequence]
    return [at, told.arrived, *where, told.text, line.payload]
