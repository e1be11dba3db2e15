"""SQLite's log as bytes: what a kill or a power cut leaves is no damage, and what is none of theirs is."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from agent.delivery import wal

LENGTH = wal.HEADER_BYTES + 40 * wal.FRAME_BYTES
NO_FLAW = wal.Finding(size=LENGTH)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with commits of one, two and five frames in its log, copied as a kill leaves it."""
    with closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as db:
        db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (a); PRAGMA wal_checkpoint(TRUNCATE);")
        for size in (100, 5000, 18_000):
            db.execute("INSERT INTO t VALUES (?)", (os.urandom(size),))
        shutil.copy(tmp_path / "live.db", tmp_path / "x.db")
        shutil.copy(tmp_path / "live.db-wal", tmp_path / "x.db-wal")
    wal.fill(tmp_path / "x.db", LENGTH)
    return tmp_path / "x.db"


def slots(file: Path) -> list[tuple[int, bool]]:
    """Give the slots in use, each with whether its frame ends a transaction."""
    content = wal.log_of(file).read_bytes()
    heads = [content[at : at + 24] for at in range(wal.HEADER_BYTES, len(content), wal.FRAME_BYTES)]
    return [(slot, any(head[4:8])) for slot, head in enumerate(heads) if head[8:16] == content[16:24]]


def scribble(file: Path, slot: int, *, at: int = 24, size: int = 64, with_: bytes | None = None) -> None:
    with wal.log_of(file).open("r+b") as log:
        log.seek(wal.HEADER_BYTES + slot * wal.FRAME_BYTES + at)
        log.write(with_ or os.urandom(size))


def test_a_log_as_it_was_written_has_no_flaw(file: Path) -> None:
    used = slots(file)
    assert [ends for _, ends in used].count(True) == 3
    assert len(used) >= 8
    assert wal.inspect(file) == NO_FLAW
    assert NO_FLAW.doubt(LENGTH) == NO_FLAW.doubt(LENGTH - 1) == ""
    assert NO_FLAW.doubt(LENGTH + 1) == "the log is cut off"


def test_a_last_commit_of_which_some_blocks_are_missing_is_what_a_power_cut_leaves(file: Path) -> None:
    used = slots(file)
    last = [slot for slot, ends in used if ends][-2] + 1  # the first frame of the last transaction
    for slot in range(last, used[-1][0] + 1):
        scribble(file, slot)
        assert wal.inspect(file) == NO_FLAW


def test_a_bad_frame_before_a_commit_that_others_follow_is_damage(file: Path) -> None:
    first_end = next(slot for slot, ends in slots(file) if ends)
    scribble(file, first_end)
    finding = wal.inspect(file)
    assert finding.flaw == "the log is damaged in the middle"
    assert finding.doubt(LENGTH) == finding.doubt(1) == finding.flaw


@pytest.mark.parametrize("with_", [b"\0" * 24, b"\xff" * 24])
def test_a_slot_that_was_never_written_so_is_damage_as_far_as_the_log_was_known_to_reach(
    file: Path, with_: bytes
) -> None:
    slot = slots(file)[-1][0] + 3
    scribble(file, slot, at=0, with_=with_)
    finding = wal.inspect(file)
    end = wal.HEADER_BYTES + (slot + 1) * wal.FRAME_BYTES
    assert finding == wal.Finding(size=LENGTH, flaw="the log is damaged at its end", flaw_end=end)
    assert finding.doubt(end) == finding.flaw
    assert finding.doubt(end - 1) == ""  # nobody said that this was on the disk


@pytest.mark.parametrize(("rounds_ago", "flaw"), [(1, ""), (65_535, ""), (65_536, "the log is damaged at its end")])
def test_a_frame_of_an_earlier_round_may_lie_behind_the_end(file: Path, rounds_ago: int, flaw: str) -> None:
    salt = int.from_bytes(wal.log_of(file).read_bytes()[16:20], "big")
    earlier = ((salt - rounds_ago) % (1 << 32)).to_bytes(4, "big")
    scribble(file, slots(file)[-1][0] + 1, at=8, with_=earlier)
    assert wal.inspect(file).flaw == flaw


def test_a_log_of_nothing_but_filler_is_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    assert wal.size(file) == 0
    assert wal.inspect(file) == wal.Finding(size=0)
    assert wal.inspect(file).doubt(1) == "the log is missing"
    wal.fill(file, LENGTH)
    assert wal.size(file) == LENGTH
    assert wal.inspect(file) == NO_FLAW
    wal.fill(file, LENGTH - 1)
    assert wal.size(file) == LENGTH


def test_a_header_that_is_not_of_sqlite_is_damage(file: Path) -> None:
    with wal.log_of(file).open("r+b") as log:
        log.seek(20)
        log.write(b"xxxx")
    assert wal.inspect(file).flaw == "the log is damaged at its start"
