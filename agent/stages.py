"""How long each stage of a frame takes: a bounded ring of the latest times, asked for medians and worst cases."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.clock import NS_PER_MS
from agent.events.state import StageTimes

_RING = 512  # half a minute at 15 frames a second; a p99 needs some hundred


class Stages:
    """The times of the stages, by name. Written by one thread, read by any: slots are replaced, never moved."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._rings: dict[str, list[int]] = {}
        self._counts: dict[str, int] = {}
        self._taken: dict[str, int] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Time the block under it."""
        start_ns = self._now_ns()
        yield
        self.add(stage, self._now_ns() - start_ns)

    def add(self, stage: str, spent_ns: int) -> None:
        """Note one run of a stage."""
        count = self._counts.get(stage, 0)
        ring = self._rings.setdefault(stage, [0] * _RING)
        ring[count % _RING] = spent_ns
        self._counts[stage] = count + 1

    def take(self) -> dict[str, StageTimes]:
        """Give each stage's times since last asked, of the latest runs at most; a stage that has not run is absent."""
        times: dict[str, StageTimes] = {}
        for stage, count in list(self._counts.items()):  # a stage has its ring before it has a count
            ring = self._rings[stage]
            fresh = min(count - self._taken.get(stage, 0), _RING)
            self._taken[stage] = count
            if fresh > 0:
                spent = sorted(ring[index % _RING] for index in range(count - fresh, count))
                times[stage] = StageTimes(p50_ms=_quantile_ms(spent, 0.50), p99_ms=_quantile_ms(spent, 0.99))
        return times


def _quantile_ms(spent_ns: list[int], part: float) -> float:
    """Give the nearest-rank quantile of sorted nanoseconds, in milliseconds."""
    rank = max(1, math.ceil(part * len(spent_ns)))
    return round(spent_ns[rank - 1] / NS_PER_MS, 3)
