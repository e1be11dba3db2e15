"""Of many looks at one person a few that differ: in time, in size and in sharpness."""

import math
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

GAP_NS = 200_000_000  # pictures closer than this are the same look
_SIZE_UNIT = math.log(2)  # twice the size differs as much as one end of the stay from the other
_SHARPNESS_UNIT = math.log(4)


class Look(NamedTuple, Generic[T]):
    """One look. sharpness: of the crop, as vision.crop measures it. kept: whatever goes with it."""

    at_ns: int
    face_px: float
    sharpness: float
    kept: T


class Varied(Generic[T]):
    """Keeps at most `most` looks. Whenever one too many comes, one of the two that are most alike goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._looks: list[Look[T]] = []
        self._last_ns: int | None = None

    @property
    def looks(self) -> list[Look[T]]:
        """Give those kept, by time."""
        return list(self._looks)

    def is_due(self, at_ns: int) -> bool:
        """Tell whether a look at this instant would be another one than the last."""
        return self._last_ns is None or at_ns - self._last_ns >= GAP_NS

    def add(self, look: Look[T]) -> None:
        """Take a look later than all before."""
        self._last_ns = look.at_ns
        self._looks.append(look)
        if len(self._looks) > self._most:
            del self._looks[self._least_needed()]

    def _least_needed(self) -> int:
        """Give which of the two nearest neighbours has the nearer second neighbour; the later one of equals."""
        span_ns = max(1, self._looks[-1].at_ns - self._looks[0].at_ns)

        def gaps(index: int) -> list[float]:
            one = self._looks[index]
            others = (look for place, look in enumerate(self._looks) if place != index)
            return sorted(_difference(one, other, span_ns) for other in others)

        return min(range(len(self._looks)), key=lambda index: (gaps(index), -index))


def _difference(one: Look[T], other: Look[T], span_ns: int) -> float:
    """Say how much two looks differ: no unit, 1 is much."""
    time = abs(one.at_ns - other.at_ns) / span_ns
    size = abs(math.log(max(1.0, one.face_px) / max(1.0, other.face_px))) / _SIZE_UNIT
    sharpness = abs(math.log((1 + one.sharpness) / (1 + other.sharpness))) / _SHARPNESS_UNIT
    return time + size + sharpness
