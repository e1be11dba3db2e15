"""What test_camera.py lets the real picamera2 do inside the root; each scenario prints what it saw, as JSON."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from agent.camera import open_camera
from agent.camera.picamera2 import Picamera2Device
from agent.clock import SystemClock
from agent.errors import UnavailableError
from agent.seams import Camera, Frame, Pixels, Silence
from agent.settings import CameraSettings

_OPENINGS = 40
_FASTER = 20
_EDGE = 30  # levels between neighbours


class FastClock(SystemClock):
    """A clock on which a stall of five seconds takes a quarter of one."""

    def __init__(self) -> None:
        self._start_ns = super().now_ns()

    def now_ns(self) -> int:
        return self._start_ns + _FASTER * (super().now_ns() - self._start_ns)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / _FASTER)


def stream(source: str, frames: str, width: str = "640", height: str = "480") -> dict[str, Any]:
    """Read frames; tell what they look like and when they were taken."""
    clock = SystemClock()
    with open_camera(CameraSettings(source=source, width=int(width), height=int(height)), clock) as camera:
        before_ns = clock.now_ns()
        seen = [_frame(camera) for _ in range(int(frames))]
        return {
            "describe": camera.describe(),
            "shapes": sorted({frame.pixels.shape for frame in seen}),
            "lores": sorted({frame.lores.shape if frame.lores is not None else () for frame in seen}),
            "colours": [_colours(frame.pixels) for frame in seen],
            "lores_colours": [_colours(frame.lores) for frame in seen if frame.lores is not None],
            "stamps_ns": [frame.captured_ns for frame in seen],
            "between_ns": [before_ns, clock.now_ns()],
            "index": [frame.index for frame in seen],
        }


def grow(source: str, frames: str) -> list[dict[str, int]]:
    """Read many frames; tell after each tenth of them what the process holds."""
    told = []
    with open_camera(CameraSettings(source=source), SystemClock()) as camera:
        for number in range(1, int(frames) + 1):
            _frame(camera)
            if number % (int(frames) // 10) == 0:
                told.append(_held())
    return told


def stall(source: str) -> dict[str, Any]:
    """Let the camera fall silent until it has been opened anew three times, then let it go on."""
    switch = Path(os.environ["TEST_CAMERA_STALL"])
    why: list[str] = []
    opened: list[int] = []
    camera = open_camera(CameraSettings(source=source), FastClock(), Random(1))
    _noting_openings(camera, opened)
    with camera:
        first = _frame(camera)
        before = _held()
        switch.touch()
        while len(opened) < 4:
            message = camera.read(0.02)
            if isinstance(message, Silence) and message.why not in why:
                why.append(message.why)
        switch.unlink()
        last = _frame(camera)
        after = _held()
    return {
        "why": why,
        "first": first.index,
        "last": last.index,
        "colours": _colours(last.pixels),
        "held": [before, after],
    }


def missing(number: str) -> dict[str, Any]:
    """Try again and again to open a camera that there is not."""
    device = _device(int(number))
    _refused(device)
    before = _held()
    line = [_refused(device) for _ in range(_OPENINGS)][-1]
    return {"line": line, "held": [before, _held()]}


def taken() -> dict[str, Any]:
    """Try again and again to open a camera that somebody has, who then lets go of it."""
    owner, device = _device(0), _device(0)
    owner.open()
    _refused(device)
    before = _held()
    line = [_refused(device) for _ in range(_OPENINGS)][-1]
    after = _held()
    still_owned = owner.grab(2) is not None
    owner.close()
    device.open()
    shot = device.grab(2)
    device.close()
    return {"line": line, "held": [before, after], "still_owned": still_owned, "then": shot is not None}


def again() -> list[dict[str, int]]:
    """Open a camera, read a frame and close it, many times."""
    device = _device(0)
    told = []
    for number in range(_OPENINGS):
        device.open()
        assert device.grab(2) is not None
        device.close()
        if number % 10 == 9:
            told.append(_held())
    return told


def _device(number: int) -> Picamera2Device:
    return Picamera2Device(number, SystemClock(), width=640, height=480, fps=15)


def _refused(device: Picamera2Device) -> str:
    try:
        device.open()
    except UnavailableError as error:
        return str(error)
    raise AssertionError("it was opened")


def _frame(camera: Camera) -> Frame:
    """Give the next frame, whatever silence comes before it; a minute of it is too much."""
    for _ in range(600):
        message = camera.read(0.1)
        if isinstance(message, Frame):
            return message
    raise AssertionError("no frame")


def _noting_openings(camera: Any, opened: list[int]) -> None:
    device = camera._device
    really = device.open

    def noted() -> None:
        really()
        opened.append(1)

    device.open = noted


def _colours(pixels: Pixels) -> list[list[int]]:
    """Give the colours that follow each other across the middle, where one goes on for a twentieth of the width."""
    row = np.asarray(pixels[pixels.shape[0] // 2], int)
    ends = np.flatnonzero(np.abs(np.diff(row, axis=0)).max(axis=1) > _EDGE) + 1
    runs = np.split(row, ends)
    return [run[len(run) // 2].tolist() for run in runs if len(run) > len(row) // 20]


def _held() -> dict[str, int]:
    """Tell how many files, threads and kilobytes the process has."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    files = len(list(Path("/proc/self/fd").iterdir()))
    return {"files": files, "threads": int(status["Threads"]), "rss_kb": int(status["VmRSS"].split()[0])}


if __name__ == "__main__":
    scenarios: dict[str, Callable[..., Any]] = {
        scenario.__name__: scenario for scenario in (stream, grow, stall, missing, taken, again)
    }
    print(json.dumps(scenarios[sys.argv[1]](*sys.argv[2:])))
