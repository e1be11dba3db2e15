"""A row of the outbox: an event with a checksum, since SQLite keeps none and cards flip bits."""

import sqlite3
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec

from agent.events.envelope import Stored
from agent.events.types import PersonNew, PersonUpdate

COLUMNS = "sequence, done, type, person, boot, at_ns, at_wall_ns, recorded_wall_ns, data, crc"
_INSERT = f"INSERT INTO events ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """An event as stored. done: acknowledged or given up, and kept for what it says about an open person."""

    stored: Stored
    done: bool = False


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
