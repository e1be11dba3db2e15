"""A real PostgreSQL server on loopback, with the durability that it has by default."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tools.bench.broker import NoBrokerError, await_until

_DEBIAN = Path("/usr/lib/postgresql")
_NEED = "needs PostgreSQL: apt-get install postgresql"


@contextmanager
def postgres() -> Iterator[str]:
    """Run a server from enter to exit; gives the URL of an empty database. Raises NoBrokerError."""
    programs = max(_DEBIAN.glob("*/bin"), default=None)
    if programs is None:
        raise NoBrokerError(_NEED)
    with tempfile.TemporaryDirectory(prefix="maskwatch-bench-", dir="/var/tmp") as folder, socket.socket() as door:
        user = _other_user()
        if user:
            shutil.chown(folder, "postgres", "postgres")
        make = [*user, programs / "initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "--locale=C"]
        subprocess.run(make, check=True, capture_output=True, cwd="/")
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
        door.close()
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}"]
        serve = [*user, programs / "postgres", "-D", f"{folder}/data", *(f"--{setting}" for setting in settings)]
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        process = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
        try:
            await_until(lambda: _answers(url), "PostgreSQL does not start")
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def _other_user() -> list[str | Path]:
    """Give the words that run a command as the user postgres: it refuses to be root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        raise NoBrokerError(_NEED) from None
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
