"""A clip from a file: every frame counts, and time is the clip's own."""

import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2

from agent.camera.paths import check_readable
from agent.camera.turn import rotate, to_rgb
from agent.clock import NS_PER_MS, NS_PER_S
from agent.errors import InputError
from agent.seams import End, Frame, Silence

# A header's frame count is often an estimate: the sound may end later than the picture. Fewer than this are missed in
# silence.
_MISSING_FRAMES = 3
_MISSING_PART = 0.02


class ClipCamera:
    """A clip, or what FFmpeg takes for one. With `loop` it begins again as a new scene, and time goes on increasing."""

    live = False

    def __init__(self, path: Path, *, fps: float, rotate_deg: int = 0, loop: bool = False) -> None:
        """fps: for a clip that does not know its own rate."""
        self._path = path
        self._fallback_fps = fps
        self._rotate_deg = rotate_deg
        self._loop = loop
        self._capture: Any = None
        self._fps = fps
        self._index = 0
        self._scene = 0
        self._in_scene = 0
        self._scene_from_ns = 0
        self._last_ns = -1

    def __enter__(self) -> Self:
        check_readable(self._path)
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def read(self, timeout_s: float) -> Frame | Silence | End:
        done, bgr = self._capture.read()
        if not done:
            damage = self._damage()
            if damage is not None or not self._loop:
                return End(damage=damage)
            self._capture.release()
            try:
                self._open()
            except InputError as error:  # removed or replaced while we looped over it
                return End(damage=error)
            self._scene += 1
            self._in_scene = 0
            self._scene_from_ns = self._last_ns + round(NS_PER_S / self._fps)
            done, bgr = self._capture.read()
            if not done:
                return End(damage=self._damage())
        self._last_ns = max(self._scene_from_ns + self._medium_ns(), self._last_ns + 1)
        pixels = rotate(to_rgb(bgr), self._rotate_deg)
        frame = Frame(pixels=pixels, captured_ns=self._last_ns, index=self._index, scene=self._scene)
        self._index += 1
        self._in_scene += 1
        return frame

    def describe(self) -> str:
        if self._capture is None:
            return str(self._path)
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return f"{self._path}, {width}x{height}, {self._fps:g} frames/s"

    def _open(self) -> None:
        # Absolute, because FFmpeg takes a word before a colon for a protocol; one thread, because this work shares its
        # cores with the nets and every thread holds frames of its own.
        self._capture = cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.isOpened():
            raise InputError(
                "damaged, truncated or not a picture or clip", where=str(self._path), remedy="name one that plays"
            )
        fps: float = self._capture.get(cv2.CAP_PROP_FPS)
        self._fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else self._fallback_fps

    def _medium_ns(self) -> int:
        """Give the time of the frame just read, from the clip's own timestamps, or from its rate where it has none."""
        position_ms: float = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if math.isfinite(position_ms) and (position_ms > 0 or self._in_scene == 0):
            return round(position_ms * NS_PER_MS)
        return round(self._in_scene * NS_PER_S / self._fps)

    def _damage(self) -> InputError | None:
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        missing = promised - self._in_scene if math.isfinite(promised) else 0
        if self._in_scene and missing <= max(_MISSING_FRAMES, _MISSING_PART * promised):
            return None
        return InputError(
            f"ends after {self._in_scene} of {max(0, promised):.0f} frames",
            where=str(self._path),
            remedy="copy it again",
        )
