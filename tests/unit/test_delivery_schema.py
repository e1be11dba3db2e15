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
    assert isinstance(schema.judge(PermissionError(errno.EACCES, "no"), FILE), NotPermittedError)


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


def write_and_fail(db: sqlite3.Connection) -> None:
    schema.write_state(db, schema.State(stream="a", session=1, running=True))
    raise RuntimeError


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with closing(schema.connect(tmp_path / "outbox.db", pages_max=1000)) as db:
        with pytest.raises(RuntimeError), schema.transaction(db):
            write_and_fail(db)
        assert schema.read_state(db, FILE) is None
        with schema.transaction(db):
            schema.write_state(db, schema.State(stream="a", session=1, running=True))
        assert schema.read_state(db, FILE) == schema.State(stream="a", session=1, running=True)


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 0", "UPDATE state SET session = 'x'"])
def test_a_file_that_is_none_of_ours_is_damaged(tmp_path: Path, statement: str) -> None:
    with closing(schema.connect(tmp_path / "outbox.db", pages_max=1000)) as db:
        schema.write_state(db, schema.State(stream="a", session=1, running=True))
        db.execute(statement)
        with pytest.raises(DamagedError):
            schema.read_state(db, FILE)


def test_every_commit_is_on_the_disk_before_it_returns(tmp_path: Path) -> None:
    with closing(schema.connect(tmp_path / "outbox.db", pages_max=1000)) as db:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA max_page_count").fetchone() == (1000,)
