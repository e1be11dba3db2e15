"""What the tests of the collector are made of: messages as a device sends them, a collector in this process."""

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from paho.mqtt.publish import multiple

from agent.clock import NS_PER_MS, SystemClock
from agent.events.envelope import Stored, encode
from agent.settings import MqttSettings
from tests.real import WITHIN_S, Mosquitto
from tools.fleet.collector.broker import Broker
from tools.fleet.collector.collector import Collector
from tools.fleet.collector.fleet import Fleet
from tools.fleet.collector.messages import Event, Rejected, read
from tools.fleet.collector.metrics import Metrics
from tools.fleet.collector.postgres import PostgresStore
from tools.fleet.collector.store import Store

BOOT = "ab" * 16
WALL_MS = 1_800_000_000_000
SESSION_S = 3600
LEASE_S = 2.0  # of an instance in this process


def payload(
    sequence: int,
    *,
    device: str = "cam1",
    stream: str = "5eed",
    kind: str = "maskwatch.counts.v1",
    data: Any = None,
    boot: str = BOOT,
    mono_ms: int | None = None,
    wall_ms: int | None = WALL_MS,
    historical: bool = False,
) -> bytes:
    """Make an event's message. wall_ms: the wall time of the boot; None: the device's clock is not trusted."""
    mono_ms = sequence * 1000 if mono_ms is None else mono_ms
    wall_ns = None if wall_ms is None else (wall_ms + mono_ms) * NS_PER_MS
    stored = Stored(
        stream=stream,
        sequence=sequence,
        type=kind,
        person=None,
        boot_id=boot,
        at_ns=mono_ms * NS_PER_MS,
        at_wall_ns=wall_ns,
        recorded_wall_ns=wall_ns,
        data=msgspec.json.encode({"number": sequence} if data is None else data),
    )
    return encode(stored, source=f"/maskwatch/lab/{device}", historical=historical)


def topic(device: str = "cam1", kind: str = "events") -> str:
    return f"maskwatch/lab/{device}/{kind}"


def event(sequence: int, *, device: str = "cam1", **more: Any) -> Event:
    """Make an event as the collector reads it."""
    found = read(topic(device), payload(sequence, device=device, **more))
    assert isinstance(found, Event), found
    return found


def gap(sequence: int, first: int, last: int, **more: Any) -> Event:
    data = {"first": first, "last": last, "by_type": {}, "why": "quota"}
    return event(sequence, kind="maskwatch.gap.v1", data=data, **more)


def rejected(number: int) -> Rejected:
    found = read("maskwatch/lab/cam1/events", b"%d is no event" % number)
    assert isinstance(found, Rejected)
    return found


class Running:
    """A collector's process. Ended hard at the end of the `with`, if it still runs."""

    def __init__(self, broker: Mosquitto | str, store: str, *more: str) -> None:
        """broker: or its URL. more: words of the command line."""
        url = broker if isinstance(broker, str) else broker.url
        words = [sys.executable, "-m", "tools.fleet.collector", "--broker", url, "--store", store, *more]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said == "collector ready\n", self.process.communicate(timeout=WITHIN_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=WITHIN_S)

    def stop(self) -> tuple[int, str]:
        """Stop in order; give its exit code and what it said."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=WITHIN_S)
        return self.process.returncode, said


class InProcess:
    """A collector in this process, driven step by step. Left without a goodbye unless `close` is called."""

    def __init__(
        self,
        broker: Mosquitto,
        store: Store,
        *,
        name: str = "collector",
        make: type[Collector] = Collector,
        protocol: Literal["auto", "3.1.1"] = "auto",
        password_file: str = "",
        doubt_s: float = 0.2,
    ) -> None:
        """protocol: 3.1.1 does not tell whether the broker shares subscriptions. password_file: then name logs in."""
        clock = SystemClock()

        def dial(name: str) -> Broker:
            return Broker([settings], client_id=name, session_s=SESSION_S)

        settings = MqttSettings(
            url=broker.url,
            protocol=protocol,
            username=name if password_file else "",
            password_file=password_file,
        )
        fleet = None
        if isinstance(store, PostgresStore):
            fleet = Fleet(name=name, roll=store, dial=dial, clock=clock, lease_s=LEASE_S)
        self.store = store
        self.metrics = Metrics()
        self.collector = make(
            broker=dial(name),
            store=store,
            fleet=fleet,
            clock=clock,
            rng=random.Random(5),
            metrics=self.metrics,
            doubt_s=doubt_s,
        )

    def __enter__(self) -> Self:
        self.step_until(lambda: self.collector.was_ready)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.collector.broker.drop()
        self.store.close()

    def count(self, name: str) -> float:
        """Give a metric."""
        for suffix in ("_total", ""):
            value = self.metrics.registry.get_sample_value(f"maskwatch_collector_{name}{suffix}")
            if value is not None:
                return value
        raise KeyError(name)

    def step_until(self, condition: Callable[[], bool], steps: int = 400) -> None:
        for _ in range(steps):
            if condition():
                return
            self.collector.step()
        raise AssertionError("it did not come to that")


def send(broker: Mosquitto, messages: Sequence[tuple[str, bytes]], *, password: str = "") -> None:
    """Publish, QoS 1, and wait until the broker has it all. password: of the user `sender`, where one is wanted."""
    told: list[Any] = [{"topic": topic, "payload": payload, "qos": 1} for topic, payload in messages]
    auth: Any = {"username": "sender", "password": password} if password else None
    multiple(told, hostname="127.0.0.1", port=broker.port, client_id="sender", auth=auth)
