"""The detector at every input size that is there: beside a reference net, and what our code adds to its own time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from agent.seams import Pixels
from agent.vision.model import DetectorManifest, load_manifest, models_folder, other_sizes
from agent.vision.nets import load_detector, load_other_sizes
from agent.vision.runtime import interpreter_module
from agent.vision.tiles import find_closely
from tools.bench.reference_net import reference_multiply_adds, reference_net
from tools.bench.rows import Row, interleave
from tools.train.graph import load_checkpoint, multiply_adds, redrawn

_TURNS, _CALLS = 60, 5
_BEYOND_PART, _BEYOND_MS = 0.2, 0.4
_INSPECT_MS = 15.0


def detectors(name: str, frame: Pixels) -> list[Row]:
    """Measure a detector, those of other sizes beside it, and the look of `inspect` with them all. name: of models/."""
    first, _ = load_manifest(name, DetectorManifest)
    names = [name, *(Path(other).stem for other in other_sizes(name, first))]
    reference = bare(reference_net())
    rows = [row for one in names for row in _detector(one, frame, reference, checkpoint=name)]
    return [*rows, _inspect(name, frame)]


def _detector(name: str, frame: Pixels, reference: Callable[[], object], *, checkpoint: str) -> list[Row]:
    _, content = load_manifest(name, DetectorManifest)
    detector = load_detector(name, "cpu").net
    alone = bare(content)
    beside = interleave(reference, alone, turns=_TURNS, calls=_CALLS)
    pair = interleave(alone, lambda: detector.find(frame), turns=_TURNS, calls=_CALLS)
    height, width = frame.shape[:2]
    across, down = detector.input_size
    work = million_multiply_adds(checkpoint, detector.input_size)
    return [
        Row(
            name=f"{name}: bare invoke, of the reference net's",
            unit="x",
            budget=None,
            measured=beside.ratio,
            note=f"{across}x{down}, {work:.0f} M multiply-adds: {beside.second_ms:.2f} ms; the reference net, "
            f"{reference_multiply_adds() / 1e6:.0f} M: {beside.first_ms:.2f} ms; {len(content) / 1000:.0f} kB",
        ),
        Row(
            name=f"{name}: frame to faces, beyond 1.2 x bare invoke",
            unit="ms",
            budget=_BEYOND_MS,
            measured=pair.difference_ms - _BEYOND_PART * pair.first_ms,
            note=f"{width}x{height} into {across}x{down}: {pair.second_ms:.2f} ms; bare {pair.first_ms:.2f} ms; "
            f"beyond that {pair.difference_ms:.2f} ms, turn by turn",
        ),
    ]


def _inspect(name: str, frame: Pixels) -> Row:
    first = load_detector(name, "cpu").net
    nets = [first, *load_other_sizes(name, first.manifest)]
    pair = interleave(lambda: first.find(frame), lambda: find_closely(nets, frame), turns=_TURNS, calls=1)
    sizes = ", ".join("{}x{}".format(*net.input_size) for net in nets)
    height, width = frame.shape[:2]
    note = f"{width}x{height}, pixels to faces; inputs {sizes}; one pass of the first {pair.first_ms:.2f} ms"
    return Row(name="inspect: a picture", unit="ms", budget=_INSPECT_MS, measured=pair.second_ms, note=note)


def bare(content: bytes) -> Callable[[], object]:
    """Give a call of the interpreter alone, on noise."""
    interpreter = interpreter_module().Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    door = interpreter.get_input_details()[0]
    interpreter.set_tensor(door["index"], np.random.default_rng(1).integers(-128, 128, door["shape"]).astype(np.int8))
    invoke: Callable[[], object] = interpreter.invoke
    return invoke


def million_multiply_adds(name: str, size: tuple[int, int] | None = None) -> float:
    """Count those of a float checkpoint in models/. size: width and height of another input than its own."""
    graph = load_checkpoint(models_folder() / f"{name}.npz").graph
    return multiply_adds(graph if size is None else redrawn(graph, *size)) / 1e6
