"""The collector into PostgreSQL: generator, broker, collector and server, all on the same two cores."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import psycopg
from paho.mqtt.enums import CallbackAPIVersion

from agent.clock import NS_PER_S, SystemClock, boot_id
from agent.delivery.topics import Identity
from agent.events.envelope import Stored, encode
from tools.bench.broker import await_until, mosquitto
from tools.bench.delivery import lone_event
from tools.bench.postgres import postgres
from tools.bench.rows import Options, Row

_DEVICES = 100
_EACH, _EACH_FULL = 500, 3000
_LIMIT_S = 180.0
_WINDOW = "max_inflight_messages 1000"  # as deploy/mosquitto has it
_CLOCK = SystemClock()
_BOOT = boot_id()


def measure(options: Options) -> list[Row]:
    """Measure one instance, then two on the same database."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:2]))
    folder = Path(options.folder)
    each = _EACH_FULL if options.full else _EACH
    with mosquitto(folder, _WINDOW, "max_queued_messages 0") as port, postgres() as url:
        with collector(port, url, "--instance", "one"):
            alone_s = _pour(port, url, "0ne", each)
        with collector(port, url, "--instance", "one"), collector(port, url, "--instance", "two"):
            together_s = _pour(port, url, "tw0", each)
    count = _DEVICES * each
    note = (
        f"{count} events of {_DEVICES} devices; generator, mosquitto, collector, PostgreSQL (fsync on) on two cores; "
        f"with two instances {count / together_s:.0f}/s on the same cores"
    )
    return [
        Row(
            name="collector into PostgreSQL",
            unit="events/s",
            budget=2000,
            measured=count / alone_s,
            at_least=True,
            note=note,
        )
    ]


@contextmanager
def collector(broker: int, url: str, *more: str) -> Iterator[None]:
    """Run a collector from enter to exit. broker: its port; url: of the store; more: further words of the command."""
    words = ["--broker", f"mqtt://127.0.0.1:{broker}", "--store", url, *more]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.fleet.collector", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "collector ready\n"
        yield
    finally:
        process.terminate()
        process.wait()


def _pour(port: int, url: str, stream: str, each: int) -> float:
    """Publish so many events of each device as fast as they are taken; seconds until the last one is acknowledged."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(_DEVICES * 20)  # each device has its window of 20
    client.connect("127.0.0.1", port)
    client.loop_start()
    start_ns = _CLOCK.now_ns()
    for sequence in range(1, each + 1):
        for number in range(_DEVICES):
            topic, payload = _event(f"cam{number}", stream, sequence)
            client.publish(topic, payload, qos=1)
    with psycopg.connect(url, autocommit=True) as server:
        query = "SELECT count(*) FROM streams WHERE stream = %s AND hwm = %s"

        def arrived() -> bool:
            time.sleep(0.05)
            return server.execute(query, (stream, each)).fetchone() == (_DEVICES,)

        await_until(arrived, "not all events are stored", limit_s=_LIMIT_S)
    spent_s = (_CLOCK.now_ns() - start_ns) / NS_PER_S
    client.disconnect()
    client.loop_stop()
    return spent_s


def _event(device: str, stream: str, sequence: int) -> tuple[str, bytes]:
    """Give topic and message of an event of ordinary size."""
    identity = Identity(site="bench", device=device, version="0")
    event = lone_event(sequence)
    wall_ns = _CLOCK.wall_ns()
    stored = Stored(
        stream=stream,
        sequence=sequence,
        type=event.type,
        person=event.person,
        boot_id=_BOOT,
        at_ns=event.at_ns,
        at_wall_ns=wall_ns,
        recorded_wall_ns=wall_ns,
        data=msgspec.json.encode(event.data),
    )
    return identity.events, encode(stored, source=identity.source, historical=False)
