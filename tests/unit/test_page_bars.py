"""Where bars stand: beside the plain arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.fleet.page.bars import BOTTOM, HEIGHT, TOP, WIDTH, Bucket, chart, scale

KINDS = {"no mask": "no_mask", "mask": "mask"}
GROUND = HEIGHT - BOTTOM


def bucket(no_mask: int, mask: int, *, heard: bool = True, marks: dict[str, int] | None = None) -> Bucket:
    counts = {"no mask": no_mask, "mask": mask}
    return Bucket(name="Sat 21 Nov", short="21 Nov", counts=counts, heard=heard, marks=marks or {})


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=60))
def test_heights_are_in_proportion_to_numbers_and_nothing_leaves_the_picture(found: list[tuple[int, int]]) -> None:
    made = chart([bucket(*one) for one in found], KINDS, every=5)
    top = made.lines[-1]
    unit = (GROUND - TOP) / top.value

    for (no_mask, mask), bar in zip(found, made.bars, strict=True):
        heights = {block.kind: block.height for block in bar.blocks}
        assert heights.get("no_mask", 0) == pytest.approx(no_mask * unit, abs=0.06)
        assert heights.get("mask", 0) == pytest.approx(mask * unit, abs=0.06)
        for block in bar.blocks:
            assert block.x >= 0
            assert block.x + block.width <= WIDTH + 0.1
            assert block.y >= TOP - 0.1
            assert block.y + block.height <= GROUND + 0.11


@given(st.integers(0, 10**9))
def test_a_scale_reaches_the_highest_bar_in_a_few_round_steps(top: int) -> None:
    step, count = scale(top)

    assert step * count >= top
    assert 1 <= count <= 5
    assert str(step).rstrip("0") in ("1", "2", "5")
    assert count == 1 or step * (count - 1) < top


def test_bars_are_stacked_from_the_ground_in_the_order_of_the_kinds() -> None:
    (bar,) = chart([bucket(3, 7)], KINDS, every=1).bars
    lower, upper = bar.blocks

    assert (lower.kind, upper.kind) == ("no_mask", "mask")
    assert lower.y + lower.height == pytest.approx(GROUND, abs=0.1)
    assert upper.y + upper.height == pytest.approx(lower.y, abs=0.1)


def test_a_time_from_which_nothing_was_heard_is_not_a_time_without_anybody() -> None:
    unheard, nobody = chart([bucket(0, 0, heard=False), bucket(0, 0)], KINDS, every=1).bars

    assert [block.kind for block in unheard.blocks] == ["unheard"]
    assert nobody.blocks == ()
    assert "nothing was heard" in unheard.told
    assert "nobody" in nobody.told


def test_a_bar_says_what_it_stands_for_and_what_else_happened_then() -> None:
    (bar,) = chart([bucket(3, 0, marks={"gap": 2})], KINDS, every=1).bars

    assert bar.told == "Sat 21 Nov: 3 no mask, 2 x gap"
    assert bar.marks == ((bar.middle, "gap"),)


def test_several_things_that_happened_then_stand_side_by_side() -> None:
    (bar,) = chart([bucket(3, 0, marks={"gap": 2, "camera blind": 1})], KINDS, every=1).bars
    (first, one), (second, other) = bar.marks

    assert (one, other) == ("camera blind", "gap")
    assert first < bar.middle < second


def test_a_chart_without_anybody_is_a_chart() -> None:
    assert len(chart([bucket(0, 0)], KINDS, every=1).lines) == 2
    assert chart([], KINDS, every=1).bars == ()
