"""A rescue begins a stream without holes, whoever was present when the file broke."""

from pathlib import Path

import msgspec

from agent.delivery.outbox import Outbox
from agent.delivery.schema import PAGE_BYTES
from agent.events.types import Counts, OutboxReset
from tests.delivery_parts import came, counted, open_outbox, went


def broken_with_persons_present(directory: Path, times: int = 1) -> Outbox:
    """Give an outbox set aside so many times, two persons told of and still present each time."""
    outbox = open_outbox(directory)
    outbox.append([came("aa-1"), came("aa-2")])
    for _ in range(times):
        outbox.acknowledge(outbox.stream, outbox.last_sequence)
        outbox.append([counted(number) for number in range(40)])
        outbox.close(clean=False)
        file = directory / "outbox.db"
        with file.open("r+b") as opened:
            opened.seek(2 * PAGE_BYTES)
            opened.write(b"\xff" * PAGE_BYTES)
        outbox = open_outbox(directory)
    return outbox


def test_what_is_kept_of_persons_present_leaves_no_hole_in_the_new_stream(tmp_path: Path) -> None:
    outbox = broken_with_persons_present(tmp_path / "outbox")
    waiting = outbox.pending(limit=100)
    assert waiting[0].type == OutboxReset.TYPE
    assert [row.sequence for row in waiting] == list(range(1, len(waiting) + 1))
    assert [person.person for person in outbox.open_persons()] == ["aa-1", "aa-2"]


def test_persons_present_outlive_a_second_rescue_and_end_once(tmp_path: Path) -> None:
    outbox = broken_with_persons_present(tmp_path / "outbox", times=2)
    assert [person.person for person in outbox.open_persons()] == ["aa-1", "aa-2"]
    outbox.append([went("aa-1")])
    outbox.acknowledge(outbox.stream, outbox.last_sequence)
    outbox.close(clean=True)
    assert [person.person for person in open_outbox(tmp_path / "outbox").open_persons()] == ["aa-2"]


def test_a_file_cut_off_in_the_middle_gives_what_lies_before_the_cut(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "outbox")
    for number in range(300):
        outbox.append([counted(number)])
    outbox.close(clean=True)
    file = tmp_path / "outbox" / "outbox.db"
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2 // PAGE_BYTES * PAGE_BYTES)
    waiting = open_outbox(tmp_path / "outbox").pending(limit=1000)
    numbers = [msgspec.json.decode(row.data, type=Counts).frames for row in waiting if row.type == Counts.TYPE]
    assert numbers == list(range(len(numbers)))
    assert 50 < len(numbers) < 300


def test_a_file_without_its_header_gives_all_that_lies_behind_it(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "outbox")
    outbox.append([counted(number) for number in range(300)])
    stream = outbox.stream
    outbox.close(clean=True)
    with (tmp_path / "outbox" / "outbox.db").open("r+b") as opened:
        opened.write(bytes(range(100)))
    reset, *rows = open_outbox(tmp_path / "outbox").pending(limit=1000)
    assert [msgspec.json.decode(row.data, type=Counts).frames for row in rows] == list(range(300))
    told = msgspec.json.decode(reset.data, type=OutboxReset)
    assert (told.old_stream, told.saved, told.last_sequence) == (stream, 300, 300)
