"""A fleet page over a store that a test writes to, and somebody who looks at it over real HTTP."""

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from agent.clock import SystemClock
from tests.real import Mosquitto, free_port, wait_for
from tools.fleet.page.accounts import Accounts
from tools.fleet.page.app import Page
from tools.fleet.page.database import open_database
from tools.fleet.page.server import PageServer, Place

_DEVICE = """
import sys, time
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="cam1")
topic = "maskwatch/lab/cam1/status"
client.will_set(topic, '{"state":"offline","session":1,"version":"1","reason":"connection lost"}', 1, True)
client.connect("127.0.0.1", int(sys.argv[1]), keepalive=int(sys.argv[2]))
client.loop_start()
client.publish(topic, '{"state":"online","session":1,"version":"1","camera":"ok"}', 1, True).wait_for_publish()
client.publish("maskwatch/lab/cam1/telemetry", '{"session":1,"temperature_c":48.0}').wait_for_publish()
print("online", flush=True)
time.sleep(600)
"""
NAME, PASSWORD = "ana", "correct horse battery"


class Answer:
    """What was answered. cookies: by name, as set; an empty one has been taken back."""

    def __init__(self, found: http.client.HTTPResponse) -> None:
        self.code = found.status
        self.headers = found.headers
        self.text = found.read().decode()
        told = found.headers.get_all("set-cookie") or []
        self.cookies = {one.partition("=")[0]: one.partition("=")[2].partition(";")[0].strip('"') for one in told}
        self.set_cookies = told

    @property
    def csrf(self) -> str:
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.text)
        assert found is not None
        return found[1]


class Visitor:
    """A browser's cookies and nothing else of a browser."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookies: dict[str, str] = {}

    def ask(
        self,
        path: str,
        form: Mapping[str, str] | None = None,
        *,
        method: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Answer:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        about = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if form is not None:
            body = urlencode(form).encode()
            about["Content-Type"] = "application/x-www-form-urlencoded"
        link.request(method or ("GET" if body is None else "POST"), path, body, about | dict(headers or {}))
        answer = Answer(link.getresponse())
        link.close()
        for name, value in answer.cookies.items():
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    def log_in(self, name: str = NAME, password: str = PASSWORD, **more: str) -> Answer:
        form = self.ask("/login")
        return self.ask("/login", {"csrf": form.csrf, "name": name, "password": password, **more})

    def see(self, path: str) -> str:
        """Give a page that must be there."""
        answer = self.ask(path)
        assert answer.code == 200, (path, answer.code, answer.text[:500])
        return answer.text


class Scene:
    """A page on a free port of loopback, and one user."""

    def __init__(self, url: str, *, origin: str = "") -> None:
        self.port = free_port()
        self.database = open_database(url)
        clock, place = SystemClock(), Place(host="127.0.0.1", port=self.port, origin=origin)
        self.accounts = Accounts(self.database, clock)
        self.accounts.put(NAME, PASSWORD)
        page = Page(
            database=self.database,
            clock=clock,
            place=place,
            zone=ZoneInfo("Europe/Madrid"),
            metrics=lambda: b"maskwatch_collector_events_stored_total 1.0\n",
        )
        self._server = PageServer(page.app, place)

    def visitor(self, *, logged_in: bool = True) -> Visitor:
        made = Visitor(self.port)
        if logged_in:
            assert made.log_in().code == 303
        return made

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self.database.close()


def answers(port: int) -> None:
    """Wait until a page answers."""

    def there() -> bool:
        try:
            return Visitor(port).ask("/login").code == 200
        except OSError:
            return False

    wait_for(there, what="the page")


def sqlite_url(folder: Path) -> str:
    return f"sqlite://{folder}/events.db"


def user(url: str) -> None:
    database = open_database(url)
    Accounts(database, SystemClock()).put(NAME, PASSWORD)
    database.close()


def logged_in(port: int) -> Visitor:
    answers(port)
    visitor = Visitor(port)
    assert visitor.log_in().code == 303
    return visitor


class Stream:
    """What an open page is sent."""

    def __init__(self, visitor: Visitor, query: str = "") -> None:
        self._link = http.client.HTTPConnection("127.0.0.1", visitor.port, timeout=60)
        cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
        self._link.request("GET", f"/live{query}", headers={"Cookie": cookie})
        self._answer = self._link.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self.lines: list[dict[str, Any]] = []
        self.changes = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        kind = ""
        try:
            for raw in self._answer:
                name, _, value = raw.decode().rstrip("\n").partition(": ")
                kind = value if name == "event" else kind
                if name == "data" and kind == "line":
                    self.lines.append(json.loads(value))
                self.changes += name == "event" and value == "changed"
        except (OSError, http.client.HTTPException):
            return  # closed by the test

    def close(self) -> None:
        assert self._link.sock is not None
        self._link.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._link.close()


class Device:
    """A process that is online. Ended hard at the end of the `with`."""

    def __init__(self, broker: Mosquitto, keepalive_s: int) -> None:
        words = [sys.executable, "-c", _DEVICE, str(broker.port), str(keepalive_s)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "online\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()
