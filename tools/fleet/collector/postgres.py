"""The store in PostgreSQL, for a fleet: any number of instances side by side."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

import psycopg

from agent.errors import StorageError
from tools.fleet.collector.hours import HourKey, Moved
from tools.fleet.collector.marks import CHUNK
from tools.fleet.collector.messages import Event, Rejected, Sight
from tools.fleet.collector.server import Place, judge, make_tables
from tools.fleet.collector.store import (
    CONFLICTS_MAX,
    LINKS_KEPT_MS,
    REJECTED_MAX,
    Device,
    Figures,
    Gap,
    Key,
    Span,
    Store,
    Stream,
    StreamKey,
)

# A commit is on the disk when it returns, whatever the server's default. An instance that is stopped in the middle of a
# transaction must not keep the devices of the others locked. Every query here goes by an index, and the planner knows
# that only after the first ANALYZE.
_OPTIONS = (
    "-csynchronous_commit=on -cidle_in_transaction_session_timeout=5s -clock_timeout=15s -cstatement_timeout=60s"
    " -cenable_seqscan=off -cclient_min_messages=warning"
)

_LOCK = """
INSERT INTO devices (device, site, stream, seen_ms)
SELECT *, %s::bigint FROM unnest(%s::text[], %s::text[], %s::text[])
ON CONFLICT (device) DO UPDATE
SET site = excluded.site, stream = coalesce(excluded.stream, devices.stream), seen_ms = excluded.seen_ms
RETURNING device, stream, undated
"""
_EVENTS = """
INSERT INTO events (
    device, stream, sequence, site, type, label, subject, boot, mono_ms, time_ms, happened_ms, payload, received_ms
)
SELECT *, %s::bigint FROM unnest(
    %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::bigint[], %s::bigint[], %s::bigint[], %s::text[]
)
ON CONFLICT DO NOTHING
RETURNING device, stream, sequence
"""
_DATE = """
WITH span AS (
    SELECT device, boot,
    CASE WHEN NOT dated THEN first_ms ELSE coalesce((
        SELECT max(mono_ms) FROM events
        WHERE device = new.device AND boot = new.boot AND time_ms IS NOT NULL AND mono_ms < new.first_ms
    ), 0) END AS first_ms,
    CASE WHEN NOT dated THEN last_ms ELSE coalesce((
        SELECT min(mono_ms) FROM events
        WHERE device = new.device AND boot = new.boot AND time_ms IS NOT NULL AND mono_ms > new.last_ms
    ), 9223372036854775807) END AS last_ms
    FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::boolean[])
    AS new (device, boot, first_ms, last_ms, dated)
), near AS (
    SELECT late.device, late.stream, late.sequence, late.mono_ms + by.time_ms - by.mono_ms AS happened_ms,
    late.happened_ms AS before_ms
    FROM span
    JOIN events AS late ON late.device = span.device AND late.boot = span.boot AND late.time_ms IS NULL
    AND late.mono_ms BETWEEN span.first_ms AND span.last_ms
    CROSS JOIN LATERAL (
        SELECT mono_ms, time_ms FROM (
            (SELECT mono_ms, time_ms FROM events
            WHERE device = late.device AND boot = late.boot AND time_ms IS NOT NULL AND mono_ms <= late.mono_ms
            ORDER BY mono_ms DESC, time_ms DESC LIMIT 1)
            UNION ALL
            (SELECT mono_ms, time_ms FROM events
            WHERE device = late.device AND boot = late.boot AND time_ms IS NOT NULL AND mono_ms > late.mono_ms
            ORDER BY mono_ms, time_ms LIMIT 1)
        ) AS neighbours
        ORDER BY abs(mono_ms - late.mono_ms), mono_ms DESC LIMIT 1
    ) AS by
)
UPDATE events SET happened_ms = near.happened_ms FROM near
WHERE events.device = near.device AND events.stream = near.stream AND events.sequence = near.sequence
AND events.happened_ms IS DISTINCT FROM near.happened_ms
RETURNING events.site, events.type, events.label, near.before_ms, events.happened_ms
"""
_HOURS = """
INSERT INTO hours (site, type, label, hour, events)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])
ON CONFLICT (site, type, label, hour) DO UPDATE SET events = hours.events + excluded.events
"""
_STATUS = """
INSERT INTO states (since_ms, device, site, session, online, camera, reason, status)
SELECT %s::bigint, * FROM unnest(
    %s::text[], %s::text[], %s::bigint[], %s::boolean[], %s::text[], %s::text[], %s::text[]
)
ON CONFLICT (device) DO UPDATE SET
    site = excluded.site, session = excluded.session, online = excluded.online, camera = excluded.camera,
    reason = excluded.reason, status = excluded.status,
    since_ms = CASE WHEN states.online = excluded.online THEN states.since_ms ELSE excluded.since_ms END,
    changes = states.changes + ((states.online, states.camera, states.reason)
        IS DISTINCT FROM (excluded.online, excluded.camera, excluded.reason))::int
WHERE states.session IS NULL OR excluded.online OR excluded.session >= states.session
"""
_TELEMETRY = """
INSERT INTO states (telemetry_ms, device, site, telemetry, telemetry_session)
SELECT %s::bigint, * FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
ON CONFLICT (device) DO UPDATE SET
    site = excluded.site, telemetry = excluded.telemetry, telemetry_session = excluded.telemetry_session,
    telemetry_ms = excluded.telemetry_ms,
    every_ms = CASE WHEN states.telemetry_session = excluded.telemetry_session
        THEN least(states.every_ms, excluded.telemetry_ms - states.telemetry_ms) END
"""
_NOW_MS: LiteralString = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"  # the instances' clocks may differ
_LINK = f"""
INSERT INTO links (instance, connected, since_ms, seen_ms) VALUES (%s, %s, {_NOW_MS}, {_NOW_MS})
ON CONFLICT (instance) DO UPDATE SET
    connected = excluded.connected, seen_ms = excluded.seen_ms,
    since_ms = CASE WHEN links.connected = excluded.connected THEN links.since_ms ELSE excluded.since_ms END
"""
_PAYLOADS = """
SELECT device, stream, sequence, payload FROM events
JOIN unnest(%s::text[], %s::text[], %s::bigint[]) AS key (device, stream, sequence) USING (device, stream, sequence)
"""
_STREAMS = """
SELECT device, stream, hwm, top FROM streams
JOIN unnest(%s::text[], %s::text[]) AS key (device, stream) USING (device, stream)
"""
_WRITE_STREAMS = """
INSERT INTO streams SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])
ON CONFLICT (device, stream) DO UPDATE SET hwm = excluded.hwm, top = excluded.top
"""
_GAPS = """
INSERT INTO gaps
SELECT *, %s::bigint FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[])
ON CONFLICT DO NOTHING
"""
_CONFLICTS = """
INSERT INTO conflicts (device, stream, sequence, payload, received_ms)
SELECT *, %s::bigint FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[])
"""
_ATTEND = """
INSERT INTO instances (name, seen) VALUES (%s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET heir = NULL, seen = excluded.seen
"""
_LIVE = "SELECT name FROM instances WHERE heir IS NULL AND seen > clock_timestamp() - make_interval(secs => %s)"
_CLAIM = """
UPDATE instances SET heir = %s, seen = clock_timestamp() WHERE name = (
    SELECT name FROM instances WHERE seen < clock_timestamp() - make_interval(secs => %s) LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING name
"""
_REJECTED = """
INSERT INTO rejected (topic, why, payload, received_ms)
SELECT *, %s::bigint FROM unnest(%s::text[], %s::text[], %s::bytea[])
"""


class PostgresStore(Store):
    """Events in a PostgreSQL database. It connects when it is first used, and again whenever it has to."""

    def __init__(self, url: str) -> None:
        """Raises UsageError for a URL that libpq does not understand."""
        self._place = Place(url)
        self._db: psycopg.Connection[tuple[Any, ...]] | None = None

    def figures(self) -> Figures:
        with self._judged():
            query = "SELECT (SELECT count(*) FROM devices), count(*), count(*) FILTER (WHERE hwm < top) FROM streams"
            devices, streams, behind = self._all(query)[0]
        return Figures(devices=devices, streams=streams, behind=behind)

    def attest(self, instance: str, *, connected: bool, now_ms: int) -> None:
        with self._judged():
            self._do(_LINK, instance, connected)
            self._do("DELETE FROM links WHERE seen_ms < %s", now_ms - LINKS_KEPT_MS)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def attend(self, name: str, lease_s: float) -> set[str]:
        with self._judged():
            self._do(_ATTEND, name)
            return {row[0] for row in self._all(_LIVE, lease_s)}

    def claim(self, name: str, lease_s: float) -> str | None:
        with self._judged():
            return next((row[0] for row in self._all(_CLAIM, name, lease_s)), None)

    def hold(self, dead: str, heir: str) -> None:
        with self._judged():
            self._do("UPDATE instances SET seen = clock_timestamp() WHERE name = %s AND heir = %s", dead, heir)

    def strike(self, name: str) -> None:
        with self._judged():
            self._do("DELETE FROM instances WHERE name = %s", name)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._judged(), self._connected().transaction():
            yield

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._db is None:
            db = self._place.connect(_OPTIONS, application_name="maskwatch-collector")
            try:
                make_tables(db, self._place.name)
            except (psycopg.Error, StorageError):
                db.close()
                raise
            self._db = db
        return self._db

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            verdict = judge(error, self._place.name)
            if verdict is None:  # our own SQL is wrong: no server will mend that
                raise
            if self._db is not None:
                self._db.close()
                self._db = None
            raise verdict from error

    def _lock(self, devices: Sequence[tuple[str, str, str | None]], now_ms: int) -> dict[str, Device]:
        rows = self._all(_LOCK, now_ms, *_columns(devices, 3))
        return {device: Device(stream=stream, undated=undated) for device, stream, undated in rows}

    def _insert(self, events: Sequence[Event], now_ms: int) -> set[Key]:
        return set(self._all(_EVENTS, now_ms, *_columns([_values(event) for event in events], 12)))

    def _payloads(self, keys: Sequence[Key]) -> dict[Key, str]:
        return {(row[0], row[1], row[2]): row[3] for row in self._all(_PAYLOADS, *_columns(keys, 3))}

    def _streams(self, keys: Sequence[StreamKey]) -> dict[StreamKey, Stream]:
        found = {(row[0], row[1]): Stream(row[2], row[3]) for row in self._all(_STREAMS, *_columns(keys, 2))}
        return {key: found.get(key, Stream()) for key in keys}

    def _sequences_after(self, key: StreamKey, after: int) -> Sequence[int]:
        query = "SELECT sequence FROM events WHERE device = %s AND stream = %s AND sequence > %s ORDER BY 1 LIMIT %s"
        return [sequence for (sequence,) in self._all(query, *key, after, CHUNK)]

    def _gaps_beyond(self, key: StreamKey, mark: int) -> Sequence[tuple[int, int]]:
        rows = self._all("SELECT first, last FROM gaps WHERE device = %s AND stream = %s AND last > %s", *key, mark)
        return [(first, last) for first, last in rows]

    def _write_streams(self, streams: Mapping[StreamKey, Stream]) -> None:
        if streams:
            rows = [(*key, stream.hwm, stream.top) for key, stream in streams.items()]
            self._do(_WRITE_STREAMS, *_columns(rows, 4))

    def _add_gaps(self, gaps: Sequence[Gap], now_ms: int) -> None:
        rows = [(gap.device, gap.stream, gap.first, gap.last, gap.why) for gap in gaps]
        if rows:
            self._do(_GAPS, now_ms, *_columns(rows, 5))

    def _add_hours(self, changes: Mapping[HourKey, int]) -> None:
        self._do(_HOURS, *_columns([(*key, number) for key, number in changes.items()], 5))

    def _see(self, sights: Sequence[Sight], now_ms: int) -> None:
        statuses = [
            (one.device, one.site, one.session, one.online, one.camera, one.reason, one.payload)
            for one in sights
            if one.kind == "status"
        ]
        if statuses:
            self._do(_STATUS, now_ms, *_columns(statuses, 7))
        telemetry = [(one.device, one.site, one.payload, one.session) for one in sights if one.kind == "telemetry"]
        if telemetry:
            self._do(_TELEMETRY, now_ms, *_columns(telemetry, 4))

    def _mark_undated(self, devices: Sequence[str]) -> None:
        self._do("UPDATE devices SET undated = true WHERE device = ANY(%s)", list(devices))

    def _date_spans(self, spans: Sequence[Span]) -> Sequence[Moved]:
        rows = [(span.device, span.boot, span.first_ms, span.last_ms, span.dated) for span in spans]
        return [
            Moved(site=site, type=kind, label=label, before_ms=before_ms, after_ms=after_ms)
            for site, kind, label, before_ms, after_ms in self._all(_DATE, *_columns(rows, 5))
        ]

    def _note_conflicts(self, events: Sequence[Event], now_ms: int) -> None:
        self._do(_CONFLICTS, now_ms, *_columns([(*event.key, event.payload) for event in events], 4))
        self._do("DELETE FROM conflicts WHERE id <= (SELECT max(id) FROM conflicts) - %s", CONFLICTS_MAX)

    def _reject(self, rejected: Sequence[Rejected], now_ms: int) -> None:
        self._do(_REJECTED, now_ms, *_columns([(one.topic, one.why, one.payload) for one in rejected], 3))
        self._do("DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - %s", REJECTED_MAX)

    def _do(self, query: LiteralString, *values: Any) -> None:
        self._connected().execute(query, values)

    def _all(self, query: LiteralString, *values: Any) -> list[tuple[Any, ...]]:
        return self._connected().execute(query, values).fetchall()


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Turn rows into columns."""
    return [[row[number] for row in rows] for number in range(width)]


def _values(event: Event) -> tuple[str | int | None, ...]:
    return (
        event.device,
        event.stream,
        event.sequence,
        event.site,
        event.type,
        event.label,
        event.subject,
        event.boot,
        event.mono_ms,
        event.time_ms,
        event.time_ms,
        event.payload,
    )
