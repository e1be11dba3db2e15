"""Pictures from files: reading one, listing a folder, and a camera that shows each as a scene of its own."""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from agent.camera.paths import check_readable
from agent.camera.turn import rotate, to_rgb
from agent.clock import NS_PER_S
from agent.errors import InputError, MaskwatchError, NotPermittedError
from agent.seams import End, Frame, Pixels, Silence

log = logging.getLogger(__name__)

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
CLIP_SUFFIXES = (
    ".mp4",
    ".m4v",
    ".mov",
    ".avi",
    ".mkv",
    ".webm",
    ".ts",
    ".mts",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".gif",
)

_stderr = threading.Lock()


def read_picture(path: Path) -> Pixels:
    """Give a picture file as (h, w, 3) uint8 RGB, turned as its EXIF orientation says, transparency ignored.

    Raises:
        InputError: it is missing, empty, truncated, or not a picture.
        NotPermittedError: this user may not read it.
    """
    check_readable(path)
    if path.is_dir():
        raise InputError("a folder, not a picture", where=str(path), remedy="name a picture in it")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(error.strerror or "cannot be read", where=str(path), remedy="copy it again") from error
    bgr = _decode(data)
    if bgr is None:
        raise InputError(
            "damaged, truncated or not a picture",
            where=str(path),
            remedy=f"name a picture that opens elsewhere ({' '.join(PICTURE_SUFFIXES)})",
        )
    return to_rgb(bgr)


def list_inputs(path: Path, suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> list[Path]:
    """List the files under a folder whose names end in one of `suffixes`, any case, hidden ones left out, sorted.

    A path that is no folder is its own list. Raises InputError when the path is missing or holds no such file,
    NotPermittedError when it, or a folder in it, may not be read.
    """
    check_readable(path)
    if not path.is_dir():
        return [path]
    found: list[Path] = []
    for folder, names, files in os.walk(path, onerror=_not_permitted):
        names[:] = [name for name in names if not name.startswith(".")]
        found += [Path(folder, name) for name in files if name.lower().endswith(suffixes) and not name.startswith(".")]
    if not found:
        raise InputError(
            f"no file in it ends in {' '.join(suffixes)}", where=str(path), remedy="name a folder that holds some"
        )
    return sorted(found)


class PicturesCamera:
    """A picture, or a folder of them: every picture is a scene of its own, `fps` of them a second of medium time.

    A damaged picture is left out; the first of them is told at the end.
    """

    live = False

    def __init__(self, path: Path, *, fps: float, rotate_deg: int = 0, loop: bool = False) -> None:
        self._path = path
        self._step_ns = round(NS_PER_S / fps)
        self._rotate_deg = rotate_deg
        self._loop = loop
        self._paths: list[Path] = []
        self._next = 0
        self._given = 0  # frames, over all rounds
        self._given_before_round = 0
        self._damage: MaskwatchError | None = None

    def __enter__(self) -> Self:
        """Raises InputError when there is no picture, or when the only one cannot be read; NotPermittedError."""
        self._paths = list_inputs(self._path)
        if len(self._paths) == 1:
            read_picture(self._paths[0])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._paths = []

    def read(self, timeout_s: float) -> Frame | Silence | End:
        while True:
            if self._next == len(self._paths):
                if not self._loop or self._given == self._given_before_round:
                    return End(damage=self._damage)
                self._next, self._given_before_round = 0, self._given
            path = self._paths[self._next]
            self._next += 1
            try:
                pixels = rotate(read_picture(path), self._rotate_deg)
            except MaskwatchError as error:
                if self._damage is None:
                    self._damage = error
                    log.warning("camera.damaged why=%s", error)
                continue
            index = self._given
            self._given += 1
            return Frame(pixels=pixels, captured_ns=index * self._step_ns, index=index, scene=index)

    def describe(self) -> str:
        count = len(self._paths)
        return f"{self._path}, {count} picture{'' if count == 1 else 's'}"


def _not_permitted(error: OSError) -> None:
    raise NotPermittedError(
        error.strerror or "cannot be read", where=str(error.filename), remedy="change its owner or mode"
    ) from error


def _decode(data: bytes) -> Any:
    """Give (h, w, 3) uint8 BGR, or None."""
    try:
        with _quiet():
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a header that promises more pixels than OpenCV takes
        return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Close the standard error stream's file descriptor to C code.

    libpng and libjpeg inside OpenCV write their warnings there, past OpenCV's own logging, and offer no switch.
    """
    with _stderr:
        try:
            kept = os.dup(2)
        except OSError:  # closed already
            yield
            return
        try:
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 2)
            os.close(silent)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
