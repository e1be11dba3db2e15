"""The two nets: what our code adds to the interpreter's own time, and how large they are."""

from typing import Any

import numpy as np

from agent.camera import SceneCamera
from agent.seams import Box, Frame, Pixels
from agent.settings import VisionSettings
from agent.vision.model import ClassifierManifest, DetectorManifest, Net, load_manifest
from agent.vision.nets import load_classifier, load_detector
from agent.vision.runtime import interpreter_module
from tools.bench.machine import take_one_core
from tools.bench.rows import Options, Row, interleave
from tools.train.graph import load_checkpoint, multiply_adds

_TURNS = 60


def measure(options: Options) -> list[Row]:
    """Measure both nets on one core."""
    take_one_core()
    frame, box = _busy_frame()
    return [*_classifier(frame, box), *_detector(frame)]


def _busy_frame() -> tuple[Pixels, Box]:
    """Give the frame of the scene with most people in it, and one of their faces."""
    with SceneCamera(persons=10) as camera:
        best: tuple[Pixels, list[Box]] | None = None
        while isinstance(frame := camera.read(0), Frame):
            boxes = [box for walker in camera.truth if (box := walker.box_at(frame.captured_ns)) is not None]
            if best is None or len(boxes) > len(best[1]):
                best = frame.pixels, boxes
    assert best is not None
    return best[0], best[1][0]


def _classifier(frame: Pixels, box: Box) -> list[Row]:
    name = VisionSettings().classifier
    manifest, content = load_manifest(name, ClassifierManifest)
    classifier = load_classifier(name, "cpu").net
    pair = interleave(_bare(content, manifest.net), lambda: classifier.look(frame, [box]), turns=_TURNS, calls=100)
    shape = f"{manifest.net.input.shape[2]}x{manifest.net.input.shape[1]}"
    note = f"{shape}; bare invoke {pair.first_ms:.3f} ms, crop to probabilities {pair.second_ms:.3f} ms"
    return [
        Row(
            name="classifier: time beyond the bare invoke",
            unit="ms",
            budget=0.06,
            measured=pair.difference_ms,
            note=note,
        ),
        Row(name="classifier: file", unit="kB", budget=250, measured=len(content) / 1000),
        Row(name="classifier: multiply-adds", unit="M", budget=5, measured=_multiply_adds(name) / 1e6),
    ]


def _detector(frame: Pixels) -> list[Row]:
    name = VisionSettings().detector
    manifest, content = load_manifest(name, DetectorManifest)
    detector = load_detector(name, "cpu").net
    pair = interleave(_bare(content, manifest.net), lambda: detector.find(frame), turns=_TURNS, calls=5)
    height, width = frame.shape[:2]
    shape = f"{manifest.net.input.shape[2]}x{manifest.net.input.shape[1]}"
    note = f"{width}x{height} into {shape}; bare invoke {pair.first_ms:.2f} ms; budget 1.2 x that + 0.4 ms; "
    note += f"{len(content) / 1000:.0f} kB, {_multiply_adds(name) / 1e6:.0f} M multiply-adds"
    budget = 1.2 * pair.first_ms + 0.4
    return [Row(name="detector: frame to faces", unit="ms", budget=budget, measured=pair.second_ms, note=note)]


def _bare(content: bytes, net: Net) -> Any:
    """Give a call of the interpreter alone."""
    interpreter = interpreter_module().Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    door = interpreter.get_input_details()[0]["index"]
    interpreter.set_tensor(door, np.random.default_rng(1).integers(-128, 128, net.input.shape).astype(np.int8))
    return interpreter.invoke


def _multiply_adds(name: str) -> int:
    from agent.vision.model import models_folder

    return multiply_adds(load_checkpoint(models_folder() / f"{name}.npz").graph)
