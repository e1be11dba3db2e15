"""Many boxes round one face become one: overlap of boxes and greedy non-maximum suppression, in plain numpy."""

import numpy as np
from numpy.typing import NDArray


def overlaps(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give the IoU of every box with every other.

    boxes: (n, 4), others: (m, 4), x0, y0, x1, y1. Returns (n, m) in 0..1; a box without area overlaps nothing.
    """
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inner = np.maximum(high - low, 0).prod(-1)
    union = _areas(boxes)[:, None] + _areas(others)[None] - inner
    shares: NDArray[np.float32] = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    return shares


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.floating], iou: float) -> NDArray[np.intp]:
    """Keep the best box of each heap.

    boxes: (n, 4), scores: (n,). The best box stays and takes away all that overlap it by more than `iou`, then the next
    best of the rest, and so on; of equal scores the earlier goes first.
    Returns the indices of those that stay, best first. Source: greedy NMS, Dalal 2005.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = boxes[order]
    rivals = overlaps(ranked, ranked) > iou
    alive = np.ones(len(order), bool)
    for rank in range(len(order)):
        if alive[rank]:
            alive[rank + 1 :] &= ~rivals[rank, rank + 1 :]
    return order[alive]


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    areas: NDArray[np.float32] = sides[:, 0] * sides[:, 1]
    return areas
