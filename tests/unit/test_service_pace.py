"""The pace of a medium on the machine's clock."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.seams import Frame
from agent.service.pace import Pace, wait_until
from tests.unit.service_clock import TestClock

_PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(at_ns: int, scene: int = 0) -> Frame:
    return Frame(pixels=_PIXELS, captured_ns=at_ns, index=0, scene=scene)


@given(st.integers(0, 10**15), st.integers(0, 10**12), st.lists(st.integers(0, 10**9), max_size=20))
def test_the_first_frame_is_due_now_and_spans_stay_the_mediums(now_ns: int, first_ns: int, gaps_ns: list[int]) -> None:
    pace = Pace(TestClock(now_ns))
    assert pace.rebase(frame(first_ns)).captured_ns == now_ns
    at_ns = first_ns
    for gap_ns in gaps_ns:
        at_ns += gap_ns
        assert pace.rebase(frame(at_ns)).captured_ns == now_ns + at_ns - first_ns


def test_a_machine_too_slow_for_the_medium_keeps_its_seconds_within_a_scene_and_catches_up_at_the_cut() -> None:
    clock = TestClock()
    pace = Pace(clock)
    pace.rebase(frame(0))
    clock.sleep(10)
    assert pace.rebase(frame(1)).captured_ns == 1
    assert pace.rebase(frame(2, scene=1)).captured_ns == 10 * NS_PER_S
    assert pace.rebase(frame(3, scene=1)).captured_ns == 10 * NS_PER_S + 1


def test_a_cut_in_time_moves_nothing() -> None:
    clock = TestClock()
    pace = Pace(clock)
    pace.rebase(frame(0))
    clock.sleep(0.5)
    assert pace.rebase(frame(NS_PER_S, scene=1)).captured_ns == NS_PER_S


def test_waiting_lasts_until_the_instant_and_no_slice_is_longer_than_a_stop_may_take() -> None:
    clock = TestClock()
    assert wait_until(round(0.25 * NS_PER_S), clock, lambda: True)
    assert clock.now_ns() == 250_000_000
    assert max(clock.slept_s) <= 0.1


def test_a_stop_ends_the_wait() -> None:
    clock = TestClock()
    assert not wait_until(NS_PER_S, clock, lambda: clock.now_ns() < NS_PER_S // 2)
    assert clock.now_ns() < NS_PER_S


def test_what_is_due_already_is_not_waited_for() -> None:
    clock = TestClock(7)
    assert wait_until(7, clock, lambda: True)
    assert clock.slept_s == []
