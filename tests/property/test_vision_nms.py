"""Vectorised NMS against the loops that define it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.vision.nms import BLOCK, overlaps, suppress

# Whole numbers make areas exact, so both ways must agree to the last box; few score levels make many ties.
SIDES = st.integers(0, 40)
BOXES = st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES, st.integers(0, 5)), max_size=25)


def columns(rows: list[tuple[int, ...]]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    table = np.array(rows, np.float32).reshape(-1, 5)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], 1)
    return boxes, table[:, 4].astype(float) / 5


def plain_iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    inner = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner
    return float(np.float32(inner) / np.float32(union)) if union > 0 else 0.0


def plain_nms(boxes: NDArray[np.float32], scores: NDArray[np.float64], iou: float) -> list[int]:
    left = sorted(range(len(boxes)), key=lambda index: (-scores[index], index))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [index for index in left if plain_iou(boxes[best], boxes[index]) <= np.float32(iou)]
    return kept


@given(rows=BOXES, others=BOXES)
def test_overlaps_are_those_of_plain_loops(rows: list[tuple[int, ...]], others: list[tuple[int, ...]]) -> None:
    boxes, rivals = columns(rows)[0], columns(others)[0]

    found = overlaps(boxes, rivals)

    assert found.shape == (len(boxes), len(rivals))
    expected = [[plain_iou(a, b) for b in rivals] for a in boxes]
    np.testing.assert_allclose(found, np.array(expected).reshape(found.shape), rtol=1e-6)


@given(rows=BOXES, iou=st.sampled_from([0.0, 0.3, 0.45, 0.9, 1.0]))
def test_the_same_boxes_stay_as_in_plain_loops(rows: list[tuple[int, ...]], iou: float) -> None:
    boxes, scores = columns(rows)

    assert suppress(boxes, scores, iou).tolist() == plain_nms(boxes, scores, iou)


@given(rows=BOXES, seed=st.integers(0, 2**31))
def test_the_order_of_boxes_of_different_scores_does_not_matter(rows: list[tuple[int, ...]], seed: int) -> None:
    boxes, _ = columns(rows)
    scores = np.linspace(0.1, 0.9, len(boxes))
    shuffled = np.random.default_rng(seed).permutation(len(boxes))

    kept = suppress(boxes, scores, 0.45)

    again = suppress(boxes[shuffled], scores[shuffled], 0.45)
    assert shuffled[again].tolist() == kept.tolist()


@pytest.mark.parametrize("count", [BLOCK, BLOCK + 1, 5 * BLOCK])
def test_many_boxes_stay_as_in_plain_loops(count: int) -> None:
    rng = np.random.default_rng(count)
    corners = rng.integers(0, 200, (count, 2))
    boxes = np.concatenate([corners, corners + rng.integers(5, 40, (count, 2))], 1).astype(np.float32)
    scores = rng.integers(0, 50, count) / 50

    kept = suppress(boxes, scores, 0.3).tolist()

    assert kept == plain_nms(boxes, scores, 0.3)
    assert 10 < len(kept) < count
