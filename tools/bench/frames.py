"""Frames a second, and what a frame costs beside its nets."""

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from agent.camera import SceneCamera
from agent.seams import Box, Face, Frame, Look, Pixels
from agent.settings import Settings
from tools.bench.agent import Pass, make_pipeline, open_outbox, shipped_nets
from tools.bench.generated import CLIP_S, people, still
from tools.bench.machine import resident_mb, take_one_core
from tools.bench.rows import Options, Row, quantile

_PASSES = 3
_PEOPLE = 4
_WARM_FRAMES = 5000  # by then every buffer has its size
# The lowest counts: what a decoder has just freed, 4 MB, the allocator gives back or keeps for the next one, as it
# happens to lie. What leaks is in all of them.
_READINGS = 10


def measure(options: Options) -> list[Row]:
    """Measure throughput on one core, file decoding and the outbox's commits included."""
    take_one_core()
    folder = Path(options.folder)
    return [_crowd(folder), *_still(folder), _everything_else(folder)]


def measure_growth(options: Options) -> list[Row]:
    """Measure how the resident memory grows over many frames with people."""
    frames = 100_000 if options.full else 5_000
    clip = people(Path(options.folder))
    pipeline = make_pipeline(*shipped_nets())
    with open_outbox(Path(options.folder)) as outbox:

        def work(count: int) -> float:
            readings = []
            for _ in range(_READINGS):
                done = Pass(clip, pipeline, outbox, loop=True, frames=count // _READINGS)
                outbox.acknowledge(outbox.stream, outbox.last_sequence)
                assert done.frames == count // _READINGS
                readings.append(resident_mb())
            return min(readings)

        work(_WARM_FRAMES)
        before_mb = work(_WARM_FRAMES)
        after_mb = work(frames)
    note = f"after {2 * _WARM_FRAMES} frames {before_mb:.1f} MB, after {frames} more {after_mb:.1f} MB, "
    note += f"each the lowest of {_READINGS} readings"
    if not options.full:
        note += "; --full takes 100,000"
    return [
        Row(name=f"memory growth over {frames} frames", unit="MB", budget=1.0, measured=after_mb - before_mb, note=note)
    ]


def _crowd(folder: Path) -> Row:
    nets = shipped_nets()
    passes = []
    with open_outbox(folder) as outbox:
        for _ in range(_PASSES):
            pipeline = make_pipeline(*nets)
            passes.append(Pass(people(folder), pipeline, outbox))
    stages = ", ".join(f"{name} {times.p50_ms:.2f}" for name, times in pipeline.take_stages().items())
    vision = Settings().vision
    note = f"640x480, decoding and commits included, detect_every {vision.detect_every}; "
    note += f"{passes[-1].events} events in {passes[-1].frames} frames; ms: {stages}; "
    note += f"p99 of a frame {quantile(passes[-1].frame_ms, 0.99):.1f} ms"
    measured = statistics.median(one.frames_per_s for one in passes)
    return Row(name="frames a second, people", unit="frames/s", budget=120, measured=measured, at_least=True, note=note)


def _still(folder: Path) -> list[Row]:
    nets = shipped_nets()
    passes = []
    with open_outbox(folder) as outbox:
        for _ in range(_PASSES):
            pipeline = make_pipeline(*nets)
            passes.append(Pass(still(folder), pipeline, outbox))
    recheck_s = Settings().vision.recheck_s
    measured = statistics.median(one.frames_per_s for one in passes)
    most = math.ceil(CLIP_S / recheck_s)
    return [
        Row(
            name="frames a second, still", unit="frames/s", budget=500, measured=measured, at_least=True, note="640x480"
        ),
        Row(
            name="detector runs on the still clip",
            unit="runs",
            budget=most,
            measured=pipeline.stats.detections,
            note=f"{CLIP_S:.0f} s, one every {recheck_s:g} s",
        ),
    ]


class _FourFaces:
    """A detector that finds four people who walk, at no cost, and a classifier that is sure of all."""

    def __init__(self) -> None:
        self._step = 0

    @property
    def input_size(self) -> tuple[int, int]:
        return 640, 480

    def find(self, pixels: Pixels) -> list[Face]:
        self._step += 1
        shift = 40 * math.sin(self._step / 20)
        return [Face(box=Box(60 + 150 * n + shift, 150, 110 + 150 * n + shift, 212), score=0.9) for n in range(_PEOPLE)]

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> list[Look]:
        return [Look(probs=(0.96, 0.03, 0.01), sharpness=900.0, brightness=120.0, face_px=55.7) for _ in boxes]


def _everything_else(folder: Path) -> Row:
    """Time the pipeline and the outbox on real frames, with nets that cost nothing."""
    frames = []
    with SceneCamera(persons=10) as camera:
        while isinstance(frame := camera.read(0), Frame):
            frames.append(frame)
    spent_ms: list[float] = []
    with open_outbox(folder) as outbox:
        for _ in range(_PASSES):
            nets = _FourFaces()
            pipeline = make_pipeline(nets, nets)
            start = time.perf_counter()
            for frame in frames:
                events = pipeline.step(frame)
                if events:
                    outbox.append(events)
            spent_ms.append((time.perf_counter() - start) * 1000 / len(frames))
            assert pipeline.stats.persons == _PEOPLE, pipeline.stats
            outbox.append(pipeline.finish(frames[-1].captured_ns))
    note = "motion, blindness, tracking, votes, events, outbox; nets replaced by ready answers"
    return Row(
        name="everything else, a frame with 4 people",
        unit="ms",
        budget=0.5,
        measured=statistics.median(spent_ms),
        note=note,
    )
