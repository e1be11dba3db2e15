"""What the detector's training sees: pictures from tars, views of them, and which cell learns which face."""

import csv
import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.train.pictures import Picture, load_pictures
from tools.train.views import IGNORE, LEARN, View, ViewSettings, assign, clip_faces, cut, make_view

STRIDES = (4, 8, 16, 32)
WIDTH, HEIGHT = 96, 64
CALM = ViewSettings(mosaic=0, patch=0, gray=0, blur=0, noise=0, jpeg=0)


def picture(width: int, height: int, boxes: list[tuple[float, float, float, float]]) -> Picture:
    """Black, with a white rectangle where each box is."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[int(y0) : int(y1), int(x0) : int(x1)] = 255
    return Picture(
        name="drawn",
        source="k853",
        split="train",
        pixels=pixels,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        ignore=np.zeros(len(boxes), bool),
        pseudo=np.zeros(len(boxes), bool),
        labels=("no_mask",) * len(boxes),
    )


def view_of(boxes: list[tuple[float, float, float, float]], ignore: list[bool]) -> View:
    return View(
        pixels=np.zeros((HEIGHT, WIDTH, 3), np.uint8),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        ignore=np.array(ignore, bool),
    )


def level(view: View, stride: int) -> np.ndarray:
    """Give the states of one level as a grid."""
    first = sum((WIDTH // s) * (HEIGHT // s) for s in STRIDES if s < stride)
    count = (WIDTH // stride) * (HEIGHT // stride)
    return assign(view, STRIDES).state[first : first + count].reshape(HEIGHT // stride, WIDTH // stride)


@pytest.mark.parametrize(("size", "stride"), [(6, 4), (15, 4), (20, 8), (31, 8), (40, 16), (60, 16)])
def test_a_face_is_learnt_at_the_level_of_its_size_and_left_out_beside_it(size: int, stride: int) -> None:
    view = view_of([(20, 2, 20 + size, 2 + size)], [False])

    for other in STRIDES:
        here = level(view, other)
        assert (here == LEARN).any() == (other == stride)
        assert (here == IGNORE).any() == (other in (stride // 2, stride * 2))


@given(x=st.floats(0, WIDTH - 6), y=st.floats(0, HEIGHT - 6), width=st.floats(5, WIDTH), height=st.floats(5, HEIGHT))
def test_every_face_is_learnt_by_cells_near_its_middle(x: float, y: float, width: float, height: float) -> None:
    box = (x, y, min(WIDTH, x + width), min(HEIGHT, y + height))

    targets = assign(view_of([box], [False]), STRIDES)

    assert 1 <= len(targets.cells) <= 9
    assert (targets.state[targets.cells] == LEARN).all()
    np.testing.assert_allclose(targets.boxes, np.tile(np.float32(box), (len(targets.cells), 1)))


def test_an_ignored_face_is_neither_learnt_nor_background() -> None:
    here = level(view_of([(16, 16, 48, 48)], [True]), 8)

    assert (here[2:6, 2:6] == IGNORE).all()
    assert (here == IGNORE).sum() == 16
    assert not len(assign(view_of([(16, 16, 48, 48)], [True]), STRIDES).cells)


def test_the_smaller_of_two_faces_at_one_place_is_learnt() -> None:
    targets = assign(view_of([(20, 20, 35, 35), (24, 24, 32, 32)], [False, False]), STRIDES)

    learnt = {tuple(box) for box in targets.boxes.tolist()}
    assert (24, 24, 32, 32) in learnt


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_boxes_stay_on_their_faces_through_crop_zoom_and_mirror(seed: int) -> None:
    whole = picture(160, 120, [(40, 30, 80, 70), (100, 60, 130, 90)])

    view = cut(whole, WIDTH, HEIGHT, CALM, np.random.default_rng(seed))

    for x0, y0, x1, y1 in view.boxes[~view.ignore]:
        middle = view.pixels[round((y0 + y1) / 2 - 0.5), round((x0 + x1) / 2 - 0.5)]
        assert (middle == 255).all(), f"seed {seed}"
        inside = view.pixels[round(y0) : round(y1), round(x0) : round(x1)]
        assert (inside > 127).mean() > 0.8, f"seed {seed}"


def test_a_seed_gives_the_same_view_again_and_a_mosaic_has_the_right_size() -> None:
    four = [picture(160, 120, [(40, 30, 80, 70)])] * 4
    lively = ViewSettings(mosaic=1, gray=1, blur=1, noise=1, jpeg=1)

    first, again = (make_view(four, WIDTH, HEIGHT, lively, np.random.default_rng(7)) for _ in range(2))

    assert first.pixels.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.boxes, again.boxes)


def test_a_face_mostly_cut_off_or_too_small_is_left_out() -> None:
    boxes = np.array([(-8, 10, 4, 20), (-2, 10, 10, 20), (10, 10, 13, 13), (200, 10, 220, 30)], np.float32)

    clipped, ignore, kept = clip_faces(boxes, np.zeros(4, bool), WIDTH, HEIGHT, 4.5)

    assert kept.tolist() == [0, 1, 2]
    assert ignore.tolist() == [True, False, True]
    assert clipped[0].tolist() == [0, 10, 4, 20]


def test_pictures_come_from_the_tar_with_the_faces_of_the_table(tmp_path: Path) -> None:
    drawn = np.zeros((40, 60, 3), np.uint8)
    drawn[..., 2] = 200  # red, as OpenCV stores it
    _, packed = cv2.imencode(".webp", drawn, [cv2.IMWRITE_WEBP_QUALITY, 101])
    with tarfile.open(tmp_path / "k853.tar", "w") as tar:
        for name in ("one", "two"):
            member = tarfile.TarInfo(f"{name}.webp")
            member.size = packed.nbytes
            tar.addfile(member, io.BytesIO(packed.tobytes()))
    header = ["picture", "width", "height", "x0", "y0", "x1", "y1", "label", "origin", "score", "ignore", "split"]
    rows = [
        ["one", 60, 40, 1, 2, 11, 12, "mask", "human", "", 0, "train"],
        ["one", 60, 40, 20, 2, 30, 12, "face", "pseudo", 0.5, 1, "train"],
        ["two", 60, 40, "", "", "", "", "", "", "", 0, "test"],
    ]
    with (tmp_path / "k853.csv").open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])

    first, digest = load_pictures(tmp_path, tmp_path / "cache", ["k853"])
    again, same = load_pictures(tmp_path, tmp_path / "cache", ["k853"])

    one, two = first
    assert digest == same
    assert (one.name, one.split, one.labels) == ("one", "train", ("mask", "face"))
    assert one.boxes.tolist() == [[1, 2, 11, 12], [20, 2, 30, 12]]
    assert (one.ignore.tolist(), one.pseudo.tolist()) == ([False, True], [False, True])
    assert two.boxes.shape == (0, 4)
    assert two.pixels.shape == (40, 60, 3)
    assert (two.pixels == [200, 0, 0]).all()
    np.testing.assert_array_equal(one.pixels, again[0].pixels)
