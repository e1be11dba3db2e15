"""Parts of the fault suite: the cut in a PUBACK, the time to recover, what grows, the table, what is left behind."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events.types import Gap, PersonNew
from tests.real import running, wait_for
from tools.chaos.checker import Verdict
from tools.chaos.leftovers import Leftovers
from tools.chaos.plan import FAULTS
from tools.chaos.proxy import Packets
from tools.chaos.rows import Report, Row, markdown, save
from tools.chaos.samples import Sample, trend
from tools.chaos.store import Store

CONNACK = b"\x20\x03\x00\x00\x00"
PUBACK = b"\x40\x02\x00\x07"
LONG = b"\x30\x80\x01" + b"\x40" * 128  # a PUBLISH whose contents look like PUBACKs


@given(st.lists(st.sampled_from([CONNACK, LONG, b"\xd0\x00"]), max_size=6), st.data())
def test_the_first_puback_is_found_however_the_bytes_are_torn(before: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(before) + PUBACK + b"".join(before)
    expected = sum(map(len, before))
    packets, place = Packets(), 0
    while place < len(stream):
        size = data.draw(st.integers(1, len(stream) - place))
        found = packets.cut_at(stream[place : place + size])
        if found is not None:
            assert place + found == expected
            return
        place += size
    pytest.fail("no PUBACK was found")


def payload(kind: str, data: object) -> str:
    return msgspec.json.encode({"type": kind, "monoms": "1", "data": data}).decode()


def store_with(folder: Path, rows: list[tuple[str, int, str, str]]) -> Store:
    file = folder / "events.db"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE events (device, stream, sequence, type, payload)")
        db.executemany("INSERT INTO events VALUES ('cam1', ?, ?, ?, ?)", rows)
        db.commit()
    return Store(f"sqlite://{file}")


def plain(*sequences: int) -> list[tuple[str, int, str, str]]:
    return [("5eed", sequence, PersonNew.TYPE, payload(PersonNew.TYPE, {})) for sequence in sequences]


def test_a_device_has_recovered_when_all_up_to_its_mark_is_there(tmp_path: Path) -> None:
    store = store_with(tmp_path, plain(1, 2, 3, 5))
    assert store.reached({"cam1": ("5eed", 3)}) == {"cam1"}
    assert store.reached({"cam1": ("5eed", 4)}) == set()
    assert store.reached({"cam1": ("beef", 1)}) == set()


def test_a_gap_that_is_there_counts_for_what_it_names(tmp_path: Path) -> None:
    gap = payload(Gap.TYPE, {"first": 2, "last": 7, "by_type": {}, "why": "quota"})
    store = store_with(tmp_path, [*plain(1, 8), ("5eed", 9, Gap.TYPE, gap)])
    assert store.reached({"cam1": ("5eed", 9)}) == {"cam1"}


def test_a_store_that_is_not_there_yet_holds_nothing(tmp_path: Path) -> None:
    store = Store(f"sqlite://{tmp_path / 'none.db'}")
    assert store.reached({"cam1": ("5eed", 1)}) == set()
    assert list(store.rows("cam1")) == []


def used(at_s: float, rss_mb: float) -> Sample:
    return Sample(at_s=at_s, rss_mb=rss_mb, descriptors=9, threads=5, disk_kb=100)


@pytest.mark.parametrize("per_hour", [0.0, 3.0, -1.5])
def test_a_trend_is_what_an_hour_adds_once_it_is_warm(per_hour: float) -> None:
    cold = [used(at_s, 10.0 + at_s) for at_s in range(0, 300, 5)]
    warm = [used(at_s, 40.0 + per_hour * at_s / 3600) for at_s in range(300, 3600, 5)]
    assert trend([*cold, *warm], "rss_mb", after_s=300).per_hour == pytest.approx(per_hour, abs=0.01)
    assert trend([*cold, *warm], "descriptors", after_s=300).per_hour == pytest.approx(0)


def report(*rows: Row) -> Report:
    return Report(seed=1, seconds=1.0, speed=1.0, rows=list(rows))


def test_the_table_tells_what_was_lost_and_what_could_not_be_tried(tmp_path: Path) -> None:
    bad = Row(fault="this", injected=2, verdict=Verdict(decided=5, delivered=4, lost=("5eed.3",)))
    none = Row(fault="that", not_run="needs root")
    save(report(bad, none), tmp_path)
    text = (tmp_path / "chaos.md").read_text()
    assert text == markdown(report(bad, none))
    assert "| that | not run: needs root |" in text
    assert "- this: lost 5eed.3" in text
    assert msgspec.json.decode((tmp_path / "chaos.json").read_bytes(), type=Report) == report(bad, none)
    assert not bad.is_kept
    assert none.is_kept
    assert not Row(fault="that", not_run="the suite failed", failed=True).is_kept


def test_every_fault_has_a_name_of_its_own_and_a_lane_has_an_hour() -> None:
    assert len({fault.name for fault in FAULTS}) == len({fault.title for fault in FAULTS}) == len(FAULTS)
    for lane in {fault.lane for fault in FAULTS}:
        assert sum(fault.seconds for fault in FAULTS if fault.lane == lane) <= 3600


def sleeper(leftovers: Leftovers) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    leftovers.process(process.pid)
    return process


def test_what_a_run_has_begun_ends_with_it(tmp_path: Path) -> None:
    with Leftovers(tmp_path) as leftovers:
        process = sleeper(leftovers)
        leftovers.folder(leftovers.fresh(tmp_path / "folder"))
    assert process.poll() is not None
    assert not (tmp_path / "folder").exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_has_left_is_tidied_up_by_the_next_and_a_living_one_is_let_alone(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys; from pathlib import Path; from tools.chaos.leftovers import Leftovers\n"
        "left = Leftovers(Path(sys.argv[1])); process = subprocess.Popen(['sleep', '600'])\n"
        "left.process(process.pid); print(process.pid, flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with running([sys.executable, "-c", script, tmp_path], stdin=pipe, stdout=pipe, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        with Leftovers(tmp_path):
            assert Path(f"/proc/{pid}").exists()
        run.kill()
        run.wait(10)
        with Leftovers(tmp_path):
            wait_for(lambda: not Path(f"/proc/{pid}/exe").exists(), what="its end")


def test_a_process_that_has_taken_over_the_number_is_not_ended(tmp_path: Path) -> None:
    with Leftovers(tmp_path) as leftovers:
        process = sleeper(leftovers)
        leftovers._list[0] = msgspec.structs.replace(leftovers._list[0], born=1.0)
    assert process.poll() is None
    process.kill()
    process.wait(10)
