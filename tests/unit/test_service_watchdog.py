"""Progress: who is alive, who hangs, and how long a hang may take to be mended."""

import re
from pathlib import Path

import pytest

from agent.service.watchdog import WATCHDOG_S, Intervals, Progress
from tests.unit.service_clock import TestClock

SYSTEMD = Path(__file__).parents[2] / "systemd"
START_S = 10.0  # until READY on the slowest board, an estimate


def look_for(progress: Progress, clock: TestClock, seconds: int) -> list[str]:
    """Let the supervisor look once a second; give what it saw at last."""
    hung: list[str] = []
    for _ in range(seconds):
        clock.sleep(1)
        hung = progress.look(clock.now_ns())
    return hung


def beat(progress: Progress) -> None:
    for stage in progress.stages:
        stage.beat()


def test_all_is_well_while_every_stage_moves_within_its_bound() -> None:
    clock = TestClock()
    progress = Progress(clock, 10)
    for _ in range(5):
        assert look_for(progress, clock, 9) == []
        beat(progress)
    assert progress.vision.beats == 5


@pytest.mark.parametrize("name", ["camera", "vision", "delivery"])
def test_one_stage_that_hangs_is_named_although_the_others_move(name: str) -> None:
    clock = TestClock()
    progress = Progress(clock, 10)
    for _ in range(11):
        look_for(progress, clock, 1)
        for stage in progress.stages:
            if stage.name != name:
                stage.beat()
    assert progress.hung(clock.now_ns()) == [f"{name} (11 s)"]


def test_a_stage_that_moves_again_is_well_again() -> None:
    clock = TestClock()
    progress = Progress(clock, 10)
    assert len(look_for(progress, clock, 100)) == 3
    beat(progress)
    assert progress.look(clock.now_ns()) == []


def test_the_time_before_the_threads_began_is_nobodys_silence() -> None:
    clock = TestClock()
    progress = Progress(clock, 10)
    clock.sleep(60)  # an outbox that is long to open
    progress.begin(clock.now_ns())
    assert progress.look(clock.now_ns()) == []
    assert look_for(progress, clock, 10) == []
    assert len(look_for(progress, clock, 1)) == 3


@pytest.mark.parametrize("asleep_s", [6, 60, 8 * 3600])
@pytest.mark.parametrize("quiet_s", [0, 9])
def test_after_a_suspend_every_stage_has_its_whole_bound_again_and_no_more(asleep_s: int, quiet_s: int) -> None:
    clock = TestClock()
    progress = Progress(clock, 10)
    look_for(progress, clock, quiet_s)
    clock.sleep(asleep_s)  # the clock counts a suspend
    assert progress.look(clock.now_ns()) == []
    assert look_for(progress, clock, 10) == []
    progress.vision.beat()
    assert look_for(progress, clock, 1) == ["camera (11 s)", "delivery (11 s)"]


def setting(text: str, key: str) -> float:
    found = re.search(rf"^{key}=(\d+)$", text, re.M)
    assert found is not None, key
    return float(found[1])


def test_a_hang_is_mended_within_twice_the_interval_as_shipped_however_often_it_comes() -> None:
    unit = (SYSTEMD / "maskwatch.service").read_text()
    assert setting(unit, "WatchdogSec") == WATCHDOG_S
    intervals = Intervals.of(WATCHDOG_S)
    pause_s = max(
        setting(unit, "RestartSec"),
        setting((SYSTEMD / "drop-ins/restart-backoff.conf").read_text(), "RestartMaxDelaySec"),
    )
    assert intervals.bound_s + intervals.look_s + pause_s + START_S <= 2 * WATCHDOG_S


@pytest.mark.parametrize("watchdog_s", [1.0, 5.0, 30.0, 120.0])
def test_whatever_the_interval_a_hang_is_seen_within_it_and_the_watchdog_is_fed_in_time(watchdog_s: float) -> None:
    intervals = Intervals.of(watchdog_s)
    assert intervals.bound_s + intervals.look_s < watchdog_s
    assert 3 * intervals.look_s < watchdog_s


def test_without_a_manager_the_bounds_are_those_of_the_unit() -> None:
    assert Intervals.of(None) == Intervals.of(WATCHDOG_S)
