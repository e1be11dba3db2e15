"""From a frame to boxes: the letterbox, the int8 threshold and the decode against plain loops; then the real net."""

import math
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.seams import Box, Face, Pixels
from agent.vision.detector import CANDIDATES_MAX, FaceDetector, Letterbox, cells, lowest_raw, to_probability
from agent.vision.model import DetectorManifest, Net, Tensor, load_manifest
from agent.vision.runtime import CpuRuntime
from tests.shared import shared

WIDTH, HEIGHT, STRIDES = 64, 32, (8, 16)
CELLS = 8 * 4 + 4 * 2
SCORES = Tensor(shape=(1, CELLS, 1), scale=0.05, zero_point=20)
SIDES = Tensor(shape=(1, CELLS, 4), scale=0.02, zero_point=-100)


class Scripted:
    """A net that always gives the same answer and keeps what it was shown."""

    def __init__(self, scores: NDArray[np.int8] | None = None, boxes: NDArray[np.int8] | None = None) -> None:
        self.scores = np.full((1, CELLS, 1), -128, np.int8) if scores is None else scores
        self.boxes = np.zeros((1, CELLS, 4), np.int8) if boxes is None else boxes
        self.shown: list[NDArray[np.int8]] = []

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        self.shown.append(batch.copy())
        return {"scores": self.scores, "boxes": self.boxes}


def manifest(strides: tuple[int, ...] = STRIDES) -> DetectorManifest:
    net = Net(
        file="none.tflite",
        sha256="0" * 64,
        input=Tensor(shape=(1, HEIGHT, WIDTH, 3), scale=1 / 255, zero_point=-128),
        outputs={"scores": SCORES, "boxes": SIDES},
        golden=[],
    )
    return DetectorManifest(
        name="scripted", version=1, net=net, strides=strides, score_threshold=0.5, report_floor=0.02, nms_iou=0.45
    )


def plain_faces(net: Scripted, scale: float, width: int, height: int, floor: float) -> list[Face]:
    """Decode cell by cell, without NMS, in the order of the cells."""
    faces = []
    index = 0
    for stride in STRIDES:
        for row in range(HEIGHT // stride):
            for column in range(WIDTH // stride):
                logit = SCORES.scale * (int(net.scores[0, index, 0]) - SCORES.zero_point)
                sides = [max(0.0, SIDES.scale * (int(raw) - SIDES.zero_point)) * stride for raw in net.boxes[0, index]]
                x, y = (column + 0.5) * stride, (row + 0.5) * stride
                box = Box(
                    max(0.0, (x - sides[0]) / scale),
                    max(0.0, (y - sides[1]) / scale),
                    min(float(width), (x + sides[2]) / scale),
                    min(float(height), (y + sides[3]) / scale),
                )
                score = 1 / (1 + math.exp(-logit))
                if score >= floor and box.area > 0 and box.x1 > box.x0 and box.y1 > box.y0:
                    faces.append(Face(box=box, score=score))
                index += 1
    return faces


@given(seed=st.integers(0, 2**32 - 1), hot=st.integers(0, CELLS))
def test_boxes_are_those_of_a_decode_cell_by_cell(seed: int, hot: int) -> None:
    rng = np.random.default_rng(seed)
    net = Scripted()
    chosen = rng.permutation(CELLS)[:hot]
    net.scores[0, chosen, 0] = rng.integers(-100, 128, hot)
    net.boxes[:] = rng.integers(-128, 128, net.boxes.shape)
    detector = FaceDetector(msgspec.structs.replace(manifest(), nms_iou=1.0), net)  # so that every cell stays

    faces = detector.find(np.zeros((48, 128, 3), np.uint8), 0.3)

    expected = sorted(plain_faces(net, 0.5, 128, 48, 0.3), key=lambda face: -face.score)  # stable: ties as in the cells
    assert len(faces) == len(expected)
    for ours, theirs in zip(faces, expected, strict=True):
        assert ours.box == pytest.approx(theirs.box, abs=1e-3)
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)


def test_cells_round_one_face_give_one_box_and_a_second_face_stays() -> None:
    net = Scripted()
    net.boxes[0, :, :] = 0  # two strides on each side
    net.scores[0, [9, 10], 0] = 60, 80
    net.scores[0, 14, 0] = 70

    faces = FaceDetector(manifest(), net).find(np.zeros((32, 64, 3), np.uint8))

    assert [face.box for face in faces] == [Box(4, 0, 36, 28), Box(36, 0, 64, 28)]


def test_only_the_floor_decides_what_is_listed() -> None:
    net = Scripted()
    net.boxes[:] = 0
    net.scores[0, 9, 0] = -40  # a logit of -3, 4.7 %

    detector = FaceDetector(manifest(), net)

    assert detector.find(np.zeros((32, 64, 3), np.uint8)) == []
    assert len(detector.find(np.zeros((32, 64, 3), np.uint8), 0.04)) == 1
    assert detector.find(np.zeros((32, 64, 3), np.uint8), 0.05) == []


def test_a_face_wholly_in_the_padding_is_none() -> None:
    net = Scripted()
    net.boxes[:] = -90
    net.scores[0, 31, 0] = 127  # the last cell of the fine level, at (60, 28)

    assert FaceDetector(manifest(), net).find(np.zeros((20, 64, 3), np.uint8)) == []


def test_a_net_gone_wild_is_cut_to_its_best_cells() -> None:
    fine = Tensor(shape=(1, 40 * 32, 1), scale=0.05, zero_point=0)
    sides = Tensor(shape=(1, 40 * 32, 4), scale=0.02, zero_point=-128)
    whole = DetectorManifest(
        name="wild",
        version=1,
        net=Net(
            file="none.tflite",
            sha256="0" * 64,
            input=Tensor(shape=(1, 256, 320, 3), scale=1 / 255, zero_point=-128),
            outputs={"scores": fine, "boxes": sides},
            golden=[],
        ),
        strides=(8,),
        score_threshold=0.5,
        report_floor=0.02,
        nms_iou=0.45,
    )
    scores = np.full((1, 1280, 1), 10, np.int8)
    scores[0, :CANDIDATES_MAX:2, 0] = 90
    net = Scripted(scores, np.full((1, 1280, 4), -118, np.int8))

    faces = FaceDetector(whole, net).find(np.zeros((256, 320, 3), np.uint8))

    assert len(faces) == CANDIDATES_MAX
    assert sum(face.score > 0.9 for face in faces) == CANDIDATES_MAX // 2


def test_levels_that_do_not_fit_the_tensors_are_refused() -> None:
    with pytest.raises(ModelError) as caught:
        FaceDetector(manifest(strides=(8, 32)), Scripted())

    assert "(8, 32)" in str(caught.value)


@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_any_frame_fits_with_its_ratio_kept_and_gray_beside_it(width: int, height: int) -> None:
    batch, scale = Letterbox((1, HEIGHT, WIDTH, 3)).fit(np.full((height, width, 3), 255, np.uint8))

    assert scale == pytest.approx(min(WIDTH / width, HEIGHT / height))
    used_width, used_height = max(1, round(width * scale)), max(1, round(height * scale))
    assert (batch[0, :used_height, :used_width] == 127).all()
    assert (batch[0, used_height:] == 0).all()
    assert (batch[0, :, used_width:] == 0).all()


def test_a_byte_becomes_the_inputs_int8_by_subtracting_128() -> None:
    pixels = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint32).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)

    batch, _ = Letterbox((1, HEIGHT, WIDTH, 3)).fit(pixels)

    np.testing.assert_array_equal(batch[0], pixels.astype(np.int16) - 128)


def test_a_narrow_frame_after_a_wide_one_leaves_nothing_of_it() -> None:
    letterbox = Letterbox((1, HEIGHT, WIDTH, 3))
    letterbox.fit(np.full((HEIGHT, WIDTH, 3), 255, np.uint8))

    batch, _ = letterbox.fit(np.zeros((HEIGHT, WIDTH // 2, 3), np.uint8))

    assert (batch[0, :, WIDTH // 2 :] == 0).all()


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)],
    ids=["gray", "alpha", "float"],
)
def test_what_is_no_frame_is_our_mistake(wrong: Pixels) -> None:
    with pytest.raises(AssertionError, match="a frame is"):
        Letterbox((1, HEIGHT, WIDTH, 3)).fit(wrong)


@given(probability=st.floats(0, 1), scale=st.floats(0.01, 0.2), zero_point=st.integers(-128, 127))
def test_the_int8_threshold_lets_through_what_the_probability_would(
    probability: float, scale: float, zero_point: int
) -> None:
    tensor = Tensor(shape=(1, 256, 1), scale=scale, zero_point=zero_point)
    every = np.arange(-128, 128).astype(np.int8)

    lowest = lowest_raw(probability, tensor)

    passing = to_probability(every, tensor)[every >= lowest]
    failing = to_probability(every, tensor)[every < lowest]
    assert (passing >= probability - 1e-6).all()
    assert (failing <= probability + 1e-6).all()


def test_cells_run_row_by_row_from_the_first_stride_to_the_last() -> None:
    centres, strides = cells(32, 16, (8, 16))

    assert centres.tolist() == [
        [4, 4],
        [12, 4],
        [20, 4],
        [28, 4],
        [4, 12],
        [12, 12],
        [20, 12],
        [28, 12],
        [8, 8],
        [24, 8],
    ]
    assert strides.tolist() == [8] * 8 + [16] * 2


def real_detector() -> FaceDetector:
    found, content = load_manifest("face-320", DetectorManifest)
    return FaceDetector(found, CpuRuntime(content, found.net, where="face-320"))


def test_the_shipped_net_finds_nobody_in_a_gray_frame() -> None:
    assert real_detector().find(np.full((480, 640, 3), 128, np.uint8)) == []


def frame_of(clip: Path, index: int) -> Pixels:
    capture = cv2.VideoCapture(str(clip))
    capture.set(cv2.CAP_PROP_POS_FRAMES, index)
    ok, bgr = capture.read()
    assert ok
    return np.ascontiguousarray(bgr[:, :, ::-1], np.uint8)


def test_the_shipped_net_finds_the_three_people_who_stand_close() -> None:
    pixels = frame_of(shared("data/video/hallway_pause.mp4"), 20)

    faces = real_detector().find(pixels)

    assert len(faces) == 3
    assert [round(face.box.centre[0] / 480, 1) for face in sorted(faces, key=lambda face: face.box.x0)] == [
        0.2,
        0.5,
        0.8,
    ]


def test_an_answer_that_nobody_vouches_for_is_asked_for_once_more() -> None:
    net, counts = Scripted(np.full((1, CELLS, 1), 127, np.int8)), list[int]()

    def vouch(count: int) -> bool:
        counts.append(count)
        net.scores[:] = -128  # what the CPU finds
        return False

    assert FaceDetector(manifest(), net, vouch).find(np.zeros((HEIGHT, WIDTH, 3), np.uint8)) == []
    assert counts[0] > 0
    assert len(counts) == 1
    np.testing.assert_array_equal(net.shown[0], net.shown[1])
