"""What the int8 classifier sees of labelled faces, and what it answers, through the agent's own crop and runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.seams import LABELS, Box, Pixels
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
        small, box = face_at(faces, int(row), size_px)
        face = crop(small, box, scale, 64)
        measured = quality(face)
        face_px = min(own_px(faces, int(row)), size_px or np.inf)
        values = (face, faces.label[row], face_px, measured.sharpness, measured.brightness, faces.id[row])
        for name, value in zip(found, values, strict=True):
            found[name].append(value)
    return Looks(**{name: np.array(values) for name, values in found.items()})


def face_at(faces: Faces, row: int, size_px: float | None, *, tight: bool = False) -> tuple[Pixels, Box]:
    """Give a picture and the box of the face in it, shrunk until the face has size_px.

    tight: nothing but the box is left of the picture. A row without a box is such a crop anyway, all of it.
    """
    picture, box = faces.picture(row), faces.face_box(row)
    if size_px is not None:
        picture, box = shrink_face(picture, box, min(size_px, own_px(faces, row)))
    height, width = picture.shape[:2]
    if tight and faces.boxed[row]:
        x0, y0, x1, y1 = (round(value) for value in box)
        picture = picture[max(0, y0) : max(y1, y0 + 1), max(0, x0) : max(x1, x0 + 1)]
        height, width = picture.shape[:2]
    return picture, Box(0, 0, width, height) if tight or not faces.boxed[row] else box


def own_px(faces: Faces, row: int) -> float:
    """Give the size of a face that its picture really holds: data sets enlarge small ones."""
    return min(float(faces.native_px[row]), faces.face_box(row).size_px)


def joined(parts: Sequence[Looks]) -> Looks:
    return Looks(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in Looks.__dataclass_fields__})


def answers(runtime: CpuRuntime, net: Net, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the int8 net's logits, (n, 3) float32."""
    out = net.outputs["logits"]
    raw = [runtime.invoke((picture[None] ^ 0x80).view(np.int8))["logits"] for picture in pictures]
    return (np.concatenate(raw).astype(np.int32) - out.zero_point).astype(np.float32) * np.float32(out.scale)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)


def summary(probs: NDArray[np.float32], label: NDArray[np.int8]) -> dict[str, float]:
    """Give n, two-way and strict balanced accuracy and the share of bare faces called mask, in per cent.

    two_way: the likelier of mask and no_mask, over these two labels; strict: the likeliest of all, over the labels that
    occur; incorrect_called_mask and bare_called_mask: where the likeliest of all is mask.
    """
    best = probs.argmax(1)
    pair = [probs[label == 0, 0] >= probs[label == 0, 1], probs[label == 1, 0] < probs[label == 1, 1]]
    strict = [(best[label == index] == index).mean() for index in range(len(LABELS)) if (label == index).any()]
    figures = {
        "n": len(label),
        "two_way": 100 * float(np.mean([part.mean() for part in pair if part.size])),
        "strict": 100 * float(np.mean(strict)),
    }
    for index, name in ((1, "bare_called_mask"), (2, "incorrect_called_mask")):
        if (label == index).any():
            figures[name] = 100 * float((best[label == index] == 0).mean())
    return {name: round(value, 2) for name, value in figures.items()}


def two_way_interval(probs: NDArray[np.float32], label: NDArray[np.int8], seed: int = 1) -> tuple[float, float]:
    """Give the 95 % interval of two_way in per cent. Source: percentile bootstrap, 1,000 draws within each label."""
    rng = np.random.default_rng(seed)
    right = [probs[label == 0, 0] >= probs[label == 0, 1], probs[label == 1, 0] < probs[label == 1, 1]]
    drawn = [rng.choice(part, (1000, part.size)).mean(1) for part in right if part.size]
    low, high = np.quantile(np.mean(drawn, axis=0), (0.025, 0.975))
    return round(100 * float(low), 1), round(100 * float(high), 1)
