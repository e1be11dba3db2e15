"""The outbox's file: its tables, how it is opened, and what SQLite's failures mean to whoever runs a board.

One table holds all that an append touches, and while the broker keeps up it is a single page: a commit then writes
one page to the log, and a delivered event costs two blocks of the card (separate tables for events, open persons and
counters: five). Nothing but the newest acknowledged row says where the sequence goes on, for the same reason.
"""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.delivery import wal
from agent.errors import MaskwatchError, NotPermittedError, StorageError

VERSION = 2
PAGE_BYTES = 4096  # a block of the card: smaller pages make more frames, and a commit is rounded up to blocks anyway

_LOG_PAGES = 32  # after so many the log is begun again from its start
LOG_BYTES = wal.HEADER_BYTES + 2 * _LOG_PAGES * wal.FRAME_BYTES  # its length from the start on; most commits fit

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
    running INTEGER NOT NULL,
    log_bytes INTEGER NOT NULL
);
"""

_MIGRATIONS = {1: "ALTER TABLE state ADD COLUMN log_bytes INTEGER NOT NULL DEFAULT 0"}
"""By version, what makes the next one of it."""

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""The last one: a table or column is not there, since our own SQL is tested."""


class DamagedError(Exception):
    """The file cannot be trusted any more; whoever catches this begins a new one."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says about itself. running: somebody has it open, or had and did not close it in order.

    log_bytes: the length of its log at least, while it is running.
    """

    stream: str
    session: int
    running: bool
    log_bytes: int


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
        if db.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            db.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        bound(db, pages_max=pages_max)
    except sqlite3.Error:
        db.close()
        raise
    return db


def connect_to_read(file: Path, *, with_log: bool) -> sqlite3.Connection:
    """Open a file that stays as it is: an ordinary close would bring into it what a damaged log still holds.

    with_log: else the file alone, as of its last checkpoint. Failures come with the first query.
    """
    name = f"{file.absolute().as_uri()}?{'mode=ro' if with_log else 'immutable=1'}"
    db = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False, timeout=0)
    db.execute("PRAGMA writable_schema = ON")  # one that is shorter than its header says is read as far as it goes
    return db


def doubt_log(file: Path) -> str:
    """Tell what speaks against the log of a file that is not open, or an empty string. Raises OSError."""
    found = wal.inspect(file)
    with contextlib.closing(connect_to_read(file, with_log=False)) as db:
        try:
            if db.execute("PRAGMA user_version").fetchone() != (VERSION,):
                return ""
        except sqlite3.Error:
            return ""  # there is none yet, or it is no database: whoever opens it will see
        try:
            known = db.execute("SELECT log_bytes FROM state WHERE running").fetchone() or (0,)
        except sqlite3.Error:
            known = (LOG_BYTES,)  # cut short while the log was brought into it, unless it is damaged itself
    return found.doubt(known[0]) if known[0] else ""


def bound(db: sqlite3.Connection, *, pages_max: int) -> None:
    """Let the file grow to so many pages and no further; a file that is larger stays as large as it is."""
    db.execute(f"PRAGMA max_page_count = {pages_max}")


def checkpoint(db: sqlite3.Connection, *, cut: bool = False) -> None:
    """Bring what is in the log into the file. cut: and leave the log empty, which otherwise keeps its length."""
    db.execute(f"PRAGMA wal_checkpoint({'TRUNCATE' if cut else 'PASSIVE'})")


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


def migrate(db: sqlite3.Connection, file: Path) -> None:
    """Bring a file of an earlier release up to date, each step in a transaction.

    Raises DamagedError, or StorageError for a file of a newer release.
    """
    while (version := db.execute("PRAGMA user_version").fetchone()[0]) != VERSION:
        if version > VERSION:
            raise StorageError(
                f"made by a newer maskwatch (schema {version}, this one knows {VERSION})",
                where=str(file),
                remedy="update maskwatch, or name another outbox.directory",
            )
        if version not in _MIGRATIONS:
            raise DamagedError(f"schema {version} is none of ours")
        with transaction(db):
            db.execute(_MIGRATIONS[version])
            db.execute(f"PRAGMA user_version = {version + 1}")


def read_state(db: sqlite3.Connection) -> State | None:
    """Read what the file says about itself; None when it is new. Raises DamagedError."""
    match db.execute("SELECT stream, session, running, log_bytes FROM state").fetchone():
        case None:
            return None
        case (str(stream), int(session), int(running), int(log_bytes)):
            return State(stream=stream, session=session, running=bool(running), log_bytes=log_bytes)
        case other:
            raise DamagedError(f"state {other!r} is not what was written")


def write_state(db: sqlite3.Connection, state: State) -> None:
    values = (state.stream, state.session, state.running, state.log_bytes)
    db.execute("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?, ?)", values)


def note_log(db: sqlite3.Connection, file: Path, state: State) -> State:
    """Write down the length of a log that has become longer, where it outlives the log; gives the state as it is then.

    Raises sqlite3.Error or OSError.
    """
    log_bytes = wal.size(file)
    if log_bytes <= state.log_bytes:
        return state
    noted = msgspec.structs.replace(state, log_bytes=log_bytes)
    checkpoint(db)  # so that the next commit does not make the log longer still
    write_state(db, noted)
    checkpoint(db)
    return noted


def check(db: sqlite3.Connection) -> None:
    """Look through the whole file. Raises DamagedError."""
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedError(str(found))


def used_pages(db: sqlite3.Connection) -> int:
    """Give the pages that hold something, of the file as the transaction sees it."""
    free: int = db.execute("PRAGMA freelist_count").fetchone()[0]
    return all_pages(db) - free


def all_pages(db: sqlite3.Connection) -> int:
    """Give the file's length in pages, as the transaction sees it."""
    count: int = db.execute("PRAGMA page_count").fetchone()[0]
    return count


def is_full(error: Exception) -> bool:
    """Tell whether a failure says that the disk is full, or a file at its bound."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOSPC
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


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
