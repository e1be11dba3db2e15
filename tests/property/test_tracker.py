"""What holds of the tracker for any faces: order does not count, every face is somebody's, the cost is the least."""

import itertools
import math
import random

from hypothesis import given
from hypothesis import strategies as st

from agent.seams import Box, Face, Track
from agent.vision.assignment import assign
from agent.vision.tracker import TRACKS_MAX, Tracker
from tests.scripted import MS

BOUNDS = Box(0, 0, 640, 480)
centres = st.tuples(st.integers(0, 640), st.integers(0, 480), st.integers(12, 120))
frames = st.lists(st.lists(centres, max_size=6, unique=True), min_size=1, max_size=12)
tables = st.lists(st.dictionaries(st.integers(0, 4), st.integers(0, 50).map(float), max_size=5), max_size=5)


def faces(of: list[tuple[int, int, int]]) -> list[Face]:
    return [Face(box=Box(x - s / 2, y - s / 2, x + s / 2, y + s / 2), score=0.5) for x, y, s in of]


def overlap(one: Box, other: Box) -> float:
    """Count the cells of half a pixel that both hold: slow, and nothing to get wrong."""
    return (
        0.25
        * sum(max(one.x0, other.x0) <= x / 2 < min(one.x1, other.x1) for x in range(int(2 * one.x0), int(2 * one.x1)))
        * sum(max(one.y0, other.y0) <= y / 2 < min(one.y1, other.y1) for y in range(int(2 * one.y0), int(2 * one.y1)))
    )


def follow(seen: list[list[Face]], step_ns: int) -> list[list[Track]]:
    tracker = Tracker(forget_after_s=2.0)
    return [tracker.update(found, index * step_ns, BOUNDS) for index, found in enumerate(seen)]


@given(frames, st.randoms(use_true_random=False))
def test_tracks_do_not_depend_on_the_order_of_the_boxes(
    script: list[list[tuple[int, int, int]]], chance: random.Random
) -> None:
    shuffled = [faces(of) for of in script]
    for found in shuffled:
        chance.shuffle(found)
    assert follow([faces(of) for of in script], 100 * MS) == follow(shuffled, 100 * MS)


@given(frames, st.sampled_from([33, 100, 500]))
def test_every_face_is_one_track_or_found_twice_and_ids_are_never_shared(
    script: list[list[tuple[int, int, int]]], step_ms: int
) -> None:
    for found, tracks in zip(script, follow([faces(of) for of in script], step_ms * MS), strict=True):
        seen = [track.box for track in tracks if track.seen]
        given_boxes = [face.box for face in faces(found)]
        assert set(seen) <= set(given_boxes)
        assert len(set(seen)) == len(seen)
        for box in set(given_boxes) - set(seen):
            assert any(overlap(box, other) > 0.6 * min(box.area, other.area) for other in seen)
        assert len({track.id for track in tracks}) == len(tracks) <= TRACKS_MAX


@given(tables)
def test_matching_is_the_best_that_trying_everything_finds(costs: list[dict[int, float]]) -> None:
    best = (0, 0.0)
    choices = [[None, *options] for options in costs]
    for choice in itertools.product(*choices):
        taken = [column for column in choice if column is not None]
        if len(set(taken)) == len(taken):
            total = sum(costs[row][column] for row, column in enumerate(choice) if column is not None)
            best = max(best, (len(taken), -total))
    matched = assign(costs)
    total = sum(costs[row][column] for row, column in enumerate(matched) if column is not None)
    taken = [column for column in matched if column is not None]
    assert len(set(taken)) == len(taken)
    assert len(taken) == best[0]
    assert math.isclose(total, -best[1], abs_tol=1e-9)
