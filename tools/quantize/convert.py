"""Float checkpoint to full int8 file, by TensorFlow's converter with calibration pictures."""

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tools.quantize.keras_net import build_keras  # first: it sets what TensorFlow reads while it is imported
from tools.train.graph import Checkpoint

import tensorflow as tf  # isort: skip


def to_int8(checkpoint: Checkpoint, pictures: NDArray[np.uint8]) -> bytes:
    """Give the .tflite: int8 in, int8 out, int8 weights, per channel in convolutions and per tensor in dense layers.

    pictures: (n, h, w, 3) uint8 to calibrate with. A black-to-white ramp is added, so that the input's range is 0..1 to
    the last bit: scale 1/255, zero point -128, and a byte becomes an input by subtracting 128.
    Equal checkpoints and pictures give equal bytes.
    """
    shape = checkpoint.graph.input_shape
    ramp = np.linspace(0, 255, int(np.prod(shape))).round().astype(np.uint8).reshape(shape)

    def calibration() -> Iterator[list[NDArray[np.float32]]]:
        for picture in (ramp, *pictures):
            yield [picture[None].astype(np.float32) / np.float32(255)]

    converter = tf.lite.TFLiteConverter.from_keras_model(build_keras(checkpoint.graph, checkpoint.weights))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    # The Edge TPU compiler is of 2021 and knows dense layers quantised per tensor only.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):  # it lists every variable
        return bytes(converter.convert())


def to_float(checkpoint: Checkpoint) -> bytes:
    """Give the float net as .tflite: the same interpreter runs it, far faster than Keras does."""
    converter = tf.lite.TFLiteConverter.from_keras_model(build_keras(checkpoint.graph, checkpoint.weights))
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(action="ignore"):  # it lists every variable
        return bytes(converter.convert())


def float_answers(checkpoint: Checkpoint, pictures: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
    """Give the float net's outputs for (n, h, w, 3) uint8, in the graph's order, each (n, ...)."""
    model = tf.function(build_keras(checkpoint.graph, checkpoint.weights))
    answers: list[list[NDArray[np.float32]]] = []
    for picture in pictures:
        found = model(tf.constant(picture[None].astype(np.float32) / np.float32(255)))
        answers.append([np.asarray(part) for part in (found if isinstance(found, list | tuple) else [found])])
    return tuple(np.concatenate(column) for column in zip(*answers, strict=True))
