"""Room on the disk: the reserve, the bound, and what is said. What follows on a full disk: test_delivery_full.py."""

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from agent.delivery import schema
from agent.delivery.outbox import Outbox
from agent.delivery.room import RESERVE_BYTES, Room
from agent.errors import StorageError
from agent.events.types import Event, Gap
from tests.delivery_parts import came, counted, open_outbox
from tests.disks import Disk, in_memory


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with in_memory(tmp_path, megabytes=8) as made:
        yield made


def held_bytes(directory: Path) -> int:
    reserve = directory / "outbox.reserve"
    return reserve.stat().st_blocks * 512 if reserve.exists() else 0


def store(outbox: Outbox, count: int) -> None:
    for number in range(0, count, 100):
        outbox.append([counted(number + more) for more in range(100)])


def test_the_reserve_lies_there_from_the_start_and_outlives_a_stop(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    assert held_bytes(tmp_path) >= RESERVE_BYTES
    assert outbox.hindrance() == ""
    outbox.close(clean=True)
    assert held_bytes(tmp_path) >= RESERVE_BYTES


@pytest.mark.parametrize("left_of_it", [None, 0, RESERVE_BYTES - 4096])
def test_a_reserve_that_is_missing_or_too_small_is_made_again_at_the_next_start(
    tmp_path: Path, left_of_it: int | None
) -> None:
    open_outbox(tmp_path).close(clean=True)
    reserve = tmp_path / "outbox.reserve"
    reserve.unlink()
    if left_of_it is not None:
        reserve.write_bytes(b"\1" * left_of_it)
    open_outbox(tmp_path).close(clean=True)
    assert held_bytes(tmp_path) >= RESERVE_BYTES


def test_a_reserve_with_holes_is_none(tmp_path: Path) -> None:
    open_outbox(tmp_path).close(clean=True)
    reserve = tmp_path / "outbox.reserve"
    reserve.unlink()
    with reserve.open("wb") as file:  # as a copying program may leave it
        file.truncate(RESERVE_BYTES)
    open_outbox(tmp_path).close(clean=True)
    assert held_bytes(tmp_path) >= RESERVE_BYTES


def test_two_megabytes_are_needed_for_a_reserve_at_the_start_and_four_to_make_it_again(disk: Disk) -> None:
    filler = disk.fill(leave_bytes=2 * RESERVE_BYTES - 4096)
    outbox = open_outbox(disk.at / "box")
    assert held_bytes(disk.at / "box") == 0
    assert "the disk is full: events have 0.5 MB, the oldest go first; make room on it" in outbox.hindrance()
    outbox.close(clean=True)
    filler.unlink()
    filler = disk.fill(leave_bytes=2 * RESERVE_BYTES + 300_000)  # what a start takes itself
    again = open_outbox(disk.at / "box")
    assert held_bytes(disk.at / "box") >= RESERVE_BYTES
    assert again.hindrance() == ""
    disk.fill()
    store(again, 8000)
    assert held_bytes(disk.at / "box") == 0
    assert "the disk is full" in again.hindrance()
    filler.unlink()
    filler = disk.fill(leave_bytes=4 * RESERVE_BYTES - 4096)
    assert "the disk is full" in again.hindrance()
    filler.unlink()
    disk.fill(leave_bytes=4 * RESERVE_BYTES)
    assert again.hindrance() == ""
    assert held_bytes(disk.at / "box") >= RESERVE_BYTES
    assert again.hindrance() == ""
    again.close(clean=True)


def test_a_file_that_is_held_stays_as_large_as_it_is_and_grows_again_afterwards(disk: Disk) -> None:
    file = disk.at / "box" / "outbox.db"
    outbox = open_outbox(disk.at / "box", quota_mb=3.0)
    store(outbox, 8000)
    filler = disk.fill()
    store(outbox, 8000)
    size = file.stat().st_size
    assert 0 < size < 2_000_000
    assert f"events have {size / 1e6:.1f} MB" in outbox.hindrance()
    store(outbox, 8000)
    assert file.stat().st_size == size
    gaps = [msgspec.json.decode(row.data, type=Gap) for row in outbox.pending(0, 100_000) if row.type == Gap.TYPE]
    assert {gap.why for gap in gaps} == {"disk"}
    filler.unlink()
    assert outbox.hindrance() == ""
    store(outbox, 20_000)
    assert 2_500_000 < file.stat().st_size <= 3_000_000
    gaps = [msgspec.json.decode(row.data, type=Gap) for row in outbox.pending(0, 100_000) if row.type == Gap.TYPE]
    assert "quota" in {gap.why for gap in gaps}
    outbox.close(clean=True)


def test_a_small_file_may_still_grow_to_half_a_megabyte_on_a_full_disk(disk: Disk) -> None:
    outbox = open_outbox(disk.at / "box")
    disk.fill()
    store(outbox, 8000)
    pages = (disk.at / "box" / "outbox.db").stat().st_size // schema.PAGE_BYTES
    assert 110 < pages <= 128
    assert outbox.backlog > 1500
    outbox.close(clean=True)


def test_on_a_full_disk_the_file_that_lies_there_for_a_look_goes_too(disk: Disk) -> None:
    outbox = open_outbox(disk.at / "box")
    for name in ("outbox.damaged.db", "outbox.damaged.db-wal"):
        (disk.at / "box" / name).write_bytes(b"\1" * 100_000)
    disk.fill()
    store(outbox, 8000)
    assert {path.name for path in (disk.at / "box").iterdir()} == {"outbox.db", "outbox.db-wal", "outbox.lock"}
    outbox.close(clean=True)


def test_a_group_that_is_larger_than_the_quota_is_refused_and_costs_no_reserve(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, quota_mb=0.1)
    with pytest.raises(StorageError, match="the disk is full; make room on it, or lower"):
        outbox.append([counted(number) for number in range(500)])
    assert held_bytes(tmp_path) >= RESERVE_BYTES
    assert outbox.hindrance() == ""
    outbox.append([counted(1)])
    assert outbox.last_sequence == 1
    outbox.close(clean=True)


def test_a_start_on_a_disk_that_is_full_by_now_takes_the_reserve(disk: Disk) -> None:
    outbox = open_outbox(disk.at / "box")
    outbox.append([counted(1)])
    outbox.close(clean=True)
    disk.fill()
    again = open_outbox(disk.at / "box")
    assert held_bytes(disk.at / "box") == 0
    again.append([counted(2)])
    assert [row.sequence for row in again.pending()] == [1, 2]
    again.close(clean=True)


def test_a_start_on_a_full_disk_without_a_reserve_is_one_line(disk: Disk) -> None:
    (disk.at / "box").mkdir()
    disk.fill()
    with pytest.raises(StorageError) as raised:
        open_outbox(disk.at / "box")
    assert raised.value.exit_code == 74
    assert str(raised.value).startswith(f"{disk.at}/box")


def test_room_that_comes_back_while_the_file_is_closed_is_taken_note_of(disk: Disk) -> None:
    room = Room(disk.at / "outbox.db", quota_pages=1000)
    with closing(schema.connect(disk.at / "outbox.db", pages_max=1000)) as db:
        filler = disk.fill()
        room.settle(db)
        assert room.pages_max == 128
        assert room.why == "disk"
    filler.unlink()
    room.look(db)
    assert (room.pages_max, room.trouble, room.why) == (1000, "", "quota")


def test_what_happens_to_the_room_is_said_once_each(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.delivery.room")
    outbox = open_outbox(disk.at / "box")
    filler = disk.fill()
    store(outbox, 8000)
    trouble = outbox.hindrance()
    filler.unlink()
    assert outbox.hindrance() == outbox.hindrance() == ""
    said = [record.getMessage() for record in caplog.records if record.name == "agent.delivery.room"]
    assert said == [f"outbox.disk_full why={trouble!r}", "outbox.disk_full.over"]
    outbox.close(clean=True)


def test_a_group_that_even_the_reserve_does_not_help_is_one_line(disk: Disk) -> None:
    outbox = open_outbox(disk.at / "box")
    outbox.append([came(f"aa-{number}") for number in range(100)])  # their last words stay
    disk.fill()
    long = Gap(first=1, last=2, by_type={f"{number:040}": 2**31 - 1 for number in range(16)}, why="disk")
    with pytest.raises(StorageError) as raised:
        outbox.append([Event(at_ns=0, data=long)] * 500)
    line = f"{disk.at}/box/outbox.db: the disk is full; make room on it, or lower outbox.quota_mb"
    assert str(raised.value) == line
    outbox.append([counted(1)])
    assert outbox.pending(0, 1000)[-1].type == "maskwatch.counts.v1"
    outbox.close(clean=True)
