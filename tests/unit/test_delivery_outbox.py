"""The outbox on a real file system: order, quota, damage, permission, and what a restart finds."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from agent.clock import NS_PER_S
from agent.delivery.outbox import APPEND_MAX, Outbox
from agent.delivery.recovery import restart_ends
from agent.errors import NotPermittedError, StorageError
from agent.events.envelope import Stored
from agent.events.types import Gap, OutboxReset, PersonEnd
from tests.delivery_parts import BOOT_ID, TurnedClock, came, changed, counted, open_outbox, went


def numbers(rows: list[Stored]) -> list[int]:
    return [msgspec.json.decode(row.data)["frames"] for row in rows if row.type == "maskwatch.counts.v1"]


def everything(outbox: Outbox) -> list[Stored]:
    return outbox.pending(0, 1_000_000)


def crash(outbox: Outbox) -> None:
    """Leave the outbox as a killed process would."""
    outbox.close(clean=False)


def test_sequences_start_at_one_and_have_no_holes(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(1), counted(2)])
    outbox.append([])
    outbox.append([counted(3)])
    assert [row.sequence for row in everything(outbox)] == [1, 2, 3]
    assert [row.stream for row in everything(outbox)] == [outbox.stream] * 3
    assert outbox.backlog == 3


def test_the_sequence_goes_on_after_everything_was_acknowledged_and_after_a_restart(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    stream = outbox.stream
    outbox.append([counted(1), counted(2)])
    assert outbox.acknowledge(stream, 2) == 2
    outbox.append([counted(3)])
    outbox.acknowledge(stream, 3)
    outbox.close(clean=True)
    again = open_outbox(tmp_path)
    assert again.stream == stream
    assert again.backlog == 0
    assert everything(again) == []
    again.append([counted(4)])
    assert [row.sequence for row in everything(again)] == [4]


def test_what_was_acknowledged_and_not_yet_deleted_comes_again_after_a_crash_and_nothing_else(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(1), counted(2)])
    outbox.acknowledge(outbox.stream, 1)
    outbox.append([counted(3)])
    outbox.acknowledge(outbox.stream, 2)
    crash(outbox)
    assert numbers(everything(open_outbox(tmp_path))) == [2, 3]


def test_acknowledged_rows_of_a_draining_backlog_are_deleted_in_bulk(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(number) for number in range(400)])
    outbox.acknowledge(outbox.stream, 300)
    crash(outbox)
    assert numbers(everything(open_outbox(tmp_path))) == list(range(300, 400))


@pytest.mark.parametrize(("acknowledged", "first_left"), [((100, 255), 1), ((100, 255, 256), 257), ((100, 300), 301)])
def test_acknowledged_rows_are_deleted_without_an_append_once_they_are_256(
    tmp_path: Path, acknowledged: tuple[int, ...], first_left: int
) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(number) for number in range(400)])
    for up_to in acknowledged:
        outbox.acknowledge(outbox.stream, up_to)
    crash(outbox)
    assert everything(open_outbox(tmp_path))[0].sequence == first_left


@pytest.mark.parametrize("total", [500, 501, 1000, 5003])
def test_a_whole_backlog_is_deleted_a_part_at_a_time_so_that_the_log_stays_short(tmp_path: Path, total: int) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([came("aa-1")])
    for start in range(1, total, 100):
        outbox.append([counted(start + number) for number in range(min(100, total - start))])
    log = tmp_path / "outbox.db-wal"
    before = log.stat().st_size
    assert outbox.acknowledge(outbox.stream, total) == total
    assert log.stat().st_size == before
    assert (outbox.backlog, outbox.acknowledged, outbox.last_sequence) == (0, total, total)
    crash(outbox)
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        assert db.execute("SELECT sequence FROM events").fetchall() == [(1,), (total,)]  # a last word, and the newest
    (tmp_path / "outbox.db-wal").write_bytes(b"m" * before)
    again = open_outbox(tmp_path)
    assert (again.backlog, again.last_sequence) == (0, total)
    assert [last.person for last in again.open_persons()] == ["aa-1"]


def test_an_append_after_many_acknowledgements_deletes_them_all(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for start in range(0, 2000, APPEND_MAX):
        outbox.append([counted(start + number) for number in range(APPEND_MAX)])
    outbox.acknowledge(outbox.stream, 1800)
    outbox.acknowledge(outbox.stream, 2000)
    outbox.append([counted(2000)])
    crash(outbox)
    assert numbers(everything(open_outbox(tmp_path))) == [2000]


def test_a_window_is_twenty_events_unless_said_otherwise(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(number) for number in range(30)])
    assert len(outbox.pending()) == 20


@pytest.mark.parametrize(("stream", "up_to"), [("0ther", 1), ("", 0), ("", 4), ("", -1)])
def test_an_acknowledgement_that_cannot_be_meant_changes_nothing(tmp_path: Path, stream: str, up_to: int) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(1), counted(2), counted(3)])
    assert outbox.acknowledge(stream or outbox.stream, up_to) == 0
    assert outbox.backlog == 3


def test_pending_gives_a_window_from_anywhere(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(number) for number in range(10)])
    outbox.acknowledge(outbox.stream, 2)
    assert [row.sequence for row in outbox.pending(0, 3)] == [3, 4, 5]
    assert [row.sequence for row in outbox.pending(8, 5)] == [9, 10]
    assert outbox.pending(10) == []


def test_an_event_keeps_what_happened_and_when(tmp_path: Path) -> None:
    clock = TurnedClock()
    outbox = open_outbox(tmp_path, clock=clock)
    at_ns, wall_ns = clock.now_ns(), clock.wall_ns()
    clock.turn(2.5)
    outbox.append([came("aa-1", at_ns)])
    (row,) = everything(outbox)
    assert (row.person, row.type, row.boot_id, row.at_ns) == ("aa-1", "maskwatch.person.new.v1", BOOT_ID, at_ns)
    assert row.at_wall_ns == wall_ns  # its age is taken off the wall clock of now
    assert row.recorded_wall_ns == wall_ns + int(2.5 * NS_PER_S)


def test_without_a_trusted_clock_there_is_no_wall_time(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, clock=TurnedClock(trusted=False))
    outbox.append([counted(1)])
    (row,) = everything(outbox)
    assert (row.at_wall_ns, row.recorded_wall_ns) == (None, None)


def test_each_connection_gets_the_next_number_over_restarts_and_crashes(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    assert (outbox.session, outbox.next_session(), outbox.next_session()) == (0, 1, 2)
    crash(outbox)
    again = open_outbox(tmp_path)
    assert again.next_session() == 3


def test_the_run_before_is_known_to_have_ended_well_or_not(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    assert outbox.previous_stop == "none"
    outbox.close(clean=True)
    outbox = open_outbox(tmp_path)
    assert outbox.previous_stop == "clean"
    crash(outbox)
    outbox = open_outbox(tmp_path)
    assert outbox.previous_stop == "unclean"


def test_persons_still_present_are_known_after_a_crash_even_if_all_was_acknowledged(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([came("aa-1"), came("aa-2"), came("aa-3")])
    outbox.append([changed("aa-1"), went("aa-2")])
    outbox.acknowledge(outbox.stream, 5)
    outbox.append([counted(1)])  # deletes what was acknowledged
    outbox.acknowledge(outbox.stream, 6)
    outbox.append([counted(2)])
    crash(outbox)
    again = open_outbox(tmp_path)
    persons = again.open_persons()
    assert [last.person for last in persons] == ["aa-3", "aa-1"]  # by the time of their last word
    assert numbers(everything(again)) == [2]  # their last words are kept and not sent again
    ends = restart_ends(persons, 77)
    again.append(ends)
    assert again.open_persons() == []
    sent = [row for row in everything(again) if row.type == PersonEnd.TYPE]
    assert [msgspec.json.decode(row.data, type=PersonEnd).reason for row in sent] == ["restart", "restart"]
    assert [row.person for row in sent] == ["aa-3", "aa-1"]
    again.acknowledge(again.stream, again.last_sequence)
    crash(again)
    assert open_outbox(tmp_path).open_persons() == []


def test_at_the_quota_the_oldest_go_and_a_gap_names_each_of_them(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, quota_mb=1.0)
    outbox.append([came("aa-1")])
    total = 1
    while outbox.given_up < 500:
        outbox.append([counted(total + number) for number in range(100)])
        total += 100
    rows = everything(outbox)
    gaps = [msgspec.json.decode(row.data, type=Gap) for row in rows if row.type == Gap.TYPE]
    named = {sequence for gap in gaps for sequence in range(gap.first, gap.last + 1)}
    present = {row.sequence for row in rows}
    assert named | present == set(range(1, outbox.last_sequence + 1))
    assert not named & present
    assert sum(sum(gap.by_type.values()) for gap in gaps) == len(named) == outbox.given_up
    assert all(gap.why == "quota" for gap in gaps)
    assert outbox.backlog == len(rows)
    assert numbers(rows) == sorted(numbers(rows))
    assert [last.person for last in outbox.open_persons()] == ["aa-1"]  # who is present outlives the row that told it
    assert sum(file.stat().st_size for file in tmp_path.glob("outbox.db")) <= 1_000_000


def test_a_gap_that_is_given_up_is_told_by_the_next_one(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, quota_mb=1.0)
    total = 0
    while outbox.given_up < 6000:
        outbox.append([counted(number) for number in range(APPEND_MAX)])
        total += APPEND_MAX
    rows = everything(outbox)
    gaps = [msgspec.json.decode(row.data, type=Gap) for row in rows if row.type == Gap.TYPE]
    named = {sequence for gap in gaps for sequence in range(gap.first, gap.last + 1)}
    assert named | {row.sequence for row in rows} >= set(range(1, outbox.last_sequence + 1))
    counts = sum(gap.by_type.get("maskwatch.counts.v1", 0) for gap in gaps)
    assert counts + len(numbers(rows)) == total


def test_a_lower_quota_than_before_is_reached_with_the_next_event(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path, quota_mb=8.0)
    for start in range(0, 10_000, APPEND_MAX):
        outbox.append([counted(start + number) for number in range(APPEND_MAX)])
    outbox.close(clean=True)
    smaller = open_outbox(tmp_path, quota_mb=1.0)
    assert smaller.backlog == 10_000
    smaller.append([counted(10_000)])
    assert smaller.backlog < 5000
    assert numbers(everything(smaller))[-1] == 10_000


def test_events_that_the_disk_never_took_have_sequences_that_a_gap_names(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(1)])
    outbox.append_loss({"maskwatch.counts.v1": 3, "maskwatch.person.new.v1": 1})
    outbox.append([counted(2)])
    first, gap, last = everything(outbox)
    assert (first.sequence, gap.sequence, last.sequence) == (1, 6, 7)
    told = msgspec.json.decode(gap.data, type=Gap)
    assert (told.first, told.last, told.why, sum(told.by_type.values())) == (2, 5, "disk", 4)
    assert outbox.given_up == 4


def test_what_is_given_up_is_said_at_once_and_then_from_time_to_time_with_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = TurnedClock()
    outbox = open_outbox(tmp_path, clock=clock)
    outbox.append_loss({"maskwatch.counts.v1": 3})
    outbox.append_loss({"maskwatch.counts.v1": 2})
    clock.turn(31)
    outbox.append_loss({"maskwatch.counts.v1": 1})
    assert [record.getMessage() for record in caplog.records] == [
        "outbox.gap why='disk: 3 events given up, the last of them 3' count=1",
        "outbox.gap why='disk: 6 events given up, the last of them 8' count=3",
    ]


def test_a_new_stream_is_said_with_what_was_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(1)])
    crash(outbox)
    tables_gone(tmp_path / "outbox.db")
    open_outbox(tmp_path).close(clean=True)
    (record,) = caplog.records
    assert record.getMessage() == "outbox.reset why='the log is missing' old_stream= saved=1"


def test_the_quota_holds_in_the_file_that_follows_a_damaged_one(tmp_path: Path) -> None:
    crash(open_outbox(tmp_path))
    text(tmp_path / "outbox.db")
    outbox = open_outbox(tmp_path, quota_mb=0.1)
    with pytest.raises(StorageError):
        outbox.append([counted(number) for number in range(500)])


def test_a_rescue_that_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    crash(open_outbox(tmp_path))
    text(tmp_path / "outbox.db")
    (tmp_path / "outbox.damaged.db").mkdir()
    with pytest.raises(StorageError) as raised:
        open_outbox(tmp_path)
    remedy = "check the disk, or name another outbox.directory"
    assert str(raised.value) == f"{tmp_path / 'outbox.db'}: is a directory; {remedy}"


def flip(file: Path, at: int, size: int = 64) -> None:
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(os.urandom(size))


def header(file: Path) -> None:
    flip(file, 0)


def a_page_in_the_middle(file: Path) -> None:
    flip(file, 4096 * 40, 4096)


def the_first_leaf(file: Path) -> None:
    for page in range(3, 8):
        flip(file, 4096 * page, 4096)


def cut_off(file: Path) -> None:
    os.truncate(file, 4096 * 30 + 100)


def text(file: Path) -> None:
    file.write_text("this is no database\n" * 1000)


def tables_gone(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("DROP TABLE state")


def flipped_bits(file: Path) -> None:
    content = file.read_bytes()
    at = content.find(b'"frames":300,')
    assert at > 0
    file.write_bytes(content[:at] + b'"frames":700,' + content[at + 13 :])


@pytest.mark.parametrize(
    ("damage", "saved_min"),
    [
        (header, 0),
        (a_page_in_the_middle, 800),
        (the_first_leaf, 800),
        (cut_off, 0),
        (text, 0),
        (tables_gone, 1000),
    ],
)
def test_a_damaged_file_is_set_aside_and_what_is_readable_goes_on_in_a_new_stream(
    tmp_path: Path, damage: Callable[[Path], None], saved_min: int
) -> None:
    outbox = open_outbox(tmp_path)
    old = outbox.stream
    outbox.append([came("aa-1")])
    for start in range(0, 1000, 500):
        outbox.append([counted(start + number) for number in range(500)])
    crash(outbox)
    damage(tmp_path / "outbox.db")
    again = open_outbox(tmp_path)
    assert again.stream != old
    assert again.previous_stop == "unclean"
    assert (tmp_path / "outbox.damaged.db").exists()
    assert not (tmp_path / "outbox.rescue.db").exists()
    reset_row, *rows = everything(again)
    reset = msgspec.json.decode(reset_row.data, type=OutboxReset)
    assert [row.sequence for row in rows] == list(range(2, 2 + reset.saved))
    assert reset.saved >= saved_min
    assert reset.old_stream in ("", old)
    found = numbers(rows)
    assert found == sorted(set(found))
    assert set(found) <= set(range(1000))
    again.append([counted(5000)])
    assert again.last_sequence == 2 + reset.saved
    again.close(clean=True)
    assert open_outbox(tmp_path).previous_stop == "clean"


def log_gone(log: Path) -> None:
    log.unlink()


def log_cut_off(log: Path) -> None:
    os.truncate(log, log.stat().st_size // 2)


def log_of_noise(log: Path) -> None:
    log.write_bytes(os.urandom(log.stat().st_size))


def noise_at_the_end_of_the_log(log: Path) -> None:
    content = log.read_bytes()
    log.write_bytes(content[:50_000] + os.urandom(len(content) - 50_000))


@pytest.mark.parametrize(
    ("damage", "why", "saved"),
    [
        (log_gone, "the log is missing", 1000),
        (log_cut_off, "the log is cut off", 1001),
        (log_of_noise, "the log is damaged at its start", 1000),
        (noise_at_the_end_of_the_log, "the log is damaged at its end", 1001),
    ],
)
def test_with_its_log_damaged_a_new_stream_begins_with_what_the_file_holds(
    tmp_path: Path, damage: Callable[[Path], None], why: str, saved: int
) -> None:
    outbox = open_outbox(tmp_path / "one")
    for start in (0, 500):
        outbox.append([counted(start + number) for number in range(500)])
    outbox.append([came("aa-1")])  # in the log alone
    shutil.copytree(tmp_path / "one", tmp_path / "two")  # as a kill leaves it
    crash(outbox)
    damage(tmp_path / "two" / "outbox.db-wal")
    again = open_outbox(tmp_path / "two")
    assert again.stream != outbox.stream
    assert again.previous_stop == "unclean"
    reset_row, *rows = everything(again)
    reset = msgspec.json.decode(reset_row.data, type=OutboxReset)
    assert (reset.old_stream, reset.why, reset.saved, reset.last_sequence) == (outbox.stream, why, saved, saved)
    assert numbers(rows) == list(range(1000))
    names = {path.name for path in (tmp_path / "two").iterdir()}
    assert "outbox.damaged.db" in names
    assert not [name for name in names if name.startswith("outbox.rescue") or name.endswith("-shm")]


def test_rows_that_are_in_a_damaged_log_alone_are_saved_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "one")
    for number in range(20):
        outbox.append([counted(number)])
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    crash(outbox)
    log = tmp_path / "two" / "outbox.db-wal"
    content = log.read_bytes()
    log.write_bytes(content[:50_000] + b"\0" * (len(content) - 50_000))
    again = open_outbox(tmp_path / "two")
    found = numbers(everything(again))
    assert found == list(range(len(found)))
    assert 8 <= len(found) < 20


@pytest.mark.parametrize("frames_left", [1, 3, 5, 20])
def test_what_is_left_of_a_log_never_replaces_rows_that_the_file_has_whole(tmp_path: Path, frames_left: int) -> None:
    outbox = open_outbox(tmp_path / "one")
    outbox.append([counted(number) for number in range(500)])
    outbox.append([counted(500 + number) for number in range(500)])
    for done in (300, 600, 900):  # so that the file does not grow, which SQLite would notice
        outbox.acknowledge(outbox.stream, done)
    for start in range(1000, 1168, 14):  # until the log has just been brought into the file
        outbox.append([counted(start + number) for number in range(14)])
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    crash(outbox)
    os.truncate(tmp_path / "two" / "outbox.db-wal", 32 + frames_left * 4120)
    assert numbers(everything(open_outbox(tmp_path / "two"))) == list(range(900, 1168))


def test_what_a_whole_log_says_was_delivered_is_not_saved_from_a_damaged_file(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "one")
    outbox.append([counted(number) for number in range(500)])
    outbox.append([counted(500 + number) for number in range(500)])  # all of it is in the file by now
    outbox.acknowledge(outbox.stream, 300)  # and this is in the log alone
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    crash(outbox)
    flip(tmp_path / "two" / "outbox.db", 4096 * 30, 4096)
    found = numbers(everything(open_outbox(tmp_path / "two")))
    assert found[0] == 300
    assert len(found) > 600


def test_after_a_rescue_the_log_is_as_short_as_ever(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for start in range(0, 5000, APPEND_MAX):
        outbox.append([counted(start + number) for number in range(APPEND_MAX)])
    length = (tmp_path / "outbox.db-wal").stat().st_size
    outbox.begin_stream("on purpose")
    assert outbox.backlog == 5001
    assert (tmp_path / "outbox.db-wal").stat().st_size == length
    outbox.close(clean=True)


def test_a_new_stream_may_be_begun_on_purpose(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    old = outbox.stream
    outbox.append([counted(1), counted(2), counted(3)])
    outbox.acknowledge(old, 1)
    outbox.begin_stream("this card was put back")
    assert outbox.stream != old
    reset_row, *rows = everything(outbox)
    reset = msgspec.json.decode(reset_row.data, type=OutboxReset)
    assert (reset.old_stream, reset.why, reset.saved, reset.last_sequence) == (old, "this card was put back", 2, 3)
    assert numbers(rows) == [2, 3]
    outbox.append([counted(4)])
    assert numbers(everything(outbox)) == [2, 3, 4]
    outbox.close(clean=True)


def test_a_row_whose_bits_have_flipped_is_never_sent(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(number) for number in range(500)])
    outbox.close(clean=True)
    flipped_bits(tmp_path / "outbox.db")
    again = open_outbox(tmp_path)
    assert again.previous_stop == "clean"
    rows = again.pending(0, 1000)  # met on the way, in the middle of the work
    assert numbers(rows) == [number for number in range(500) if number != 300]
    reset = msgspec.json.decode(rows[0].data, type=OutboxReset)
    assert (reset.saved, reset.why) == (499, "an event is not what was written")


@pytest.mark.parametrize("change", ["at_ns = at_ns + 1", "person = 'aa-9'", "boot = x'00'", "sequence = 4"])
def test_a_row_of_which_anything_has_changed_is_never_sent(tmp_path: Path, change: str) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(1), counted(2)])
    outbox.close(clean=True)
    with closing(sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)) as db:
        db.execute(f"UPDATE events SET {change} WHERE sequence = 2")
    again = open_outbox(tmp_path)
    assert numbers(again.pending()) == [1]


def test_a_last_word_that_has_changed_is_met_at_the_start(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([came("aa-1"), counted(1)])
    outbox.close(clean=True)
    with closing(sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)) as db:
        db.execute("UPDATE events SET data = x'7b7d' WHERE sequence = 1")
    again = open_outbox(tmp_path)
    reset = msgspec.json.decode(everything(again)[0].data, type=OutboxReset)
    assert (reset.saved, reset.why) == (1, "the last word on somebody present is not what was written")


def test_what_is_acknowledged_is_known_after_a_restart(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(1), counted(2), counted(3)])
    outbox.acknowledge(outbox.stream, 2)
    outbox.close(clean=True)
    again = open_outbox(tmp_path)
    assert (again.acknowledged, again.backlog) == (2, 1)
    again.acknowledge(again.stream, 3)
    again.close(clean=True)
    assert open_outbox(tmp_path).acknowledged == 3


def test_a_folder_that_is_gone_does_not_stop_the_stop(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path / "box")
    outbox.append([counted(1)])
    shutil.rmtree(tmp_path / "box")
    crash(outbox)
    assert not (tmp_path / "box").exists()


def test_damage_met_while_running_begins_a_new_stream_and_loses_no_new_event(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    for start in range(0, 15_000, APPEND_MAX):  # more than SQLite keeps in memory
        outbox.append([counted(start + number) for number in range(APPEND_MAX)])
    outbox.close(clean=True)
    outbox = open_outbox(tmp_path)
    old = outbox.stream
    for page in range(60, 100):
        flip(tmp_path / "outbox.db", 4096 * page, 4096)
    after = 0
    while outbox.stream == old:
        after = outbox.pending(after, 1000)[-1].sequence
    outbox.append([counted(99_999)])
    found = numbers(everything(outbox))
    assert found[-1] == 99_999
    assert len(found) > 14_000
    assert found == sorted(set(found))
    assert outbox.acknowledge(old, 3) == 0


def test_gaps_of_the_old_stream_are_not_saved_since_they_name_its_sequences(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append_loss({"maskwatch.counts.v1": 3})
    outbox.append([counted(1)])
    crash(outbox)
    tables_gone(tmp_path / "outbox.db")
    again = open_outbox(tmp_path)
    assert [row.type for row in everything(again)] == [OutboxReset.TYPE, "maskwatch.counts.v1"]


def test_open_persons_survive_damage(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([came("aa-1"), came("aa-2"), went("aa-1")])
    outbox.acknowledge(outbox.stream, 3)
    outbox.append([counted(1)])
    crash(outbox)
    tables_gone(tmp_path / "outbox.db")
    again = open_outbox(tmp_path)
    assert [last.person for last in again.open_persons()] == ["aa-2"]
    assert [row.type for row in everything(again)] == [OutboxReset.TYPE, "maskwatch.counts.v1"]  # not sent again
    assert (again.backlog, again.acknowledged) == (2, 0)


@pytest.mark.parametrize("done", ["moved", "log moved", "new file begun"])
def test_a_rescue_that_was_interrupted_is_done_again(tmp_path: Path, done: str) -> None:
    outbox = open_outbox(tmp_path)
    outbox.append([counted(1), counted(2)])
    crash(outbox)
    tables_gone(tmp_path / "outbox.db")
    file, rescue = tmp_path / "outbox.db", tmp_path / "outbox.rescue.db"
    match done:
        case "log moved":
            rescue.with_name("outbox.rescue.db-wal").touch()
        case "moved":
            file.rename(rescue)
        case "new file begun":
            file.rename(rescue)
            crash(open_outbox(tmp_path / "elsewhere"))
            (tmp_path / "elsewhere" / "outbox.db").rename(file)
            with closing(sqlite3.connect(file, isolation_level=None)) as db:
                db.execute("DELETE FROM state")
    again = open_outbox(tmp_path)
    assert numbers(everything(again)) == [1, 2]
    assert not rescue.exists()


def test_the_last_damaged_file_is_kept_and_no_more_than_that(tmp_path: Path) -> None:
    for _ in range(3):
        crash(open_outbox(tmp_path))
        text(tmp_path / "outbox.db")
    open_outbox(tmp_path).close(clean=True)
    names = {path.name for path in tmp_path.iterdir()}
    names.discard("outbox.damaged.db-wal")  # kept with its file where SQLite has left it
    assert names == {"outbox.db", "outbox.lock", "outbox.reserve", "outbox.damaged.db"}


def test_a_file_of_a_newer_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    crash(open_outbox(tmp_path))
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError) as raised:
        open_outbox(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / 'outbox.db'}: made by a newer maskwatch (schema 99")
    assert raised.value.exit_code == 74
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (99,)


def test_two_processes_do_not_share_an_outbox(tmp_path: Path) -> None:
    outbox = open_outbox(tmp_path)
    with pytest.raises(StorageError) as raised:
        open_outbox(tmp_path)
    assert "another process uses this outbox" in str(raised.value)
    assert "\n" not in str(raised.value)
    outbox.close(clean=True)
    open_outbox(tmp_path).close(clean=True)


_TRY = """
import os, sys
from pathlib import Path
from agent.errors import MaskwatchError
from tests.delivery_parts import counted, open_outbox
if sys.argv[2] != "0":
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
try:
    outbox = open_outbox(Path(sys.argv[1]))
    for number in range(5000):
        outbox.append([counted(number)] * 50)
except MaskwatchError as error:
    print(error); sys.exit(error.exit_code)
"""


def attempt(directory: Path, *, user: int = 0) -> tuple[int, str]:
    # another user could not write this checkout's coverage data
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", _TRY, str(directory), str(user)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=False).returncode:
        pytest.skip("needs mount(8) with tmpfs")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_one_line_and_74(small_disk: Path) -> None:
    fill_up(small_disk)
    code, line = attempt(small_disk)
    assert code == 74
    assert "no space left on device" in line or "the disk is full; make room" in line
    assert line.count("\n") == 1


def test_a_read_only_disk_is_one_line_and_74(small_disk: Path) -> None:
    crash(open_outbox(small_disk / "box"))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for directory in (small_disk / "box", small_disk / "new"):
        code, line = attempt(directory)
        assert code == 74
        assert "read-only" in line
        assert line.count("\n") == 1


def test_without_permission_it_is_one_line_and_77(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: becomes nobody")
    nobody = 65534
    open_to_all = Path("/tmp") / f"maskwatch-outbox-{os.getpid()}"  # tmp_path lies below folders closed to others
    open_to_all.mkdir(mode=0o755)
    try:
        crash(open_outbox(open_to_all))
        for directory in (open_to_all, open_to_all / "below"):
            code, line = attempt(directory, user=nobody)
            assert code == 77, line
            assert "no permission to write" in line
        (open_to_all / "outbox.lock").chmod(0o666)
        open_to_all.chmod(0o777)
        code, line = attempt(open_to_all, user=nobody)  # the file itself is root's
        assert code == 77, line
    finally:
        for file in open_to_all.iterdir():
            file.unlink()
        open_to_all.rmdir()


def test_a_directory_that_cannot_be_made_is_74(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as raised:
        open_outbox(tmp_path / "file" / "outbox")
    assert "not a directory" in str(raised.value)


def fill_up(disk: Path) -> Path:
    """Take all that is left of a disk; gives the file that does."""
    filler = disk / "filler"
    left = os.statvfs(disk)
    filler.write_bytes(b"\0" * (left.f_bavail * left.f_frsize))
    return filler


def test_a_failed_append_stores_nothing_and_may_be_repeated(small_disk: Path) -> None:
    outbox = open_outbox(small_disk / "box", quota_mb=50.0)  # no room for a reserve here
    outbox.append([counted(1)])
    filler = fill_up(small_disk)
    sent = 1
    failed = False
    while not failed:
        try:
            outbox.append([counted(sent + 1 + number) for number in range(50)])
            sent += 50
        except StorageError:
            failed = True
    assert outbox.last_sequence == sent
    assert numbers(outbox.pending(0, 10_000)) == list(range(1, sent + 1))
    filler.unlink()
    outbox.append([counted(sent + 1)])
    assert numbers(outbox.pending(sent, 5)) == [sent + 1]
    outbox.close(clean=True)


def test_a_directory_in_the_place_of_the_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").mkdir()
    with pytest.raises((StorageError, NotPermittedError)) as raised:
        open_outbox(tmp_path)
    assert "\n" not in str(raised.value)
