"""What delivery writes to a card: counted at the block device of a file system of its own where that can be had."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.delivery_parts import Parts, ScriptedLink, TurnedClock, came, changed, make_parts, went
from tests.disks import Ext4, ext4

LONE_BYTES_MAX = 16_000
BURST_BYTES_MAX = 3_500


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Ext4]:
    with ext4(tmp_path, megabytes=64) as disk:
        yield disk


def at_work(directory: Path) -> tuple[Parts, TurnedClock]:
    clock = TurnedClock()
    parts = make_parts(directory / "outbox", ScriptedLink(), clock)
    for _ in range(20):
        clock.turn(0.1)
        parts.delivery.step(0)
    return parts, clock


def person(parts: Parts, clock: TurnedClock, number: int, *, apart_s: float) -> None:
    """Hand over the three events of a person, delivering and deleting as they come."""
    for event in (came, changed, went):
        parts.hand_over.put([event(f"aa-{number}", clock.now_ns())])
        for _ in range(4):
            parts.delivery.step(0)
            clock.turn(apart_s / 4)


def test_a_burst_and_a_lone_event_stay_within_their_bytes_and_idling_writes_none(
    card: Ext4,
) -> None:
    parts, clock = at_work(card.at)
    before = card.written_bytes
    for number in range(8):
        person(parts, clock, number, apart_s=5.0)
    lone = (card.written_bytes - before) / 24
    before = card.written_bytes
    for number in range(8, 341):
        person(parts, clock, number, apart_s=0.01)
    burst = (card.written_bytes - before) / 999
    for _ in range(3):
        clock.turn(1.0)
        parts.delivery.step(0)
    assert parts.delivery.figures.acknowledged == parts.delivery.figures.stored == 1023
    before = card.written_bytes
    for _ in range(600):
        clock.turn(1.0)
        parts.delivery.step(0)
    idle = card.written_bytes - before
    parts.delivery.close("over")
    print(f"lone {lone:.0f} B/event, burst {burst:.0f} B/event, ten idle minutes {idle} B")
    assert lone <= LONE_BYTES_MAX
    assert burst <= BURST_BYTES_MAX
    assert idle == 0
