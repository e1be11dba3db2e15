"""Lets a test hang one thread of a running `maskwatch run` from outside, or give it a camera that stalls or is slow.

Python imports a `sitecustomize` that it finds on its path before it does anything else, so the product needs nothing
for it: put this folder on the service's PYTHONPATH and name a folder in which files are switches.

    [Service]
    Environment=PYTHONPATH=/path/to/hang MASKWATCH_SWITCHES=/run/switches MASKWATCH_SHIM_CAMERA=1

    file          what happens while it is there
    vision        the vision thread hangs in its next frame
    delivery      the delivery thread (the publisher) hangs in its next step
    camera        the capture thread hangs in its next read
    supervisor    the supervisor hangs in its next look at the stages; nobody feeds the watchdog
    stalled       the camera stays open and gives nothing until it is opened again; touching the file stalls it anew
    slow          the camera gives one frame a second

The last two need MASKWATCH_SHIM_CAMERA: then `camera.source = "v4l2:/dev/shim"` is a live camera that shows an empty,
noisy room at 15 frames a second. (The names that begin with MASKWATCH_ and are no settings would be refused by the
agent; both are taken out of the environment here.) Removing `vision`, `delivery`, `camera` or `supervisor` lets the
thread go on. Only `maskwatch run` is changed: other Python programs with this path, and other commands, are not.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SWITCHES = Path(os.environ.pop("MASKWATCH_SWITCHES", "/nonexistent"))
_HAS_CAMERA = bool(os.environ.pop("MASKWATCH_SHIM_CAMERA", ""))
_LOOK_S = 0.02
SOURCE = "v4l2:/dev/shim"


def _is_on(name: str) -> bool:
    return (_SWITCHES / name).exists()


def _since(name: str) -> int:
    """Give when a switch was put there, in nanoseconds since 1970; 0: it is not there."""
    try:
        return (_SWITCHES / name).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _hanging(name: str, honest: Callable[..., Any]) -> Callable[..., Any]:
    def work(*arguments: Any, **options: Any) -> Any:
        while _is_on(name):
            time.sleep(_LOOK_S)
        return honest(*arguments, **options)

    return work


def _put_in(name: str, owner: type, *methods: str) -> None:
    for method in methods:
        setattr(owner, method, _hanging(name, getattr(owner, method)))


def _change_the_agent() -> None:
    from agent.camera.live import LiveCamera
    from agent.camera.scene import SceneCamera
    from agent.delivery.delivery import Delivery
    from agent.pipeline import Pipeline
    from agent.service.daemon import Daemon

    _put_in("vision", Pipeline, "step", "idle")
    _put_in("delivery", Delivery, "step")
    _put_in("camera", LiveCamera, "read")
    _put_in("camera", SceneCamera, "read")
    _put_in("supervisor", Daemon, "_tick")
    if _HAS_CAMERA:
        _give_it_a_camera()


def _give_it_a_camera() -> None:
    import numpy as np

    from agent.camera import open as opening
    from agent.camera.live import Shot
    from agent.clock import Clock
    from agent.settings import CameraSettings

    class ShimDevice:
        """A live camera in front of an empty room."""

        where = SOURCE

        def __init__(self, settings: CameraSettings, clock: Clock) -> None:
            self._clock = clock
            self._cured = 0
            self._noise = np.random.default_rng(7)
            # A slope and a little noise: a picture that is flat or always the same would be called blind.
            slope = np.linspace(60, 180, settings.width).astype(np.uint8)
            self._room = np.tile(slope[None, :, None], (settings.height, 1, 3))

        def open(self) -> None:
            self._cured = _since("stalled")

        def grab(self, timeout_s: float) -> Shot | None:
            if _since("stalled") > self._cured:
                time.sleep(timeout_s)
                return None
            time.sleep(1.0 if _is_on("slow") else 1 / 15)
            pixels = self._room + self._noise.integers(0, 4, self._room.shape, np.uint8)
            return Shot(pixels=pixels, captured_ns=self._clock.now_ns())

        def close(self) -> None: ...

        def describe(self) -> str:
            return f"{SOURCE}, an empty room"

    honest = opening._device

    def device(settings: CameraSettings, clock: Clock) -> Any:
        return ShimDevice(settings, clock) if settings.source == SOURCE else honest(settings, clock)

    opening._device = device


if "run" in sys.orig_argv:
    _change_the_agent()
