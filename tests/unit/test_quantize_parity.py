"""Train and serve see the same: one PNG, through the training's evaluation and through the agent, one int8 tensor."""

import csv
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.cli.examine import Examiner
from agent.cli.inputs import Input
from agent.clock import SystemClock
from agent.seams import LABELS
from agent.settings import Settings
from agent.vision.classifier import MaskClassifier
from agent.vision.model import ClassifierManifest, Tensor, load_manifest
from tools.train.data import load_faces

pytest.importorskip("torch", reason="torch is in the train extra only")

from tools.train.classifier import evaluation_crops, to_input

SIZES = ((9, 7), (24, 20), (31, 47), (53, 53), (64, 64), (90, 77), (129, 140), (300, 211))


class Recorder:
    """Stands for the interpreter: keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[NDArray[np.int8]] = []

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        self.batches.append(batch.copy())
        return {"logits": np.zeros((1, 3), np.int8)}


def quantized(batch: NDArray[np.float32], door: Tensor) -> NDArray[np.int8]:
    """Quantise real values as a converted net would. Source: TFLite 8-bit quantization specification."""
    return np.clip(np.round(batch / np.float32(door.scale)) + door.zero_point, -128, 127).astype(np.int8)


def test_the_same_png_is_the_same_tensor_in_training_and_on_the_board(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    names = [f"face_{index}" for index in range(len(SIZES))]
    for name, (height, width) in zip(names, SIZES, strict=True):
        # Noise over blocks: every pixel counts, and so does the way in which it is shrunk or enlarged.
        coarse = rng.integers(0, 256, (5, 4, 3), np.uint8)
        pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noisy = np.clip(pixels + rng.normal(0, 20, pixels.shape), 0, 255).astype(np.uint8)
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), noisy)
    data = tmp_path / "data"
    data.mkdir()
    with tarfile.open(data / "own.tar", "w") as tar, (data / "own.csv").open("w", newline="") as out:
        columns = ("id", "label", "split", "picture", "x0", "y0", "x1", "y1", "native_px", "flags")
        writer = csv.DictWriter(out, columns, restval="")
        writer.writeheader()
        for name in names:
            tar.add(tmp_path / f"{name}.png", f"{name}.png")
            writer.writerow({"id": name, "label": LABELS[0], "split": "test", "native_px": 40})
    manifest, _ = load_manifest("mask-64", ClassifierManifest)

    faces = load_faces(data, tmp_path / "cache")
    crops = evaluation_crops(faces, np.arange(len(faces)), manifest.crop_scale)
    trained_on = quantized(to_input(crops).permute(0, 2, 3, 1).numpy(), manifest.net.input)

    recorder = Recorder()
    examiner = Examiner(Settings(), detector=None, classifier=MaskClassifier(manifest, recorder), clock=SystemClock())
    for name in faces.id:
        list(examiner.findings(Input(path=tmp_path / f"{name}.png", name=Path(f"{name}.png"))))

    assert len(recorder.batches) == len(SIZES)
    for batch, expected in zip(recorder.batches, trained_on, strict=True):
        assert batch.tobytes() == expected[None].tobytes()
