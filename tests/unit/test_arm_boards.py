"""What is said of boards: the arithmetic, and that the page says what was counted."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.arm.boards import BOARDS, Anchor, Speed, estimate, estimates, frames_per_s, line, net_ipc
from tools.arm.emulator import CPUS, PYTHONS
from tools.arm.figures import Report, Watched
from tools.arm.inputs import PEOPLE, RATES, crowded
from tools.arm.page import page

DOCS = Path(__file__).parents[2] / "docs"
REPORT = msgspec.json.decode((DOCS / "boards.json").read_bytes(), type=Report)


def test_the_page_is_what_the_command_makes_of_the_figures() -> None:
    assert (DOCS / "boards.md").read_text() == page(REPORT)


def test_the_estimates_are_what_the_counts_give() -> None:
    assert estimates(REPORT.counted, REPORT.watched) == REPORT.estimates


def test_every_board_was_counted_with_both_releases_and_answers_as_this_machine_does() -> None:
    boards = {(suite, cpu) for suite in PYTHONS for cpu in CPUS}
    assert {(one.suite, one.cpu) for one in REPORT.counted} == boards
    assert {(one.suite, one.cpu) for one in REPORT.watched} == boards
    assert {(one.suite, one.cpu) for one in REPORT.answered if one.kernels == "xnnpack"} == boards
    assert {(one.suite, one.cpu) for one in REPORT.answered if one.kernels == "builtin"} == boards
    assert {one.python for one in REPORT.answered} == {"3.11", "3.13"}
    for answered in REPORT.answered:
        assert answered.is_kept, answered
        assert answered.golden["mask-64"] <= 2
        assert answered.faces >= 100
        assert (answered.persons is None) == (answered.kernels != "xnnpack")
        assert answered.persons is None or answered.persons >= 8


def test_what_the_page_says_of_the_two_releases_is_what_was_found() -> None:
    answered = [one for one in REPORT.answered if one.kernels == "xnnpack"]
    for one in answered:
        assert one.persons_changed == 0
        if one.suite == "bookworm":
            assert (one.logit_steps, one.box_px, one.unsure_changed) == (0, 0.0, 0)
    assert REPORT.packages["trixie"]["opencv_python_headless"].startswith("4.14.")
    assert 0 < max(one.box_px for one in answered if one.suite == "trixie") < 5


def test_only_the_core_that_has_dot_products_ran_any() -> None:
    for counted in REPORT.counted:
        if counted.work.startswith("invoke ") or counted.work == "reference":
            assert (counted.dot > 0) == (counted.cpu == "cortex-a76"), counted


def test_a_piece_of_work_takes_nearly_the_same_instructions_each_time() -> None:
    for counted in REPORT.counted:
        assert counted.spread < 0.02, counted


def test_the_lower_end_keeps_every_goal() -> None:
    goals = [one for one in REPORT.estimates if one.goal is not None]
    assert {one.board for one in goals} == {"Raspberry Pi Zero 2 W", "Raspberry Pi 4 B", "Raspberry Pi 5"}
    for one in goals:
        assert one.people_per_s[0] >= one.goal, one


def test_times_of_the_straight_line_through_three_rates_are_those_counted() -> None:
    for board in BOARDS:
        for suite in PYTHONS:
            clips = [one for one in REPORT.watched if (one.cpu, one.suite, one.scene) == (board.cpu, suite, "people")]
            slope, height = line([(clip.rate, clip.rate * (clip.nets + clip.rest)) for clip in clips])
            for clip in clips:
                assert slope * clip.rate + height == pytest.approx(clip.rate * (clip.nets + clip.rest), rel=0.05)


def test_a_faster_board_is_never_said_to_be_slower() -> None:
    for suite in PYTHONS:
        found = [estimate(board, suite, REPORT.counted, REPORT.watched) for board in BOARDS]
        for slower, faster in pairwise(found):
            assert slower.people_per_s[0] <= faster.people_per_s[0]
            assert slower.detect_ms[0] >= faster.detect_ms[0]


@given(per_frame=st.floats(1e6, 1e9), per_second=st.floats(0, 5e8), speed=st.floats(0.6, 10), rate=st.integers(1, 1000))
def test_at_the_frame_rate_told_a_core_is_busy_all_the_time(
    per_frame: float, per_second: float, speed: float, rate: int
) -> None:
    clips = [
        Watched(
            suite="s",
            cpu="c",
            scene="people",
            rate=each,
            frames=1,
            nets=round(per_frame + per_second / each),
            rest=0,
            highest=0,
            detections=0,
            looks=0,
        )
        for each in RATES
    ]
    found = frames_per_s(clips, Speed(speed, 1.0))
    assert found * per_frame + per_second == pytest.approx(speed * 1e9, rel=1e-3)


def test_four_threads_did_between_the_work_of_four_cores_and_of_three() -> None:
    anchor = Anchor(work="reference", ms=25.0, threads=4, clock_ghz=1.0, source="a test")
    assert net_ipc(anchor, 100_000_000) == (1.0, pytest.approx(4 / 3))
    alone = msgspec.structs.replace(anchor, threads=1)
    assert net_ipc(alone, 100_000_000) == (3.0, 4.0)


class _Person:
    def __init__(self, from_ns: float, to_ns: float) -> None:
        self._span = (from_ns, to_ns)

    def box_at(self, at_ns: int) -> object | None:
        return object() if self._span[0] <= at_ns < self._span[1] else None


class _Camera:
    def __init__(self, *spans: tuple[float, float]) -> None:
        self.truth = [_Person(*span) for span in spans]


def test_the_longest_time_with_all_of_them_in_view_is_chosen() -> None:
    three = [(0.0, 25e9)] * (PEOPLE - 1)
    camera = _Camera(*three, (1e9, 2e9), (5e9, 9e9), (8e9, 10e9))
    assert crowded(camera, 10.0) == (50, 80)  # type: ignore[arg-type]  # all that it asks for is `truth`
