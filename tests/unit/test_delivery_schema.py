"""What SQLite's failures mean: damage is ours to mend, a disk or a permission is somebody else's."""

import errno
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.delivery import schema
from agent.delivery.schema import DamagedError
from agent.errors import MaskwatchError, NotPermittedError, StorageError

FILE = Path("/var/lib/maskwatch/outbox.db")


def failure(code: int, text: str = "it failed") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    error.sqlite_errorname = "SQLITE_X"
    return error


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (failure(sqlite3.SQLITE_FULL), "the disk is full"),
        (failure(sqlite3.SQLITE_READONLY), "the disk is read-only"),
        (failure(sqlite3.SQLITE_READONLY | 8 << 8), "the disk is read-only"),
        (failure(sqlite3.SQLITE_BUSY), "another process uses this outbox"),
        (failure(sqlite3.SQLITE_IOERR | 4 << 8, "disk I/O error"), "disk I/O error (SQLITE_X); check the disk"),
        (failure(sqlite3.SQLITE_CANTOPEN), "it failed (SQLITE_X)"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only file system"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on device"),
    ],
)
def test_a_disk_that_fails_is_one_line_and_74(error: sqlite3.Error | OSError, what: str) -> None:
    for verdict in (schema.judge(error, FILE), schema.broken(error, FILE)):
        assert isinstance(verdict, StorageError)
        assert what in str(verdict)
        assert str(verdict).startswith(str(FILE))
        assert verdict.exit_code == 74


def test_a_missing_permission_is_77() -> None:
    verdict = schema.judge(PermissionError(errno.EACCES, "no"), FILE)
    assert isinstance(verdict, NotPermittedError)
    remedy = "give it to the user that runs maskwatch (chown)"
    assert (verdict.what, verdict.where, verdict.remedy) == ("no permission to write", str(FILE), remedy)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (failure(sqlite3.SQLITE_FULL), "the disk is full; make room on it, or lower outbox.quota_mb"),
        (failure(sqlite3.SQLITE_READONLY), "the disk is read-only; mount it for writing"),
        (
            failure(sqlite3.SQLITE_LOCKED),
            "another process uses this outbox; stop it (systemctl stop maskwatch), or name another outbox.directory",
        ),
        (failure(sqlite3.SQLITE_IOERR), "it failed (SQLITE_X); check the disk"),
        (
            OSError(errno.EIO, "Input/output error"),
            "input/output error; check the disk, or name another outbox.directory",
        ),
        (OSError("no number"), "no number; check the disk, or name another outbox.directory"),
    ],
)
def test_the_line_says_where_and_what_to_do(error: sqlite3.Error | OSError, line: str) -> None:
    assert str(schema.judge(error, FILE)) == f"{FILE}: {line}"


def test_what_is_damaged_again_at_once_is_a_matter_of_the_disk() -> None:
    assert str(schema.broken(DamagedError("torn"), FILE)) == f"{FILE}: damaged again at once: torn; check the disk"


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (failure(sqlite3.SQLITE_FULL), True),
        (failure(sqlite3.SQLITE_IOERR), False),
        (sqlite3.ProgrammingError("closed"), False),
        (DamagedError("torn"), False),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EROFS, "Read-only file system"), False),
    ],
)
def test_only_a_lack_of_room_is_a_full_disk(error: Exception, is_full: bool) -> None:
    assert schema.is_full(error) is is_full


@pytest.mark.parametrize(
    "error",
    [
        failure(sqlite3.SQLITE_CORRUPT),
        failure(sqlite3.SQLITE_NOTADB),
        failure(sqlite3.SQLITE_ERROR, "no such table: events"),
        sqlite3.ProgrammingError("Cannot operate on a closed database."),
        DamagedError("event 7 is not what was written"),
    ],
)
def test_damage_is_told_from_a_disk_that_fails_unless_it_comes_again_at_once(
    error: sqlite3.Error | DamagedError,
) -> None:
    assert isinstance(schema.judge(error, FILE), DamagedError)
    again = schema.broken(error, FILE)
    assert isinstance(again, MaskwatchError)
    assert "damaged again at once" in str(again)


def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    file = tmp_path / "outbox.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 1")
        db.execute(
            "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), stream TEXT, session INTEGER, running)"
        )
        db.execute("INSERT INTO state VALUES (1, '5eed', 7, 1)")
    with closing(schema.connect(file, pages_max=1000)) as db:
        schema.migrate(db, FILE)
        assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
        assert schema.read_state(db) == schema.State(stream="5eed", session=7, running=True, log_bytes=0)
        schema.migrate(db, FILE)  # nothing more to do
        schema.write_state(db, schema.State(stream="5eed", session=8, running=True, log_bytes=9))
        assert schema.read_state(db) == schema.State(stream="5eed", session=8, running=True, log_bytes=9)


def migrate_and_read(db: sqlite3.Connection) -> None:
    schema.migrate(db, FILE)
    schema.read_state(db)


def write_and_fail(db: sqlite3.Connection) -> None:
    schema.write_state(db, schema.State(stream="a", session=1, running=True, log_bytes=7))
    raise RuntimeError


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with closing(schema.connect(tmp_path / "outbox.db", pages_max=1000)) as db:
        with pytest.raises(RuntimeError), schema.transaction(db):
            write_and_fail(db)
        assert schema.read_state(db) is None
        with schema.transaction(db):
            schema.write_state(db, schema.State(stream="a", session=1, running=True, log_bytes=7))
        assert schema.read_state(db) == schema.State(stream="a", session=1, running=True, log_bytes=7)


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 0", "UPDATE state SET session = 'x'"])
def test_a_file_that_is_none_of_ours_is_damaged(tmp_path: Path, statement: str) -> None:
    with closing(schema.connect(tmp_path / "outbox.db", pages_max=1000)) as db:
        schema.write_state(db, schema.State(stream="a", session=1, running=True, log_bytes=7))
        db.execute(statement)
        with pytest.raises(DamagedError):
            migrate_and_read(db)


def test_every_commit_is_on_the_disk_before_it_returns(tmp_path: Path) -> None:
    with closing(schema.connect(tmp_path / "outbox.db", pages_max=1000)) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA max_page_count").fetchone() == (1000,)
