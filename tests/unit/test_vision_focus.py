"""The closer look: where the window goes, and what of it counts."""

import numpy as np
import pytest

from agent.seams import Box, Face
from agent.vision.focus import Focus, Window
from agent.vision.motion import EVERYTHING, HEIGHT, WIDTH, Cells
from tests.scripted import MS, S, box

QUARTER = 250 * MS


def focus(width: int = 640, height: int = 480) -> Focus:
    return Focus(frame=(width, height), input_size=(320, 256))


def moved(x: int, y: int, size: int = 6) -> Cells:
    """Give cells that have moved round a point of a 640x480 frame."""
    cells = np.zeros((HEIGHT, WIDTH), np.bool_)
    cells[y // 8 - size // 2 : y // 8 + size // 2, x // 8 - size // 2 : x // 8 + size // 2] = True
    return cells


def holds(window: Window, x: float, y: float) -> bool:
    return window.x0 <= x < window.x1 and window.y0 <= y < window.y1


@pytest.mark.parametrize(
    ("frame", "useful"), [((640, 480), True), ((1280, 720), True), ((360, 640), True), ((320, 240), False)]
)
def test_a_closer_look_is_of_use_where_the_frame_is_shrunk(frame: tuple[int, int], useful: bool) -> None:
    assert focus(*frame).useful is useful


@pytest.mark.parametrize(
    ("frame", "window"),
    [((640, 480), (320, 256)), ((1280, 720), (640, 512)), ((360, 640), (360, 320)), ((480, 270), (320, 256))],
)
def test_a_window_is_twice_as_close_as_the_frame_but_no_closer_than_its_pixels(
    frame: tuple[int, int], window: tuple[int, int]
) -> None:
    near = focus(*frame)
    near.note(EVERYTHING)
    chosen = near.choose([], S)
    assert chosen is not None
    assert (chosen.x1 - chosen.x0, chosen.y1 - chosen.y0) == window
    assert chosen.x0 >= 0
    assert chosen.y0 >= 0
    assert chosen.x1 <= frame[0]
    assert chosen.y1 <= frame[1]


@pytest.mark.parametrize(("x", "y"), [(100, 100), (320, 240), (600, 440), (40, 400)])
def test_the_window_goes_where_something_has_moved(x: int, y: int) -> None:
    near = focus()
    near.note(moved(x, y))
    window = near.choose([], S)
    assert window is not None
    assert holds(window, x, y)


def test_nothing_is_looked_at_closely_where_nothing_has_moved() -> None:
    assert focus().choose([], S) is None


def test_what_was_looked_at_is_not_looked_at_again_until_it_moves_again() -> None:
    near = focus()
    near.note(moved(100, 100))
    assert near.choose([], S) is not None
    assert near.choose([], 2 * S) is None
    near.note(moved(100, 100))
    assert near.choose([], 3 * S) is not None


def test_in_a_frame_full_of_motion_every_place_has_its_turn() -> None:
    near = focus()
    seen = np.zeros((480, 640), np.bool_)
    for step in range(1, 13):
        near.note(EVERYTHING)
        window = near.choose([], 10 * S + step * QUARTER)
        assert window is not None
        seen[window.y0 : window.y1, window.x0 : window.x1] = True
    assert seen.all()


def test_a_small_face_that_is_followed_is_looked_at_again_and_again() -> None:
    near = focus()
    looks = 0
    for step in range(1, 41):
        near.note(moved(500, 400, size=10))
        window = near.choose([box(100, 100, 20)], 10 * S + step * QUARTER)
        looks += window is not None and holds(window, 100, 100)
    assert looks >= 10


def test_a_large_face_is_left_to_the_whole_frame() -> None:
    assert focus().choose([box(100, 100, 90)], 10 * S) is None


def test_a_face_beyond_the_frame_counts_at_its_edge() -> None:
    window = focus().choose([box(-30, 500, 20)], 10 * S)
    assert window is not None
    assert (window.x0, window.y1) == (0, 480)


def test_a_face_found_in_a_window_is_given_in_the_frame() -> None:
    found = Face(box=Box(10, 20, 30, 44), score=0.7, sure=False)
    kept = focus().keep(found, Window(100, 200, 420, 456))
    assert kept == Face(box=Box(110, 220, 130, 244), score=0.7, sure=False)


@pytest.mark.parametrize(
    "cut", [Box(1, 50, 30, 80), Box(50, 1, 80, 30), Box(290, 50, 319, 80), Box(50, 230, 80, 255), Box(50, 10, 150, 150)]
)
def test_a_face_cut_by_the_window_or_too_large_for_it_does_not_count(cut: Box) -> None:
    assert focus().keep(Face(box=cut, score=0.9), Window(100, 100, 420, 356)) is None


def test_a_face_at_the_frames_own_border_counts() -> None:
    face = Face(box=Box(0, 0, 20, 24), score=0.9)
    assert focus().keep(face, Window(0, 0, 320, 256)) == face
    corner = Face(box=Box(300, 230, 320, 256), score=0.9)
    assert focus().keep(corner, Window(320, 224, 640, 480)) is not None
