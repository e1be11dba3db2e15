"""A real PostgreSQL server for tests, on loopback: its own data folder, its own port, gone afterwards."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest

from tests.real import WITHIN_S, free_port, need, wait_for

_DEBIAN = Path("/usr/lib/postgresql")
_PACKAGE = "postgresql"
_RECOVERED_S = 90.0  # after a crash it goes through its log first


class Postgres:
    """A server that may be stopped, crashed and started again on the same port with the same disk.

    As root it runs as the user postgres, since it refuses root. folder: where its data go; somewhere that user can
    reach when None. Everything it acknowledges is on the disk (fsync).
    """

    def __init__(self, folder: Path | None = None, *, settings: Sequence[str] = ()) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/var/tmp")) if folder is None else folder
        self._own = folder is None
        self._as_user = _other_user()
        if self._as_user:
            shutil.chown(self._folder, "postgres", "postgres")
        self._data = self._folder / "data"
        self.log = self._folder / "log"
        self.port = free_port()
        self._settings = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}"]
        self._settings += ["fsync=on", "max_connections=40", "shared_buffers=32MB", *settings]
        self._made = 0
        self._process: subprocess.Popen[bytes] | None = None
        make = [_program("initdb"), "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"]
        subprocess.run([*self._as_user, *make], check=True, capture_output=True, cwd="/")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers a query."""
        self._process = self._launch()

        def answers() -> bool:
            # After a crash its children may outlive it for an instant, and it will not start beside them.
            assert self._process is not None
            if self._process.poll() is not None:
                self._process = self._launch()
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        wait_for(answers, _RECOVERED_S, f"PostgreSQL (see {self.log})")

    def stop(self) -> None:
        """Stop in order, its sessions cut off."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End it at once, without a word to its sessions or its disk; it recovers at the next start."""
        self._end(signal.SIGQUIT)

    def new_schema(self) -> str:
        """Make an empty schema; give the URL by which it is all there is."""
        self._made += 1
        self.execute(f"CREATE SCHEMA test{self._made}")
        return f"{self.url}?options=-csearch_path%3Dtest{self._made}"

    def new_database(self, *, encoding: str) -> str:
        """Make an empty database; give its URL. It costs a second on a slow disk, a schema nothing."""
        self._made += 1
        self.execute(f"CREATE DATABASE test{self._made} ENCODING '{encoding}' TEMPLATE template0")
        return f"postgresql://postgres@127.0.0.1:{self.port}/test{self._made}"

    def execute(self, query: str, *values: object, url: str = "") -> list[tuple[Any, ...]]:
        """Run a query as superuser, in the database of `url`; give its rows."""
        with psycopg.connect(url or self.url, autocommit=True) as server:
            found = server.execute(query.encode(), values or None)
            return found.fetchall() if found.description else []

    def _launch(self) -> subprocess.Popen[bytes]:
        command = [_program("postgres"), "-D", str(self._data)]
        command += [word for setting in self._settings for word in ("-c", setting)]
        with self.log.open("ab") as log:
            return subprocess.Popen([*self._as_user, *command], stdout=log, stderr=log, cwd="/")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(WITHIN_S)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(signal.SIGQUIT)
        if self._own:
            shutil.rmtree(self._folder, ignore_errors=True)


def _program(name: str) -> str:
    for folder in sorted(_DEBIAN.glob("*/bin"), reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    return need(name, _PACKAGE)


def _other_user() -> list[str]:
    """Give the words that run a command as the user postgres; none when we are not root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip(f"needs the user postgres: apt-get install {_PACKAGE}")
    return [need("setpriv", "util-linux"), "--reuid=postgres", "--regid=postgres", "--init-groups"]
