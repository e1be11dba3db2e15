"""Recall at a precision: cases small enough to count by hand, and the task's own script as the oracle."""

import csv
import importlib.util
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.seams import Box, Face
from tests.shared import shared
from tools.train.pictures import Picture
from tools.train.recall import LABELS, Found, join, match, recall_at, threshold_at


def picture(
    boxes: list[Box],
    ignore: list[bool],
    pseudo: list[bool],
    labels: Sequence[str] | None = None,
    name: str = "drawn",
) -> Picture:
    return Picture(
        name=name,
        source="k853",
        split="test",
        pixels=np.zeros((100, 100, 3), np.uint8),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        ignore=np.array(ignore, bool),
        pseudo=np.array(pseudo, bool),
        labels=("mask",) * len(boxes) if labels is None else tuple(labels),
    )


def face(box: Box, score: float) -> Face:
    return Face(box=box, score=score)


FIRST, SECOND = Box(0, 0, 20, 20), Box(50, 50, 90, 90)


def test_the_best_box_on_a_face_is_right_and_a_second_one_is_false() -> None:
    whole = picture([FIRST, SECOND], [False, False], [False, False])

    found = match(whole, [face(Box(2, 0, 22, 20), 0.6), face(FIRST, 0.9)])

    assert found.scores.tolist() == [0.9, 0.6]
    assert found.right.tolist() == [True, False]
    assert found.found.tolist() == [0.9, 0.0]
    assert found.sizes.tolist() == [20, 40]


@pytest.mark.parametrize(("ignore", "pseudo"), [(True, False), (False, True)])
def test_a_box_on_a_doubtful_face_counts_neither_way(ignore: bool, pseudo: bool) -> None:
    found = match(picture([FIRST, SECOND], [ignore, False], [pseudo, False]), [face(FIRST, 0.9)])

    assert len(found.scores) == 0
    assert found.sizes.tolist() == [40]


def test_a_tiny_box_beside_all_faces_is_not_held_against_the_net() -> None:
    found = match(picture([FIRST], [False], [False]), [face(Box(60, 60, 67, 67), 0.9), face(SECOND, 0.8)])

    assert found.scores.tolist() == [0.8]


def test_a_picture_without_faces_counts_what_is_found_in_it_as_false() -> None:
    found = match(picture([], [], []), [face(FIRST, 0.7)])

    assert (found.scores.tolist(), found.right.tolist(), len(found.sizes)) == ([0.7], [False], 0)


def test_recall_is_counted_by_size_at_the_threshold() -> None:
    found = Found(
        scores=np.array([0.9, 0.8, 0.7]),
        right=np.array([True, True, False]),
        sizes=np.array([12.0, 20.0, 100.0]),
        labels=("mask", "mask", "no_mask"),
        found=np.array([0.9, 0.0, 0.8]),
    )

    recall = recall_at([found], threshold_at(found, 0.9))

    assert recall.threshold == 0.8
    assert recall.interval == (66.7, 66.7)  # one picture: nothing to draw from
    assert recall.all.recall == {"<16": 100.0, "16-24": 0.0, ">64": 100.0, "all": 66.7}
    assert recall.by_label["mask"].recall == {"<16": 100.0, "16-24": 0.0, "all": 50.0}
    assert recall.by_label["no_mask"].faces == {">64": 1, "all": 1}
    assert set(recall.by_label) == {"mask", "no_mask"}


def test_the_interval_holds_the_recall_and_shrinks_with_more_pictures() -> None:
    hit = match(picture([FIRST], [False], [False]), [face(FIRST, 0.9)])
    miss = match(picture([FIRST], [False], [False]), [])

    few, many = (recall_at([hit, hit, hit, miss] * times, 0.5).interval for times in (2, 50))

    assert few[0] < many[0] < 75 < many[1] < few[1]


def test_without_any_detection_the_threshold_lets_nothing_through() -> None:
    nothing = match(picture([FIRST], [False], [False]), [])

    assert threshold_at(nothing, 0.9) == math.inf
    assert recall_at([nothing], math.inf).all.recall["all"] == 0
    assert recall_at([nothing], math.inf).threshold is None


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.sampled_from([0.5, 0.8, 0.9, 1.0]))
def test_the_threshold_is_the_lowest_that_keeps_the_precision(rows: list[tuple[int, bool]], precision: float) -> None:
    scores = np.array([score / 5 for score, _ in rows])
    right = np.array([hit for _, hit in rows], bool)
    found = join([Found(scores=scores, right=right, sizes=np.zeros(0), labels=(), found=np.zeros(0))])

    fitting = [level for level in scores if right[scores >= level].mean() >= precision]
    assert threshold_at(found, precision) == min(fitting, default=math.inf)


def oracle() -> Any:
    """Give the task's own script as a module."""
    spec = importlib.util.spec_from_file_location("score_pictures", shared("eval/score_pictures.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def crowded(rng: np.random.Generator, name: str) -> tuple[Picture, list[Face]]:
    """Give a picture of faces at random, some ignored or of another detector, and detections on and beside them."""
    count = int(rng.integers(0, 7))
    corners = rng.uniform(0, 300, (count, 2))
    sides = np.exp(rng.uniform(math.log(6), math.log(120), (count, 2)))
    boxes = [Box(*map(float, row)) for row in np.concatenate([corners, corners + sides], 1).round(1)]
    faces = []
    for box in [box for box in boxes for _ in range(int(rng.integers(0, 3)))]:
        x, y = rng.normal(0, 0.15, 2) * (box.x1 - box.x0, box.y1 - box.y0)
        faces.append(face(Box(box.x0 + x, box.y0 + y, box.x1 + x, box.y1 + y), round(rng.beta(4, 2), 2)))
    for _ in range(int(rng.integers(0, 3))):
        x, y, side = rng.uniform(0, 300), rng.uniform(0, 300), rng.uniform(5, 60)
        faces.append(face(Box(x, y, x + side, y + side), round(rng.beta(2, 4), 2)))
    doubtful = rng.random((2, count)) < 0.15
    labels = [LABELS[index] for index in rng.integers(0, len(LABELS), count)]
    return picture(boxes, list(doubtful[0]), list(doubtful[1]), labels, name), faces


@pytest.mark.parametrize("precision", [0.9, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_the_tasks_own_script_counts_the_same(seed: int, precision: float, tmp_path: Path) -> None:
    script = oracle()
    rng = np.random.default_rng(seed)
    drawn = [crowded(rng, f"p{index}") for index in range(150)]
    with (tmp_path / "faces.csv").open("w", newline="") as out:
        columns = ("picture", "x0", "y0", "x1", "y1", "label", "origin", "ignore", "split")
        writer = csv.DictWriter(out, columns, restval="")
        writer.writeheader()
        for shown, _ in drawn:
            for box, ignore, pseudo, label in zip(shown.boxes, shown.ignore, shown.pseudo, shown.labels, strict=True):
                sides = dict(zip(("x0", "y0", "x1", "y1"), (f"{side:.1f}" for side in box), strict=True))
                origin = {"origin": "pseudo" if pseudo else "human", "ignore": int(ignore), "split": "test"}
                writer.writerow({"picture": shown.name, "label": label} | sides | origin)
            if not len(shown.boxes):
                writer.writerow({"picture": shown.name, "split": "test"})
    told = [{"picture": p.name, "faces": [{"box": f.box, "score": f.score} for f in them]} for p, them in drawn]
    (tmp_path / "found.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))

    theirs = script.main([str(tmp_path / "faces.csv")], str(tmp_path / "found.jsonl"), precision)
    parts = [match(shown, faces) for shown, faces in drawn]
    ours = recall_at(parts, threshold_at(join(parts), precision))

    assert 0 < theirs["recall"] < 100
    assert ours.threshold == theirs["score_threshold"]
    blocks = {"by_size": ours.all} | {f"by_size:{label}": block for label, block in ours.by_label.items()}
    for name, block in blocks.items():
        assert {size: [block.faces[size], block.recall[size]] for size in block.faces} == theirs[name]
