"""Says whether anything moves, from a picture so small that asking costs less than a tenth of a millisecond.

Two questions are asked of each cell. Has it changed since the last picture (fast: somebody walks)? Does it differ from
what has been there for a long time (slow: somebody walked in and stands)? The threshold follows the noise of the
sensor. A change of the light of the whole picture is motion once, then the new light is the background.
"""

from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.clock import NS_PER_S
from agent.seams import Frame, Pixels

Luma = NDArray[np.uint8]
Grey = NDArray[np.float32]
Cells = NDArray[np.bool_]

WIDTH, HEIGHT = 80, 60  # cells; at 640x480 a cell is 8 px, half a face of 16 px
_SAMPLES = 2  # samples of the frame a cell and direction
_BACKGROUND_S = 5.0  # who stands for this long belongs to the scene: the tracker follows him by then
_NOISE_S = 2.0  # time constant of the noise
_NOISE_TIMES = 6.0  # of the median difference of two pictures: four standard deviations
_LEVELS_MIN = 6.0  # ... and this many grey levels: codecs and lamps flicker by 2 to 4
_CELLS_MIN = 3  # changed cells in a block of 3x3 that make motion: one or two are a glint, a leaf
_LIGHT_PART = 0.6  # of all cells changed at once: the light or the camera, not somebody
_LONG_NS = 3 * NS_PER_S  # without a picture for this long, the last one is no neighbour any more


NOTHING: Cells = np.zeros((HEIGHT, WIDTH), np.bool_)
EVERYTHING: Cells = np.ones((HEIGHT, WIDTH), np.bool_)


class Motion(msgspec.Struct, frozen=True, kw_only=True):
    """What moves in one frame. cells: (HEIGHT, WIDTH) bool, not to be written to; the frame in a grid."""

    cells: Cells

    @property
    def moving(self) -> bool:
        return self.cells is not NOTHING


def shrink(frame: Frame) -> Luma:
    """Give the frame's small picture, (HEIGHT, WIDTH) uint8: its green channel, which carries most of the luma.

    Takes a few samples a cell instead of all pixels: 10 us instead of 230 at 640x480.
    """
    pixels: Pixels = frame.pixels if frame.lores is None else frame.lores
    rows = max(1, pixels.shape[0] // (HEIGHT * _SAMPLES))
    columns = max(1, pixels.shape[1] // (WIDTH * _SAMPLES))
    green: Any = np.ascontiguousarray(pixels[::rows, ::columns, 1])
    small: Luma = cv2.resize(green, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return small


class MotionGate:
    """Watches one camera; told about every frame in order."""

    def __init__(self) -> None:
        self._last: Grey | None = None
        self._background: Grey = np.zeros((HEIGHT, WIDTH), np.float32)
        self._noise: float | None = None  # median absolute difference of two pictures, grey levels
        self._last_ns = 0

    def reset(self) -> None:
        """Forget the scene: the next picture is a first one."""
        self._last, self._noise = None, None

    def look(self, small: Luma, now_ns: int) -> Motion:
        """Say what moves. small: as `shrink` gives it.

        A first picture is all motion: somebody may be in it already.
        """
        current = small.astype(np.float32)  # widened first: differences of uint8 wrap
        last, elapsed_ns = self._last, now_ns - self._last_ns
        self._last, self._last_ns = current, now_ns
        if last is None or elapsed_ns < 0 or elapsed_ns > _LONG_NS:
            self._background = current.copy()
            return Motion(cells=EVERYTHING)
        fast = np.abs(current - last)
        slow = np.abs(current - self._background)
        elapsed_s = elapsed_ns / NS_PER_S
        changed = np.maximum(fast, slow) > max(_LEVELS_MIN, _NOISE_TIMES * self._follow_noise(fast, elapsed_s))
        count = int(np.count_nonzero(changed))
        if count > _LIGHT_PART * changed.size:
            self._background = current.copy()
            return Motion(cells=EVERYTHING)
        self._background += (current - self._background) * np.float32(min(1.0, elapsed_s / _BACKGROUND_S))
        if count < _CELLS_MIN:
            return Motion(cells=NOTHING)
        return Motion(cells=_solid(changed))

    def _follow_noise(self, fast: Grey, elapsed_s: float) -> float:
        """Give the usual difference of two pictures; its median, because most cells hold nobody."""
        some = fast[::2, ::2].ravel()
        noise = float(np.partition(some, some.size // 2)[some.size // 2])  # a fifth of what np.median takes
        if self._noise is None:
            self._noise = noise
        self._noise += (noise - self._noise) * min(1.0, elapsed_s / _NOISE_S)
        return self._noise


def _solid(changed: Cells) -> Cells:
    """Drop lonely cells; what is left, with its neighbours, or NOTHING itself."""
    ones: Any = changed.view(np.uint8)
    neighbours = cv2.boxFilter(ones, cv2.CV_8U, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    solid: Cells = neighbours >= _CELLS_MIN
    return solid if solid.any() else NOTHING
