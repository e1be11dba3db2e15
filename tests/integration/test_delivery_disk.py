"""What delivery writes to a card: counted at the block device of a file system of its own where that can be had."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.delivery_parts import Parts, ScriptedLink, TurnedClock, came, changed, make_parts, went

LONE_BYTES_MAX = 16_000
BURST_BYTES_MAX = 3_500


@pytest.fixture
def card(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], int]]]:
    """Give a fresh ext4 of 4 kB blocks, and how many bytes its device has been written."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a loop device")
    image, mount = tmp_path / "image", tmp_path / "card"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(64_000_000)
    options = "lazy_itable_init=0,lazy_journal_init=0"
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-E", options, "-F", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, mount], check=False, capture_output=True).returncode:
        pytest.skip("needs mount(8) with a loop device")
    device = subprocess.run(["findmnt", "-no", "SOURCE", mount], check=True, capture_output=True, text=True).stdout
    counters = Path("/sys/block") / Path(device.strip()).name / "stat"

    def written() -> int:
        os.sync()
        return int(counters.read_text().split()[6]) * 512

    yield mount, written
    subprocess.run(["umount", mount], check=True)


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
    card: tuple[Path, Callable[[], int]],
) -> None:
    directory, written = card
    parts, clock = at_work(directory)
    before = written()
    for number in range(8):
        person(parts, clock, number, apart_s=5.0)
    lone = (written() - before) / 24
    before = written()
    for number in range(8, 341):
        person(parts, clock, number, apart_s=0.01)
    burst = (written() - before) / 999
    for _ in range(3):
        clock.turn(1.0)
        parts.delivery.step(0)
    assert parts.delivery.figures.acknowledged == parts.delivery.figures.stored == 1023
    before = written()
    for _ in range(600):
        clock.turn(1.0)
        parts.delivery.step(0)
    idle = written() - before
    parts.delivery.close("over")
    print(f"lone {lone:.0f} B/event, burst {burst:.0f} B/event, ten idle minutes {idle} B")
    assert lone <= LONE_BYTES_MAX
    assert burst <= BURST_BYTES_MAX
    assert idle == 0
