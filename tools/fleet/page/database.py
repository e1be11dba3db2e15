"""The collector's database as the page uses it: a few connections, queries that both kinds of database understand.

A query names its values as `:name`. Nothing that came over the network is ever part of a query's text.
"""

import re
import sqlite3
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from agent.errors import MaskwatchError, StorageError, UnavailableError
from tools.fleet.collector import sqlite
from tools.fleet.collector.store import parse_url

if TYPE_CHECKING:
    import psycopg

C = TypeVar("C")
Values = Mapping[str, Any]
Rows = list[tuple[Any, ...]]
_CONNECTIONS = 4  # more would only wait for the same cores and disk
_PATIENCE_S = 5.0  # for one of them to come free
_NAME = re.compile(r"(?<![:\w]):([a-z]\w*)")
# A look at the page must never hold up the server for long; compiling such short queries takes longer than running
# them; no plan is kept, since the right one depends on the values.
_OPTIONS = "-cstatement_timeout=10s -clock_timeout=5s -cjit=off -cclient_min_messages=warning"


class Database(ABC):
    """Queries, from any thread. Methods raise UnavailableError, StorageError or NotPermittedError, one line each."""

    @abstractmethod
    def rows(self, query: str, values: Values | None = None) -> Rows:
        """Give what a query finds."""

    @abstractmethod
    def change(self, query: str, values: Values | None = None) -> None:
        """Run a statement that changes something, for good when it returns."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""


def open_database(url: str) -> Database:
    """Give the database that a store's URL names; its tables are made if they are not there. Raises UsageError."""
    found = parse_url(url)
    return SqliteDatabase(found) if isinstance(found, Path) else PostgresDatabase(found)


class _Pool(Database, Generic[C]):
    """Connections that threads take in turns. One that fails is closed, and another is made when it is needed."""

    def __init__(self) -> None:
        self._free: list[C] = []
        self._may = threading.BoundedSemaphore(_CONNECTIONS)

    def close(self) -> None:
        while self._free:
            self._drop(self._free.pop())

    @contextmanager
    def _one(self) -> Iterator[C]:
        if not self._may.acquire(timeout=_PATIENCE_S):
            raise UnavailableError("too many look at once", where="the fleet page", remedy="try again")
        try:
            connection = self._free.pop() if self._free else self._connect()
            whole = False
            try:
                yield connection
                whole = True
            finally:
                if whole:
                    self._free.append(connection)
                else:
                    self._drop(connection)
        finally:
            self._may.release()

    @abstractmethod
    def _connect(self) -> C: ...

    @abstractmethod
    def _drop(self, connection: C) -> None: ...


class SqliteDatabase(_Pool[sqlite3.Connection]):
    """The file of a collector that may be writing to it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def rows(self, query: str, values: Values | None = None) -> Rows:
        with self._judged(), self._one() as db:
            return db.execute(query, values or {}).fetchall()

    def change(self, query: str, values: Values | None = None) -> None:
        with self._judged(), self._one() as db:
            db.execute(query, values or {})

    def _connect(self) -> sqlite3.Connection:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = error.strerror or str(error)
            raise StorageError(what, where=str(self._file.parent), remedy="name another file in --store") from error
        db = sqlite3.connect(self._file, isolation_level=None, timeout=_PATIENCE_S, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            sqlite.make_tables(db, self._file)
        except (sqlite3.Error, StorageError):
            db.close()
            raise
        return db

    def _drop(self, connection: sqlite3.Connection) -> None:
        connection.close()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:  # our own SQL is wrong
                raise
            raise sqlite.judge(error, self._file) from error


class PostgresDatabase(_Pool["psycopg.Connection[tuple[Any, ...]]"]):
    """A server's database."""

    def __init__(self, url: str) -> None:
        """Raises UsageError for a URL that libpq does not understand."""
        from tools.fleet.collector.server import Place  # a single instance does without the driver

        super().__init__()
        self._place = Place(url)

    def rows(self, query: str, values: Values | None = None) -> Rows:
        with self._judged(), self._one() as db:
            return db.execute(_NAME.sub(r"%(\1)s", query).encode(), values).fetchall()

    def change(self, query: str, values: Values | None = None) -> None:
        with self._judged(), self._one() as db:
            db.execute(_NAME.sub(r"%(\1)s", query).encode(), values)

    def _connect(self) -> "psycopg.Connection[tuple[Any, ...]]":
        import psycopg

        from tools.fleet.collector.server import make_tables

        db = self._place.connect(_OPTIONS, application_name="maskwatch-page", prepare_threshold=None)
        try:
            make_tables(db, self._place.name)
        except (psycopg.Error, MaskwatchError):
            db.close()
            raise
        return db

    def _drop(self, connection: "psycopg.Connection[tuple[Any, ...]]") -> None:
        connection.close()

    @contextmanager
    def _judged(self) -> Iterator[None]:
        import psycopg

        from tools.fleet.collector.server import judge

        try:
            yield
        except psycopg.Error as error:
            verdict = judge(error, self._place.name)
            if verdict is None:
                raise
            raise verdict from error
