"""The store in PostgreSQL, for a fleet: any number of instances side by side."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import errors

from agent.errors import MaskwatchError, NotPermittedError, StorageError, UnavailableError, UsageError
from tools.fleet.collector.marks import CHUNK
from tools.fleet.collector.messages import Event, Rejected
from tools.fleet.collector.store import (
    CONFLICTS_MAX,
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

_CONNECT: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "application_name": "maskwatch-collector",
    "client_encoding": "utf8",  # or a database made in the C locale would give bytes
}
# A commit is on the disk when it returns, whatever the server's default. An instance that is stopped in the middle of a
# transaction must not keep the devices of the others locked. Every query here goes by an index, and the planner knows
# that only after the first ANALYZE.
_OPTIONS = (
    "-csynchronous_commit=on -cidle_in_transaction_session_timeout=5s -clock_timeout=15s -cstatement_timeout=60s"
    " -cenable_seqscan=off -cclient_min_messages=warning"
)
_MAKING = 0x6D61736B  # the advisory lock under which tables are made

_TABLES: LiteralString = """
CREATE TABLE events (
    device text NOT NULL,
    stream text NOT NULL,
    sequence bigint NOT NULL,
    site text NOT NULL,
    type text NOT NULL,
    subject text,
    boot text NOT NULL,
    mono_ms bigint NOT NULL,
    time_ms bigint,
    happened_ms bigint,
    received_ms bigint NOT NULL,
    payload text NOT NULL,
    PRIMARY KEY (device, stream, sequence)
);
CREATE INDEX events_dated ON events (device, boot, mono_ms, time_ms) WHERE time_ms IS NOT NULL;
CREATE INDEX events_undated ON events (device, boot, mono_ms) WHERE time_ms IS NULL;
CREATE TABLE devices (
    device text PRIMARY KEY,
    site text NOT NULL,
    stream text,
    undated boolean NOT NULL DEFAULT false,
    seen_ms bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE streams (
    device text NOT NULL,
    stream text NOT NULL,
    hwm bigint NOT NULL,
    top bigint NOT NULL,
    PRIMARY KEY (device, stream)
) WITH (fillfactor = 50);
CREATE TABLE gaps (
    device text NOT NULL,
    stream text NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    why text NOT NULL,
    PRIMARY KEY (device, stream, last, first)
);
CREATE TABLE conflicts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL,
    stream text NOT NULL,
    sequence bigint NOT NULL,
    received_ms bigint NOT NULL,
    payload text NOT NULL
);
CREATE TABLE rejected (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    why text NOT NULL,
    received_ms bigint NOT NULL,
    payload bytea NOT NULL
);
CREATE TABLE instances (
    name text PRIMARY KEY,
    heir text,
    seen timestamptz NOT NULL
);
"""

_LOCK = """
INSERT INTO devices (device, site, stream, seen_ms)
SELECT *, %s::bigint FROM unnest(%s::text[], %s::text[], %s::text[])
ON CONFLICT (device) DO UPDATE
SET site = excluded.site, stream = coalesce(excluded.stream, devices.stream), seen_ms = excluded.seen_ms
RETURNING device, stream, undated
"""
_EVENTS = """
INSERT INTO events (
    device, stream, sequence, site, type, subject, boot, mono_ms, time_ms, happened_ms, payload, received_ms
)
SELECT *, %s::bigint FROM unnest(
    %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[],
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
    SELECT late.device, late.stream, late.sequence, late.mono_ms + by.time_ms - by.mono_ms AS happened_ms
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
INSERT INTO gaps SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[])
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
        try:
            about = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            what = f"--store is no PostgreSQL URL: {' '.join(str(error).split())}"
            raise UsageError(what, where="collector", remedy="write postgresql://user@host/name") from error
        self._url = url
        self._options = f"{about.get('options') or ''} {_OPTIONS}"
        self._where = (
            f"postgresql://{about.get('host', 'localhost')}:{about.get('port', 5432)}/{about.get('dbname', '')}"
        )
        self._db: psycopg.Connection[tuple[Any, ...]] | None = None

    def figures(self) -> Figures:
        with self._judged():
            query = "SELECT (SELECT count(*) FROM devices), count(*), count(*) FILTER (WHERE hwm < top) FROM streams"
            devices, streams, behind = self._all(query)[0]
        return Figures(devices=devices, streams=streams, behind=behind)

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
            db = psycopg.connect(self._url, options=self._options, **_CONNECT)
            try:
                _make_tables(db)
            except psycopg.Error:
                db.close()
                raise
            self._db = db
        return self._db

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            verdict = self._verdict(error)
            if verdict is None:  # our own SQL is wrong: no server will mend that
                raise
            if self._db is not None:
                self._db.close()
                self._db = None
            raise verdict from error

    def _verdict(self, error: psycopg.Error) -> MaskwatchError | None:
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        what = first[0].removeprefix("connection failed: ")
        match error:
            case errors.DiskFull():
                return StorageError("its disk is full", where=self._where, remedy="make room; it is tried again")
            case errors.InsufficientPrivilege() | errors.InvalidSchemaName():
                return NotPermittedError(what, where=self._where, remedy="grant it to this user; it is tried again")
            case psycopg.OperationalError() | psycopg.InterfaceError() | psycopg.InternalError():
                return UnavailableError(what, where=self._where, remedy="check the server; it is tried again")
            case _:
                return None

    def _lock(self, devices: Sequence[tuple[str, str, str | None]], now_ms: int) -> dict[str, Device]:
        rows = self._all(_LOCK, now_ms, *_columns(devices, 3))
        return {device: Device(stream=stream, undated=undated) for device, stream, undated in rows}

    def _insert(self, events: Sequence[Event], now_ms: int) -> set[Key]:
        return set(self._all(_EVENTS, now_ms, *_columns([_values(event) for event in events], 11)))

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

    def _add_gaps(self, gaps: Sequence[Gap]) -> None:
        rows = [(gap.device, gap.stream, gap.first, gap.last, gap.why) for gap in gaps]
        if rows:
            self._do(_GAPS, *_columns(rows, 5))

    def _mark_undated(self, devices: Sequence[str]) -> None:
        self._do("UPDATE devices SET undated = true WHERE device = ANY(%s)", list(devices))

    def _date_spans(self, spans: Sequence[Span]) -> None:
        rows = [(span.device, span.boot, span.first_ms, span.last_ms, span.dated) for span in spans]
        self._do(_DATE, *_columns(rows, 5))

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


def _make_tables(db: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Make the tables, once, however many instances start at the same time."""
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", [_MAKING])
        if db.execute("SELECT to_regclass('events')").fetchone() == (None,):
            db.execute(_TABLES)


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
        event.subject,
        event.boot,
        event.mono_ms,
        event.time_ms,
        event.time_ms,
        event.payload,
    )
