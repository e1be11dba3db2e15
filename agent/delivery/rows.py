"""A row of the outbox: an event with a checksum, since SQLite keeps none and cards flip bits."""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from agent.clock import Clock
from agent.events.envelope import Stored
from agent.events.types import Event, PersonEnd, PersonNew, PersonUpdate

COLUMNS = "sequence, done, type, person, boot, at_ns, at_wall_ns, recorded_wall_ns, data, crc"
_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An event as stored. done: acknowledged or given up, and kept for what it says about an open person."""

    stored: Stored
    done: bool = False


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where a file stands. last: the newest sequence. acked: up to it nothing waits. backlog: how many events wait.

    open: the last word on each person present, by person, oldest first.
    """

    last: int
    acked: int
    backlog: int
    open: dict[str, Stored]


def number(events: Sequence[Event], *, stream: str, after: int, boot_id: str, clock: Clock) -> list[Row]:
    """Make rows of events, with the sequences that follow `after`.

    An instant becomes wall time here, by its age, while the clock can be trusted.
    """
    now_ns = clock.now_ns()
    wall_ns = clock.wall_ns() if clock.trusted() else None
    return [
        Row(
            stored=Stored(
                stream=stream,
                sequence=sequence,
                type=event.type,
                person=event.person,
                boot_id=boot_id,
                at_ns=event.at_ns,
                at_wall_ns=None if wall_ns is None else wall_ns - (now_ns - event.at_ns),
                recorded_wall_ns=wall_ns,
                data=msgspec.json.encode(event.data),
            )
        )
        for sequence, event in enumerate(events, after + 1)
    ]


def insert(db: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Write rows, in the caller's transaction."""
    for row in rows:
        it = row.stored
        facts = (it.type, it.person, bytes.fromhex(it.boot_id), it.at_ns, it.at_wall_ns, it.recorded_wall_ns)
        db.execute(_INSERT, (it.sequence, row.done, *facts, it.data, _checksum(it.sequence, facts, it.data)))


def read(values: tuple[Any, ...], stream: str) -> Row | None:
    """Make a row of the values of COLUMNS; None when they are not what was written."""
    sequence, done, *facts, data, crc = values
    if not isinstance(data, bytes) or _checksum(sequence, tuple(facts), data) != crc:
        return None
    kind, person, boot, at_ns, at_wall_ns, recorded_wall_ns = facts
    stored = Stored(
        stream=stream,
        sequence=sequence,
        type=kind,
        person=person,
        boot_id=boot.hex(),
        at_ns=at_ns,
        at_wall_ns=at_wall_ns,
        recorded_wall_ns=recorded_wall_ns,
        data=data,
    )
    return Row(stored=stored, done=bool(done))


def select(db: sqlite3.Connection, stream: str, *, after: int, limit: int) -> list[Row | None]:
    """Read the first events that wait after a sequence; None for one that is not what was written."""
    query = f"SELECT {COLUMNS} FROM events WHERE done = 0 AND sequence > ? ORDER BY sequence LIMIT ?"
    found = db.execute(query, (after, limit)).fetchall()  # a statement left open would keep the file locked
    return [read(values, stream) for values in found]


def read_standing(db: sqlite3.Connection, stream: str) -> Standing | None:
    """Read where a file stands; None when the last word on somebody present is not what was written."""
    first, backlog = db.execute("SELECT min(sequence), count(*) FROM events WHERE done = 0").fetchone()
    last = db.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()[0]
    persons = {}
    newest = "SELECT max(sequence), type FROM events WHERE person IS NOT NULL GROUP BY person ORDER BY 1"
    for sequence, kind in db.execute(newest).fetchall():
        if kind != PersonEnd.TYPE:
            row = read(db.execute(f"SELECT {COLUMNS} FROM events WHERE sequence = ?", (sequence,)).fetchone(), stream)
            if row is None:
                return None
            persons[str(row.stored.person)] = row.stored
    return Standing(last=last, acked=last if first is None else first - 1, backlog=backlog, open=persons)


def last_words(rows: Iterable[Stored]) -> dict[str, Stored]:
    """Give the newest of these events about each person who is still open, by person, oldest first."""
    words: dict[str, Stored] = {}
    for stored in rows:
        if stored.person is None:
            continue
        words.pop(stored.person, None)
        if stored.type in (PersonNew.TYPE, PersonUpdate.TYPE):
            words[stored.person] = stored
    return words


def _checksum(sequence: int, facts: tuple[Any, ...], data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(repr((sequence, facts)).encode()))
