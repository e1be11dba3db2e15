"""The nets: what our code adds to the interpreter's own time, and how large they are."""

import cv2

from agent.camera import SceneCamera
from agent.seams import Box, Frame, Pixels
from agent.settings import VisionSettings
from agent.vision.model import ClassifierManifest, load_manifest
from agent.vision.nets import load_classifier
from tools.bench.detectors import bare, detectors, million_multiply_adds
from tools.bench.machine import take_one_core
from tools.bench.rows import Options, Row, interleave

_TURNS = 60


def measure(options: Options) -> list[Row]:
    """Measure all nets on one core, OpenCV with one thread as in the agent."""
    take_one_core()
    cv2.setNumThreads(1)
    frame, box = _busy_frame()
    return [*_classifier(frame, box), *detectors(VisionSettings().detector, frame)]


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
    pair = interleave(bare(content), lambda: classifier.look(frame, [box]), turns=_TURNS, calls=100)
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
        Row(name="classifier: multiply-adds", unit="M", budget=5, measured=million_multiply_adds(name)),
    ]
