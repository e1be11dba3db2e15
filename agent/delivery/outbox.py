"""The outbox: every event is on the disk before it is sent, and stays until it is acknowledged.

Rules for whoever edits this:
- An event gets its sequence in the transaction that stores it; the newest row stays, so that the next one follows it.
- What is acknowledged is deleted within a later append (or in bulk, or at the end): a delete alone costs a commit.
  A kill in between sends it again, under the same stream and sequence.
- The last word on a person who is still present stays as a `done` row: after a crash the end is made of it.
- State in memory changes after the commit and never before: a failed transaction may be repeated.
"""

import contextlib
import json
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import msgspec

from agent.clock import Clock
from agent.delivery import quota, recovery, schema, wal
from agent.delivery.complaint import Complaint
from agent.delivery.lock import take_lock
from agent.delivery.room import Room
from agent.delivery.rows import Row, insert, last_words, number, read_standing, select
from agent.delivery.schema import DamagedError
from agent.errors import StorageError
from agent.events.envelope import Stored
from agent.events.types import Event, Gap, OutboxReset, PersonNew, PersonUpdate

log = logging.getLogger(__name__)
T = TypeVar("T")

APPEND_MAX = 500  # events in one transaction: about 200 kB, a second of a slow card
_DELETE_ALONE = 256  # so many acknowledged rows are worth a commit of their own while a backlog drains
_DELETE_MAX = 500  # at once: SQLite logs every page that a delete empties, for a whole backlog as much as the file has
_MB = 1_000_000


class Outbox:
    """One stream of events in one SQLite file, owned by one thread of one process.

    Each method that reads or writes the file raises StorageError or NotPermittedError, one line, when that fails;
    damage met on the way begins a new stream instead (see `stream`).
    """

    previous_stop: Literal["clean", "unclean", "none"]
    backlog: int
    """Events stored and neither acknowledged nor given up."""
    given_up: int
    """Events given up since this was opened, each named in a gap."""

    _db: sqlite3.Connection
    _state: schema.State
    _last: int
    _acked: int
    _deletable: int
    """Acknowledged rows that are still in the file."""
    _open: dict[str, Stored]
    """The last word on each person present, by person."""

    @classmethod
    def open(cls, directory: Path, *, clock: Clock, new_id: Callable[[], str], boot_id: str, quota_mb: float) -> Self:
        """Open the outbox in `directory`, making both if need be; set a damaged one aside and begin a new stream.

        Raises StorageError (disk full, read-only, broken; made by a newer release; used by another process) or
        NotPermittedError, one line each.
        """
        file = directory / "outbox.db"
        lock = take_lock(file)
        with ExitStack() as undo:
            undo.callback(os.close, lock)
            outbox = cls(file, lock, clock=clock, new_id=new_id, boot_id=boot_id, quota_mb=quota_mb)
            undo.pop_all()
        return outbox

    def __init__(
        self, file: Path, lock: int, *, clock: Clock, new_id: Callable[[], str], boot_id: str, quota_mb: float
    ) -> None:
        """For `open`, which takes the lock."""
        self._file = file
        self._lock = lock
        self._clock = clock
        self._new_id = new_id
        self.boot_id = boot_id
        self._room = Room(file, quota_pages=int(quota_mb * _MB) // schema.PAGE_BYTES)
        self._losses = Complaint(log, "outbox.gap", clock)
        self.given_up = 0
        try:
            self.previous_stop = self._start()
        except (sqlite3.Error, DamagedError, OSError) as error:
            self._begin_anew(error)
            self.previous_stop = "unclean"
        except StorageError:  # of a newer release: whoever can read it shall find it unlocked
            self._db.close()
            raise

    @property
    def stream(self) -> str:
        """The id of the stream; another one after the file was found damaged."""
        return self._state.stream

    @property
    def session(self) -> int:
        """The number of the last connection; 0 before the first."""
        return self._state.session

    @property
    def last_sequence(self) -> int:
        """The newest sequence given out; 0 before the first event."""
        return self._last

    @property
    def acknowledged(self) -> int:
        """Everything up to this sequence is done: acknowledged, or given up and named in a gap."""
        return self._acked

    def append(self, events: Sequence[Event]) -> None:
        """Store at most APPEND_MAX events in one durable transaction, deleting what was acknowledged before.

        When it raises, none of them is stored, and the call may be repeated.
        """
        assert len(events) <= APPEND_MAX, len(events)
        self._guard(lambda: self._append(events))

    def append_loss(self, lost_by_type: Mapping[str, int]) -> None:
        """Give events that could not be kept their sequences, and a `gap` (why: disk) that names them."""
        self._guard(lambda: self._append_loss(lost_by_type))

    def pending(self, after_sequence: int = 0, limit: int = 20) -> list[Stored]:
        """Give the first unacknowledged events after a sequence, in order."""
        if max(after_sequence, self._acked) >= self._last:
            return []
        return self._guard(lambda: self._select(max(after_sequence, self._acked), limit))

    def acknowledge(self, stream: str, up_to_sequence: int) -> int:
        """Take note that everything up to a sequence has arrived; gives how many events that were.

        Another stream than this one, or a sequence that was never given out, changes nothing.
        """
        return self._guard(lambda: self._acknowledge(stream, up_to_sequence))

    def open_persons(self) -> list[PersonNew | PersonUpdate]:
        """Give the last word on each person whose end is not stored, oldest first."""
        kinds: dict[str, type[PersonNew | PersonUpdate]] = {kind.TYPE: kind for kind in (PersonNew, PersonUpdate)}
        return [msgspec.json.decode(word.data, type=kinds[word.type]) for word in self._open.values()]

    def next_session(self) -> int:
        """Count a connection, durably, and give its number (from 1)."""
        self._guard(lambda: self._write_state(session=self.session + 1))
        return self.session

    def begin_stream(self, why: str) -> None:
        """Set a sound file aside and go on in a new stream with what it holds; `outbox.reset` tells why."""
        self._guard(lambda: self._commit((), done=self._acked))  # what has arrived stays behind
        self._begin_anew(DamagedError(why))

    def hindrance(self) -> str:
        """Tell what somebody has to mend though events are still stored; an empty string when nothing is wrong."""
        self._room.look(self._db)
        return self._room.trouble

    def close(self, *, clean: bool) -> None:
        """Close the file. clean: leave the mark of an orderly stop, for `previous_stop` of the next open."""
        try:
            if clean:
                self._guard(lambda: self._commit((), done=self._acked))
                self._guard(lambda: self._write_state(running=False))
        finally:
            self._db.close()  # which removes the log, unless it cannot be emptied
            if self._state.running:  # then a log that is missing speaks of a loss
                with contextlib.suppress(OSError):
                    wal.fill(self._file, self._state.log_bytes)
            os.close(self._lock)

    # What the public methods do, unguarded: each raises sqlite3.Error or DamagedError.

    def _append(self, events: Sequence[Event]) -> None:
        while not quota.fits(self._db, rows := self._number(events), pages_max=self._room.pages_max):
            loss = quota.oldest(self._db, after=self._acked, why=self._room.why)
            if loss is None:
                break  # nothing is left to give up: SQLite's own bound has the last word
            self._commit(self._number([Event(at_ns=self._clock.now_ns(), data=loss.gap)]), done=loss.gap.last)
            self.backlog -= loss.count
            self._note_loss(loss.gap, loss.count)
        self._commit(rows, done=self._acked)

    def _append_loss(self, lost_by_type: Mapping[str, int]) -> None:
        lost = sum(lost_by_type.values())
        gap = Gap(first=self._last + 1, last=self._last + lost, by_type=dict(lost_by_type), why="disk")
        event = Event(at_ns=self._clock.now_ns(), data=gap)
        self._commit(self._number([event], after=gap.last), done=self._acked)
        self._note_loss(gap, lost)

    def _note_loss(self, gap: Gap, count: int) -> None:
        self.given_up += count
        self._losses.failing(f"{gap.why}: {self.given_up} events given up, the last of them {gap.last}")

    def _acknowledge(self, stream: str, up_to: int) -> int:
        if stream != self.stream or not self._acked < up_to <= self._last:
            return 0
        query = "SELECT count(*) FROM events WHERE done = 0 AND sequence > ? AND sequence <= ?"
        count: int = self._db.execute(query, (self._acked, up_to)).fetchone()[0]
        self._acked = up_to
        self.backlog -= count
        self._deletable += count
        if self._deletable >= _DELETE_ALONE:
            self._commit((), done=up_to)
        return count

    def _number(self, events: Sequence[Event], *, after: int | None = None, stream: str | None = None) -> list[Row]:
        after = self._last if after is None else after
        return number(events, stream=stream or self.stream, after=after, boot_id=self.boot_id, clock=self._clock)

    def _commit(self, rows: Sequence[Row], *, done: int) -> None:
        """Store rows and delete everything up to `done` that is not needed any more, in one transaction.

        Where more than _DELETE_MAX acknowledged rows wait to be deleted, most of them go before, in others.
        """
        while self._deletable > _DELETE_MAX:
            part = "SELECT sequence FROM events WHERE done = 0 ORDER BY sequence LIMIT 1 OFFSET ?"
            self._transact((), done=self._db.execute(part, (_DELETE_MAX - 1,)).fetchone()[0])
        self._transact(rows, done=done)

    def _transact(self, rows: Sequence[Row], *, done: int) -> None:
        words = last_words([*self._open.values(), *(row.stored for row in rows)])
        keep = [word.sequence for word in words.values()]
        if not rows:
            keep.append(self._last)  # the newest row says where the sequence goes on
        with schema.transaction(self._db):
            if self._deletable or done > self._acked:
                among = "(SELECT value FROM json_each(?))"
                values = (done, json.dumps(keep))
                self._db.execute(f"DELETE FROM events WHERE sequence <= ? AND sequence NOT IN {among}", values)
                self._db.execute(f"UPDATE events SET done = 1 WHERE sequence <= ? AND sequence IN {among}", values)
            insert(self._db, rows)
        self._deletable = 0 if done >= self._acked else self._deletable - _DELETE_MAX
        self._acked, self._open = max(self._acked, done), words
        if rows:
            self._last = rows[-1].stored.sequence
            self.backlog += len(rows)

    def _select(self, after: int, limit: int) -> list[Stored]:
        rows = select(self._db, self.stream, after=after, limit=limit)
        if None in rows:
            raise DamagedError("an event is not what was written")
        return [row.stored for row in rows if row is not None]

    def _write_state(self, **changes: Any) -> None:
        state = msgspec.structs.replace(self._state, **changes)
        schema.write_state(self._db, state)
        self._state = state

    # Opening, and what is done about damage.

    def _start(self) -> Literal["clean", "unclean", "none"]:
        """Open the file, on a full disk with the help of the reserve; otherwise as `_load`."""
        if doubt := schema.doubt_log(self._file):
            raise DamagedError(doubt)
        while True:
            try:
                self._db = schema.connect(self._file, pages_max=self._room.pages_max)
                return self._load()
            except (sqlite3.Error, OSError) as error:
                if not schema.is_full(error) or not self._room.release():
                    raise
                self._close_db()

    def _load(self) -> Literal["clean", "unclean", "none"]:
        """Read where things stand, mark that we run, and tell how the run before ended.

        Raises sqlite3.Error, DamagedError, OSError or, for a file of a newer release, StorageError.
        """
        schema.migrate(self._db, self._file)
        state = schema.read_state(self._db)
        recovery.settle(self._file, is_new=state is None)
        if state is not None and state.running:
            schema.check(self._db)
        self._state = state or schema.State(stream=self._new_id(), session=0, running=True, log_bytes=0)
        wal.fill(self._file, schema.LOG_BYTES)
        self._write_state(running=True, log_bytes=wal.size(self._file))
        schema.checkpoint(self._db)  # in the file itself, where it outlives the log
        standing = read_standing(self._db, self.stream)
        if standing is None:
            raise DamagedError("the last word on somebody present is not what was written")
        self._last, self._acked, self.backlog = standing.last, standing.acked, standing.backlog
        self._open = standing.open
        self._deletable = 0
        self._room.settle(self._db)
        if state is None:
            return "none"
        return "unclean" if state.running else "clean"

    def _guard(self, action: Callable[[], T]) -> T:
        """Run an action on the file; on a full disk once more with the reserve, after damage on the new file."""
        try:
            return self._noted(action)
        except (sqlite3.Error, DamagedError) as error:
            if not (schema.is_full(error) and self._room.is_made(self._db)):
                self._begin_anew(error)
        try:
            return self._noted(action)
        except (sqlite3.Error, DamagedError) as error:
            raise schema.broken(error, self._file) from error

    def _noted(self, action: Callable[[], T]) -> T:
        """Run an action, and keep account of a log that it has made longer: a shorter one is a damaged one."""
        result = action()
        with contextlib.suppress(sqlite3.Error, OSError):  # the action is done; this is tried again after the next
            self._state = schema.note_log(self._db, self._file, self._state)
        return result

    def _begin_anew(self, error: sqlite3.Error | DamagedError | OSError) -> None:
        """Set a damaged file aside and go on in a new one, which begins with what could be saved.

        Raises StorageError or NotPermittedError when damage is not what is wrong, or the new file cannot be made.
        """
        verdict = schema.judge(error, self._file)
        if not isinstance(verdict, DamagedError):
            raise verdict from error
        self._close_db()
        stream = self._new_id()
        try:
            self._db, reset = recovery.rescue(
                self._file,
                stream=stream,
                why=str(verdict),
                row_of=lambda reset: self._first_row(stream, reset),
                pages_max=self._room.pages_max,
            )
            self._load()
        except (sqlite3.Error, DamagedError, OSError) as again:
            raise schema.broken(again, self._file) from again
        log.error("outbox.reset why=%r old_stream=%s saved=%d", str(verdict), reset.old_stream, reset.saved)

    def _first_row(self, stream: str, reset: OutboxReset) -> Row:
        return self._number([Event(at_ns=self._clock.now_ns(), data=reset)], after=0, stream=stream)[0]

    def _close_db(self) -> None:
        if hasattr(self, "_db"):  # it is not when the file would not even open
            self._db.close()
