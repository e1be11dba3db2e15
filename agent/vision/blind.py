"""Says of each picture whether one could see anything in it: black, flat, frozen, covered or moved, or nothing wrong.

One picture's word is not yet blindness: agent.decision.sight waits until it has been so for long enough.

frozen    not one bit has changed. Only a live camera can freeze; its sensor's noise never repeats, a clip may.
black     no light. flat: light, but no contrast at all (fog, a light shining in, a dead sensor's grey).
covered   a picture that is neither, but has lost nearly all of the detail that it used to have.
moved     detail enough, but in nearly every part of the picture other detail than for a long time: it looks elsewhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.clock import NS_PER_S
from agent.events.types import BlindReason
from agent.seams import Pixels
from agent.vision.motion import HEIGHT, WIDTH, Grey, Luma

_BLACK_LEVEL = 16.0  # mean grey level; video's black is 16
_BLACK_PEAK = 48.0  # a night with one lamp in it is not black
_FLAT_LEVELS = 3.0  # standard deviation
_COVERED_PART = 0.2  # of the usual detail
_DETAIL_MIN = 1.5  # usual detail, in grey levels a cell, below which nobody can tell what has gone
_TILES = (6, 8)  # down, across: tiles of 10x10 cells
_SAME_LOOK = 0.35  # correlation of a tile with its past, of 1
_MOVED_PART = 0.8  # of the tiles that had and have detail
_TILES_MIN = 8
_USUAL_S = 30.0  # time constant of what is usual, and how long it takes to know that
_EVERY_NS = NS_PER_S // 4  # blindness lasts: a judgement in between costs a tenth of a still frame's time
_SETTLED_NS = 120 * NS_PER_S  # a moved camera that looks elsewhere for this long was meant to
_PROBE = 16  # every 16th pixel is compared for frozen


class BlindJudge:
    """Judges the pictures of one camera, told about every frame in order.

    live: the pictures come from a sensor; without it `frozen` is never said.
    """

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._judged_ns: int | None = None
        self._verdict: BlindReason | None = None
        self._probe: Pixels | None = None
        self._usual: Grey = np.zeros((2, HEIGHT, WIDTH), np.float32)  # the scene's gradients, slowly averaged
        self._usual_detail = 0.0
        self._learnt_s = 0.0
        self._moved_since_ns: int | None = None

    def reset(self) -> None:
        """Forget what is usual: another scene."""
        self._judged_ns, self._probe = None, None
        self._learnt_s, self._moved_since_ns = 0.0, None

    def look(self, pixels: Pixels, small: Luma, now_ns: int) -> BlindReason | None:
        """Say what is wrong with this picture, or None. small: as motion.shrink gives it.

        Looks at a few pictures a second and repeats itself in between.
        """
        elapsed_ns = 0 if self._judged_ns is None else now_ns - self._judged_ns
        if self._judged_ns is None or elapsed_ns >= _EVERY_NS:
            self._judged_ns = now_ns
            self._verdict = self._judge(pixels, small.astype(np.float32), elapsed_ns / NS_PER_S, now_ns)
        return self._verdict

    def _judge(self, pixels: Pixels, grey: Grey, elapsed_s: float, now_ns: int) -> BlindReason | None:
        frozen = self._live and self._repeats(pixels)
        if float(grey.mean()) < _BLACK_LEVEL and float(grey.max()) < _BLACK_PEAK:
            return "black"
        if float(grey.std()) < _FLAT_LEVELS:
            return "flat"
        gradients = _gradients(grey)
        detail = float(np.abs(gradients).mean())
        if self._learnt_s >= _USUAL_S:
            if self._usual_detail > _DETAIL_MIN and detail < _COVERED_PART * self._usual_detail:
                return "covered"
            if self._looks_elsewhere(gradients, now_ns):
                return "moved"
        self._learn(gradients, detail, elapsed_s)
        return "frozen" if frozen else None

    def _learn(self, gradients: Grey, detail: float, elapsed_s: float) -> None:
        """Average what is usual: a plain mean of the first half minute, then one that fades."""
        self._learnt_s += max(elapsed_s, 1e-3)
        gain = min(1.0, max(elapsed_s, 1e-3) / min(self._learnt_s, _USUAL_S))
        self._usual += (gradients - self._usual) * np.float32(gain)
        self._usual_detail += (detail - self._usual_detail) * gain

    def _repeats(self, pixels: Pixels) -> bool:
        probe = pixels[::_PROBE, ::_PROBE].copy()
        before, self._probe = self._probe, probe
        return before is not None and before.shape == probe.shape and bool((before == probe).all())

    def _looks_elsewhere(self, gradients: Grey, now_ns: int) -> bool:
        if not _other_view(gradients, self._usual):
            self._moved_since_ns = None
            return False
        if self._moved_since_ns is None:
            self._moved_since_ns = now_ns
        if now_ns - self._moved_since_ns >= _SETTLED_NS:
            self._learnt_s, self._moved_since_ns = 0.0, None
            return False
        return True


def _gradients(grey: Grey) -> Grey:
    """Give differences to the left and upper neighbour, (2, HEIGHT, WIDTH) float32: light goes, structure stays."""
    result: Grey = np.zeros((2, HEIGHT, WIDTH), np.float32)
    result[0, :, 1:] = grey[:, 1:] - grey[:, :-1]
    result[1, 1:] = grey[1:] - grey[:-1]
    return result


def _other_view(now: Grey, usual: Grey) -> bool:
    """Tell whether nearly all tiles that have detail, now and usually, have other detail than usual."""
    both, mine, theirs = _by_tile(now * usual), _by_tile(now * now), _by_tile(usual * usual)
    cells = now.size / both.size
    enough = cells * _DETAIL_MIN**2
    told = (mine > enough) & (theirs > enough)
    count = int(np.count_nonzero(told))
    if count < _TILES_MIN:
        return False
    alike = both[told] / np.sqrt(mine[told] * theirs[told]) > _SAME_LOOK
    return float(np.count_nonzero(alike)) < (1 - _MOVED_PART) * count


def _by_tile(values: Grey) -> NDArray[np.float32]:
    """Sum (2, HEIGHT, WIDTH) over each tile."""
    down, across = _TILES
    blocks: Any = values.reshape(2, down, HEIGHT // down, across, WIDTH // across)
    sums: NDArray[np.float32] = blocks.sum(axis=(0, 2, 4))
    return sums
