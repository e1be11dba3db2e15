"""Somebody else fills the disk: what was decided arrives or is named in a gap, and nobody has to help."""

import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from agent.delivery.room import RESERVE_BYTES
from agent.events.envelope import decode
from agent.events.state import Status
from agent.events.types import Gap
from tests.delivery_parts import IDENTITY, Parts, ScriptedLink, TurnedClock, came, counted, make_parts, went
from tests.disks import Disk, ext4, in_memory

TURNS = 6


@pytest.fixture(params=["in memory", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    make = in_memory(tmp_path, megabytes=16) if request.param == "in memory" else ext4(tmp_path, megabytes=24)
    with make as made:
        yield made


class Board:
    """A delivery on a disk, with a broker that can be away, and the numbers of all events decided."""

    def __init__(self, disk: Disk, directory: str = "outbox", quota_mb: float = 64.0) -> None:
        self.clock = TurnedClock()
        self.link = ScriptedLink()
        self.parts: Parts = make_parts(disk.at / directory, self.link, self.clock, quota_mb=quota_mb)
        self.decided = 0
        self.steps(20)

    def broker(self, *, away: bool) -> None:
        self.link.accepts = not away
        if away and self.link.up:
            self.link.lose()
        self.steps(20)

    def decide(self, count: int, *, group: int = 20) -> None:
        for _ in range(0, count, group):
            self.parts.hand_over.put([counted(self.decided + n, self.clock.now_ns()) for n in range(group)])
            self.decided += group
            self.steps(1)

    def steps(self, count: int, seconds: float = 0.1) -> None:
        for _ in range(count):
            self.clock.turn(seconds)
            self.parts.delivery.step(0)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            self.clock.turn(0.1)
            return condition()

        self.parts.step_until(holds, steps=20_000, timeout_s=0)

    def deliver_all(self) -> None:
        self.wait_for(lambda: self.parts.outbox.backlog == self.parts.delivery.figures.waiting == 0)

    @property
    def said(self) -> str:
        statuses = self.link.on(IDENTITY.status)
        return (msgspec.json.decode(statuses[-1], type=Status).reason or "") if statuses else ""

    def account(self) -> tuple[int, int]:
        """Check that each event decided has arrived or was counted in a gap that names its sequence.

        Gives how many arrived, and how many did not.
        """
        events = [decode(payload) for payload in self.link.on(IDENTITY.events)]
        by_sequence = {int(event.sequence): event for event in events}
        numbers = [event.data.frames for event in by_sequence.values() if event.type == "maskwatch.counts.v1"]  # type: ignore[union-attr]
        gaps = [event.data for event in by_sequence.values() if isinstance(event.data, Gap)]
        named = {sequence for gap in gaps for sequence in range(gap.first, gap.last + 1)} - by_sequence.keys()
        lost = sum(gap.by_type.get("maskwatch.counts.v1", 0) for gap in gaps)
        assert {event.stream for event in events} == {self.parts.outbox.stream}
        assert len(numbers) == len(set(numbers))
        assert len(numbers) + lost == self.decided
        assert by_sequence.keys() | named == set(range(1, self.parts.outbox.last_sequence + 1))
        return len(numbers), lost


def test_on_a_disk_that_somebody_fills_a_board_goes_on_and_recovers_by_itself(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.delivery.room")
    board = Board(disk)
    board.parts.hand_over.put([came("aa-1")])
    board.broker(away=True)
    board.decide(3000)
    filler = disk.fill()
    board.decide(6000)  # what was stored first gives way
    board.parts.hand_over.put([went("aa-1")])
    board.steps(1)
    assert board.parts.outbox.open_persons() == []
    assert board.parts.delivery.figures.waiting == 0  # all of it is on the disk
    assert board.parts.delivery.figures.storage.startswith(f"{disk.at}/outbox/outbox.db: the disk is full: events have")
    board.broker(away=False)
    board.wait_for(lambda: "the disk is full" in board.said)
    assert said_of_room(caplog) == ["outbox.disk_full"]
    board.deliver_all()
    board.decide(2000)  # with the broker there, the little room is enough
    board.deliver_all()
    arrived, lost = board.account()
    assert arrived >= 3000
    assert lost >= 2000
    filler.unlink()
    board.steps(2)
    assert said_of_room(caplog) == ["outbox.disk_full", "outbox.disk_full.over"]
    assert board.parts.delivery.figures.storage == ""
    assert (disk.at / "outbox" / "outbox.reserve").stat().st_blocks * 512 >= RESERVE_BYTES
    board.broker(away=True)
    board.decide(12_000)  # the file may grow again
    board.broker(away=False)
    board.deliver_all()
    assert board.account()[1] == lost
    board.wait_for(lambda: board.said == "")
    board.parts.delivery.close("over")


def said_of_room(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message.split(" ")[0] for record in caplog.records if record.name == "agent.delivery.room"]


@pytest.mark.parametrize("greedy", [False, True], ids=["once", "and takes what is set free"])
def test_however_little_is_left_everything_acknowledged_can_be_deleted(disk: Disk, greedy: bool) -> None:
    rng = random.Random(4711)
    needed_bytes = []
    for turn in range(TURNS):
        board = Board(disk, f"outbox-{turn}", quota_mb=4.0)
        board.broker(away=True)
        board.decide(rng.randrange(1, 4000), group=rng.choice((1, 20, 500)))
        filler = disk.fill(leave_bytes=rng.randrange(0, 600_000))
        board.decide(rng.choice((500, 2000)), group=rng.choice((1, 20, 500)))
        if greedy:
            disk.fill()
        board.broker(away=False)
        board.deliver_all()
        board.account()
        if board.parts.delivery.figures.storage:
            needed_bytes.append(RESERVE_BYTES - disk.free_bytes)
        board.parts.delivery.close("over")
        filler.unlink()
        shutil.rmtree(disk.at / f"outbox-{turn}")
    print(f"of the reserve at most {max(needed_bytes)} bytes were needed: {sorted(needed_bytes)}")
    assert len(needed_bytes) >= TURNS / 3


def test_a_board_that_starts_on_a_disk_that_is_full_by_now_delivers_what_it_has(disk: Disk) -> None:
    board = Board(disk)
    board.broker(away=True)
    board.decide(500)
    board.parts.delivery.close("over")
    filler = disk.fill()
    again = Board(disk)
    assert "the disk is full" in again.parts.delivery.figures.storage
    assert again.parts.outbox.previous_stop == "clean"
    again.decide(3000)
    again.deliver_all()
    arrived = {decode(payload).data.frames for payload in again.link.on(IDENTITY.events)}  # type: ignore[union-attr]
    assert arrived == set(range(3000))  # the first 500 of either
    filler.unlink()
    again.steps(2)
    assert again.parts.delivery.figures.storage == ""
    again.parts.delivery.close("over")
