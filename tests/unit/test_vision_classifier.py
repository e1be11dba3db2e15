"""The classifier: from a face in a frame to probabilities and a reason to distrust them."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.seams import Box, Reason
from agent.vision.classifier import MaskClassifier, decide_one, softmax
from agent.vision.crop import crop, quality
from agent.vision.model import Abstain, ClassifierManifest, load_manifest
from agent.vision.nets import load_classifier
from tests.scripted import MASK, NO_MASK, TORN, look

ABSTAIN = Abstain(confidence=0.9, face_px=12, sharpness=10, brightness=30)


class Recorder:
    """A net that always answers the same and keeps what it was asked."""

    def __init__(self, answer: list[int]) -> None:
        self.answer = answer
        self.batches: list[NDArray[np.int8]] = []

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        self.batches.append(batch.copy())
        return {"logits": np.array([self.answer], np.int8)}


@pytest.fixture(scope="module")
def manifest() -> ClassifierManifest:
    return load_manifest("mask-64", ClassifierManifest)[0]


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    coarse = np.random.default_rng(2).integers(0, 255, (30, 40, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_the_net_sees_the_crop_less_128(manifest: ClassifierManifest, picture: NDArray[np.uint8]) -> None:
    net = Recorder([0, 0, 0])
    face = Box(100, 100, 160, 180)
    MaskClassifier(manifest, net).look(picture, [face])
    expected = crop(picture, face, manifest.crop_scale, 64).astype(np.int16) - 128
    np.testing.assert_array_equal(expected, net.batches[0][0])
    assert net.batches[0].dtype == np.int8


def test_a_look_carries_what_was_measured(manifest: ClassifierManifest, picture: NDArray[np.uint8]) -> None:
    face = Box(100, 100, 160, 180)
    (one,) = MaskClassifier(manifest, Recorder([60, -60, -60])).look(picture, [face])
    sharpness, brightness = quality(crop(picture, face, manifest.crop_scale, 64))
    assert (one.sharpness, one.brightness) == (sharpness, brightness)
    assert one.face_px == pytest.approx(math.sqrt(60 * 80))
    scale = manifest.net.outputs["logits"].scale / manifest.temperature
    assert one.probs[0] == pytest.approx(1 / (1 + 2 * math.exp(-120 * scale)))


def test_looks_come_in_the_order_of_the_boxes(manifest: ClassifierManifest, picture: NDArray[np.uint8]) -> None:
    boxes = [Box(0, 0, 20, 20), Box(50, 50, 100, 100), Box(600, 400, 640, 480)]
    looks = MaskClassifier(manifest, Recorder([0, 0, 0])).look(picture, boxes)
    assert [one.face_px for one in looks] == [box.size_px for box in boxes]
    assert MaskClassifier(manifest, Recorder([0, 0, 0])).look(picture, []) == []


def test_the_shipped_net_looks_at_a_face_at_the_edge_of_the_frame(picture: NDArray[np.uint8]) -> None:
    looks = load_classifier("mask-64", "cpu").net.look(picture, [Box(-20, -20, 30, 30), Box(630, 470, 660, 500)])
    assert [round(sum(one.probs), 12) for one in looks] == [1.0, 1.0]


@given(st.tuples(*[st.integers(-128, 127)] * 3), st.floats(0.001, 0.5))
def test_softmax_is_that_of_the_formula(raw: tuple[int, int, int], step: float) -> None:
    numbers = np.exp((np.array(raw, np.float64) - max(raw)) * step)
    np.testing.assert_allclose(softmax(raw, step), numbers / numbers.sum(), rtol=1e-12)


@pytest.mark.parametrize(
    ("probs", "changes", "label", "reason"),
    [
        (MASK, {}, "mask", None),
        (NO_MASK, {}, "no_mask", None),
        ((0.02, 0.03, 0.95), {}, "incorrect", None),
        (TORN, {}, "unsure", "undecided"),
        (MASK, {"face_px": 11.9}, "unsure", "too_small"),
        (MASK, {"sharpness": 9.0}, "unsure", "blurred"),
        (MASK, {"brightness": 29.0}, "unsure", "dark"),
        (MASK, {"face_px": 5.0, "brightness": 5.0, "sharpness": 0.0}, "unsure", "too_small"),
        (MASK, {"brightness": 5.0, "sharpness": 0.0}, "unsure", "dark"),
    ],
)
def test_one_look_alone_is_a_label_or_unsure_with_a_reason(
    probs: tuple[float, float, float], changes: dict[str, float], label: str, reason: Reason | None
) -> None:
    decision = decide_one(look(probs, **changes), ABSTAIN)
    assert (decision.label, decision.reason, decision.confidence) == (label, reason, max(probs))
