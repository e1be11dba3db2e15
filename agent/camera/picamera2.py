"""Raspberry Pi cameras through picamera2, which is part of Raspberry Pi OS and imported only when one is opened.

What is asked for and what comes differ: libcamera rounds sizes, pads rows and may choose another format. So format and
size are taken from `camera_configuration()` after `configure()`. Source: The Picamera2 Library (Raspberry Pi Ltd).
"""

import gc
import os
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from typing import Any

import cv2

from agent.camera.live import Shot
from agent.clock import NS_PER_S, Clock
from agent.errors import UnavailableError
from agent.seams import Pixels

# libcamera names formats by significance in a word: its "RGB888" lies in memory as blue, green, red.
_TO_RGB: dict[str, int | None] = {
    "RGB888": cv2.COLOR_BGR2RGB,
    "BGR888": None,
    "XRGB8888": cv2.COLOR_BGRA2RGB,
    "XBGR8888": cv2.COLOR_RGBA2RGB,
    "YUV420": cv2.COLOR_YUV2RGB_I420,
    "YVU420": cv2.COLOR_YUV2RGB_YV12,
    "NV12": cv2.COLOR_YUV2RGB_NV12,
    "NV21": cv2.COLOR_YUV2RGB_NV21,
    "YUYV": cv2.COLOR_YUV2RGB_YUYV,  # USB cameras give this or MJPEG
    "MJPEG": None,
}
_CHANNELS = {"RGB888": 3, "BGR888": 3, "XRGB8888": 4, "XBGR8888": 4}
_STALE_NS = 10 * NS_PER_S  # an older sensor timestamp is of another clock
_LORES_FROM_WIDTH = 320  # smaller pictures need no smaller view


class Picamera2Device:
    """One camera of libcamera, by its number."""

    def __init__(self, number: int, clock: Clock, *, width: int, height: int, fps: float) -> None:
        self.where = f"picamera2:{number}"
        self._number = number
        self._clock = clock
        self._size = (width, height)
        self._fps = fps
        self._camera: Any = None
        self._streams: dict[str, Any] = {}
        self._job: Any = None  # a capture that was asked for and has not come yet

    def open(self) -> None:
        """Raises UnavailableError when picamera2 or the camera is missing, or another process has the camera."""
        self.close()
        try:
            from picamera2 import Picamera2
        except (ImportError, OSError) as error:  # OSError: libcamera of another release
            raise UnavailableError(
                f"picamera2 cannot be imported ({error})",
                where=self.where,
                remedy="apt install python3-picamera2, in a venv with --system-site-packages",
            ) from error
        try:
            count = len(Picamera2.global_camera_info())
            if self._number >= count:
                raise UnavailableError(
                    f"there is no camera {self._number}; libcamera lists {count}",
                    where=self.where,
                    remedy="check the cable and `rpicam-hello --list-cameras`; numbers begin with 0",
                )
            self._camera = _opened(Picamera2, self._number)
            self._configure()
            self._camera.start()
        except (RuntimeError, OSError, IndexError, ValueError, KeyError) as error:  # whatever libcamera meets
            self.close()
            raise UnavailableError(
                _first_cause(error), where=self.where, remedy="check that nothing else uses the camera, and its cable"
            ) from error

    def grab(self, timeout_s: float) -> Shot | None:
        """Give the next frame, stamped by the sensor, or None after timeout_s. Raises UnavailableError."""
        if self._job is None:
            self._job = self._camera.capture_request(wait=False)
        try:
            request = self._job.get_result(timeout=timeout_s)
        except TimeoutError:
            return None  # the job stays: a second one would lose the frame that the first still gets
        except (CancelledError, RuntimeError, OSError) as error:
            raise UnavailableError(
                f"capture failed ({error})", where=self.where, remedy="it is opened again"
            ) from error
        self._job = None
        try:
            pixels = self._rgb(request, "main")
            lores = self._rgb(request, "lores") if "lores" in self._streams else None
            stamp_ns = request.get_metadata().get("SensorTimestamp")
        finally:
            request.release()
        return Shot(pixels=pixels, captured_ns=self._captured_ns(stamp_ns), lores=lores)

    def close(self) -> None:
        camera, self._camera = self._camera, None
        job, self._job = self._job, None
        if camera is None:
            return
        if job is not None:
            camera.cancel_all_and_flush()
        with suppress(RuntimeError, OSError):  # it has gone; what is left can only be let go
            camera.close()  # not `stop` before it: that waits for ever where picamera2's own thread has died
        del camera
        gc.collect()  # what is left are cycles that hold files, and the collector seldom looks at what is old

    def describe(self) -> str:
        if not self._streams:
            return self.where
        main = self._streams["main"]
        return f"{self.where}, {main['size'][0]}x{main['size'][1]} {main['format']}"

    def _configure(self) -> None:
        width, height = self._size
        asked: dict[str, Any] = {"main": {"size": self._size, "format": "RGB888"}}
        if width >= _LORES_FROM_WIDTH:
            asked["lores"] = {"size": (width // 4 * 2, height // 4 * 2), "format": "YUV420"}  # even sides
        if "FrameDurationLimits" in self._camera.camera_controls:  # not every USB camera has such a control
            asked["controls"] = {"FrameRate": self._fps}
        self._camera.configure(self._camera.create_video_configuration(**asked))
        given = self._camera.camera_configuration()
        self._streams = {name: given[name] for name in ("main", "lores") if given.get(name)}
        for stream in self._streams.values():
            if stream["format"] not in _TO_RGB:
                raise RuntimeError(f"the camera gives {stream['format']}, not one of {', '.join(_TO_RGB)}")

    def _rgb(self, request: Any, name: str) -> Pixels:
        stream = self._streams[name]
        return to_rgb(request.make_array(name), stream["format"], stream["size"])

    def _captured_ns(self, stamp_ns: int | None) -> int:
        """Take the sensor's time, nanoseconds of CLOCK_BOOTTIME (libcamera controls), where it can be true."""
        now_ns = self._clock.now_ns()
        if stamp_ns is not None and 0 <= now_ns - stamp_ns < _STALE_NS:
            return stamp_ns
        return now_ns


def _opened(kind: Any, number: int) -> Any:
    """Make a Picamera2. Raises what it raises, and lets go of what it then forgets: the camera, and a pipe.

    Otherwise each attempt to open a camera that another process has costs a file descriptor for good.
    """
    camera = kind.__new__(kind)
    with ExitStack() as stack:
        stack.callback(_let_go, camera)
        camera.__init__(number)
        stack.pop_all()  # it is open: there is nothing to let go
    return camera


def _let_go(camera: Any) -> None:
    if getattr(camera, "is_open", False):
        with suppress(RuntimeError, OSError, KeyError):  # KeyError: not yet in picamera2's list of open cameras
            camera.close()
        camera.is_open = False  # else it tries again when it is collected
    pipe = getattr(camera, "notifymeread", None)
    if pipe is not None and not pipe.closed:
        pipe.close()
        os.close(camera.notifyme_w)


def _first_cause(error: BaseException) -> str:
    """Give what libcamera said: picamera2 wraps it in up to three exceptions that say less."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).rstrip(".")


def to_rgb(array: Any, kind: str, size: tuple[int, int]) -> Pixels:
    """Give (h, w, 3) uint8 RGB of an array as picamera2 makes it.

    array: (h, w, channels), or (h, stride), (h * 3 / 2, stride) or (h, stride / 2, 2) bytes with rows padded on the
    right; kind: libcamera's name of the format, one of those above; size: width, height.
    """
    width, height = size
    if array.ndim == 2 and kind in _CHANNELS:
        array = array[:, : width * _CHANNELS[kind]].reshape(height, width, _CHANNELS[kind])
    code = _TO_RGB[kind]
    rgb: Any = array if code is None else cv2.cvtColor(array, code)
    pixels: Pixels = rgb[:height, :width]
    return pixels
