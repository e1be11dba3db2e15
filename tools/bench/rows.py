"""What a measurement gives, and how pairs of measurements are taken fairly."""

import statistics
import time
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

NS_PER_MS = 1_000_000

Verdict = Literal["kept", "missed", "not measured", "no budget"]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table. measured: None when it could not be, and `note` says why. at_least: budget is a floor."""

    name: str
    unit: str
    budget: float | None
    measured: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        if self.measured is None:
            return "not measured"
        if self.budget is None:
            return "no budget"
        kept = self.measured >= self.budget if self.at_least else self.measured <= self.budget
        return "kept" if kept else "missed"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How long to measure. full: the whole 100,000 frames and 10 minutes, an hour instead of minutes.

    folder: on a disk, for clips and outboxes.
    """

    folder: str
    full: bool = False


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Medians of two things timed in turns, milliseconds a call, and of their ratio and difference turn by turn."""

    first_ms: float
    second_ms: float
    ratio: float
    difference_ms: float


def interleave(first: Callable[[], object], second: Callable[[], object], *, turns: int, calls: int) -> Pair:
    """Time two calls in turns: what else the machine does meets both alike."""
    pairs = [(_timed_ms(first, calls), _timed_ms(second, calls)) for _ in range(turns)]
    return Pair(
        first_ms=statistics.median(one for one, _ in pairs),
        second_ms=statistics.median(other for _, other in pairs),
        ratio=statistics.median(other / one for one, other in pairs),
        difference_ms=statistics.median(other - one for one, other in pairs),
    )


def _timed_ms(call: Callable[[], object], calls: int) -> float:
    start_ns = time.perf_counter_ns()
    for _ in range(calls):
        call()
    return (time.perf_counter_ns() - start_ns) / calls / NS_PER_MS


def quantile(values: Iterable[float], part: float) -> float:
    """Give the nearest-rank quantile."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(part * len(ranked)))]
