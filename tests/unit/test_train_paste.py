"""What is pasted into the detector's views, and what is learnt of it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tools.train.data import generated_faces
from tools.train.paste import STORED_PX, Portrait, paste, portraits_of
from tools.train.pictures import Picture
from tools.train.views import Pasted, ViewSettings, make_view

RED = (200, 30, 30)


@pytest.fixture
def portraits() -> list[Portrait]:
    """Red faces on a gray ground."""
    pixels = np.full((60, 44, 3), 120, np.uint8)
    cv2.rectangle(pixels, (7, 10), (36, 49), RED, -1)
    return [Portrait(pixels=pixels, box=np.array([7, 10, 37, 50], np.float32))]


def ground(value: int = 10) -> np.ndarray:
    return np.full((256, 320, 3), value, np.uint8)


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3])


@pytest.mark.parametrize("seed", range(20))
def test_pasted_faces_lie_in_the_view_and_clear_of_what_is_there(portraits: list[Portrait], seed: int) -> None:
    taken = np.array([[40, 30, 200, 180]], np.float32)
    pixels = ground()

    boxes = paste(pixels, taken, portraits, ground(), np.random.default_rng(seed))

    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (320, 256)).all()
    for index, box in enumerate(boxes):
        assert not any(overlap(box, other) for other in [*taken, *boxes[:index]])
    assert (pixels[30:180, 40:200] == 10).all()


def test_a_pasted_face_is_where_its_box_says_and_fades_into_what_is_round_it(
    portraits: list[Portrait], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.train.paste.FACE_SHARE", 1.0)
    pixels = ground()

    boxes = paste(pixels, np.zeros((0, 4), np.float32), portraits, ground(), np.random.default_rng(3))

    assert len(boxes) > 0
    for x0, y0, x1, y1 in boxes:
        assert pixels[int((y0 + y1) / 2), int((x0 + x1) / 2)].tolist() == list(RED)
    corner = pixels[int(boxes[0][1] - 2), int(boxes[0][0] - 2)].astype(int)
    assert (corner < 120).all()


@pytest.mark.parametrize("seed", range(30))
def test_things_that_are_no_faces_change_the_view_and_are_not_learnt(
    portraits: list[Portrait], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.train.paste.FACE_SHARE", 0.0)
    pixels = ground()

    boxes = paste(pixels, np.zeros((0, 4), np.float32), portraits, ground(200), np.random.default_rng(seed))

    assert boxes.shape == (0, 4)
    assert (pixels != 10).any()


def test_a_view_learns_the_faces_pasted_into_it_and_the_same_seed_makes_it_again(portraits: list[Portrait]) -> None:
    empty = Picture(
        name="empty",
        source="background",
        split="train",
        pixels=ground(90),
        boxes=np.zeros((0, 4), np.float32),
        ignore=np.zeros(0, bool),
        pseudo=np.zeros(0, bool),
        labels=(),
    )
    pasted = Pasted(portraits=portraits, scraps=[empty])
    settings = ViewSettings(paste=1.0)

    views = [make_view([empty] * 4, 320, 256, settings, np.random.default_rng(5), pasted) for _ in range(2)]

    assert len(views[0].boxes) == len(views[0].ignore) > 0
    assert not views[0].ignore.any()
    assert (views[0].pixels == views[1].pixels).all()
    assert (views[0].boxes == views[1].boxes).all()


def test_only_training_faces_of_portraits_are_kept_and_none_is_large() -> None:
    drawn = generated_faces(40, 1)
    odd = np.arange(len(drawn)) % 2 == 1
    faces = replace(drawn, source=np.where(odd, "webportrait", "wider"), box=drawn.box.copy())

    kept = portraits_of(faces)

    assert len(kept) == int((odd & (faces.split == "train")).sum()) > 0
    assert all(max(p.box[2] - p.box[0], p.box[3] - p.box[1]) <= STORED_PX + 1e-3 for p in kept)
    assert all(p.pixels.shape[0] < faces.height[0] for p in kept)
