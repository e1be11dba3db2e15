"""The store in one SQLite file: what a collector has without being asked for anything else. One instance only."""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.errors import MaskwatchError, NotPermittedError, StorageError
from tools.fleet.collector import tables
from tools.fleet.collector.hours import HourKey, Moved
from tools.fleet.collector.marks import CHUNK
from tools.fleet.collector.messages import Event, Rejected, Sight
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

_READ_PATIENTLY_S = 5.0  # somebody who looks at the file may hold it for so long

_EVENT = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_HOUR = """
INSERT INTO hours (site, type, label, hour, events) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (site, type, label, hour) DO UPDATE SET events = events + excluded.events
"""
_STATUS = """
INSERT INTO states (device, site, session, online, camera, reason, status, since_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device) DO UPDATE SET
    site = excluded.site, session = excluded.session, online = excluded.online, camera = excluded.camera,
    reason = excluded.reason, status = excluded.status,
    since_ms = CASE WHEN online IS excluded.online THEN since_ms ELSE excluded.since_ms END,
    changes = changes + ((online, camera, reason) IS NOT (excluded.online, excluded.camera, excluded.reason))
WHERE session IS NULL OR excluded.online OR excluded.session >= session
"""
_TELEMETRY = """
INSERT INTO states (device, site, telemetry, telemetry_session, telemetry_ms) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (device) DO UPDATE SET
    site = excluded.site, telemetry = excluded.telemetry, telemetry_session = excluded.telemetry_session,
    telemetry_ms = excluded.telemetry_ms,
    every_ms = CASE WHEN telemetry_session IS excluded.telemetry_session
        THEN min(coalesce(every_ms, excluded.telemetry_ms - telemetry_ms), excluded.telemetry_ms - telemetry_ms) END
"""
_LINK = """
INSERT INTO links (instance, connected, since_ms, seen_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (instance) DO UPDATE SET
    connected = excluded.connected, seen_ms = excluded.seen_ms,
    since_ms = CASE WHEN connected IS excluded.connected THEN since_ms ELSE excluded.since_ms END
"""
_DEVICE = """
INSERT INTO devices (device, site, stream, seen_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (device) DO UPDATE
SET site = excluded.site, stream = coalesce(excluded.stream, stream), seen_ms = excluded.seen_ms
RETURNING stream, undated
"""
_STREAM = """
INSERT INTO streams VALUES (?, ?, ?, ?)
ON CONFLICT (device, stream) DO UPDATE SET hwm = excluded.hwm, top = excluded.top
"""
_DATED = "FROM events WHERE device = :device AND boot = :boot AND time_ms IS NOT NULL AND mono_ms"
_NEIGHBOURS = f"""
SELECT (SELECT max(mono_ms) {_DATED} < :first_ms), (SELECT min(mono_ms) {_DATED} > :last_ms),
EXISTS (SELECT 1 {_DATED} >= 0)
"""
_EARLIER = "<= late.mono_ms ORDER BY mono_ms DESC, time_ms DESC LIMIT 1"
_LATER = "> late.mono_ms ORDER BY mono_ms, time_ms LIMIT 1"
_DATE = f"""
WITH near AS (
    SELECT rowid AS row, mono_ms, site, type, label, happened_ms AS before_ms,
    (SELECT mono_ms {_DATED} {_EARLIER}) AS earlier_ms, (SELECT time_ms - mono_ms {_DATED} {_EARLIER}) AS by_earlier_ms,
    (SELECT mono_ms {_DATED} {_LATER}) AS later_ms, (SELECT time_ms - mono_ms {_DATED} {_LATER}) AS by_later_ms
    FROM events AS late
    WHERE device = :device AND boot = :boot AND time_ms IS NULL AND mono_ms BETWEEN :first_ms AND :last_ms
), dated AS (
    SELECT *, mono_ms + CASE
        WHEN later_ms IS NULL OR mono_ms - earlier_ms < later_ms - mono_ms THEN by_earlier_ms ELSE by_later_ms
    END AS after_ms FROM near
)
SELECT row, site, type, label, before_ms, after_ms FROM dated WHERE before_ms IS NOT after_ms
"""
_FIGURES = "SELECT (SELECT count(*) FROM devices), count(*), coalesce(sum(hwm < top), 0) FROM streams"
_FOREVER_MS = 2**62


class SqliteStore(Store):
    """Events in a file, with a lock beside it."""

    def __init__(self, file: Path) -> None:
        """Open or make the file. Raises StorageError or NotPermittedError, one line."""
        self._file = file
        self._lock_file = _take_lock(file)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._lock_file)
            try:
                self._db = self._open()
            except sqlite3.Error as error:
                raise judge(error, file) from error
            undo.pop_all()

    def figures(self) -> Figures:
        with self._judged():
            devices, streams, behind = self._db.execute(_FIGURES).fetchone()
        return Figures(devices=devices, streams=streams, behind=behind)

    def attest(self, instance: str, *, connected: bool, now_ms: int) -> None:
        with self._judged():
            self._db.execute(_LINK, (instance, connected, now_ms, now_ms))
            self._db.execute("DELETE FROM links WHERE seen_ms < ?", (now_ms - LINKS_KEPT_MS,))

    def close(self) -> None:
        self._db.close()
        os.close(self._lock_file)

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._file, isolation_level=None, timeout=_READ_PATIENTLY_S)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            make_tables(db, self._file)
        except (sqlite3.Error, StorageError):
            db.close()
            raise
        return db

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._judged(), contextlib.ExitStack() as undo:
            self._db.execute("BEGIN IMMEDIATE")
            undo.callback(self._roll_back)
            yield
            self._db.execute("COMMIT")
            undo.pop_all()

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself after some failures
            self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # our own SQL is wrong: no disk will mend that
                raise
            raise judge(error, self._file) from error

    def _lock(self, devices: Sequence[tuple[str, str, str | None]], now_ms: int) -> dict[str, Device]:
        """The transaction holds the whole file."""
        rows = {device: self._one(_DEVICE, (device, site, stream, now_ms)) for device, site, stream in devices}
        return {device: Device(stream=stream, undated=bool(undated)) for device, (stream, undated) in rows.items()}

    def _insert(self, events: Sequence[Event], now_ms: int) -> set[Key]:
        return {event.key for event in events if self._db.execute(_EVENT, _values(event, now_ms)).rowcount}

    def _payloads(self, keys: Sequence[Key]) -> dict[Key, str]:
        query = "SELECT payload FROM events WHERE device = ? AND stream = ? AND sequence = ?"
        return {key: self._one(query, key)[0] for key in keys}

    def _streams(self, keys: Sequence[StreamKey]) -> dict[StreamKey, Stream]:
        query = "SELECT hwm, top FROM streams WHERE device = ? AND stream = ?"
        return {key: Stream(*(self._one(query, key) or ())) for key in keys}

    def _sequences_after(self, key: StreamKey, after: int) -> Sequence[int]:
        query = "SELECT sequence FROM events WHERE device = ? AND stream = ? AND sequence > ? ORDER BY sequence LIMIT ?"
        return [sequence for (sequence,) in self._db.execute(query, (*key, after, CHUNK))]

    def _gaps_beyond(self, key: StreamKey, mark: int) -> Sequence[tuple[int, int]]:
        query = "SELECT first, last FROM gaps WHERE device = ? AND stream = ? AND last > ?"
        return self._db.execute(query, (*key, mark)).fetchall()

    def _write_streams(self, streams: Mapping[StreamKey, Stream]) -> None:
        self._db.executemany(_STREAM, [(*key, stream.hwm, stream.top) for key, stream in streams.items()])

    def _add_gaps(self, gaps: Sequence[Gap], now_ms: int) -> None:
        rows = [(gap.device, gap.stream, gap.first, gap.last, gap.why, now_ms) for gap in gaps]
        self._db.executemany("INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _add_hours(self, changes: Mapping[HourKey, int]) -> None:
        self._db.executemany(_HOUR, [(*key, number) for key, number in changes.items()])

    def _see(self, sights: Sequence[Sight], now_ms: int) -> None:
        for one in sights:
            if one.kind == "status":
                told = (one.session, one.online, one.camera, one.reason, one.payload, now_ms)
                self._db.execute(_STATUS, (one.device, one.site, *told))
            else:
                self._db.execute(_TELEMETRY, (one.device, one.site, one.payload, one.session, now_ms))

    def _mark_undated(self, devices: Sequence[str]) -> None:
        self._db.executemany("UPDATE devices SET undated = 1 WHERE device = ?", [(device,) for device in devices])

    def _date_spans(self, spans: Sequence[Span]) -> Sequence[Moved]:
        moved = []
        for span in spans:
            about = {"device": span.device, "boot": span.boot, "first_ms": span.first_ms, "last_ms": span.last_ms}
            before_ms, after_ms, has_dated = self._one(_NEIGHBOURS, about)
            if span.dated:
                about["first_ms"] = 0 if before_ms is None else before_ms
                about["last_ms"] = _FOREVER_MS if after_ms is None else after_ms
            if has_dated:
                for row, site, kind, label, was_ms, is_ms in self._db.execute(_DATE, about).fetchall():
                    self._db.execute("UPDATE events SET happened_ms = ? WHERE rowid = ?", (is_ms, row))
                    moved.append(Moved(site=site, type=kind, label=label, before_ms=was_ms, after_ms=is_ms))
        return moved

    def _note_conflicts(self, events: Sequence[Event], now_ms: int) -> None:
        insert = "INSERT INTO conflicts (device, stream, sequence, received_ms, payload) VALUES (?, ?, ?, ?, ?)"
        self._db.executemany(insert, [(*event.key, now_ms, event.payload) for event in events])
        self._db.execute("DELETE FROM conflicts WHERE id <= (SELECT max(id) FROM conflicts) - ?", (CONFLICTS_MAX,))

    def _reject(self, rejected: Sequence[Rejected], now_ms: int) -> None:
        insert = "INSERT INTO rejected (topic, why, received_ms, payload) VALUES (?, ?, ?, ?)"
        self._db.executemany(insert, [(one.topic, one.why, now_ms, one.payload) for one in rejected])
        self._db.execute("DELETE FROM rejected WHERE id <= (SELECT max(id) FROM rejected) - ?", (REJECTED_MAX,))

    def _one(self, query: str, values: Any) -> Any:
        return self._db.execute(query, values).fetchone()


def _values(event: Event, now_ms: int) -> tuple[str | int | None, ...]:
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
        now_ms,
        event.payload,
    )


def make_tables(db: sqlite3.Connection, file: Path) -> None:
    """Make the tables in a file that has none. Raises StorageError for those of another release."""
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        db.executescript(f"BEGIN IMMEDIATE; {tables.SQLITE} PRAGMA user_version = {tables.VERSION}; COMMIT;")
    elif version != tables.VERSION:
        raise StorageError(
            f"its tables are of version {version}, this release knows {tables.VERSION}",
            where=str(file),
            remedy="use the release that made it, or name another file",
        )


def _take_lock(file: Path) -> int:
    """Make the folder, and let no second process in. Raises StorageError or NotPermittedError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file.with_name(file.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise _judge_os(error, file.parent) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise StorageError(
            "another collector uses this file",
            where=str(file),
            remedy="stop it, or give both a PostgreSQL server: --store postgresql://...",
        ) from error
    return descriptor


def judge(error: sqlite3.Error, file: Path) -> MaskwatchError:
    """Give the sentence for what SQLite says of a file."""
    where = str(file)
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_FULL:
            return StorageError("the disk is full", where=where, remedy="make room; it is tried again")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return StorageError("somebody else holds it locked", where=where, remedy="end whoever writes to it")
        case sqlite3.SQLITE_READONLY:
            return NotPermittedError("it cannot be written", where=where, remedy="give it to this user (chown)")
        case sqlite3.SQLITE_CANTOPEN:
            return StorageError("it cannot be opened", where=where, remedy="check the folder and its permissions")
        case sqlite3.SQLITE_ERROR:
            return StorageError("it is not a collector's file", where=where, remedy="name another in --store")
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StorageError(f"it is damaged ({error})", where=where, remedy="set it aside and start again")
        case _:
            return StorageError(str(error), where=where, remedy="check the disk; it is tried again")


def _judge_os(error: OSError, path: Path) -> MaskwatchError:
    if isinstance(error, PermissionError):
        return NotPermittedError("no permission to write here", where=str(path), remedy="give it to this user (chown)")
    return StorageError(error.strerror or str(error), where=str(path), remedy="name another folder in --store")
