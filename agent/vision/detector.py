"""The face detector: a frame in, boxes in its pixels out.

The frame is fitted into the net's input at the top left, its sides' ratio kept; the rest stays mid-gray (int8 zero), as
in training. Cells are dropped on their int8 scores, before any float: of 6,800 some tens are left to decode.
"""

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.seams import Box, Face, Pixels
from agent.vision.model import DetectorManifest, Tensor
from agent.vision.nms import suppress
from agent.vision.runtime import Runtime

CANDIDATES_MAX = 600
"""Cells that are decoded at most, the best ones. A crowd of 150 faces has about four cells each above the threshold."""


class FaceDetector:
    """A net and its manifest; see seams.Detector. Not for two threads at once: its input buffer is its own."""

    def __init__(
        self, manifest: DetectorManifest, runtime: Runtime, vouch: Callable[[int], bool] = lambda _: True
    ) -> None:
        """vouch: whether an answer with so many faces can be believed; if not, the runtime is asked once more.

        Raises ModelError if the manifest's levels are not those of its tensors.
        """
        self.manifest = manifest
        self._runtime = runtime
        self._vouch = vouch
        self._floor = manifest.score_threshold if manifest.follow_threshold is None else manifest.follow_threshold
        self._letterbox = Letterbox(manifest.net.input.shape)
        height, width = manifest.net.input.shape[1:3]
        self._centres, self._strides = cells(width, height, manifest.strides)
        expected = {"scores": (1, len(self._strides), 1), "boxes": (1, len(self._strides), 4)}
        found = {name: tensor.shape for name, tensor in manifest.net.outputs.items()}
        if found != expected:
            raise ModelError(
                f"strides {manifest.strides} at {width}x{height} need outputs {expected}, not {found}",
                where=manifest.name,
                remedy="make the manifest anew with tools/quantize",
            )

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height of the net's input, pixels."""
        _, height, width, _ = self.manifest.net.input.shape
        return width, height

    def find(self, pixels: Pixels, floor: float | None = None) -> list[Face]:
        """Give the faces in a frame, best first.

        pixels: (h, w, 3) uint8 RGB of any size. floor: the lowest score wanted; the manifest's follow_threshold, or its
        score_threshold where it has none, by default.
        Returns boxes in pixels of the frame, clipped to it.
        """
        batch, scale = self._letterbox.fit(pixels)
        wanted = self._floor if floor is None else floor
        faces = self._read(self._runtime.invoke(batch), pixels.shape, scale, wanted)
        if not self._vouch(len(faces)):
            faces = self._read(self._runtime.invoke(batch), pixels.shape, scale, wanted)
        return faces

    def _read(self, raw: dict[str, NDArray[np.int8]], shape: tuple[int, ...], scale: float, floor: float) -> list[Face]:
        """Give the faces that an answer tells of. shape: of the frame; scale: input pixels a frame pixel."""
        scores = self.manifest.net.outputs["scores"]
        lowest = lowest_raw(floor, scores)
        flat = raw["scores"].reshape(-1)
        chosen = np.flatnonzero(flat >= lowest)
        if not len(chosen):
            return []
        if len(chosen) > CANDIDATES_MAX:
            chosen = chosen[np.argsort(-flat[chosen].astype(np.int16), kind="stable")[:CANDIDATES_MAX]]
        height, width = shape[:2]
        boxes = self._decode(raw["boxes"][0, chosen], chosen) / np.float32(scale)
        np.clip(boxes, 0, np.array([width, height, width, height], np.float32), out=boxes)
        probabilities = to_probability(flat[chosen], scores)
        sure = flat[chosen] >= lowest_raw(self.manifest.score_threshold, scores)
        kept = suppress(boxes, probabilities, self.manifest.nms_iou)
        faces = [
            Face(box=Box(*box), score=score, sure=is_sure)
            for box, score, is_sure in zip(
                boxes[kept].tolist(), probabilities[kept].tolist(), sure[kept].tolist(), strict=True
            )
        ]
        return [face for face in faces if face.box.area > 0]

    def _decode(self, raw: NDArray[np.int8], chosen: NDArray[np.intp]) -> NDArray[np.float32]:
        """Give boxes (n, 4) in pixels of the input from the sides (n, 4) that the chosen cells told."""
        tensor = self.manifest.net.outputs["boxes"]
        sides = (raw.astype(np.int32) - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)
        sides = np.maximum(sides, 0) * self._strides[chosen, None]
        centres = self._centres[chosen]
        return np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], 1)


class Letterbox:
    """The net's input as a buffer that is filled again and again."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        """shape: (1, h, w, 3) of the input."""
        _, self._height, self._width, _ = shape
        self._fitted = np.full(shape[1:], 128, np.uint8)
        self._batch = np.zeros(shape, np.int8)
        self._used = (0, 0)

    def fit(self, pixels: Pixels) -> tuple[NDArray[np.int8], float]:
        """Give the frame as int8 input, valid until the next call, and the scale: input pixels a frame pixel."""
        assert pixels.ndim == 3, f"a frame is (h, w, 3) uint8, not {pixels.dtype} {pixels.shape}"
        assert pixels.shape[2] == 3, f"a frame is (h, w, 3) uint8, not {pixels.dtype} {pixels.shape}"
        assert pixels.dtype == np.uint8, f"a frame is (h, w, 3) uint8, not {pixels.dtype} {pixels.shape}"
        height, width = pixels.shape[:2]
        scale = min(self._width / width, self._height / height)
        used = (min(self._width, max(1, round(width * scale))), min(self._height, max(1, round(height * scale))))
        if used != self._used:
            self._fitted[:] = 128
            self._used = used
        # The linear filter reads four pixels, so down to half the size it leaves none out: halving until then takes a
        # third of the time of the area filter on a 1280x720 frame.
        seen: Any = pixels  # OpenCV's stubs know no dtypes
        while min(seen.shape[1] / used[0], seen.shape[0] / used[1]) > 2:
            seen = cv2.resize(seen, (seen.shape[1] // 2, seen.shape[0] // 2), interpolation=cv2.INTER_LINEAR)
        self._fitted[: used[1], : used[0]] = cv2.resize(seen, used, interpolation=cv2.INTER_LINEAR)
        np.bitwise_xor(self._fitted, 0x80, out=self._batch[0].view(np.uint8))
        return self._batch, scale


def cells(width: int, height: int, strides: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give the centre (x, y) of every cell in pixels of the input, (n, 2), and its stride, (n,), in the net's order."""
    centres, sizes = [], []
    for stride in strides:
        y, x = np.mgrid[: height // stride, : width // stride]
        centres.append((np.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        sizes.append(np.full(len(centres[-1]), stride))
    return np.concatenate(centres).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def lowest_raw(probability: float, tensor: Tensor) -> int:
    """Give the smallest raw value of a logit whose probability is at least this; 128 for 1, which no logit reaches."""
    if probability <= 0:
        return -128
    if probability >= 1:
        return 128
    logit = math.log(probability / (1 - probability))
    return math.ceil(logit / tensor.scale + tensor.zero_point - 1e-9)


def to_probability(raw: NDArray[np.int8], tensor: Tensor) -> NDArray[np.float32]:
    """Give 0..1 from int8 logits of any shape."""
    logits = (raw.astype(np.int32) - tensor.zero_point).astype(np.float32) * np.float32(tensor.scale)
    probabilities: NDArray[np.float32] = 1 / (1 + np.exp(-logits))
    return probabilities
