"""What is done after a bad end: the persons left open are ended, and a damaged file gives what it still holds.

A rescue renames outbox.db to outbox.rescue.db, fills a new outbox.db in one transaction, and renames the old one to
outbox.damaged.db, where the last one is kept for a look. A kill at any point leaves either the old file under its
rescue name and an empty new one, and the rescue is done again, or all of it.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.delivery import header, schema
from agent.delivery.rows import COLUMNS, Row, insert, read
from agent.delivery.wal import log_of
from agent.events.types import TYPES, Event, Gap, LabelCounts, OutboxReset, PersonEnd, PersonNew, PersonUpdate

_ROWS_AFTER = f"SELECT {COLUMNS} FROM events WHERE sequence > ? ORDER BY sequence"
_HOP_MAX = 8  # rows; a page holds a dozen or more
_BLIND_SEQUENCES = 10_000  # to hop through when not even the newest sequence can be read
_TOLD_MAX = 1000  # rows before the first sequence: last words that an earlier rescue has carried over
_NO_BOUND = 2**31  # pages; what was saved is brought under the quota by the next append, with a gap


def restart_ends(persons: Sequence[PersonNew | PersonUpdate], now_ns: int) -> list[Event]:
    """Give the person.end (reason restart) of everybody who was present when the agent died.

    The looks by label died with the agent: they are zero, and the duration is as long as was last told.
    """
    return [
        Event(
            at_ns=now_ns,
            data=PersonEnd(
                person=last.person,
                label=last.label,
                confidence=last.confidence,
                looks=last.looks,
                seen_s=last.seen_s,
                face_px=last.face_px,
                box=last.box,
                duration_s=last.seen_s,
                looks_by_label=LabelCounts(),
                reason="restart",
            ),
        )
        for last in persons
    ]


def settle(file: Path, *, is_new: bool) -> None:
    """End a rescue that a kill has interrupted, if there is one. is_new: `file` holds nothing yet.

    Raises DamagedError when it has to be done again, and OSError.
    """
    old = _rescue_name(file)
    if old.exists() and not is_new:  # all was saved, since it is saved in one transaction
        kept = file.with_name("outbox.damaged.db")
        log_of(kept).unlink(missing_ok=True)  # or it would be taken for the log of the file that comes now
        _move(old, kept)
    elif old.exists() or log_of(old).exists():
        raise schema.DamagedError("a rescue was interrupted")


def rescue(
    file: Path, *, stream: str, why: str, row_of: Callable[[OutboxReset], Row], pages_max: int
) -> tuple[sqlite3.Connection, OutboxReset]:
    """Begin a new stream in a new file with what the damaged one holds; gives the file and what is said about it.

    row_of: makes the first row of the new stream. Raises sqlite3.Error or OSError for the new file only.
    """
    if _rescue_name(file).exists():  # the new file of an earlier try holds nothing yet
        _remove(file)
    else:
        _move(file, _rescue_name(file))
        header.mend(_rescue_name(file), page_bytes=schema.PAGE_BYTES, version=schema.VERSION)
    db = schema.connect(file, pages_max=_NO_BOUND)
    try:
        with contextlib.ExitStack() as files, schema.transaction(db):
            # A log of which only the beginning is left may be older than the file that it belongs to: it counts only
            # where it holds later events, else rows that are whole in the file would be replaced by what they were.
            log_is_whole = not schema.doubt_log(_rescue_name(file))
            views = [Salvage(_rescue_name(file), with_log=with_log) for with_log in (log_is_whole, not log_is_whole)]
            for view in views:
                files.callback(view.close)
            old = max(views, key=lambda view: view.newest)
            saved, told = 0, []
            for row in old.rows():
                if row.done:
                    told.append(row)
                    continue
                saved += 1
                insert(db, [_renamed(row, stream, 1 + saved)])
            # What is kept of persons who are present will never be sent: in the stream it would be a hole.
            insert(db, [_renamed(row, stream, place - len(told)) for place, row in enumerate(told, start=1)])
            reset = OutboxReset(old_stream=old.stream, saved=saved, last_sequence=old.last_sequence, why=why[:120])
            insert(db, [row_of(reset)])
            schema.write_state(db, schema.State(stream=stream, session=old.session, running=True, log_bytes=0))
        schema.checkpoint(db, cut=True)  # the log has become as long as the file
        schema.bound(db, pages_max=pages_max)
    except sqlite3.Error:
        db.close()
        raise
    return db, reset


def _renamed(row: Row, stream: str, sequence: int) -> Row:
    return Row(stored=msgspec.structs.replace(row.stored, stream=stream, sequence=sequence), done=row.done)


class Salvage:
    """A damaged outbox, opened to read what can still be read. with_log: else the file alone."""

    def __init__(self, file: Path, *, with_log: bool) -> None:
        """Raises sqlite3.Error when somebody still has the file open: that is no damage."""
        self._index = file.with_name(file.name + "-shm")
        self._db = schema.connect_to_read(file, with_log=with_log)
        state = self._first("SELECT stream, session FROM state")
        self.stream, self.session = state if state is not None and isinstance(state[0], str) else ("", 0)
        newest = self._first("SELECT max(sequence) FROM events")
        self.newest = newest[0] if newest is not None and isinstance(newest[0], int) else -1
        """The highest sequence; -1 when it cannot be read."""
        self.last_sequence = 0
        """The highest sequence that `rows` has come across."""

    def rows(self) -> Iterator[Row]:
        """Give the readable rows whose checksum and data are right, in their order.

        At a page that cannot be read the walk hops over a few sequences, again and again, until it is on its far side.
        """
        end = _BLIND_SEQUENCES if self.newest < 0 else self.newest
        after, hop = -_TOLD_MAX, 1
        while after <= end:
            try:
                for values in self._db.execute(_ROWS_AFTER, (after,)):
                    if values[0] <= after:  # pages that lie out of order would lead round in a circle
                        break
                    after, hop = values[0], 1
                    self.last_sequence = max(self.last_sequence, after)
                    row = read(values, self.stream)
                    if row is not None and _is_sound(row):
                        yield row
                else:
                    return
            except sqlite3.Error as error:
                _raise_unless_damage(error)
            after, hop = after + hop, min(2 * hop, _HOP_MAX)

    def close(self) -> None:
        self._db.close()
        self._index.unlink(missing_ok=True)

    def _first(self, query: str) -> tuple[Any, ...] | None:
        try:
            found: tuple[Any, ...] | None = self._db.execute(query).fetchone()
        except sqlite3.Error as error:
            _raise_unless_damage(error)
            return None
        return found


def _raise_unless_damage(error: sqlite3.Error) -> None:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        raise error


def _is_sound(row: Row) -> bool:
    if row.stored.type == Gap.TYPE:
        return False  # it names sequences of the old stream; in the new one they are other events
    try:
        msgspec.json.decode(row.stored.data, type=TYPES[row.stored.type])
    except (KeyError, msgspec.DecodeError):
        return False
    return True


def _rescue_name(file: Path) -> Path:
    return file.with_name("outbox.rescue.db")


def _move(old: Path, new: Path) -> None:
    if log_of(old).exists():  # first, since a file without its log looks whole
        log_of(old).rename(log_of(new))
    old.rename(new)


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)
    log_of(file).unlink(missing_ok=True)
