"""A rescue begins a stream without holes, whoever was present when the file broke."""

from pathlib import Path

from agent.delivery.outbox import Outbox
from agent.delivery.schema import PAGE_BYTES
from agent.events.types import OutboxReset
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
