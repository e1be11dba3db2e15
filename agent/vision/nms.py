"""Many boxes round one face become one: overlap of boxes and greedy non-maximum suppression, in plain numpy."""

import numpy as np
from numpy.typing import NDArray

BLOCK = 64
"""Boxes that are compared in one table."""


def overlaps(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the IoU of every box with every other.

    boxes: (n, 4), others: (m, 4), x0, y0, x1, y1. Returns (n, m) in 0..1; a box without area overlaps nothing.
    """
    x0, y0, x1, y1 = boxes.T[:, :, None]
    width = np.minimum(x1, others[:, 2]) - np.maximum(x0, others[:, 0])
    height = np.minimum(y1, others[:, 3]) - np.maximum(y0, others[:, 1])
    inner = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(boxes)[:, None] + _areas(others) - inner
    shares: NDArray[np.float32] = inner / np.maximum(union, np.maximum(inner, np.finfo(np.float32).tiny))
    return shares


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.floating], iou: float) -> NDArray[np.intp]:
    """Keep the best box of each heap.

    boxes: (n, 4), scores: (n,). The best box stays and takes away all that overlap it by more than `iou`, then the next
    best of the rest, and so on; of equal scores the earlier goes first. The best BLOCK boxes are compared in one table,
    then those of them that stay with all others at once: a dozen calls of numpy where one for each box that stays took
    four times as long.
    Returns the indices of those that stay, best first. Source: greedy NMS, Dalal 2005.
    """
    left = np.argsort(-scores, kind="stable")
    kept = [left[:0]]
    while len(left):
        block, left = left[:BLOCK], left[BLOCK:]
        apart = overlaps(boxes[block], boxes[block]) <= iou
        free = np.ones(len(block), bool)
        best = []
        for place in range(len(block)):
            if free[place]:
                best.append(place)
                free &= apart[place]
        kept.append(block[best])
        if len(left):
            left = left[(overlaps(boxes[kept[-1]], boxes[left]) <= iou).all(0)]
    return np.concatenate(kept)


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    areas: NDArray[np.float32] = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    return areas
