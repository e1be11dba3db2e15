"""Of many looks at one person a few that differ: in time, in size and in sharpness."""

import math
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

GAP_NS = 200_000_000  # pictures closer than this are the same look
POOL = 64  # looks to choose from: 13 s of them, then every second one of 26 s, and so on; at 100 px some 4 MB a person
_SIZE_UNIT = math.log(2)  # twice the size differs as much as one end of the stay from the other
_SHARPNESS_UNIT = math.log(4)


class Look(NamedTuple, Generic[T]):
    """One look. sharpness: of the crop, as vision.crop measures it. kept: whatever goes with it."""

    at_ns: int
    face_px: float
    sharpness: float
    kept: T


class Varied(Generic[T]):
    """Takes looks by time, and remembers a bounded number of them however long somebody stays."""

    def __init__(self) -> None:
        self._pool: list[Look[T]] = []
        self._gap_ns = GAP_NS

    def is_due(self, at_ns: int) -> bool:
        """Tell whether a look at this instant would be another one than the last."""
        return not self._pool or at_ns - self._pool[-1].at_ns >= self._gap_ns

    def add(self, look: Look[T]) -> None:
        """Take a look that is due. When the pool is full, every second one goes, and they are taken half as often."""
        self._pool.append(look)
        if len(self._pool) == POOL:
            self._gap_ns *= 2
            pairs = zip(self._pool[::2], self._pool[1::2], strict=True)
            self._pool = [max(pair, key=self._oddness) for pair in pairs]

    def choose(self, most: int) -> list[Look[T]]:
        """Give at most so many, by time: the sharpest, then again and again the one least like those chosen.

        Source: farthest-point sampling, Gonzalez 1985.
        """
        rest = list(range(len(self._pool)))
        chosen: list[int] = []
        while rest and len(chosen) < most:
            if chosen:
                best = max(rest, key=lambda index: (min(self._difference(index, other) for other in chosen), -index))
            else:
                best = max(rest, key=lambda index: self._pool[index].sharpness)
            chosen.append(best)
            rest.remove(best)
        return [self._pool[index] for index in sorted(chosen)]

    def _difference(self, one: int, other: int) -> float:
        """Say how much two looks differ: no unit, 1 is much."""
        span_ns = max(1, self._pool[-1].at_ns - self._pool[0].at_ns)
        a, b = self._pool[one], self._pool[other]
        return abs(a.at_ns - b.at_ns) / span_ns + _unlike(a, b.face_px, b.sharpness)

    def _oddness(self, look: Look[T]) -> float:
        """Say how unlike the middle of the pool a look is, time left aside."""
        sizes, sharpnesses = zip(*((one.face_px, one.sharpness) for one in self._pool), strict=True)
        return _unlike(look, sorted(sizes)[POOL // 2], sorted(sharpnesses)[POOL // 2])


def _unlike(look: Look[T], face_px: float, sharpness: float) -> float:
    size = abs(math.log(max(1.0, look.face_px) / max(1.0, face_px))) / _SIZE_UNIT
    return size + abs(math.log((1 + look.sharpness) / (1 + sharpness))) / _SHARPNESS_UNIT
