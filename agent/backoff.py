"""Waiting longer after each failure, by chance, so that a fleet does not come back all at once."""

import random

from agent.clock import NS_PER_S

_DOUBLINGS_MAX = 32  # 2.0**1024 overflows, and a daemon does fail that often


class Backoff:
    """Full jitter: anything from the shortest wait to a limit that doubles with each failure, up to the longest.

    Source: Brooker, Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
    """

    def __init__(self, rng: random.Random, *, shortest_s: float, first_s: float, longest_s: float) -> None:
        self._rng = rng
        self._shortest_s = shortest_s
        self._first_s = first_s
        self._longest_s = longest_s
        self.failures = 0
        """Failures since the last success."""

    def next_ns(self, *, limit_min_s: float = 0.0) -> int:
        """Count a failure, and give the nanoseconds to wait after it. limit_min_s: below this the limit is this."""
        doubled_s = self._first_s * 2.0 ** min(self.failures, _DOUBLINGS_MAX)
        limit_s = min(self._longest_s, max(limit_min_s, doubled_s))
        self.failures += 1
        return int(self._rng.uniform(self._shortest_s, max(self._shortest_s, limit_s)) * NS_PER_S)

    def reset(self) -> None:
        """Forget the failures after a success."""
        self.failures = 0
