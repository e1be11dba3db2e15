"""A PostgreSQL server as all of us need it: where it is, how to connect, its tables, what its errors mean."""

from typing import Any

import psycopg
from psycopg import errors

from agent.errors import MaskwatchError, NotPermittedError, StorageError, UnavailableError, UsageError
from tools.fleet.collector import tables

_CONNECT: dict[str, Any] = {
    "autocommit": True,
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "client_encoding": "utf8",  # or a database made in the C locale would give bytes
}
_MAKING = 0x6D61736B  # the advisory lock under which tables are made


class Place:
    """A database that a URL names. name: it, without what is secret."""

    def __init__(self, url: str) -> None:
        """Raises UsageError for a URL that libpq does not understand."""
        try:
            about = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            what = f"--store is no PostgreSQL URL: {' '.join(str(error).split())}"
            raise UsageError(what, where="collector", remedy="write postgresql://user@host/name") from error
        self._url = url
        self._options = about.get("options") or ""
        self.name = f"postgresql://{about.get('host', 'localhost')}:{about.get('port', 5432)}/{about.get('dbname', '')}"

    def connect(self, options: str, **more: Any) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect, with more settings of libpq's `options` and of psycopg. Raises psycopg.Error."""
        return psycopg.connect(self._url, options=f"{self._options} {options}", **_CONNECT, **more)


def make_tables(db: psycopg.Connection[tuple[Any, ...]], where: str) -> None:
    """Make the tables, once, however many instances start at the same time. Raises StorageError, psycopg.Error."""
    ours = f"maskwatch {tables.VERSION}"
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", [_MAKING])
        there, told = db.execute("SELECT oid, obj_description(oid) FROM to_regclass('events') AS oid").fetchone() or ()
        if there is None:
            db.execute(tables.POSTGRES.encode())
            db.execute(f"COMMENT ON TABLE events IS '{ours}'".encode())
        elif told != ours:
            raise StorageError(
                f"its tables are of {told or 'an earlier version'!r}, this release knows {ours!r}",
                where=where,
                remedy="use the release that made them, or name another database",
            )


def judge(error: psycopg.Error, where: str) -> MaskwatchError | None:
    """Give the sentence for what PostgreSQL says; None when our own SQL is to blame."""
    first = str(error).strip().splitlines()[:1] or [type(error).__name__]
    what = first[0].removeprefix("connection failed: ")
    match error:
        case errors.DiskFull():
            return StorageError("its disk is full", where=where, remedy="make room; it is tried again")
        case errors.InsufficientPrivilege() | errors.InvalidSchemaName():
            return NotPermittedError(what, where=where, remedy="grant it to this user; it is tried again")
        case psycopg.OperationalError() | psycopg.InterfaceError() | psycopg.InternalError():
            return UnavailableError(what, where=where, remedy="check the server; it is tried again")
        case _:
            return None
