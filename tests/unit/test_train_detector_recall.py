"""Recall at a precision, on cases small enough to count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.seams import Box, Face
from tools.train.evaluate_detector import Found, join, match, recall_by_size, threshold_at
from tools.train.pictures import Picture


def picture(boxes: list[Box], ignore: list[bool], pseudo: list[bool]) -> Picture:
    return Picture(
        name="drawn",
        source="k853",
        split="test",
        pixels=np.zeros((100, 100, 3), np.uint8),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        ignore=np.array(ignore, bool),
        pseudo=np.array(pseudo, bool),
        labels=("mask",) * len(boxes),
    )


def face(box: Box, score: float) -> Face:
    return Face(box=box, score=score)


FIRST, SECOND = Box(0, 0, 20, 20), Box(50, 50, 90, 90)


def test_the_best_box_on_a_face_is_right_and_a_second_one_is_false() -> None:
    whole = picture([FIRST, SECOND], [False, False], [False, False])

    found = match(whole, [face(Box(2, 0, 22, 20), 0.6), face(FIRST, 0.9)])

    assert found.scores.tolist() == [0.9, 0.6]
    assert found.right.tolist() == [True, False]
    assert found.found.tolist() == [0.9, 0.0]
    assert found.sizes.tolist() == [20, 40]


@pytest.mark.parametrize(("ignore", "pseudo"), [(True, False), (False, True)])
def test_a_box_on_a_doubtful_face_counts_neither_way(ignore: bool, pseudo: bool) -> None:
    found = match(picture([FIRST, SECOND], [ignore, False], [pseudo, False]), [face(FIRST, 0.9)])

    assert len(found.scores) == 0
    assert found.sizes.tolist() == [40]


def test_a_tiny_box_beside_all_faces_is_not_held_against_the_net() -> None:
    found = match(picture([FIRST], [False], [False]), [face(Box(60, 60, 67, 67), 0.9), face(SECOND, 0.8)])

    assert found.scores.tolist() == [0.8]


def test_a_picture_without_faces_counts_what_is_found_in_it_as_false() -> None:
    found = match(picture([], [], []), [face(FIRST, 0.7)])

    assert (found.scores.tolist(), found.right.tolist(), len(found.sizes)) == ([0.7], [False], 0)


def test_recall_is_counted_by_size_at_the_threshold() -> None:
    found = Found(
        scores=np.array([0.9, 0.8, 0.7]),
        right=np.array([True, True, False]),
        sizes=np.array([12.0, 20.0, 100.0]),
        found=np.array([0.9, 0.0, 0.8]),
    )

    recall = recall_by_size([found], threshold_at(found, 0.9))

    assert recall.threshold == 0.8
    assert recall.interval == (66.7, 66.7)  # one picture: nothing to draw from
    assert recall.recall == {"<16": 100.0, "16-24": 0.0, ">64": 100.0, "all": 66.7}


def test_the_interval_holds_the_recall_and_shrinks_with_more_pictures() -> None:
    hit = match(picture([FIRST], [False], [False]), [face(FIRST, 0.9)])
    miss = match(picture([FIRST], [False], [False]), [])

    few, many = (recall_by_size([hit, hit, hit, miss] * times, 0.5).interval for times in (2, 50))

    assert few[0] < many[0] < 75 < many[1] < few[1]


def test_without_any_detection_the_threshold_lets_nothing_through() -> None:
    assert threshold_at(match(picture([FIRST], [False], [False]), []), 0.9) == 1.0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_the_threshold_is_the_lowest_that_keeps_the_precision(rows: list[tuple[int, bool]], precision: float) -> None:
    scores = np.array([score / 5 for score, _ in rows])
    right = np.array([hit for _, hit in rows], bool)
    found = join([Found(scores=scores, right=right, sizes=np.zeros(0), found=np.zeros(0))])

    fitting = [level for level in scores if right[scores >= level].mean() >= precision]
    assert threshold_at(found, precision) == min(fitting, default=1.0)
