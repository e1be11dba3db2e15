"""What the page asks the database. Each question is bounded: by an index, a number of rows, or both.

A list that is narrowed by what no index knows looks at LOOKED_MAX events at most and then says how far back it has
looked, so that no filter, however rare what it asks for, reads ten million rows.
"""

import bisect
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from agent.events.types import CameraBlind, Gap, OutboxReset
from tools.fleet.collector.hours import NEVER_HOUR
from tools.fleet.collector.tables import AT, ENDED, RARE, USUAL
from tools.fleet.page.database import Database, Rows
from tools.fleet.page.filters import Cursor
from tools.fleet.page.health import State, Status, Telemetry
from tools.fleet.page.words import LABELS

LOOKED_MAX = 5000
RARE_IN_CHART_MAX = 5000
LISTED_MAX = 100
LIVE_MAX = 200
COLLECTOR_AWAY_MS = 20_000  # an instance says every 5 s that it is there
_HOUR_MS = 3_600_000
_COUNTS = "maskwatch.counts.v1"
MARKS = {Gap.TYPE: "gap", OutboxReset.TYPE: "reset", CameraBlind.TYPE: "blind"}

_EVENT = f"device, stream, sequence, site, type, label, payload, happened_ms, received_ms, {AT} AS at_ms"
_NEWEST = "at_ms DESC, device DESC, stream DESC, sequence DESC"


class Line(msgspec.Struct, frozen=True):
    """An event as lists show it. at_ms: when it happened, or came, while its device's clock was not trusted."""

    device: str
    stream: str
    sequence: int
    site: str
    type: str
    label: str | None
    payload: str
    happened_ms: int | None
    received_ms: int
    at_ms: int

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.at_ms, self.device, self.stream, self.sequence)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which events. since_ms, until_ms: from, and before."""

    site: str | None = None
    device: str | None = None
    type: str | None = None
    label: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None


class Found(msgspec.Struct, frozen=True):
    """Events, newest first. further: where to look on; None at the end. looked_ms: how far back, if it was given up."""

    lines: list[Line]
    further: Cursor | None = None
    looked_ms: int | None = None


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted in each of some spans of time, the earliest first.

    persons: by label. marks: what else happened, by its name in MARKS. heard: whether anything came from then.
    """

    persons: list[dict[str, int]]
    marks: list[dict[str, int]]
    heard: list[bool]


class Waiting(msgspec.Struct, frozen=True):
    """A stream that waits for a sequence while later ones, up to top, are stored."""

    device: str
    stream: str
    hwm: int
    top: int


class Hole(msgspec.Struct, frozen=True):
    """Events that a device counts as done and that never came here."""

    device: str
    stream: str
    first: int
    last: int
    noted_ms: int


class Link(msgspec.Struct, frozen=True):
    """An instance of the collector. connected: it is there, and the broker lets it read."""

    instance: str
    connected: bool
    since_ms: int


class Fleet:
    """The questions. Methods raise what the database raises."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def states(self, device: str | None = None, *, site: str | None = None) -> list[State]:
        """Give all devices, or one, by name: those that have told their state, and those that have only sent events."""
        wanted = {"device": device, "site": site}
        found = " AND ".join(f"{name} = :{name}" for name, value in wanted.items() if value is not None)
        where = f"WHERE {found}" if found else ""
        told = self._database.rows(
            "SELECT device, site, online, camera, reason, status, since_ms, telemetry, telemetry_ms, every_ms "
            f"FROM states {where}",
            wanted,
        )
        sent = self._database.rows(f"SELECT device, site, seen_ms FROM devices {where}", wanted)
        seen = {row[0]: row[2] for row in sent}
        states = {row[0]: State(device=row[0], site=row[1], event_ms=row[2]) for row in sent}
        for name, place, online, camera, reason, status, since_ms, telemetry, telemetry_ms, every_ms in told:
            states[name] = State(
                device=name,
                site=place,
                online=None if online is None else bool(online),
                camera=camera or "",
                reason=reason or "",
                status=_lenient(status, Status, Status()),
                since_ms=since_ms,
                telemetry=_lenient(telemetry, Telemetry, Telemetry()),
                telemetry_ms=telemetry_ms,
                every_ms=every_ms,
                event_ms=seen.get(name),
            )
        return [states[name] for name in sorted(states)]

    def fingerprint(self) -> int:
        """Give a number that is another one when any device's state is."""
        ((number,),) = self._database.rows("SELECT coalesce(sum(changes + 1), 0) FROM states")
        return int(number)

    def links(self, now_ms: int) -> list[Link]:
        """Give the collector's instances."""
        rows = self._database.rows("SELECT instance, connected, since_ms, seen_ms FROM links ORDER BY instance")
        return [
            Link(name, bool(connected) and now_ms - seen_ms < COLLECTOR_AWAY_MS, since_ms if connected else seen_ms)
            for name, connected, since_ms, seen_ms in rows
        ]

    def tally(self, edges_ms: Sequence[int], *, site: str | None) -> Tally:
        """Count all devices, or a site's, between edges on the hour."""
        kinds = [(ENDED, label) for label in ("", *LABELS)] + [(name, "") for name in (*MARKS, _COUNTS)]
        named = ", ".join(f"('{name}', '{label}')" for name, label in kinds)
        hours = _spans([edge_ms // _HOUR_MS for edge_ms in edges_ms])
        rows = self._database.rows(  # one short walk of the index for each; a join would read all hours of a kind
            f"WITH spans (number, begins, ends) AS (VALUES {hours}), kinds (type, label) AS (VALUES {named}) "
            "SELECT number, type, label, (SELECT sum(events) FROM hours WHERE site = :site AND type = kinds.type "
            "AND label = kinds.label AND hour >= begins AND hour < ends) FROM spans CROSS JOIN kinds",
            {"site": site or ""},
        )
        counted = [row for row in rows if row[3]]
        return _tally(len(edges_ms) - 1, counted, {row[0] for row in counted})

    def undated(self, *, site: str | None) -> int:
        """Give the number of persons that nobody can date."""
        rows = self._database.rows(
            "SELECT coalesce(sum(events), 0) FROM hours WHERE site = :site AND type = :type AND hour = :hour",
            {"site": site or "", "type": ENDED, "hour": NEVER_HOUR},
        )
        return int(rows[0][0])

    def tally_of(self, device: str, edges_ms: Sequence[int]) -> Tally:
        """Count a device between edges."""
        about = {"device": device, "first": edges_ms[0], "end": edges_ms[-1]}
        spans = f"WITH spans (number, begins, ends) AS (VALUES {_spans(edges_ms)})"
        persons = self._database.rows(
            f"{spans} SELECT number, '{ENDED}', label, count(*) FROM spans JOIN events ON device = :device "
            f"AND type = '{ENDED}' AND happened_ms >= begins AND happened_ms < ends GROUP BY 1, 2, 3",
            about,
        )
        rare = self._database.rows(
            f"SELECT {AT}, type FROM events WHERE device = :device AND {RARE} "
            f"AND {AT} >= :first AND {AT} < :end LIMIT {RARE_IN_CHART_MAX}",
            about,
        )
        marks = [(bisect.bisect(edges_ms, at_ms) - 1, kind, "", 1) for at_ms, kind in rare]
        heard = self._database.rows(
            f"{spans} SELECT number FROM spans WHERE EXISTS "
            f"(SELECT 1 FROM events WHERE device = :device AND {AT} >= begins AND {AT} < ends)",
            about,
        )
        return _tally(len(edges_ms) - 1, [*persons, *marks], {row[0] for row in heard})

    def events(self, asked: Asked, before: Cursor | None = None, *, limit: int = LISTED_MAX) -> Found:
        """Give events, newest first, from a place on."""
        values: dict[str, Any] = {"limit": limit + 1}
        base, narrow = list(_base(asked, before, values)), list(_narrow(asked, values))
        if asked.type is not None and asked.type not in USUAL:
            base, narrow = [*base, RARE, *narrow], []
        if not narrow:
            lines = _lines(self._database.rows(_select(base, "LIMIT :limit"), values))
            return Found(lines[:limit], lines[limit - 1].cursor if len(lines) > limit else None)
        looked = _select(base, f"LIMIT {LOOKED_MAX}")
        query = f"SELECT * FROM ({looked}) AS looked WHERE {' AND '.join(narrow)} ORDER BY {_NEWEST} LIMIT :limit"
        lines = _lines(self._database.rows(query, values))
        if len(lines) > limit:
            return Found(lines[:limit], lines[limit - 1].cursor)
        last = _lines(self._database.rows(_select(base, f"LIMIT 1 OFFSET {LOOKED_MAX - 1}"), values))
        return Found(lines, last[0].cursor, last[0].at_ms) if last else Found(lines)

    def all_events(self, asked: Asked) -> Iterator[Line]:
        """Give all of them, newest first, some at a time: however long it takes, nothing is held open meanwhile."""
        place: Cursor | None = None
        while True:
            found = self.events(asked, place, limit=LOOKED_MAX)
            yield from found.lines
            place = found.further
            if place is None:
                return

    def came_after(self, after_ms: int) -> list[Line]:
        """Give what has come since, the newest LIVE_MAX of it, oldest first."""
        query = f"SELECT {_EVENT} FROM events WHERE received_ms > :after ORDER BY received_ms DESC LIMIT {LIVE_MAX}"
        return _lines(self._database.rows(query, {"after": after_ms}))[::-1]

    def waiting(self, device: str | None = None) -> list[Waiting]:
        """Give the streams that wait for a sequence."""
        where = "AND device = :device" if device else ""
        query = f"SELECT device, stream, hwm, top FROM streams WHERE hwm < top {where} ORDER BY 1, 2 LIMIT {LISTED_MAX}"
        return [Waiting(*row) for row in self._database.rows(query, {"device": device})]

    def holes(self, device: str | None = None) -> list[Hole]:
        """Give what devices count as done and what never came, the newest first."""
        where = "AND device = :device" if device else ""
        query = (
            "SELECT device, stream, first, last, noted_ms FROM gaps "
            f"WHERE why = 'acknowledged' {where} ORDER BY noted_ms DESC LIMIT {LISTED_MAX}"
        )
        return [Hole(*row) for row in self._database.rows(query, {"device": device})]

    def sites(self) -> list[str]:
        """Give the sites."""
        rows = self._database.rows("SELECT site FROM devices UNION SELECT site FROM states ORDER BY 1")
        return [row[0] for row in rows]


def _base(asked: Asked, before: Cursor | None, values: dict[str, Any]) -> Iterator[str]:
    """What an index by time, of all events or of a device's, knows."""
    if asked.device is not None:
        values["device"] = asked.device
        yield "device = :device"
    if asked.since_ms is not None:
        values["since"] = asked.since_ms
        yield f"{AT} >= :since"
    if asked.until_ms is not None:
        values["until"] = asked.until_ms
        yield f"{AT} < :until"
    if before is not None:
        values |= {f"before_{name}": value for name, value in msgspec.structs.asdict(before).items()}
        yield f"{AT} <= :before_at_ms"
        yield f"({AT}, device, stream, sequence) < (:before_at_ms, :before_device, :before_stream, :before_sequence)"


def _narrow(asked: Asked, values: dict[str, Any]) -> Iterator[str]:
    """What no index by time knows."""
    for name in ("site", "type", "label"):
        value = getattr(asked, name)
        if value is not None:
            values[name] = value
            yield f"{name} = :{name}"


def _select(conditions: Sequence[str], limit: str) -> str:
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    order = f"{AT} DESC, device DESC, stream DESC, sequence DESC"
    return f"SELECT {_EVENT} FROM events {where} ORDER BY {order} {limit}"


def _lines(rows: Rows) -> list[Line]:
    return [Line(*row) for row in rows]


def _lenient(payload: str | None, kind: type[Any], otherwise: Any) -> Any:
    """Read a message as far as this release knows it; another release may say it differently."""
    try:
        return otherwise if payload is None else msgspec.json.decode(payload, type=kind)
    except msgspec.DecodeError:
        return otherwise


def _spans(edges: Sequence[int]) -> str:
    """Write spans between edges as rows of SQL."""
    return ", ".join(f"({number}, {begin}, {end})" for number, (begin, end) in enumerate(itertools.pairwise(edges)))


def _tally(spans: int, rows: Iterable[tuple[Any, ...]], heard: Collection[int]) -> Tally:
    """Sort counts (span, type, label, number) into spans."""
    persons: list[dict[str, int]] = [{} for _ in range(spans)]
    marks: list[dict[str, int]] = [{} for _ in range(spans)]
    for span, kind, label, number in rows:
        if kind == ENDED:
            persons[span][label or ""] = int(number)
        elif kind in MARKS:
            marks[span][MARKS[kind]] = marks[span].get(MARKS[kind], 0) + int(number)
    return Tally(persons=persons, marks=marks, heard=[number in heard for number in range(spans)])
