"""When the classifier is believed, and whether our figures are those of the project's measure."""

import csv
import json
import runpy
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ModelError
from agent.seams import LABELS
from agent.vision.classifier import MaskClassifier
from agent.vision.model import Abstain, ClassifierManifest, load_manifest
from agent.vision.runtime import CpuRuntime
from tools.quantize.looks import Looks, answers, face_at, look_at, own_px, softmax, summary, two_way_interval
from tools.quantize.trust import equal_labels, fit_abstain, fit_temperature, measured_unseen
from tools.train.data import generated_faces

MEASURE = Path("../shared/eval/score_crops.py")


def drawn_looks(label: np.ndarray, face_px: np.ndarray) -> Looks:
    count = len(label)
    return Looks(
        pictures=np.zeros((count, 64, 64, 3), np.uint8),
        label=label.astype(np.int8),
        face_px=face_px.astype(np.float32),
        sharpness=np.linspace(1, 1000, count, dtype=np.float32),
        brightness=np.linspace(1, 255, count, dtype=np.float32),
        id=np.array([str(index) for index in range(count)]),
    )


@pytest.mark.parametrize("true", [0.5, 1.0, 2.0])
def test_the_temperature_that_made_the_labels_is_found(true: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (20_000, 3)).astype(np.float32)
    chances = softmax(logits / np.float32(true)).cumsum(1)
    label = (rng.random((20_000, 1)) > chances).sum(1).clip(0, 2).astype(np.int8)

    assert fit_temperature(logits, label, equal_labels(label)) == pytest.approx(true, rel=0.08)


def test_what_is_answered_is_right_as_often_as_asked() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (20_000, 3)).astype(np.float32)
    label = (rng.random((20_000, 1)) > softmax(logits).cumsum(1)).sum(1).clip(0, 2)
    seen = drawn_looks(label, rng.choice([8.0, 16.0, 32.0], 20_000))

    abstain = fit_abstain(seen, logits, 1.0, right=0.8)

    top = softmax(logits)
    answered = top.max(1) >= abstain.confidence
    assert (top.argmax(1) == label)[answered].mean() >= 0.8 - 0.005  # the threshold is rounded
    assert 0.4 <= abstain.confidence < 0.8


def test_sizes_at_which_the_net_guesses_are_too_small() -> None:
    rng = np.random.default_rng(3)
    face_px = rng.choice([10.0, 12.0, 16.0, 24.0], 8_000)
    label = rng.integers(0, 3, 8_000)
    sure = np.where(face_px >= 16, 6.0, 0.5)[:, None] * (np.arange(3) == label[:, None])

    abstain = fit_abstain(
        drawn_looks(label, face_px), (sure + rng.normal(0, 1, (8_000, 3))).astype(np.float32), 1.0, 0.98
    )

    assert abstain.face_px == 16


def test_what_was_measured_without_each_source_holds_for_that_checkpoint_only(tmp_path: Path) -> None:
    checkpoint, report = tmp_path / "net.npz", tmp_path / "net-left-out.json"
    checkpoint.write_bytes(b"weights")
    assert measured_unseen(checkpoint, report) is None  # somebody's own net: nobody left a source out

    abstain = {"confidence": 0.9, "face_px": 8.0, "sharpness": 2.0, "brightness": 30.0}
    told = {"checkpoint_sha256": sha256(b"weights").hexdigest(), "temperature": 0.8, "abstain": abstain, "sources": {}}
    report.write_text(json.dumps(told))
    found = measured_unseen(checkpoint, report)
    assert found is not None
    assert (found.temperature, found.abstain) == (0.8, Abstain(**abstain))

    checkpoint.write_bytes(b"other weights")
    assert measured_unseen(checkpoint, report) is None

    report.write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        measured_unseen(checkpoint, report)


def test_the_evaluation_gives_the_net_what_the_agent_gives_it() -> None:
    manifest, content = load_manifest("mask-64", ClassifierManifest)
    runtime = CpuRuntime(content, manifest.net, where="mask-64")
    faces = generated_faces(30, seed=9)
    rows = np.arange(30)

    for size_px in (None, 20.0):
        logits = answers(runtime, manifest.net, look_at(faces, rows, size_px, manifest.crop_scale).pictures)
        ours = softmax(logits / np.float32(manifest.temperature))
        for row in rows:
            picture, box = face_at(faces, int(row), size_px)
            look = MaskClassifier(manifest, runtime).look(picture, [box])[0]
            np.testing.assert_allclose(ours[row], look.probs, atol=1e-5)


def test_a_tight_face_is_its_box_and_no_more() -> None:
    faces = generated_faces(3, seed=1)
    box = faces.face_box(0)

    picture, whole = face_at(faces, 0, None, tight=True)

    assert picture.shape[:2] == (round(box.height), round(box.width))
    assert (whole.width, whole.height) == (picture.shape[1], picture.shape[0])
    assert own_px(faces, 0) <= box.size_px


def test_the_interval_holds_the_figure_and_narrows_with_more_faces() -> None:
    rng = np.random.default_rng(6)
    label = (np.arange(2_000) % 2).astype(np.int8)
    wrong = rng.random(2_000) < 0.1
    probs = np.stack([(label == 0) ^ wrong, (label == 1) ^ wrong, np.zeros(2_000)], 1).astype(np.float32)

    low, high = two_way_interval(probs, label)
    few_low, few_high = two_way_interval(probs[:200], label[:200])

    # Two independent shares of about 0.9 over 1,000 faces each: 1.96 * sqrt(0.09 / 2000) to either side.
    assert low < summary(probs, label)["two_way"] < high
    assert high - low == pytest.approx(2 * 196 * (0.09 / 2_000) ** 0.5, rel=0.25)
    assert few_high - few_low > 2 * (high - low)


@pytest.mark.skipif(not MEASURE.is_file(), reason="the project's measure is not beside this checkout")
def test_our_figures_are_those_of_the_projects_measure(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    label = rng.integers(0, 3, 500)
    probs = softmax((rng.normal(0, 1, (500, 3)) + 1.5 * (np.arange(3) == label[:, None])).astype(np.float32))
    table, predictions = tmp_path / "faces.csv", tmp_path / "predictions.jsonl"
    with table.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["id", "label", "split", "native_px", "flags"])
        writer.writeheader()
        writer.writerows(
            {"id": i, "label": LABELS[one], "split": "test", "native_px": 30, "flags": ""}
            for i, one in enumerate(label)
        )
    predictions.write_text(
        "\n".join(
            json.dumps({"id": str(i), "p": dict(zip(LABELS, map(float, p), strict=True)), "label": "unsure"})
            for i, p in enumerate(probs)
        )
    )

    theirs = runpy.run_path(str(MEASURE))["main"]([str(table)], str(predictions))
    ours = summary(probs, label.astype(np.int8))
    pair = summary(probs[label < 2], label[label < 2].astype(np.int8))

    assert theirs["all"]["balanced"] == ours["two_way"]
    assert theirs["all"]["strict"] == pair["strict"]
    assert theirs["bare_called_mask"]["pct"] == ours["bare_called_mask"]
    assert theirs["incorrect"]["called_mask"] == ours["incorrect_called_mask"]
