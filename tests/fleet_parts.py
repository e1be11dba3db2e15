"""What the tests of enrolment share: an authority in a folder, requests made by OpenSSL, the server as a process."""

import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.real import WITHIN_S, need
from tools.fleet.ca.store import Store
from tools.fleet.enrol import claims, inventory

ROOT = Path(__file__).parents[1]
_RUN = "import sys; from tools.fleet.enrol.__main__ import main; sys.exit(main(sys.argv[1:]))"


def utc_now() -> datetime:
    """Give the time to the second, as certificates have it."""
    return datetime.now(UTC).replace(microsecond=0)


def found_fleet(folder: Path, *, host: str = "localhost") -> Path:
    """Found an authority with a certificate for an enrolment server of that name; gives its folder."""
    Store.create(folder, name="test fleet", now=utc_now())
    with Store.opened(folder) as store:
        store.issue("enrol", role="server", hosts=[host], now=utc_now())
    return folder


def new_claim(folder: Path, *, site: str = "a", serial: str = "", now: datetime | None = None, days: int = 30) -> str:
    """Make a claim; gives the words."""
    with Store.opened(folder):
        known = inventory.read(folder)
        claim, words = claims.make(known, site=site, serial=serial, now=now or utc_now(), days=days)
        inventory.write(folder, known.with_claim(claim))
    return words


def make_key(place: Path) -> Path:
    """Make a P-256 key as a board does."""
    command = [need("openssl", "openssl"), "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subprocess.run([*command, "-out", str(place)], check=True, capture_output=True)
    return place


def make_csr(key: Path, name: str) -> str:
    """Make a request for a name, signed with a key."""
    command = [need("openssl", "openssl"), "req", "-new", "-key", str(key), "-subj", f"/CN={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Reply:
    """What the server answered. Its items: `reply["device"]`."""

    status: int
    said: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.said[key]


class EnrolServer:
    """`python -m tools.fleet.enrol DIR --serve` as a process of its own on loopback. Killed at exit if it runs."""

    def __init__(self, folder: Path, *, first: str = "") -> None:
        """first: Python that the process runs before anything else."""
        self.folder = folder
        self._first = first
        self.lines: list[dict[str, Any]] = []
        self._came = threading.Condition()
        self.errors = folder.with_name(folder.name + ".stderr")

    def __enter__(self) -> Self:
        words = [str(self.folder), "--serve", "--listen", "127.0.0.1:0"]
        with self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", f"{self._first}\n{_RUN}", *words],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = int(self.wait_for_line(lambda line: "listening" in line)["listening"].rsplit(":", 1)[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WITHIN_S)
        self._reader.join(WITHIN_S)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def terminate(self) -> int:
        """Send SIGTERM; give the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(WITHIN_S)

    def wait_for_line(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for a line of the log that is wanted."""

        def found() -> dict[str, Any] | None:
            return next(filter(wanted, self.lines), None)

        with self._came:
            self._came.wait_for(lambda: found() is not None or not self._reader.is_alive(), WITHIN_S)
            line = found()
        assert line is not None, (self.lines, self.errors.read_text())
        return line

    def post(self, body: bytes, *, ca: Path | None = None, host: str = "localhost", path: str = "/v1/enrol") -> Reply:
        """Send a request, trusting the authority's root alone, and give the answer. Raises what urllib raises."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ca or self.folder / "ca.pem")
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        request = urllib.request.Request(f"https://{host}:{self.port}{path}", data=body, method="POST")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=WITHIN_S) as answer:
                return Reply(answer.status, json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, json.loads(error.read()))

    def enrol(self, claim: str, csr: str, *, serial: str = "", model: str = "Raspberry Pi 4 Model B") -> Reply:
        """Ask as a board does."""
        return self.post(json.dumps({"claim": claim, "csr": csr, "board": {"serial": serial, "model": model}}).encode())

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._came:
                self.lines.append(json.loads(line))  # each line is JSON, or this thread ends with an exception
                self._came.notify_all()
        with self._came:
            self._came.notify_all()
