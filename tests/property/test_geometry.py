"""Boxes hold what they promise, and what is told of them stays within the frame."""

import math

from hypothesis import given
from hypothesis import strategies as st

from agent.decision.people import box_norm
from agent.seams import Box

numbers = st.floats(-1e4, 1e4, allow_nan=False)
boxes = st.builds(Box, numbers, numbers, numbers, numbers)


@given(boxes, st.integers(1, 4000), st.integers(1, 4000))
def test_a_told_box_lies_in_the_frame(box: Box, width: int, height: int) -> None:
    assert all(0 <= value <= 1 for value in box_norm(box, width, height))


@given(boxes)
def test_a_box_has_the_area_of_the_square_of_its_size(box: Box) -> None:
    assert box.area >= 0
    assert math.isclose(box.size_px**2, box.area, rel_tol=1e-9, abs_tol=1e-9)


@given(st.integers(0, 600), st.integers(0, 400), st.integers(1, 40), st.integers(1, 40))
def test_a_told_box_gives_back_its_pixels_within_a_rounding(x: int, y: int, width: int, height: int) -> None:
    told = box_norm(Box(x, y, x + width, y + height), 640, 480)
    back = (told[0] * 640, told[1] * 480, told[2] * 640, told[3] * 480)
    assert all(abs(got - asked) <= 0.05 for got, asked in zip(back, (x, y, x + width, y + height), strict=True))
