"""Conversion with the real converter: deterministic, full int8, close to float, the same in every kernel set."""

import numpy as np
import pytest

from agent.vision.runtime import CpuRuntime
from tests.unit.test_train_graph import EVERY_OP, random_weights
from tools.train.graph import Checkpoint

pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")

from tools.quantize.checks import check_int8
from tools.quantize.convert import float_answers, to_int8
from tools.quantize.describe import describe_net

NAMES = ("flat", "logits", "up", "hidden")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint(graph=EVERY_OP, weights=random_weights(EVERY_OP, 3), notes={})


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (30, 16, 24, 3), np.uint8)


@pytest.fixture(scope="module")
def content(checkpoint: Checkpoint, pictures: np.ndarray) -> bytes:
    return to_int8(checkpoint, pictures)


def test_equal_checkpoints_and_pictures_give_equal_bytes(
    checkpoint: Checkpoint, pictures: np.ndarray, content: bytes
) -> None:
    assert to_int8(checkpoint, pictures) == content


def test_every_op_becomes_its_own_int8_operator_of_the_edge_tpu(content: bytes) -> None:
    anatomy = check_int8(content, "every-op")

    assert anatomy.not_on_edge_tpu == ()
    assert anatomy.ops["RESIZE_NEAREST_NEIGHBOR"] == 1
    assert "PAD" not in anatomy.ops


def test_the_input_is_exactly_a_byte_less_128_even_when_calibrated_in_the_dark(checkpoint: Checkpoint) -> None:
    dark = np.random.default_rng(4).integers(0, 60, (10, 16, 24, 3), np.uint8)

    net = describe_net(to_int8(checkpoint, dark), "x", NAMES)

    assert (np.float32(net.input.scale), net.input.zero_point) == (np.float32(1 / 255), -128)


def test_int8_stays_close_to_float_in_every_output(
    checkpoint: Checkpoint, pictures: np.ndarray, content: bytes
) -> None:
    net = describe_net(content, "every-op.tflite", NAMES)
    runtime = CpuRuntime(content, net, where="every-op.tflite")
    exact = float_answers(checkpoint, pictures)

    for index, picture in enumerate(pictures[:10]):
        answers = runtime.invoke((picture[None] ^ 0x80).view(np.int8))
        for name, expected in zip(NAMES, exact, strict=True):
            door = net.outputs[name]
            found = (answers[name].astype(np.float32) - door.zero_point) * door.scale
            spread = np.ptp(expected)
            assert np.abs(found[0] - expected[index]).max() < 0.08 * spread
