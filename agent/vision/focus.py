"""Where to look closely: the detector sees a large frame shrunk, and far faces too small; a window shows them larger.

A window is worth a look for what has moved in it, and for the small faces followed in it, times the square of how long
ago it was looked at. So windows with people come round again and again, still ones are left out, and no corner of a
frame full of motion waits for ever.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.clock import NS_PER_S
from agent.seams import Box, Face
from agent.vision.motion import HEIGHT, WIDTH, Cells

_SHRUNK_LITTLE = 0.8  # at this scale and above the whole frame shows as much
_CLOSER = 2.0  # how much closer than the whole frame a window shows things, up to their own pixels
_SMALL_PX = 28.0  # of the detector's input: larger faces are found well enough in the whole frame
_FACE_CELLS = 60.0  # a small face that is followed is worth as much as so many cells that have moved
_AGE_MAX_S = 10.0
_WORTH_MIN = 1.0  # cells times square seconds: a face after an eighth of a second, a leaf after one
_BORDER_CELLS = 3  # half a small face
_WHOLE_PX = 2.0  # a face nearer to an inner border of its window may be cut
_LARGE_PART = 0.5  # of the window's height: such a face is the whole frame's


class Window(NamedTuple):
    """A part of the frame, whole pixels, x1 and y1 exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int


class Focus:
    """Chooses windows for frames of one size and a detector of one input size, width by height."""

    def __init__(self, *, frame: tuple[int, int], input_size: tuple[int, int]) -> None:
        (width, height), (input_width, input_height) = frame, input_size
        self._frame = frame
        self._scale = min(input_width / width, input_height / height, 1.0)
        zoom = min(1.0, self._scale * _CLOSER)
        self._window = (min(width, round(input_width / zoom)), min(height, round(input_height / zoom)))
        self._moved: NDArray[np.float32] = np.zeros((HEIGHT, WIDTH), np.float32)
        self._looked_ns: NDArray[np.int64] = np.zeros((HEIGHT, WIDTH), np.int64)

    @property
    def useful(self) -> bool:
        """Tell whether a window shows more than the whole frame."""
        return self._scale < _SHRUNK_LITTLE

    def note(self, cells: Cells) -> None:
        """Remember what has moved until it has been looked at."""
        self._moved[cells] = 1.0

    def choose(self, followed: Iterable[Box], now_ns: int) -> Window | None:
        """Give the window that is worth most, or None when none is worth a look. followed: the boxes of all tracks."""
        across, down = WIDTH / self._frame[0], HEIGHT / self._frame[1]
        worth = self._moved.copy()
        for box in followed:
            if box.size_px * self._scale < _SMALL_PX:
                x, y = box.centre
                worth[_cell(y * down, HEIGHT), _cell(x * across, WIDTH)] += _FACE_CELLS
        age_s = np.minimum((now_ns - self._looked_ns) / NS_PER_S, _AGE_MAX_S)
        worth *= np.square(age_s, dtype=np.float32)
        columns = max(1, round(self._window[0] * across) - 2 * _BORDER_CELLS)
        rows = max(1, round(self._window[1] * down) - 2 * _BORDER_CELLS)
        sums: Any = cv2.boxFilter(worth, -1, (columns, rows), normalize=False, borderType=cv2.BORDER_CONSTANT)
        row, column = divmod(int(np.argmax(sums)), WIDTH)
        if sums[row, column] < _WORTH_MIN:
            return None
        # A kernel of even size has its centre before the cell that it belongs to.
        window = self._round((column + columns % 2 / 2) / across, (row + rows % 2 / 2) / down)
        whole = (
            _span(window.y0 * down, window.y1 * down, HEIGHT),
            _span(window.x0 * across, window.x1 * across, WIDTH),
        )
        self._moved[whole] = 0
        self._looked_ns[whole] = now_ns
        return window

    def _round(self, x: float, y: float) -> Window:
        """Give the window round a point, moved into the frame."""
        (width, height), (window_width, window_height) = self._frame, self._window
        x0 = min(max(round(x - window_width / 2), 0), width - window_width)
        y0 = min(max(round(y - window_height / 2), 0), height - window_height)
        return Window(x0, y0, x0 + window_width, y0 + window_height)

    def keep(self, face: Face, window: Window) -> Face | None:
        """Give a face found in a window in pixels of the frame, or None when it is cut or the whole frame's."""
        box = face.box
        width, height = window.x1 - window.x0, window.y1 - window.y0
        cut = (
            (window.x0 > 0 and box.x0 < _WHOLE_PX)
            or (window.y0 > 0 and box.y0 < _WHOLE_PX)
            or (window.x1 < self._frame[0] and box.x1 > width - _WHOLE_PX)
            or (window.y1 < self._frame[1] and box.y1 > height - _WHOLE_PX)
        )
        if cut or box.height > _LARGE_PART * height:
            return None
        moved = Box(box.x0 + window.x0, box.y0 + window.y0, box.x1 + window.x0, box.y1 + window.y0)
        return Face(box=moved, score=face.score, sure=face.sure)


def _span(first: float, last: float, limit: int) -> slice:
    """Give the cells of a window in which a face would be whole: its inner borders are left to the next window."""
    return slice(
        0 if round(first) == 0 else round(first) + _BORDER_CELLS,
        limit if round(last) == limit else round(last) - _BORDER_CELLS,
    )


def _cell(position: float, limit: int) -> int:
    return min(max(int(position), 0), limit - 1)
