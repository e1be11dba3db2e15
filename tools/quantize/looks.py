"""What the int8 classifier sees of labelled faces, and what it answers, through the agent's own crop and runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.seams import LABELS, Box
from agent.vision.crop import crop, quality
from agent.vision.model import Net
from agent.vision.runtime import CpuRuntime
from tools.train.data import Faces
from tools.train.degrade import shrink_face


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Faces as the classifier sees them. Columns of length n; pictures: (n, 64, 64, 3) uint8 RGB."""

    pictures: NDArray[np.uint8]
    label: NDArray[np.int8]
    face_px: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    brightness: NDArray[np.float32]
    id: NDArray[np.str_]


def look_at(faces: Faces, rows: NDArray[np.int64], size_px: float | None, scale: float) -> Looks:
    """See every row once, at its own size or, where that is larger, at size_px."""
    found: dict[str, list[Any]] = {name: [] for name in Looks.__dataclass_fields__}
    for row in rows:
        box = faces.face_box(row)
        own_px = min(float(faces.native_px[row]), box.size_px)
        face_px = own_px if size_px is None else min(size_px, own_px)
        small, where = shrink_face(faces.picture(row), box, face_px)
        face = cut_face(small, where, scale, boxed=bool(faces.boxed[row]))
        measured = quality(face)
        values = (face, faces.label[row], face_px, measured.sharpness, measured.brightness, faces.id[row])
        for name, value in zip(found, values, strict=True):
            found[name].append(value)
    return Looks(**{name: np.array(values) for name, values in found.items()})


def joined(parts: Sequence[Looks]) -> Looks:
    return Looks(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in Looks.__dataclass_fields__})


def cut_face(pixels: NDArray[np.uint8], box: Box, scale: float, *, boxed: bool) -> NDArray[np.uint8]:
    """Cut one face as the agent does; a tight crop, whose box is not known, is taken whole."""
    height, width = pixels.shape[:2]
    return crop(pixels, box, scale, 64) if boxed else crop(pixels, Box(0, 0, width, height), 1.0, 64)


def answers(runtime: CpuRuntime, net: Net, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the int8 net's logits, (n, 3) float32."""
    out = net.outputs["logits"]
    raw = [runtime.invoke((picture[None] ^ 0x80).view(np.int8))["logits"] for picture in pictures]
    return (np.concatenate(raw).astype(np.int32) - out.zero_point).astype(np.float32) * np.float32(out.scale)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)


def summary(probs: NDArray[np.float32], seen: Looks, where: NDArray[np.bool_]) -> dict[str, float]:
    """Give n, two-way and strict balanced accuracy and the share of bare faces called mask, in per cent.

    two_way: the likelier of mask and no_mask, over these two labels; strict: the likeliest of all, over the labels that
    occur; incorrect_called_mask and bare_called_mask: where the likeliest of all is mask.
    """
    label, found = seen.label[where], probs[where]
    best = found.argmax(1)
    pair = [found[label == 0, 0] >= found[label == 0, 1], found[label == 1, 0] < found[label == 1, 1]]
    strict = [(best[label == index] == index).mean() for index in range(len(LABELS)) if (label == index).any()]
    figures = {
        "n": int(where.sum()),
        "two_way": 100 * float(np.mean([part.mean() for part in pair if part.size])),
        "strict": 100 * float(np.mean(strict)),
    }
    for index, name in ((1, "bare_called_mask"), (2, "incorrect_called_mask")):
        if (label == index).any():
            figures[name] = 100 * float((best[label == index] == 0).mean())
    return {name: round(value, 2) for name, value in figures.items()}
