"""Detectors to measure beside each other: ours as int8 and as float, and those that come with OpenCV.

Each finds faces in a picture and gives a score that ranks them; what a score means is its own affair.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.seams import Box, Face, Pixels
from agent.vision.detector import FaceDetector
from agent.vision.model import DetectorManifest, Tensor, load_manifest
from agent.vision.runtime import CpuRuntime, interpreter_module
from agent.vision.tiles import find_closely
from tools.train.graph import load_checkpoint, redrawn

Find = Callable[[Pixels], list[Face]]

CASCADES = ("frontalface_default", "frontalface_alt", "frontalface_alt2", "frontalface_alt_tree", "profileface")
"""Of the Haar cascades in OpenCV's wheel, those that are for faces. There is no other face detector with weights."""
_CASCADE_STEP, _CASCADE_NEIGHBOURS = 1.1, 1


class FloatRuntime:
    """The float net behind the int8 one's door: its answers in thousandths, so that the agent's decode takes them."""

    SCALE = 1e-3

    def __init__(self, content: bytes) -> None:
        """content: a float .tflite of `to_float`."""
        self._interpreter = interpreter_module().Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._entry = self._interpreter.get_input_details()[0]["index"]
        doors = sorted(self._interpreter.get_output_details(), key=lambda door: int(door["shape"][-1]))
        self._doors = dict(zip(("scores", "boxes"), (door["index"] for door in doors), strict=True))

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[Any]]:
        pixels = np.bitwise_xor(batch.view(np.uint8), 0x80).astype(np.float32) / np.float32(255)
        self._interpreter.set_tensor(self._entry, pixels)
        self._interpreter.invoke()
        return {
            name: np.round(self._interpreter.get_tensor(door) / self.SCALE).astype(np.int32)
            for name, door in self._doors.items()
        }

    def manifest(self, of: DetectorManifest) -> DetectorManifest:
        """Give the int8 net's manifest with the scales of these answers."""
        doors = {name: Tensor(shape=t.shape, scale=self.SCALE, zero_point=0) for name, t in of.net.outputs.items()}
        return msgspec.structs.replace(of, net=msgspec.structs.replace(of.net, outputs=doors))


def int8_detector(name: str) -> FaceDetector:
    """Load a detector as the agent does. name: of models/, or a manifest's path."""
    manifest, content = load_manifest(name, DetectorManifest)
    return FaceDetector(manifest, CpuRuntime(content, manifest.net, where=manifest.name))


def float_detector(checkpoint: Path, like: DetectorManifest) -> FaceDetector:
    """Give the float net of a checkpoint at the input size of a manifest, with the agent's decode round it."""
    runtime = FloatRuntime(to_float_file(checkpoint, like))
    return FaceDetector(runtime.manifest(like), runtime)


def to_float_file(checkpoint: Path, like: DetectorManifest) -> bytes:
    """Give the float .tflite of a checkpoint at the input size of a manifest."""
    from tools.quantize.convert import to_float  # brings TensorFlow: seconds to import, and for this only

    stored = load_checkpoint(checkpoint)
    _, height, width, _ = like.net.input.shape
    return to_float(replace(stored, graph=redrawn(stored.graph, width, height)))


def once(detector: FaceDetector) -> Find:
    """The whole picture in one pass, down to the manifest's report floor."""
    return lambda pixels: detector.find(pixels, detector.manifest.report_floor)


def closely(detectors: Sequence[FaceDetector]) -> Find:
    """As `maskwatch inspect` looks at a picture."""
    return lambda pixels: find_closely(detectors, pixels)


def cascade(name: str) -> Find:
    """One of OpenCV's Haar cascades on the picture at its own size; the score is the last stage's weight."""
    classifier = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")  # type: ignore[attr-defined]  # stubs lack it

    def find(pixels: Pixels) -> list[Face]:
        gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        boxes, _, weights = classifier.detectMultiScale3(
            gray, _CASCADE_STEP, _CASCADE_NEIGHBOURS, outputRejectLevels=True
        )
        return [
            Face(box=Box(float(x), float(y), float(x + width), float(y + height)), score=float(weight))
            for (x, y, width, height), weight in zip(boxes, weights, strict=True)
        ]

    return find
