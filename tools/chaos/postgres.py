"""A PostgreSQL server of our own, on loopback, for the faults of a fleet."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from tools.chaos.leftovers import Leftovers
from tools.chaos.processes import CannotRunError, Child, free_port, need, wait_for

_DEBIAN = Path("/usr/lib/postgresql")
_PACKAGE = "postgresql"


class Postgres(Child):
    """A server with its default durability (fsync), in a folder that its user can reach: it refuses to be root."""

    def __init__(self, leftovers: Leftovers, log: Path) -> None:
        """Raises CannotRunError."""
        super().__init__(leftovers, log)
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-postgres-", dir="/var/tmp"))
        leftovers.folder(self._folder)
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            try:
                pwd.getpwnam("postgres")
            except KeyError:
                raise CannotRunError(f"needs the user postgres: apt-get install {_PACKAGE}") from None
            self._as_user = [need("setpriv", "util-linux"), "--reuid=postgres", "--regid=postgres", "--init-groups"]
            shutil.chown(self._folder, "postgres", "postgres")
        self._port = free_port()
        data = self._folder / "data"
        made = subprocess.run(
            [
                *self._as_user,
                _program("initdb"),
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C",
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
        )
        if made.returncode:
            raise CannotRunError(f"initdb: {made.stderr.strip()}")
        settings = [f"port={self._port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}"]
        self._command = [*self._as_user, _program("postgres"), "-D", str(data)]
        self._command += [word for setting in settings for word in ("-c", setting)]

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Start, and wait until it answers."""
        self.launch(self._command)
        wait_for(self._answers, "PostgreSQL")

    def end(self) -> None:
        """End it at once with its sessions, and remove its data."""
        if self.is_alive:
            self.signal(signal.SIGQUIT)
        self.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _program(name: str) -> str:
    for folder in sorted(_DEBIAN.glob("*/bin"), reverse=True):
        if (folder / name).exists():
            return str(folder / name)
    return need(name, _PACKAGE)
