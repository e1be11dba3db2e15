"""The agent's delivery and the collector with the shipped cluster between them: nothing is lost, whatever it loses."""

import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

import pytest

from agent.clock import SystemClock, boot_id, new_id
from agent.delivery.delivery import Delivery
from agent.delivery.handover import HandOver
from agent.delivery.mqtt import MqttLink
from agent.delivery.outbox import Outbox
from agent.settings import MqttSettings, ReportSettings
from tests.cluster import Door
from tests.delivery_parts import IDENTITY, counted
from tests.real import spawn, wait_for
from tools.fleet.cluster import SIZE, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
_WITHIN_S = 120.0
_CLOCK = SystemClock()


class Agent:
    """The delivery of cam1, on a thread, with its disk in a folder."""

    def __init__(self, folder: Path, cluster: Cluster, url: str) -> None:
        certificate, key = cluster.certificate("cam1")
        settings = MqttSettings(
            url=url, ca_file=str(cluster.ca), cert_file=str(certificate), key_file=str(key), ack_mode="collector"
        )
        self.outbox = Outbox.open(folder, clock=_CLOCK, new_id=new_id, boot_id=boot_id(), quota_mb=8.0)
        self._hand_over = HandOver()
        self.delivery = Delivery(
            identity=IDENTITY,
            mqtt=settings,
            report=ReportSettings(),
            hand_over=self._hand_over,
            outbox=self.outbox,
            link=MqttLink(settings, client_id=IDENTITY.device, spawn=spawn, environ={}),
            clock=_CLOCK,
            rng=random.Random(7),
            telemetry=lambda: None,
            frames_coming=lambda: False,
        )
        self.decided = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.delivery.close("test over")

    def decide(self, more: int) -> None:
        """Hand over so many events, and wait until the disk has them."""
        for _ in range(more // 10):
            self._hand_over.put([counted(self.decided + number, _CLOCK.now_ns()) for number in range(10)])
            self.decided += 10
            wait_for(lambda: self.outbox.last_sequence >= self.decided, what="the disk")

    def _run(self) -> None:
        while not self._ended.is_set():
            self.delivery.step(0.02)


def test_nothing_is_lost_though_every_node_dies_in_turn_and_then_all_at_once(cluster: Cluster, tmp_path: Path) -> None:
    store = tmp_path / "events.db"
    with Door(cluster.ports) as door, collecting(cluster, door, store), agent(cluster, door, tmp_path) as board:
        for node in range(SIZE):
            board.decide(100)
            cluster.kill(node)
            board.decide(100)
            cluster.heal()
        for node in range(SIZE):
            cluster.kill(node)
        board.decide(100)
        cluster.heal()
        all_stored(board, store)


def test_nothing_is_lost_though_the_cluster_forgets_the_collectors_session(cluster: Cluster, tmp_path: Path) -> None:
    """And with it what it had acknowledged: this is what a PUBACK is worth."""
    store = tmp_path / "events.db"
    with Door(cluster.ports) as door, agent(cluster, door, tmp_path) as board:
        with collecting(cluster, door, store):
            board.decide(50)
            all_stored(board, store)
        board.decide(200)
        wait_for(lambda: waiting(cluster) >= 200, _WITHIN_S, "what waits for the collector")
        cluster.run("rabbitmqctl", "-q", "delete_queue", "-p", "maskwatch", "mqtt-subscription-collectorqos1")
        with collecting(cluster, door, store):
            all_stored(board, store)


def agent(cluster: Cluster, door: Door, folder: Path) -> Agent:
    return Agent(folder / "outbox", cluster, f"mqtts://localhost:{door.port}")


@contextmanager
def collecting(cluster: Cluster, door: Door, store: Path) -> Iterator[None]:
    """Run the reference collector."""
    certificate, key = cluster.certificate("collector")
    words = ["--broker", f"mqtts://localhost:{door.port}", "--store", f"sqlite://{store}"]
    words += ["--ca", str(cluster.ca), "--cert", str(certificate), "--key", str(key)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.fleet.collector", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"collector ready\n"
        yield
    finally:
        process.terminate()
        process.wait(30)


def all_stored(board: Agent, store: Path) -> None:
    """Wait until the outbox is empty; then the store holds every sequence, and each once."""
    wait_for(lambda: board.outbox.backlog == 0, _WITHIN_S, "an empty outbox")
    with closing(sqlite3.connect(store)) as database:
        rows = database.execute("SELECT sequence FROM events WHERE stream = ? ORDER BY sequence", [board.outbox.stream])
        sequences = [row[0] for row in rows]
    assert len(sequences) >= board.decided
    assert sequences == list(range(1, len(sequences) + 1))


def waiting(cluster: Cluster) -> int:
    """Tell how many messages the collector's queue holds."""
    told = cluster.run("rabbitmqctl", "-q", "list_queues", "-p", "maskwatch", "name", "messages")
    lines = [line.split() for line in told.splitlines()]
    return next(int(line[1]) for line in lines if line[0] == "mqtt-subscription-collectorqos1")
