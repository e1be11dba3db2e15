"""A real mosquitto on loopback, and a subscriber that waits for conditions, never for a time."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

_SERVER = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/opt/homebrew/sbin")


class Message(msgspec.Struct, frozen=True):
    """One message as it arrived."""

    topic: str
    payload: bytes
    retained: bool


class Mosquitto:
    """The broker. It may be stopped and started again, and keeps subscriptions and messages over that."""

    def __init__(self, folder: Path) -> None:
        if _SERVER is None:
            pytest.skip("needs mosquitto: apt-get install mosquitto")
        with socket.create_server(("127.0.0.1", 0)) as door:
            self.port: int = door.getsockname()[1]
        folder.mkdir()
        self._log = folder / "log"
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_type all\n"
            f"persistence true\npersistence_location {folder}/\nmax_queued_messages 0\nmax_inflight_messages 0\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([str(_SERVER), "-c", str(self._config)], stdout=log, stderr=log)
        for _ in range(1000):
            assert self._process.poll() is None, self._log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except ConnectionRefusedError:
                threading.Event().wait(0.01)
            else:
                return
        raise AssertionError(f"mosquitto does not listen: {self._log.read_text()}")

    def stop(self) -> None:
        """Stop in order: what it knows is on its disk."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Subscriber:
    """Everything under maskwatch/ and homeassistant/, QoS 1, in a session that survives the broker's restart."""

    def __init__(self, broker: Mosquitto, *, name: str = "tester") -> None:
        self._changed = threading.Condition()
        self.messages: list[Message] = []
        self._ready = False
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, clean_session=False, protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]
        self._client.on_connect = lambda client, *_: client.subscribe([("maskwatch/#", 1), ("homeassistant/#", 1)])
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received
        self._client.connect("127.0.0.1", broker.port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        with self._changed:
            assert self._changed.wait_for(lambda: self._ready, 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_until(self, condition: Callable[[list[Message]], bool], timeout_s: float = 30.0) -> list[Message]:
        """Wait until the messages so far meet a condition; give them."""
        with self._changed:
            met = self._changed.wait_for(lambda: condition(self.messages), timeout_s)
            found = list(self.messages)
        assert met, "\n".join(f"{message.topic} {message.payload[:300]!r}" for message in found[-30:])
        return found

    def send(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(20)

    def _subscribed(self, *_: Any) -> None:
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def _received(self, client: Any, userdata: Any, message: Any) -> None:
        with self._changed:
            self.messages.append(Message(message.topic, message.payload, bool(message.retain)))
            self._changed.notify_all()
