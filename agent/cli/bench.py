"""`maskwatch bench`: the budgets of a board against measurements on this one; needs nothing but the agent itself."""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import cv2
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent import __version__
from agent.camera import SceneCamera
from agent.cli.broker import check_extra
from agent.cli.measure import Figure, blank_frame, measure_disk, measure_edge_tpu, measure_nets, run_clip
from agent.cli.options import add_config_options, load_settings
from agent.cli.terminal import STYLES, console
from agent.clock import Clock, SystemClock
from agent.config import Loaded
from agent.seams import Frame
from agent.settings import Settings
from agent.vision.nets import load_classifier, load_detector

_BOARDS = {"Raspberry Pi Zero 2": 15.0, "Raspberry Pi 4": 30.0, "Raspberry Pi 5": 90.0}
_FRAMES_PER_S = 120.0  # of one core of the development machine
_GROWTH_ROUNDS = 3
_ACCELERATOR_S = 15.0


def add_parser(subparsers: Any) -> None:
    """Add the command's options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "bench",
        help="the budgets against measurements on this machine",
        description="Measure nets, agent, memory and disk on one core of this machine against their budgets.",
    )
    parser.add_argument("clip", nargs="?", type=Path, help="a clip with people instead of the generated scene")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    loaded = load_settings(args)
    clock, out = SystemClock(), console(sys.stderr)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # all budgets are for one core
    with tempfile.TemporaryDirectory(prefix="maskwatch-bench-", dir=_disk(loaded.settings)) as folder:
        clips = Path(folder)
        if args.clip is None:
            check_extra(broker=False, scene=True)
            _in_child(clips)
        with out.status("measuring") if out.is_terminal else nullcontext():
            figures = list(measure(loaded.settings, args.clip or clips / "people.avi", clips, clock))
    facts = machine(loaded)
    if args.json:
        said = [msgspec.to_builtins(figure) | {"ok": figure.ok} for figure in figures]
        print(json.dumps({"machine": facts, "figures": said}, indent=1))
    else:
        _print(console(), facts, figures)
    return 0


def measure(settings: Settings, people: Path, folder: Path, clock: Clock) -> Iterator[Figure]:
    """Measure all of it. folder: on the disk in question, with still.avi in it where that was made."""
    with ExitStack() as stack:
        detector = load_detector(settings.vision.detector, settings.vision.accelerator)
        stack.callback(detector.close)
        classifier = load_classifier(settings.vision.classifier, settings.vision.accelerator)
        stack.callback(classifier.close)
        detector.settle(_ACCELERATOR_S)
        ran = run_clip(people, settings, detector.net, classifier.net, clock, rounds=_GROWTH_ROUNDS)
        budget = next((rate for board, rate in _BOARDS.items() if _board().startswith(board)), _FRAMES_PER_S)
        yield Figure(
            name=f"agent: {people.name}",
            measured=ran.frames_per_s,
            unit="frames/s",
            budget=budget,
            at_least=True,
            note=f"{ran.persons // _GROWTH_ROUNDS} persons, detector in {ran.detections} of {ran.frames} frames",
        )
        yield Figure(name="agent: all but decode and nets", measured=ran.rest_ms, unit="ms", budget=0.5)
        yield Figure(name="memory: resident", measured=ran.memory_mb[-1], unit="MB", budget=110)
        growth = ran.memory_mb[-1] - ran.memory_mb[0]
        yield Figure(
            name="memory: growth",
            measured=growth,
            unit="MB",
            budget=1,
            note=f"over {ran.frames * (_GROWTH_ROUNDS - 1) // _GROWTH_ROUNDS} frames",
        )
        if detector.accelerator == "edgetpu":
            yield measure_edge_tpu(people, settings, ran, clock)
        still = folder / "still.avi"
        if still.exists():
            ran = run_clip(still, settings, detector.net, classifier.net, clock)
            yield Figure(
                name="agent: still.avi",
                measured=ran.frames_per_s,
                unit="frames/s",
                budget=500,
                at_least=True,
                note=f"detector in {ran.detections} of {ran.frames} frames",
            )
    # After the memory was read: this loads both nets once more.
    yield from measure_nets(settings, clock, blank_frame())
    yield from measure_disk(folder / "outbox", clock)


def machine(loaded: Loaded) -> dict[str, Any]:
    """Describe what was measured on, and with which settings."""
    vision = loaded.settings.vision
    return {
        "board": _board(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "maskwatch": __version__,
        "classifier": vision.classifier,
        "detector": vision.detector,
        "detect_every": vision.detect_every,
    }


def make_clips(folder: Path) -> None:
    """Write people.avi and still.avi, made from the scene: motion JPEG, as cheap webcams send it."""
    for name, persons, seconds in (("people", 6, 25.0), ("still", 0, 10.0)):
        with SceneCamera(persons=persons, duration_s=seconds) as camera:
            writer: Any = None
            while isinstance(frame := camera.read(1.0), Frame):
                height, width = frame.pixels.shape[:2]
                writer = writer or cv2.VideoWriter(
                    str(folder / f"{name}.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 15.0, (width, height)
                )
                writer.write(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR))
            writer.release()


def _in_child(folder: Path) -> None:
    """Make the clips in a process of their own: what that takes is no memory of the agent."""
    script = "import sys, pathlib; from agent.cli.bench import make_clips; make_clips(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, str(folder)], check=True)


def _disk(settings: Settings) -> str:
    """Give a folder on the outbox's disk where this user may write, else one that is on a disk on most systems."""
    outbox = Path(settings.outbox.directory)
    return str(outbox) if os.access(outbox, os.W_OK) else "/var/tmp"


def _board() -> str:
    try:
        return Path("/proc/device-tree/model").read_text(errors="replace").strip("\0 \n")
    except OSError:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.machine()


def _print(out: Console, facts: dict[str, Any], figures: list[Figure]) -> None:
    out.print(", ".join(f"{name} {value}" for name, value in facts.items()), style=STYLES["pale"])
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("What", "Measured", "Budget", ""):
        table.add_column(title, justify="right" if title == "Measured" else "left")
    for figure in figures:
        sign = ">=" if figure.at_least else "<="
        verdict = {True: Text("ok", STYLES["good"]), False: Text("missed", STYLES["bad"]), None: Text()}[figure.ok]
        budget = "" if figure.budget is None else f"{sign} {figure.budget:.3g}"
        name = Text(figure.name)
        if figure.note:
            name.append(f"\n  {figure.note}", STYLES["pale"])
        table.add_row(name, f"{figure.measured:.3g} {figure.unit}", budget, verdict)
    out.print(table)
