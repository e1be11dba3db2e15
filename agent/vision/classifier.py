"""Looks at a face: cut it out, ask the net, say how sure it is and whether such a picture can be trusted at all."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from agent.seams import LABELS, Box, Decision, Look, Pixels, Reason
from agent.vision.crop import crop, quality
from agent.vision.model import Abstain, ClassifierManifest
from agent.vision.runtime import Runtime


class MaskClassifier:
    """The mask classifier: int8 net behind `runtime`, every number from its manifest."""

    def __init__(self, manifest: ClassifierManifest, runtime: Runtime) -> None:
        self.manifest = manifest
        self._runtime = runtime
        self._size_px = manifest.net.input.shape[1]
        self._step = manifest.net.outputs["logits"].scale / manifest.temperature

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> list[Look]:
        """Give one look a box, in the order of the boxes. pixels: (h, w, 3) uint8 RGB; boxes: in its pixels."""
        return [self._look(pixels, box) for box in boxes]

    def _look(self, pixels: Pixels, box: Box) -> Look:
        face = crop(pixels, box, self.manifest.crop_scale, self._size_px)
        sharpness, brightness = quality(face)
        # uint8 p becomes int8 p - 128: flipping the top bit does that, without a wider copy.
        batch: Any = (face ^ np.uint8(0x80)).view(np.int8)[np.newaxis]
        logits = self._runtime.invoke(batch)["logits"]
        probs = softmax(logits.reshape(-1).tolist(), self._step)
        size_px = box.size_px
        return Look(
            probs=probs,
            sharpness=sharpness,
            brightness=brightness,
            face_px=size_px,
            reason=distrust(self.manifest.abstain, max(probs), size_px, sharpness, brightness),
        )


def softmax(raw: Sequence[int], step: float) -> tuple[float, float, float]:
    """Give probabilities from int8 logits.

    raw: three int8 values. step: the output's scale by the manifest's temperature; the zero point cancels out.
    Returns float64 numbers that sum to 1. Plain floats: for three numbers numpy's calls cost more than the sums.
    """
    top = max(raw)
    a, b, c = (math.exp((value - top) * step) for value in raw)
    total = a + b + c
    return a / total, b / total, c / total


def distrust(abstain: Abstain, top: float, size_px: float, sharpness: float, brightness: float) -> Reason | None:
    """Say why a look alone is no answer, or None. top: its highest probability. The first reason that holds counts."""
    if size_px < abstain.face_px:
        return "too_small"
    if brightness < abstain.brightness:
        return "dark"
    if sharpness < abstain.sharpness:
        return "blurred"
    return "undecided" if top < abstain.confidence else None


def decide_one(look: Look, abstain: Abstain) -> Decision:
    """Decide from a single look: its likeliest label, or unsure and why.

    abstain: of the manifest; judged anew, so that a look may come from anywhere. confidence: of the likeliest label.
    """
    top = max(look.probs)
    reason = distrust(abstain, top, look.face_px, look.sharpness, look.brightness)
    label = LABELS[look.probs.index(top)]
    return Decision(label=label if reason is None else "unsure", confidence=top, reason=reason)
