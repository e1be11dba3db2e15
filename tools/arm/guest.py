"""What runs on the board, emulated: `python -m tools.arm.guest answers|counts FOLDER OUT ...`.

`answers` writes what both nets say of the golden inputs and of the scene; it runs on this machine too, to compare.
`counts` marks the beginning and end of each piece of work for the plugin (count.c), and prints what lies between.
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.events.types import PersonNew, PersonUpdate
from agent.pipeline import Pipeline
from agent.seams import Box, Classifier, Detector, Frame, Pixels
from agent.settings import Settings, VisionSettings
from agent.vision.classifier import MaskClassifier, decide_one
from agent.vision.detector import FaceDetector
from agent.vision.model import ClassifierManifest, DetectorManifest, Net, golden_input, load_manifest, other_sizes
from agent.vision.nets import load_classifier, load_detector
from agent.vision.runtime import interpreter_module
from tools.arm.inputs import Clip, Inputs, read

Kernels = Literal["xnnpack", "builtin", "reference"]
MARKED = "mark"  # the name of a mark's own cost
_WARM_UP, _REPEATED = 3, 10


class Found(msgspec.Struct, frozen=True):
    """A face in a frame, and what the classifier says of it. box: x0, y0, x1, y1, pixels of the frame."""

    box: tuple[float, float, float, float]
    score: float
    label: str


class Answers(msgspec.Struct, frozen=True):
    """What the nets say. golden: by model, steps off the manifest. logits: a row a true face; labels: of those.

    found: by frame, the faces that the agent accepts. persons: what was decided of each in the whole scene, in the
    order in which they came; None where that was not asked.
    """

    golden: dict[str, int]
    logits: list[list[int]]
    labels: list[str]
    found: list[list[Found]]
    persons: list[str] | None = None


class KernelRuntime:
    """A net on one set of kernels; see agent.vision.runtime.Runtime. Outputs are told apart by their shapes."""

    def __init__(self, content: bytes, net: Net, kernels: Kernels) -> None:
        module = interpreter_module()
        resolvers = module.OpResolverType
        resolver = {
            "xnnpack": resolvers.AUTO,
            "builtin": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "reference": resolvers.BUILTIN_REF,
        }[kernels]
        self._interpreter: Any = module.Interpreter(
            model_content=content, num_threads=1, experimental_op_resolver_type=resolver
        )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        by_shape = {tuple(map(int, d["shape"])): d["index"] for d in self._interpreter.get_output_details()}
        self._outputs = {name: by_shape[tensor.shape] for name, tensor in net.outputs.items()}

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def steps_off(runtime: KernelRuntime, net: Net) -> int:
    """Give the largest difference from the manifest's golden answers, as agent.vision.runtime.check_golden does."""
    worst = 0
    for golden in net.golden:
        answers = runtime.invoke(golden_input(golden.seed, net.input.shape))
        for name, expected in golden.outputs.items():
            got = answers[name].reshape(-1)[:: golden.every].astype(np.int16)
            worst = max(worst, int(np.abs(got - np.asarray(expected, np.int16)).max()))
    return worst


class _Recorder:
    """A runtime that keeps what it answered last."""

    def __init__(self, runtime: KernelRuntime) -> None:
        self._runtime = runtime
        self.last: dict[str, NDArray[np.int8]] = {}

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        self.last = self._runtime.invoke(batch)
        return self.last


def answer(folder: Path, inputs: Inputs, kernels: Kernels) -> Answers:
    """Ask both nets about everything."""
    vision = VisionSettings()
    detector_manifest, detector_model = load_manifest(vision.detector, DetectorManifest)
    classifier_manifest, classifier_model = load_manifest(vision.classifier, ClassifierManifest)
    detector_runtime = KernelRuntime(detector_model, detector_manifest.net, kernels)
    classifier_runtime = KernelRuntime(classifier_model, classifier_manifest.net, kernels)
    recorder = _Recorder(classifier_runtime)
    detector = FaceDetector(detector_manifest, detector_runtime)
    classifier = MaskClassifier(classifier_manifest, recorder)
    frames = np.load(folder / "faces.npy", mmap_mode="r")
    logits: list[list[int]] = []
    labels: list[str] = []
    for number, box in inputs.faces:
        look = classifier.look(np.ascontiguousarray(frames[number]), [Box(*box)])[0]
        logits.append([int(value) for value in recorder.last["logits"].reshape(-1)])
        labels.append(decide_one(look, classifier_manifest.abstain).label)
    found = []
    for pixels in frames:
        faces = [face for face in detector.find(np.ascontiguousarray(pixels)) if face.sure]
        looks = classifier.look(np.ascontiguousarray(pixels), [face.box for face in faces])
        found.append(
            [
                Found(box=(*face.box,), score=face.score, label=decide_one(look, classifier_manifest.abstain).label)
                for face, look in zip(faces, looks, strict=True)
            ]
        )
    return Answers(
        golden={
            classifier_manifest.name: steps_off(classifier_runtime, classifier_manifest.net),
            detector_manifest.name: steps_off(detector_runtime, detector_manifest.net),
        },
        logits=logits,
        labels=labels,
        found=found,
        persons=_persons(folder, inputs.whole, detector, classifier) if kernels == "xnnpack" else None,
    )


def _persons(folder: Path, clip: Clip, detector: FaceDetector, classifier: MaskClassifier) -> list[str]:
    """Send a clip through the whole pipeline, and give what it says of everybody at the end."""
    pipeline = Pipeline(detector=detector, classifier=classifier, settings=Settings(), run_id="answers")
    frames = np.load(folder / f"{clip.name}.npy", mmap_mode="r")
    decided: dict[str, str] = {}
    for index, at_ns in enumerate(clip.at_ns):
        frame = Frame(pixels=np.ascontiguousarray(frames[index]), captured_ns=at_ns, index=index)
        for event in pipeline.step(frame):
            if isinstance(event.data, PersonNew | PersonUpdate):
                decided[event.data.person] = event.data.label
    return list(decided.values())


class Marks:
    """Tells the plugin where a piece of work begins and ends. names: of what lies between one mark and the next."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        os.sched_get_priority_max(0)

    def repeat(self, name: str, work: Callable[[], object]) -> None:
        """Mark each repetition of a piece of work that has settled."""
        for _ in range(_WARM_UP):
            work()
        for _ in range(_REPEATED):
            self(name)
            work()
        self("")


def count(folder: Path, inputs: Inputs, references: Path) -> list[str]:
    """Do all that is to be counted, and give the names of the intervals; the empty name is nobody's."""
    cv2.setNumThreads(1)
    marks = Marks()
    marks.repeat(MARKED, lambda: None)
    for name in ("reference", "reference float"):
        _count_reference(marks, name, references / f"{name.replace(' ', '-')}.tflite")
    settings = Settings()
    detector = load_detector(settings.vision.detector, "cpu").net
    classifier = load_classifier(settings.vision.classifier, "cpu").net
    frames = np.load(folder / "faces.npy", mmap_mode="r")
    busy = max(range(len(frames)), key=[number for number, _ in inputs.faces].count)
    pixels = np.ascontiguousarray(frames[busy])
    boxes = [Box(*box) for number, box in inputs.faces if number == busy]
    marks.repeat("detect", lambda: detector.find(pixels))
    marks.repeat("classify", lambda: classifier.look(pixels, boxes[:1]))
    _count_bare(marks, settings.vision)
    encoded = np.frombuffer((folder / "frame.jpg").read_bytes(), np.uint8)
    marks.repeat("jpeg", lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR))
    _count_clip(marks, "idle", folder, inputs.idle, detector, classifier)
    for rate, clip in inputs.people.items():
        _count_clip(marks, f"people {rate}", folder, clip, detector, classifier)
    return marks.names


def _count_reference(marks: Marks, name: str, model: Path) -> None:
    interpreter: Any = interpreter_module().Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    door = interpreter.get_input_details()[0]
    noise = np.random.default_rng(1).integers(-128, 128, door["shape"]).astype(door["dtype"])
    interpreter.set_tensor(door["index"], noise)
    marks.repeat(name, interpreter.invoke)


def _count_bare(marks: Marks, vision: VisionSettings) -> None:
    detector, model = load_manifest(vision.detector, DetectorManifest)
    nets: list[tuple[DetectorManifest | ClassifierManifest, bytes]] = [(detector, model)]
    nets += [load_manifest(name, DetectorManifest) for name in other_sizes(vision.detector, detector)]
    nets.append(load_manifest(vision.classifier, ClassifierManifest))
    for manifest, content in nets:
        invoke = KernelRuntime(content, manifest.net, "xnnpack").invoke
        marks.repeat(f"invoke {manifest.name}", partial(invoke, golden_input(1, manifest.net.input.shape)))


def _count_clip(marks: Marks, name: str, folder: Path, clip: Clip, detector: Detector, classifier: Classifier) -> None:
    """Mark each frame's way through a pipeline with the shipped defaults, once its people are known to it."""
    spy = _Spy(marks, detector, classifier)
    pipeline = Pipeline(detector=spy, classifier=spy, settings=Settings(), run_id="count")
    frames = np.load(folder / f"{clip.name}.npy", mmap_mode="r")
    for index, at_ns in enumerate(clip.at_ns):
        frame = Frame(pixels=np.ascontiguousarray(frames[index]), captured_ns=at_ns, index=index)
        spy.name = name if index >= clip.warm else ""
        marks(f"{spy.name} rest" if spy.name else "")
        pipeline.step(frame)
        marks("")


class _Spy:
    """Marks where a pipeline's frame is in a net, so that the nets' share of it is known."""

    def __init__(self, marks: Marks, detector: Detector, classifier: Classifier) -> None:
        self.name = ""
        self._marks, self._detector, self._classifier = marks, detector, classifier

    @property
    def input_size(self) -> tuple[int, int]:
        return self._detector.input_size

    def find(self, pixels: Pixels) -> Any:
        return self._within("detect", lambda: self._detector.find(pixels))

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> Any:
        return self._within("classify", lambda: self._classifier.look(pixels, boxes))

    def _within(self, part: str, work: Callable[[], object]) -> Any:
        self._marks(f"{self.name} {part}" if self.name else "")
        result = work()
        self._marks(f"{self.name} rest" if self.name else "")
        return result


def main(words: Sequence[str]) -> int:
    mode, folder, out, *more = words
    inputs = read(Path(folder))
    result: Answers | list[str]
    if mode == "answers":
        result = answer(Path(folder), inputs, msgspec.convert(more[0], Kernels))
    else:
        result = count(Path(folder), inputs, references=Path(more[0]))
    Path(out).write_bytes(msgspec.json.encode(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
