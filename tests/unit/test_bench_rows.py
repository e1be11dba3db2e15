"""The bench's own arithmetic: verdicts, pairs, quantiles, the table, and groups that cannot be measured."""

import os
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tools.bench.__main__ import number, run_group, table
from tools.bench.group import GROUPS
from tools.bench.machine import Machine, describe, resident_mb, take_one_core, written_bytes
from tools.bench.rows import Options, Row, interleave, quantile


@pytest.mark.parametrize(
    ("measured", "budget", "at_least", "verdict"),
    [
        (0.5, 0.5, False, "kept"),
        (0.51, 0.5, False, "missed"),
        (120.0, 120.0, True, "kept"),
        (119.0, 120.0, True, "missed"),
        (None, 1.0, False, "not measured"),
        (1.0, None, False, "no budget"),
        (0.0, 0.0, False, "kept"),
    ],
)
def test_a_verdict_compares_with_a_floor_or_a_ceiling(
    measured: float | None, budget: float | None, at_least: bool, verdict: str
) -> None:
    assert Row(name="x", unit="ms", budget=budget, measured=measured, at_least=at_least).verdict == verdict


def test_a_pair_is_taken_in_turns_and_tells_ratio_and_difference() -> None:
    order: list[str] = []
    spin = {"first": 2000, "second": 8000}

    def call(name: str) -> None:
        order.append(name)
        sum(range(spin[name]))

    pair = interleave(lambda: call("first"), lambda: call("second"), turns=15, calls=2)
    assert order == ["first", "first", "second", "second"] * 15
    assert 2 < pair.ratio < 8
    assert pair.difference_ms > 0
    assert pair.second_ms > pair.first_ms


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert quantile(values, 0.5) == 51
    assert quantile(values, 0.99) == 100
    assert quantile(values, 1.0) == 100
    assert quantile([3.0], 0.99) == 3


def test_the_table_shows_measured_budget_and_verdict_of_every_row() -> None:
    rows = [
        Row(name="quick", unit="ms", budget=0.5, measured=0.1234),
        Row(name="slow", unit="frames/s", budget=120, measured=90.4, at_least=True),
        Row(name="elsewhere", unit="points", budget=0.5, note="needs a device"),
        Row(name="group x", unit="", budget=None, note="failed"),
    ]
    machine = Machine(cpu="c", cores=4, memory_gb=1, kernel="k", python="3", packages={}, load=0)
    console = Console(width=100, record=True, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(table(machine, rows))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in console.export_text().splitlines()]
    assert ["quick", "0.123 ms", "<= 0.5 ms", "kept"] in lines
    assert ["slow", "90.4 frames/s", ">= 120 frames/s", "missed"] in lines
    assert ["elsewhere", "-", "<= 0.5 points", "not measured"] in lines
    assert ["group x", "-", "-", "not measured"] in lines


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (12.0, "12"), (0.03456, "0.0346"), (515.24, "515"), (1.5, "1.5")]
)
def test_a_number_has_three_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_group_that_fails_is_a_row_that_says_why(tmp_path: Path) -> None:
    rows = run_group("no-such-group", tmp_path, full=False)
    assert [row.verdict for row in rows] == ["not measured"]
    assert "no-such-group" in rows[0].note


def test_a_group_gives_rows_that_survive_the_way_through_json(tmp_path: Path) -> None:
    rows = [Row(name="x", unit="ms", budget=1, measured=2, note="n")]
    assert msgspec.json.decode(msgspec.json.encode(rows), type=list[Row]) == rows
    assert set(GROUPS) == {"nets", "frames", "growth", "start", "delivery", "collector", "install"}
    assert Options(folder=str(tmp_path)).full is False


def test_the_machine_is_described_without_its_name() -> None:
    text = msgspec.json.encode(describe()).decode()
    assert describe().cores >= 1
    assert os.uname().nodename not in text
    assert "opencv-python-headless" in describe().packages


def test_the_kernels_readings_are_of_this_process(tmp_path: Path) -> None:
    assert 10 < resident_mb() < 5000
    before = written_bytes()
    with (tmp_path / "some").open("wb") as file:
        file.write(b"x" * 200_000)
        file.flush()
        os.fsync(file.fileno())
    assert written_bytes() - before in (0, *range(200_000, 400_000))  # 0 where the folder is in memory


def test_one_core_is_taken_and_it_is_one_that_we_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        take_one_core()
        assert len(os.sched_getaffinity(0)) == 1
        assert os.sched_getaffinity(0) <= allowed
    finally:
        os.sched_setaffinity(0, allowed)
