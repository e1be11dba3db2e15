"""A closer look at a picture: how it is planned, what two looks make of a face, and the shipped net on real pixels."""

import itertools
import math

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.seams import Box, Face
from agent.vision.detector import FaceDetector
from agent.vision.model import DetectorManifest
from agent.vision.tiles import (
    ENLARGED_MAX,
    OVERLAP,
    SHRUNK_MIN,
    Plan,
    agree,
    choose,
    find_closely,
    fit,
    starts,
)
from tests.shared import shared
from tests.unit.test_vision_detector import HEIGHT, WIDTH, Scripted, frame_of, manifest, real_detector

SMALL, MIDDLE, LARGE = (320, 256), (480, 384), (640, 480)
SIZES = (SMALL, MIDDLE, LARGE)


@given(length=st.integers(1, 3000), tile=st.integers(16, 400))
def test_tiles_cover_an_axis_and_overlap(length: int, tile: int) -> None:
    begins = starts(length, tile)

    assert begins[0] == 0
    assert begins[-1] == max(0, length - tile)
    assert all(b - a <= tile * (1 - OVERLAP) + 1 for a, b in itertools.pairwise(begins))


@pytest.mark.parametrize(
    ("picture", "plan"),
    [
        ((640, 480), Plan(close=2, wide=1)),
        ((640, 427), Plan(close=2, wide=1)),
        ((512, 340), Plan(close=2, wide=1)),
        ((400, 267), Plan(close=2, wide=1)),
        ((480, 640), Plan(close=1, wide=1, lefts=(0,), tops=(0, 256))),
        ((240, 240), Plan(close=1, wide=0)),  # in the largest it would be twice as large
        ((40, 40), Plan(close=0, wide=None)),
    ],
)
def test_the_largest_input_sees_a_picture_in_one_piece_and_a_smaller_one_sees_it_again(
    picture: tuple[int, int], plan: Plan
) -> None:
    assert choose(SIZES, *picture) == plan


def test_the_order_of_the_nets_does_not_matter() -> None:
    assert choose((LARGE, SMALL, MIDDLE), 640, 480) == Plan(close=0, wide=2)


def pixels(plan: Plan, sizes: tuple[tuple[int, int], ...]) -> int:
    looks = max(1, len(plan.lefts)) * max(1, len(plan.tops))
    return looks * math.prod(sizes[plan.close]) + (0 if plan.wide is None else math.prod(sizes[plan.wide]))


@given(width=st.integers(8, 640), height=st.integers(8, 480), turned=st.booleans())
def test_a_picture_of_640_px_costs_no_more_than_seven_looks_at_a_frame(width: int, height: int, turned: bool) -> None:
    plan = choose(SIZES, *((height, width) if turned else (width, height)))

    assert pixels(plan, SIZES) <= 7 * math.prod(SMALL)  # a look at 320x256 takes 2 ms, and the whole may take 15


@given(
    width=st.integers(1, 2000),
    height=st.integers(1, 2000),
    sizes=st.lists(st.sampled_from([(256, 192), *SIZES, (64, 320)]), min_size=1, max_size=4, unique=True),
)
def test_every_pixel_is_looked_at_at_nearly_its_own_size(width: int, height: int, sizes: list[tuple[int, int]]) -> None:
    plan = choose(sizes, width, height)

    across, down = sizes[plan.close]
    if plan.tops:
        assert plan.lefts == starts(width, across)
        assert plan.tops == starts(height, down)
        assert plan.wide is not None
    else:
        assert fit(sizes[plan.close], width, height) >= SHRUNK_MIN
        enlarged_less = [size for size in sizes if fit(size, width, height) <= ENLARGED_MAX]
        assert fit(sizes[plan.close], width, height) <= ENLARGED_MAX or not enlarged_less
        assert plan.wide != plan.close


A, B = Box(0, 0, 20, 20), Box(100, 0, 120, 20)


def near(box: Box, by: float) -> Box:
    return Box(box.x0 + by, box.y0, box.x1 + by, box.y1)


def test_what_both_looks_see_has_the_mean_box_and_what_one_misses_counts_half() -> None:
    closely, whole = [Face(box=A, score=0.9)], [Face(box=near(A, 2), score=0.5), Face(box=B, score=0.9)]

    both, missed = agree(closely, whole, 10, math.inf, 0.1)

    assert both == Face(box=near(A, 1), score=pytest.approx(0.75))  # odds of 9 and 1: their geometric mean is 3
    assert missed == Face(box=B, score=pytest.approx(0.5))  # odds of 9 and 1/9


def test_a_face_that_the_other_look_could_not_see_keeps_its_score() -> None:
    tiny, huge = Face(box=Box(0, 0, 9, 9), score=0.9), Face(box=Box(50, 50, 350, 350), score=0.8)

    assert agree([tiny], [huge], 10, 80, 0.1) == [tiny, huge]


def test_of_a_large_face_the_look_at_the_whole_is_believed() -> None:
    closely, whole = Face(box=Box(52, 50, 350, 350), score=0.3), Face(box=Box(50, 50, 350, 350), score=0.8)

    assert agree([closely], [whole], 10, 80, 0.1) == [whole]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0.1, 0.98)), max_size=8, unique_by=lambda pair: pair[0]),
    st.lists(st.tuples(st.integers(0, 9), st.floats(0.1, 0.98)), max_size=8, unique_by=lambda pair: pair[0]),
)
def test_no_face_is_lost_or_made_and_no_score_is_above_the_better_look(
    one: list[tuple[int, float]], two: list[tuple[int, float]]
) -> None:
    looks = [[Face(box=near(A, 50 * place), score=score) for place, score in look] for look in (one, two)]

    faces = agree(*looks, 10, math.inf, 0.1)

    best = {place: max(dict(one).get(place, 0), dict(two).get(place, 0)) for place, _ in one + two}
    assert sorted(round(face.box.x0 / 50) for face in faces) == sorted(best)
    assert all(face.score <= best[round(face.box.x0 / 50)] + 1e-9 for face in faces)


def test_a_picture_no_larger_than_the_input_is_looked_at_once() -> None:
    net = Scripted()
    find_closely([FaceDetector(manifest(), net)], np.zeros((HEIGHT, WIDTH, 3), np.uint8))

    assert len(net.shown) == 1


def test_a_face_cut_by_a_tile_is_left_to_the_tile_that_sees_it_whole() -> None:
    net = Scripted()
    net.boxes[:] = 0
    net.scores[0, 8, 0] = 127  # at the left border of every mirrored tile, so at the right one of what it shows

    faces = find_closely([FaceDetector(manifest(), net)], np.zeros((HEIGHT, 2 * WIDTH, 3), np.uint8))

    assert len(net.shown) == 1 + len(starts(2 * WIDTH, WIDTH))
    assert {face.box.x1 for face in faces if face.box.x0 >= WIDTH / 2} == {2.0 * WIDTH}


def half_the_size() -> tuple[DetectorManifest, Scripted]:
    whole = manifest()
    outputs = {"scores": (1, 10, 1), "boxes": (1, 10, 4)}
    net = msgspec.structs.replace(
        whole.net,
        input=msgspec.structs.replace(whole.net.input, shape=(1, HEIGHT // 2, WIDTH // 2, 3)),
        outputs={
            name: msgspec.structs.replace(whole.net.outputs[name], shape=shape) for name, shape in outputs.items()
        },
    )
    answer = Scripted(np.full((1, 10, 1), -128, np.int8), np.full((1, 10, 4), -90, np.int8))
    return msgspec.structs.replace(whole, net=net), answer


def test_the_close_look_is_mirrored_and_its_boxes_are_not() -> None:
    net = Scripted()
    net.boxes[:] = -90  # a fifth of a stride to each side
    net.scores[0, 0, 0] = 127  # the cell at (4, 4), of the mirror image
    described, answer = half_the_size()
    answer.scores[0, 0, 0] = 127  # the same cell, which is (8, 8) in the picture
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:, :16] = 200

    faces = find_closely([FaceDetector(manifest(), net), FaceDetector(described, answer)], picture)

    assert [shown[0, 0, 0, 0] for shown in net.shown] == [-128]
    assert [shown[0, 0, 0, 0] for shown in answer.shown] == [72]
    assert sorted(face.box.centre for face in faces) == [(8, 8), (WIDTH - 4, 4)]


def test_the_floor_decides_what_is_listed_and_the_threshold_what_is_sure() -> None:
    net = Scripted()
    net.boxes[:] = 0
    net.scores[0, 9, 0] = 0  # a logit of -1, 27 %

    detector = FaceDetector(manifest(), net)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    assert [face.sure for face in find_closely([detector], picture)] == [False]
    assert find_closely([detector], picture, 0.3) == []


def test_a_small_face_in_a_large_picture_is_found_in_a_tile() -> None:
    frame = frame_of(shared("data/video/hallway_pause.mp4"), 20)
    small = np.asarray(cv2.resize(frame, (160, 90), interpolation=cv2.INTER_AREA), np.uint8)
    picture = np.full((1100, 2000, 3), 90, np.uint8)
    picture[500:590, 900:1060] = small

    detector = real_detector()
    closely = find_closely([detector], picture, detector.manifest.score_threshold)

    assert detector.find(picture) == []  # in the whole picture the faces are three pixels wide
    assert len(closely) >= 2
    assert all(face.box.x0 >= 900 and face.box.x1 <= 1060 for face in closely)
