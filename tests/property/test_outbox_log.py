"""An outbox whose log was lost or damaged while nobody looked: no name is ever given to two events."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import hypothesis.strategies as st
import msgspec
from hypothesis import given, settings

from agent.delivery import wal
from agent.delivery.outbox import Outbox
from agent.events.types import Counts, Event, OutboxReset
from tests.delivery_parts import came, changed, counted, open_outbox

# What a run does: store a few events (many make the log longer), take an acknowledgement, connect, publish.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.sampled_from([1, 1, 1, 2, 3, 20, 500])),
        st.tuples(st.just("acknowledge"), st.integers(1, 300)),
        st.tuples(st.just("connect"), st.just(0)),
    ),
    min_size=1,
    max_size=60,
)


class Fate:
    """What happened to an outbox in all its runs, as its subscribers see it."""

    def __init__(self) -> None:
        self.published: dict[tuple[str, int], bytes] = {}
        self.decided = 0
        self.waiting: set[int] = set()
        """The numbers that were not acknowledged when the outbox was last looked at."""

    def live(self, outbox: Outbox, steps: list[tuple[str, int]]) -> None:
        for action, count in steps:
            match action:
                case "store":
                    outbox.append([self._event(number) for number in range(self.decided, self.decided + count)])
                    self.decided += count
                    self.publish(outbox)
                case "acknowledge":
                    outbox.acknowledge(outbox.stream, min(outbox.acknowledged + count, outbox.last_sequence))
                case "connect":
                    outbox.next_session()
        rows = outbox.pending(0, 1_000_000)
        self.waiting = {number_of(row.data) for row in rows if row.type == Counts.TYPE}

    def publish(self, outbox: Outbox) -> None:
        for row in outbox.pending(0, 1_000_000):
            name = (row.stream, row.sequence)
            assert self.published.setdefault(name, row.data) == row.data, f"{name} names two events"

    @staticmethod
    def _event(number: int) -> Event:
        return counted(number) if number % 3 else changed(f"aa-{number % 2}") if number % 2 else came(f"aa-{number}")


def number_of(data: bytes) -> int:
    return msgspec.json.decode(data, type=Counts).frames


def counts_in(file: Path) -> set[int]:
    """Read the numbers that are in the file itself, whatever its log says; none when it cannot be read."""
    with closing(sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True)) as db, suppress(sqlite3.Error):
        return {number_of(data) for (data,) in db.execute("SELECT data FROM events WHERE type = ?", (Counts.TYPE,))}
    return set()


@contextmanager
def scratch() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def killed(outbox: Outbox, directory: Path, copy: Path) -> Path:
    """Copy what a SIGKILL leaves, now; gives the file."""
    shutil.copytree(directory, copy)
    outbox.close(clean=False)
    return copy / "outbox.db"


def survives(file: Path, fate: Fate, more: list[tuple[str, int]], *, harm: bool) -> None:
    """Go on with a file after a kill, and check what is published. harm: something of the log was lost for certain."""
    in_the_file = counts_in(file)
    again = open_outbox(file.parent)
    try:
        fate.publish(again)
        found = {number_of(row.data) for row in again.pending(0, 1_000_000) if row.type == Counts.TYPE}
        assert found >= in_the_file & fate.waiting
        told = [row for row in again.pending(0, 3) if row.type == OutboxReset.TYPE]
        if harm:
            assert told
            assert msgspec.json.decode(told[0].data, type=OutboxReset).why.startswith("the log is")
        fate.live(again, more)
    finally:
        again.close(clean=False)


def before_and_killed(directory: Path, fate: Fate, steps: list[tuple[str, int]], restarts: bool) -> Path:
    outbox = open_outbox(directory / "one")
    if restarts:
        fate.live(outbox, [("store", 3), ("acknowledge", 2)])
        outbox.close(clean=True)
        outbox = open_outbox(directory / "one")
    fate.live(outbox, steps)
    return killed(outbox, directory / "one", directory / "two")


@given(steps=STEPS, more=STEPS, restarts=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_kill_alone_loses_nothing_and_begins_no_new_stream(
    steps: list[tuple[str, int]], more: list[tuple[str, int]], restarts: bool
) -> None:
    with scratch() as directory:
        fate = Fate()
        file = before_and_killed(directory, fate, steps, restarts)
        survives(file, fate, more, harm=False)
        assert len({stream for stream, _ in fate.published}) <= 1


@given(steps=STEPS, more=STEPS, restarts=st.booleans())
@settings(max_examples=60, deadline=None)
def test_without_its_log_an_outbox_begins_a_new_stream(
    steps: list[tuple[str, int]], more: list[tuple[str, int]], restarts: bool
) -> None:
    with scratch() as directory:
        fate = Fate()
        file = before_and_killed(directory, fate, steps, restarts)
        wal.log_of(file).unlink()
        survives(file, fate, more, harm=True)


@given(steps=STEPS, more=STEPS, restarts=st.booleans(), part=st.floats(0, 1, exclude_max=True))
@settings(max_examples=90, deadline=None)
def test_with_its_log_cut_off_anywhere_an_outbox_begins_a_new_stream(
    steps: list[tuple[str, int]], more: list[tuple[str, int]], restarts: bool, part: float
) -> None:
    with scratch() as directory:
        fate = Fate()
        file = before_and_killed(directory, fate, steps, restarts)
        log = wal.log_of(file)
        os.truncate(log, int(log.stat().st_size * part))
        survives(file, fate, more, harm=True)


@given(
    steps=STEPS,
    more=STEPS,
    restarts=st.booleans(),
    part=st.floats(0, 1, exclude_max=True),
    with_=st.sampled_from(["zeros", "ones", "noise"]),
)
@settings(max_examples=90, deadline=None)
def test_with_garbage_in_the_place_of_the_end_of_its_log_an_outbox_begins_a_new_stream(
    steps: list[tuple[str, int]], more: list[tuple[str, int]], restarts: bool, part: float, with_: str
) -> None:
    with scratch() as directory:
        fate = Fate()
        file = before_and_killed(directory, fate, steps, restarts)
        log = wal.log_of(file)
        content = log.read_bytes()
        at = int((len(content) - 2 * wal.FRAME_BYTES) * part)
        left = len(content) - at
        garbage = {"zeros": b"\0" * left, "ones": b"\xff" * left, "noise": os.urandom(left)}[with_]
        log.write_bytes(content[:at] + garbage)
        survives(file, fate, more, harm=True)


@given(steps=STEPS, more=STEPS, part=st.floats(0, 1, exclude_max=True))
@settings(max_examples=60, deadline=None)
def test_with_one_page_of_its_log_gone_bad_nothing_has_two_names_unless_it_was_of_the_last_commit(
    steps: list[tuple[str, int]], more: list[tuple[str, int]], part: float
) -> None:
    with scratch() as directory:
        fate = Fate()
        file = before_and_killed(directory, fate, steps, False)
        log = wal.log_of(file)
        content = bytearray(log.read_bytes())
        commits = commit_slots(content)
        if len(commits) > 1:
            slot = int(part * (commits[-2] + 1))
            at = wal.HEADER_BYTES + slot * wal.FRAME_BYTES + 24
            content[at : at + 512] = os.urandom(512)
            log.write_bytes(content)
            survives(file, fate, more, harm=True)


def commit_slots(content: bytearray) -> list[int]:
    """Give the slots of this round whose frames end a transaction."""
    salts = content[16:24]
    frames = range(wal.HEADER_BYTES, len(content) - wal.FRAME_BYTES + 1, wal.FRAME_BYTES)
    heads = [bytes(content[at : at + 24]) for at in frames]
    return [slot for slot, head in enumerate(heads) if head[8:16] == salts and any(head[4:8])]
