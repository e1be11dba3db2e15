"""Live cameras through OpenCV: V4L2 devices, RTSP and HTTP streams.

OpenCV says that a capture is open long after its stream has gone, so what counts is a read that fails; each wait in it
has a limit of its own.
"""

import os
import socket
from typing import Any
from urllib.parse import urlsplit

import cv2

from agent.camera.live import Shot
from agent.camera.turn import to_rgb
from agent.clock import NS_PER_S, Clock
from agent.errors import NotPermittedError, UnavailableError

_OPEN_TIMEOUT_MS = 5000
_READ_TIMEOUT_MS = 3000
_PROBE_TIMEOUT_S = 2.0
_OPEN_LONG_S = _OPEN_TIMEOUT_MS / 1000 + 2.0
_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}


class _Capture:
    """What V4L2 devices and streams have in common."""

    def __init__(self, where: str, clock: Clock) -> None:
        self.where = where
        self._clock = clock
        self._capture: Any = None

    def grab(self, timeout_s: float) -> Shot | None:
        """Give the next frame; the wait is OpenCV's own read time-out, a few seconds, whatever timeout_s says."""
        done, bgr = self._capture.read()
        if not done:
            raise UnavailableError(
                "the stream ended, or nothing came for some seconds", where=self.where, remedy="it is opened again"
            )
        return Shot(pixels=to_rgb(bgr), captured_ns=self._clock.now_ns())

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def describe(self) -> str:
        if self._capture is None:
            return self.where
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return f"{self.where}, {width}x{height}"


class V4l2Device(_Capture):
    """A video device of the kernel, such as a USB camera."""

    def __init__(self, path: str, clock: Clock, *, width: int, height: int, fps: float) -> None:
        super().__init__(f"v4l2:{path}", clock)
        self._path = path
        self._wanted = {
            cv2.CAP_PROP_FRAME_WIDTH: width,
            cv2.CAP_PROP_FRAME_HEIGHT: height,
            cv2.CAP_PROP_FPS: fps,
        }

    def open(self) -> None:
        """Raises UnavailableError when it is absent or busy, NotPermittedError."""
        self.close()
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_NONBLOCK))
        except PermissionError as error:
            raise NotPermittedError(
                "this user may not use the camera", where=self.where, remedy="add the user to the group video"
            ) from error
        except OSError as error:
            raise UnavailableError(
                (error.strerror or "cannot be opened").lower(),
                where=self.where,
                remedy="connect the camera, or name one of /dev/video*",
            ) from error
        self._capture = cv2.VideoCapture(self._path, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise UnavailableError(
                "no camera, or in use", where=self.where, remedy="end what uses it, or name another of /dev/video*"
            )
        for key, value in self._wanted.items():  # asked, not demanded: a camera takes the nearest that it has
            self._capture.set(key, value)


class StreamDevice(_Capture):
    """A network camera: RTSP, or HTTP with motion JPEG or MPEG-TS."""

    def __init__(self, url: str, clock: Clock) -> None:
        super().__init__(without_secrets(url), clock)
        self._url = url

    def open(self) -> None:
        """Raises UnavailableError, with the reason of the network where it has one."""
        self.close()
        begun_ns = self._clock.now_ns()
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS]
        # One thread: with more, FFmpeg holds a frame back for each.
        self._capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, [*options, cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            took_s = (self._clock.now_ns() - begun_ns) / NS_PER_S
            # The limit is none for a look-up: with dead name servers one takes many seconds, and a second one as many.
            why = self._reason() if took_s < _OPEN_LONG_S else "no answer in time"
            raise UnavailableError(why, where=self.where, remedy="check the camera and camera.source")

    def _reason(self) -> str:
        """Ask the network what FFmpeg did not tell."""
        parts = urlsplit(self._url)
        address = (parts.hostname or "", parts.port or _PORTS[parts.scheme])
        try:
            socket.create_connection(address, timeout=_PROBE_TIMEOUT_S).close()
        except OSError as error:
            return (error.strerror or str(error)).lower()
        return "answers, but gives no video (wrong path or password?)"


def without_secrets(url: str) -> str:
    """Give a URL without user, password and query, where cameras keep secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
