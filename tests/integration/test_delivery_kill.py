"""SIGKILL at random instants: what was on the disk arrives, in order, and nothing arrives that was not."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.events.envelope import decode
from tests.delivery_parts import IDENTITY, TurnedClock
from tests.integration.test_delivery_broker import parts_for
from tests.real import Mosquitto, Subscriber, running

KILLS = 12


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def run_and_kill(directory: Path, url: str, first: int, lines: int) -> int:
    """Let a process deliver, kill it after so many of its lines; gives the last sequence that it knew to be stored."""
    command = [sys.executable, "-m", "tests.integration.delivery_process", str(directory), url, str(first)]
    with running(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        stored = 0
        for _ in range(lines):
            stored = int(process.stdout.readline().split()[0])
        process.kill()
        rest = process.stdout.read().split("\n")  # what it had said before it died counts as said
        said = [line for line in rest if len(line.split()) == 2]
        return int(said[-1].split()[0]) if said else stored


def test_nothing_stored_is_lost_over_kills_between_commit_and_publish(broker: Mosquitto, tmp_path: Path) -> None:
    rng = random.Random(612)
    directory = tmp_path / "outbox"
    with Subscriber(broker) as subscriber:
        stored = 0
        for kill in range(KILLS):
            stored = max(stored, run_and_kill(directory, broker.url, kill * 10_000, rng.randrange(1, 60)))
        clock = TurnedClock()
        parts = parts_for(broker, directory, clock)
        assert parts.outbox.previous_stop == "unclean"
        assert parts.outbox.last_sequence >= stored

        def delivered() -> bool:
            clock.turn(0.1)
            return parts.delivery.figures.backlog == 0

        parts.step_until(delivered)
        last = parts.outbox.last_sequence
        subscriber.wait_for(
            lambda: len({decode(payload).id for payload in subscriber.payloads(IDENTITY.events)}) == last
        )
        parts.delivery.close("over")
    events = {}
    for payload in subscriber.payloads(IDENTITY.events):
        event = decode(payload)
        number = event.data.frames  # type: ignore[union-attr]
        assert events.setdefault(int(event.sequence), number) == number  # one sequence, one event, for good
    assert sorted(events) == list(range(1, last + 1))
    in_order = [events[sequence] for sequence in sorted(events)]
    assert in_order == sorted(in_order)
    assert len(set(in_order)) == len(in_order)
