"""Boxes and labels drawn into copies of pictures and clips, for `inspect --annotate`; the daemon never does it."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2
import msgspec

from agent.cli.terminal import WORDS
from agent.clock import NS_PER_S
from agent.errors import NotPermittedError, StorageError
from agent.seams import Box, Frame, Pixels, Verdict

# RGB, of about equal lightness, told apart by people who see red and green alike because the word stands beside.
_COLOURS: dict[Verdict | None, tuple[int, int, int]] = {
    "mask": (46, 160, 67),
    "no_mask": (215, 58, 73),
    "incorrect": (214, 136, 0),
    "unsure": (130, 90, 200),
    None: (120, 120, 120),
}
_SIDE_MIN_PX = 480  # a smaller picture is enlarged first, by a whole number: the words need room
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FPS = 15.0  # of a clip with a single frame


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A box and what to write at it. label: None while nothing is decided."""

    box: Box
    label: Verdict | None = None
    confidence: float = 0.0
    note: str = ""


def draw(pixels: Pixels, marks: Sequence[Mark]) -> Pixels:
    """Give a copy with the marks in it, larger by a whole number where the picture is small."""
    height, width = pixels.shape[:2]
    zoom = max(1, -(-_SIDE_MIN_PX // max(height, width)))
    copy: Any = cv2.resize(pixels, (width * zoom, height * zoom), interpolation=cv2.INTER_NEAREST)
    scale = max(copy.shape[:2]) / 1000
    thickness = max(1, round(2 * scale))
    for mark in marks:
        colour = _COLOURS[mark.label]
        x0, y0, x1, y1 = (round(side * zoom) for side in mark.box)
        cv2.rectangle(copy, (x0, y0), (x1 - 1, y1 - 1), colour, thickness)
        words = [WORDS[mark.label], f"{mark.confidence:.0%}"] if mark.label else []
        _write(copy, " ".join(filter(None, [*words, mark.note])), (x0, y0, y1), colour, max(0.4, 0.6 * scale))
    drawn: Pixels = copy
    return drawn


def save_picture(path: Path, pixels: Pixels, marks: Sequence[Mark]) -> None:
    """Write a picture with its marks. Raises StorageError or NotPermittedError."""
    make_folder(path.parent)
    bgr = cv2.cvtColor(draw(pixels, marks), cv2.COLOR_RGB2BGR)
    if not cv2.imwrite(str(path), bgr):
        raise StorageError("cannot be written", where=str(path), remedy="make room, or name another folder")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises StorageError or NotPermittedError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except PermissionError as error:
        raise NotPermittedError("may not be made", where=str(folder), remedy="name another folder") from error
    except OSError as error:
        raise StorageError(
            f"cannot be made: {error.strerror}", where=str(folder), remedy="name another folder"
        ) from error


class ClipWriter:
    """A clip that grows by marked frames. path: None writes nothing. The first two frames tell its pace."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._writer: Any = None
        self._first: tuple[Frame, Pixels] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._first is not None:
            self._open(self._first[1], _FPS)
        if self._writer is not None:
            self._writer.release()

    def add(self, frame: Frame, marks: Sequence[Mark]) -> None:
        """Add a frame with its marks. Raises StorageError or NotPermittedError."""
        if self._path is None:
            return
        drawn = draw(frame.pixels, marks)
        if self._writer is not None:
            self._write(drawn)
        elif self._first is None:
            self._first = frame, drawn
        else:
            first, pixels = self._first
            self._open(pixels, NS_PER_S / max(1, frame.captured_ns - first.captured_ns))
            self._write(drawn)

    def _open(self, pixels: Pixels, fps: float) -> None:
        assert self._path is not None
        make_folder(self._path.parent)
        height, width = pixels.shape[:2]
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._path.absolute()), code, min(fps, 240.0), (width, height))
        if not self._writer.isOpened():
            raise StorageError("cannot be written", where=str(self._path), remedy="make room, or name another folder")
        self._first = None
        self._write(pixels)

    def _write(self, pixels: Pixels) -> None:
        self._writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))


def _write(picture: Any, words: str, place: tuple[int, int, int], colour: tuple[int, int, int], size: float) -> None:
    """Write on a plate above the box, or below it where there is no room, and never beyond the right edge."""
    if not words:
        return
    left, top, bottom = place
    (width, height), base = cv2.getTextSize(words, _FONT, size, 1)
    x = max(0, min(left, picture.shape[1] - width - 4))
    y = top - base - 3 if top - height - base - 6 >= 0 else min(bottom + height + 3, picture.shape[0] - base - 2)
    cv2.rectangle(picture, (x, y - height - 3), (x + width + 4, y + base), colour, cv2.FILLED)
    cv2.putText(picture, words, (x + 2, y - 1), _FONT, size, (255, 255, 255), 1, cv2.LINE_AA)
