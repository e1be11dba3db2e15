"""How many of the labelled faces are found, by size and label, at a labelled precision.

A labelled face is found at IoU >= 0.4; a second box on the same face is false; a box on an ignored or pseudo-labelled
face, or of less than 8 px, counts neither way.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.seams import Face
from agent.vision.nms import overlaps
from tools.train.pictures import Picture

SIZES = {"<16": (0, 16), "16-24": (16, 24), "24-32": (24, 32), "32-64": (32, 64), ">64": (64, 1e9), "all": (0, 1e9)}
"""By the root of the box's area, pixels of the stored picture."""
LABELS = ("mask", "no_mask", "incorrect", "face")
FACE_PX_MIN = 8.0
_FOUND_IOU, _NEITHER_IOU = 0.4, 0.3


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in pictures, and of which labelled faces.

    scores, right: (n,) every counted detection and whether it is a labelled face.
    sizes, labels, found: (m,) every labelled face: its size in stored pixels, its label, and the score of its
    detection, 0 without one.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    sizes: NDArray[np.float64]
    labels: tuple[str, ...]
    found: NDArray[np.float64]


class BySize(msgspec.Struct, frozen=True, kw_only=True):
    """By the names of SIZES: how many faces there are, and what per cent of them is found."""

    faces: dict[str, int]
    recall: dict[str, float]


class Recall(msgspec.Struct, frozen=True, kw_only=True):
    """Recall at `threshold`, the score that keeps the precision; None where none does.

    by_label: of the labels that there are. interval: of 95 %, per cent, for faces of all sizes.
    """

    threshold: float | None
    all: BySize
    by_label: dict[str, BySize]
    interval: tuple[float, float]


def match(picture: Picture, faces: Sequence[Face]) -> Found:
    """Match detections with the labelled faces of a picture, best score first."""
    sizes = np.sqrt(np.prod(picture.boxes[:, 2:] - picture.boxes[:, :2], 1)).astype(float)
    counted = ~(picture.ignore | picture.pseudo | (sizes < FACE_PX_MIN))
    ranked = sorted(faces, key=lambda face: -face.score)
    boxes = np.array([face.box for face in ranked], np.float32).reshape(-1, 4)
    with_faces, with_others = overlaps(boxes, picture.boxes[counted]), overlaps(boxes, picture.boxes[~counted])
    found = np.zeros(int(counted.sum()))
    scores, right = [], []
    for index, face in enumerate(ranked):
        free = np.where(found == 0, with_faces[index], 0)
        hit = bool(len(free)) and free.max() >= _FOUND_IOU
        if hit:
            found[int(free.argmax())] = face.score
        elif face.box.size_px < FACE_PX_MIN or (with_others[index] >= _NEITHER_IOU).any():
            continue
        scores.append(face.score)
        right.append(hit)
    return Found(
        scores=np.array(scores),
        right=np.array(right, bool),
        sizes=sizes[counted],
        labels=tuple(label for label, counts in zip(picture.labels, counted, strict=True) if counts),
        found=found,
    )


def join(parts: Sequence[Found]) -> Found:
    """Put what was found in several pictures together."""
    return Found(
        scores=np.concatenate([part.scores for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        labels=tuple(label for part in parts for label in part.labels),
        found=np.concatenate([part.found for part in parts]),
    )


def threshold_at(found: Found, precision: float) -> float:
    """Give the lowest score down to which this share of the detections is right, infinity if there is none."""
    order = np.argsort(-found.scores, kind="stable")
    scores, right = found.scores[order], np.cumsum(found.right[order])
    last = np.append(scores[1:] != scores[:-1], True)  # equal scores stand or fall together
    good = np.flatnonzero((right / np.arange(1, len(right) + 1) >= precision) & last[: len(right)])
    return float(scores[good[-1]]) if len(good) else math.inf


def recall_at(parts: Sequence[Found], threshold: float) -> Recall:
    """Give the share of labelled faces found at or above a score, by size and label. parts: one a picture."""
    found = join(parts)
    labels = np.array(found.labels, object)
    return Recall(
        threshold=round(threshold, 4) if math.isfinite(threshold) else None,
        all=_by_size(found.sizes, found.found, threshold),
        by_label={
            label: _by_size(found.sizes[labels == label], found.found[labels == label], threshold)
            for label in LABELS
            if label in found.labels
        },
        interval=resampled_recall(parts, threshold),
    )


def _by_size(sizes: NDArray[np.float64], found: NDArray[np.float64], threshold: float) -> BySize:
    faces, recall = {}, {}
    for name, (low, high) in SIZES.items():
        here = (sizes >= low) & (sizes < high)
        if here.any():
            faces[name] = int(here.sum())
            recall[name] = round(100 * float((found[here] >= threshold).mean()), 1)
    return BySize(faces=faces, recall=recall)


def resampled_recall(parts: Sequence[Found], threshold: float, draws: int = 1000) -> tuple[float, float]:
    """Give the 95 % interval of the recall by drawing pictures with replacement: faces of one picture fail together."""
    hits = np.array([(part.found >= threshold).sum() for part in parts])
    faces = np.array([len(part.sizes) for part in parts])
    drawn = np.random.default_rng(1).integers(len(parts), size=(draws, len(parts)))
    shares = 100 * hits[drawn].sum(1) / np.maximum(1, faces[drawn].sum(1))
    low, high = np.percentile(shares, (2.5, 97.5))
    return round(float(low), 1), round(float(high), 1)
