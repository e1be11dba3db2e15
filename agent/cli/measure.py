"""What `bench` measures on this machine: nets, pipeline, whole agent, memory, disk; numbers and their budgets."""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.camera import open_camera
from agent.clock import NS_PER_MS, NS_PER_S, Clock, new_id
from agent.delivery.intake import GROUP_NS
from agent.delivery.outbox import Outbox
from agent.events.types import Event, PersonNew
from agent.pipeline import Pipeline
from agent.seams import LABELS, Box, Classifier, Detector, End, Face, Frame, Look, Pixels
from agent.settings import CameraSettings, Settings
from agent.vision.classifier import MaskClassifier
from agent.vision.detector import FaceDetector
from agent.vision.model import ClassifierManifest, DetectorManifest, Net, golden_input, load_manifest
from agent.vision.nets import load_classifier, load_detector
from agent.vision.runtime import CpuRuntime, check_golden, interpreter_module

_WARM_UP = 20
_ROUNDS = 300
_BURST_PER_S = 100
_EVENT = PersonNew(
    person="00000000-1", label="mask", confidence=0.97, looks=9, seen_s=1.2, face_px=41.5, box=(0.1, 0.2, 0.2, 0.4)
)
_FACE = Box(280, 200, 344, 264)  # 64 px: a person at some two metres


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. budget: None where there is none; ok: None likewise. at_least: more is better."""

    name: str
    measured: float
    unit: str
    budget: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def ok(self) -> bool | None:
        if self.budget is None:
            return None
        return self.measured >= self.budget if self.at_least else self.measured <= self.budget


def measure_nets(settings: Settings, clock: Clock, pixels: Pixels) -> list[Figure]:
    """Measure both nets on the CPU against the bare interpreter on the same file, in turns: both see one weather.

    pixels: (480, 640, 3) uint8 RGB, a frame as the camera gives it.
    """
    classifier_manifest, classifier_model = load_manifest(settings.vision.classifier, ClassifierManifest)
    detector_manifest, detector_model = load_manifest(settings.vision.detector, DetectorManifest)
    classifier_runtime = CpuRuntime(classifier_model, classifier_manifest.net, where=classifier_manifest.name)
    detector_runtime = CpuRuntime(detector_model, detector_manifest.net, where=detector_manifest.name)
    classifier = MaskClassifier(classifier_manifest, classifier_runtime)
    detector = FaceDetector(detector_manifest, detector_runtime)
    classify_ms, bare_classify_ms = in_turns(
        clock, lambda: classifier.look(pixels, [_FACE]), _bare(classifier_model, classifier_manifest.net)
    )
    detect_ms, bare_detect_ms = in_turns(
        clock, lambda: detector.find(pixels), _bare(detector_model, detector_manifest.net)
    )
    steps = max(
        check_golden(runtime, manifest.net, manifest.name)
        for runtime, manifest in ((classifier_runtime, classifier_manifest), (detector_runtime, detector_manifest))
    )
    allowed = max(manifest.net.golden_tolerance for manifest in (classifier_manifest, detector_manifest))
    width, height = detector.input_size
    return [
        Figure(
            name="classifier: crop to probabilities",
            measured=classify_ms,
            unit="ms",
            budget=bare_classify_ms + 0.06,
            note=f"bare invoke {bare_classify_ms:.3f} ms",
        ),
        Figure(name="classifier: model file", measured=len(classifier_model) / 1000, unit="kB", budget=250),
        Figure(
            name="detector: 640x480 to faces",
            measured=detect_ms,
            unit="ms",
            budget=1.2 * bare_detect_ms + 0.4,
            note=f"bare invoke {bare_detect_ms:.3f} ms, net {width}x{height}",
        ),
        Figure(name="nets: off their golden answers", measured=steps, unit="steps", budget=allowed),
    ]


def in_turns(clock: Clock, first: Callable[[], Any], second: Callable[[], Any]) -> tuple[float, float]:
    """Give the median milliseconds of two things, run in turns."""
    times: tuple[list[int], list[int]] = ([], [])
    for number in range(_WARM_UP + _ROUNDS):
        for action, spent in zip((first, second), times, strict=True):
            start_ns = clock.now_ns()
            action()
            if number >= _WARM_UP:
                spent.append(clock.now_ns() - start_ns)
    one, other = (statistics.median(spent) / NS_PER_MS for spent in times)
    return one, other


def _bare(model: bytes, net: Net) -> Callable[[], Any]:
    """Give the interpreter's own invoke, with nothing of ours round it."""
    interpreter: Any = interpreter_module().Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], golden_input(1, net.input.shape))
    invoke: Callable[[], Any] = interpreter.invoke
    return invoke


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A clip's way through the agent. nets_s: of seconds, spent in detector and classifier. labels: of single looks."""

    frames: int
    seconds: float
    decode_s: float
    nets_s: float
    detections: int
    persons: int
    labels: Mapping[str, int]
    memory_mb: Sequence[float]

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds

    @property
    def rest_ms(self) -> float:
        """Milliseconds a frame outside decoding and the nets."""
        return (self.seconds - self.decode_s - self.nets_s) * 1000 / self.frames


def run_clip(
    clip: Path, settings: Settings, detector: Detector, classifier: Classifier, clock: Clock, rounds: int = 1
) -> Run:
    """Send a clip through camera and pipeline as fast as it goes, `rounds` times over."""
    timed_detector, timed_classifier = _TimedDetector(detector, clock), _TimedClassifier(classifier, clock)
    frames = decode_ns = persons = detections = 0
    memory_mb = []
    start_ns = clock.now_ns()
    for _ in range(rounds):
        pipeline = Pipeline(
            detector=timed_detector,
            classifier=timed_classifier,
            settings=settings,
            run_id="bench",
            live=False,
            now_ns=clock.now_ns,
        )
        with open_camera(CameraSettings(source=str(clip.absolute())), clock) as camera:
            while True:
                before_ns = clock.now_ns()
                message = camera.read(10.0)
                decode_ns += clock.now_ns() - before_ns
                if isinstance(message, End):
                    break
                assert isinstance(message, Frame), "a medium is never silent"
                frames += 1
                persons += sum(event.type == "maskwatch.person.new.v1" for event in pipeline.step(message))
        detections += pipeline.stats.detections
        memory_mb.append(resident_mb())
    return Run(
        frames=frames,
        seconds=(clock.now_ns() - start_ns) / NS_PER_S,
        decode_s=decode_ns / NS_PER_S,
        nets_s=(timed_detector.spent_ns + timed_classifier.spent_ns) / NS_PER_S,
        detections=detections,
        persons=persons,
        labels=timed_classifier.labels,
        memory_mb=memory_mb,
    )


def measure_edge_tpu(clip: Path, settings: Settings, on_tpu: Run, clock: Clock) -> Figure:
    """Run the clip once more on the CPU and compare: by how many points the share of a label differs."""
    with (
        closing(load_detector(settings.vision.detector, "cpu")) as detector,
        closing(load_classifier(settings.vision.classifier, "cpu")) as classifier,
    ):
        on_cpu = run_clip(clip, settings, detector.net, classifier.net, clock)
    return Figure(
        name="Edge TPU: labels beside the CPU's",
        measured=label_gap(on_tpu.labels, on_cpu.labels),
        unit="points",
        budget=0.5,
        note=f"{on_cpu.frames_per_s:.0f} frames/s on the CPU",
    )


def label_gap(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Give the largest difference between the shares of a label, in percentage points."""
    shares = [{label: 100 * count / max(1, sum(c.values())) for label, count in c.items()} for c in (one, other)]
    return max((abs(shares[0].get(label, 0) - shares[1].get(label, 0)) for label in LABELS), default=0.0)


def measure_disk(directory: Path, clock: Clock) -> list[Figure]:
    """Measure the bytes that the outbox writes for an event, alone and in a burst; none on a disk in memory.

    directory: where, on the disk in question. A burst is what 100 events a second are to the intake: the one that
    opens a group, and those that come before it is due.
    """
    event = Event(at_ns=0, data=_EVENT)
    outbox = Outbox.open(directory, clock=clock, new_id=new_id, boot_id="0" * 32, quota_mb=64)
    try:
        figures = []
        for name, size, rounds, budget in (
            ("disk: an event alone", 1, 20, 16.0),
            ("disk: an event in a burst", 1 + GROUP_NS * _BURST_PER_S // NS_PER_S, 300, 3.5),
        ):
            before = written_bytes()
            for _ in range(rounds):
                outbox.append([event] * size)
                outbox.acknowledge(outbox.stream, outbox.last_sequence)
            kilobytes = (written_bytes() - before) / 1000 / (size * rounds)
            note = "" if kilobytes else "nothing: a disk in memory"
            figures.append(Figure(name=name, measured=kilobytes, unit="kB", budget=budget, note=note))
        return figures
    finally:
        outbox.close(clean=True)


def written_bytes() -> int:
    """Give the bytes that this process had written to storage. Source: proc(5), /proc/pid/io, write_bytes."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("write_bytes:")).split()[1])


def resident_mb() -> float:
    """Give this process's resident memory, anonymous and mapped files. Source: proc(5), VmRSS."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


class _TimedDetector:
    """A detector whose time is counted."""

    def __init__(self, detector: Detector, clock: Clock) -> None:
        self._detector, self._clock = detector, clock
        self.spent_ns = 0

    @property
    def input_size(self) -> tuple[int, int]:
        return self._detector.input_size

    def find(self, pixels: Pixels) -> list[Face]:
        start_ns = self._clock.now_ns()
        faces = self._detector.find(pixels)
        self.spent_ns += self._clock.now_ns() - start_ns
        return faces


class _TimedClassifier:
    """A classifier whose time is counted, and its likeliest labels."""

    def __init__(self, classifier: Classifier, clock: Clock) -> None:
        self._classifier, self._clock = classifier, clock
        self.spent_ns = 0
        self.labels: Counter[str] = Counter()

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> list[Look]:
        start_ns = self._clock.now_ns()
        looks = self._classifier.look(pixels, boxes)
        self.spent_ns += self._clock.now_ns() - start_ns
        self.labels.update(LABELS[look.probs.index(max(look.probs))] for look in looks)
        return looks


def blank_frame() -> Pixels:
    """Give a (480, 640, 3) frame of soft noise, for timing what does not look at its content."""
    return np.random.default_rng(1).integers(90, 160, (480, 640, 3)).astype(np.uint8)
