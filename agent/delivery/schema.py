"""The outbox's file: its tables, how it is opened, and what SQLite's failures mean to whoever runs a board.

One table holds all that an append touches, and while the broker keeps up it is a single page: a commit then writes
one page to the log, and a delivered event costs two blocks of the card (separate tables for events, open persons and
counters: five). Nothing but the newest acknowledged row says where the sequence goes on, for the same reason.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.errors import MaskwatchError, NotPermittedError, StorageError

VERSION = 1
PAGE_BYTES = 4096  # a block of the card: smaller pages make more frames, and a commit is rounded up to blocks anyway

# After so many pages the log is begun again from its start: its length, once reached, does not change any more, and
# ext4 writes its journal only for a sync after which a length is another one (measured: 32 kB an event, then 8 kB).
_LOG_PAGES = 32
_LOG_BYTES_MAX = 1_000_000  # after a large transaction the log is cut back to this

_TABLES = """
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY,
    done INTEGER NOT NULL,
    type TEXT NOT NULL,
    person TEXT,
    boot BLOB NOT NULL,
    at_ns INTEGER NOT NULL,
    at_wall_ns INTEGER,
    recorded_wall_ns INTEGER,
    data BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    stream TEXT NOT NULL,
    session INTEGER NOT NULL,
    running INTEGER NOT NULL
);
"""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""The last one: a table or column is not there, since our own SQL is tested."""


class DamagedError(Exception):
    """The file cannot be trusted any more; whoever catches this begins a new one."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says about itself. running: somebody has it open, or had and did not close it in order."""

    stream: str
    session: int
    running: bool


def connect(file: Path, *, pages_max: int) -> sqlite3.Connection:
    """Open or make the file, with its tables; every failure is a sqlite3.Error, for `judge`.

    Autocommit mode: transactions are begun and ended by name. Any one thread at a time may use the connection.
    """
    db = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=0)
    try:
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        # Exclusive: no index of the log in a shared file, whose pages the kernel would write back to the card.
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_MAX}")
        if db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        bound(db, pages_max=pages_max)
    except sqlite3.Error:
        db.close()
        raise
    return db


def bound(db: sqlite3.Connection, *, pages_max: int) -> None:
    """Let the file grow to so many pages and no further; a file that is larger stays as large as it is."""
    db.execute(f"PRAGMA max_page_count = {pages_max}")


def grow_log(db: sqlite3.Connection, *, pages_max: int) -> None:
    """Bring the log to its length at once, at the start, where there is room for it."""
    if used_pages(db) + 2 * _LOG_PAGES > pages_max:
        return
    db.execute("CREATE TABLE IF NOT EXISTS ballast (zeros BLOB)")
    db.execute("INSERT INTO ballast VALUES (zeroblob(?))", (_LOG_PAGES * PAGE_BYTES,))
    db.execute("DROP TABLE ballast")


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it, durably, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    with contextlib.ExitStack() as undo:
        undo.callback(_roll_back, db)
        yield
        db.execute("COMMIT")
        undo.pop_all()


def _roll_back(db: sqlite3.Connection) -> None:
    with contextlib.suppress(sqlite3.Error):  # SQLite rolls back by itself after some failures
        db.execute("ROLLBACK")


def read_state(db: sqlite3.Connection, file: Path) -> State | None:
    """Read what the file says about itself; None when it is new.

    Raises DamagedError, or StorageError for a file of a newer release.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise StorageError(
            f"made by a newer maskwatch (schema {version}, this one knows {VERSION})",
            where=str(file),
            remedy="update maskwatch, or name another outbox.directory",
        )
    if version != VERSION:
        raise DamagedError(f"schema {version} is none of ours")
    match db.execute("SELECT stream, session, running FROM state").fetchone():
        case None:
            return None
        case (str(stream), int(session), int(running)):
            return State(stream=stream, session=session, running=bool(running))
        case other:
            raise DamagedError(f"state {other!r} is not what was written")


def write_state(db: sqlite3.Connection, state: State) -> None:
    db.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?)", (state.stream, state.session, state.running))


def check(db: sqlite3.Connection) -> None:
    """Look through the whole file. Raises DamagedError."""
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(str(found))


def used_pages(db: sqlite3.Connection) -> int:
    """Give the pages that hold something, of the file as the transaction sees it."""
    count: int = db.execute("PRAGMA page_count").fetchone()[0]
    free: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    return count - free


def judge(error: sqlite3.Error | DamagedError | OSError, file: Path) -> MaskwatchError | DamagedError:
    """Tell what a failure means: a damaged file, or a disk or permission that somebody has to mend."""
    if isinstance(error, DamagedError):
        return error
    if isinstance(error, OSError):
        return judge_os(error, file)
    # No code: the connection is closed, since an earlier rescue did not come to its end. It is tried again.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF:
        case code if code in _DAMAGED:
            return DamagedError(str(error))
        case sqlite3.SQLITE_FULL:
            return StorageError("the disk is full", where=str(file), remedy="make room on it, or lower outbox.quota_mb")
        case sqlite3.SQLITE_READONLY:
            return StorageError("the disk is read-only", where=str(file), remedy="mount it for writing")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return in_use(file)
        case _:
            return StorageError(
                f"{error} ({getattr(error, 'sqlite_errorname', '?')})", where=str(file), remedy="check the disk"
            )


def broken(error: sqlite3.Error | DamagedError | OSError, file: Path) -> MaskwatchError:
    """Tell what a failure means where a new file was tried already: then even damage is the disk's."""
    verdict = judge(error, file)
    if isinstance(verdict, DamagedError):
        return StorageError(f"damaged again at once: {verdict}", where=str(file), remedy="check the disk")
    return verdict


def in_use(file: Path) -> StorageError:
    """Make the error for an outbox that another process has."""
    return StorageError(
        "another process uses this outbox",
        where=str(file),
        remedy="stop it (systemctl stop maskwatch), or name another outbox.directory",
    )


def judge_os(error: OSError, path: Path) -> MaskwatchError:
    """Tell what a failure of the file system means."""
    if isinstance(error, PermissionError):
        return NotPermittedError(
            "no permission to write", where=str(path), remedy="give it to the user that runs maskwatch (chown)"
        )
    what = (error.strerror or str(error)).lower()
    return StorageError(what, where=str(path), remedy="check the disk, or name another outbox.directory")
