"""A real mosquitto on loopback, and a subscriber that notes when each event came."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from agent.clock import SystemClock
from tools.fleet.ports import mosquitto_answers

LIMIT_S = 30.0
_POLL_S = 0.002


class NoBrokerError(Exception):
    """There is no mosquitto here, or it does not start."""


@contextmanager
def mosquitto(folder: Path, *more: str) -> Iterator[int]:
    """Run a broker from enter to exit; gives its port. more: lines of its configuration. Raises NoBrokerError."""
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        raise NoBrokerError("needs mosquitto: apt-get install mosquitto")
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text("\n".join([f"listener {port} 127.0.0.1", "allow_anonymous true", *more, ""]))
    process = subprocess.Popen([program, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        await_until(lambda: mosquitto_answers(port), "mosquitto does not start")
        yield port
    finally:
        process.terminate()
        process.wait()


def await_until(condition: Callable[[], bool], what: str, *, limit_s: float = LIMIT_S) -> None:
    """Wait for a condition. Raises NoBrokerError with `what` after limit_s."""
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            raise NoBrokerError(f"{what} within {limit_s:.0f} s")
        time.sleep(_POLL_S)


class Event(msgspec.Struct):
    """What the bench needs of an envelope."""

    sequence: str
    type: str
    subject: str = ""


class Subscriber:
    """Everything on the topic of events: by sequence, when it came, CLOCK_BOOTTIME nanoseconds."""

    def __init__(self, port: int) -> None:
        self.came_ns: dict[int, int] = {}
        self.person_ns: dict[str, int] = {}  # by person, the first event that names one
        self._clock = SystemClock()
        self._ready = False
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("maskwatch/+/+/events", qos=1)
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._came
        self._client.connect("127.0.0.1", port)

    def __enter__(self) -> "Subscriber":
        self._client.loop_start()
        await_until(lambda: self._ready, "the subscriber is not let in")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _subscribed(self, *_: Any) -> None:
        self._ready = True

    def _came(self, client: mqtt.Client, userdata: Any, message: mqtt.MQTTMessage) -> None:
        now_ns = self._clock.now_ns()
        event = msgspec.json.decode(message.payload, type=Event)
        self.came_ns.setdefault(int(event.sequence), now_ns)
        if event.subject:
            self.person_ns.setdefault(event.subject, now_ns)
