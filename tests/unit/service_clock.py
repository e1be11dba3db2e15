"""A clock that only moves when somebody sleeps."""

import threading

from agent.clock import NS_PER_S


class TestClock:
    """Virtual time: `sleep` advances it at once. Any thread may use it."""

    __test__ = False  # not a test for pytest to collect

    def __init__(self, now_ns: int = 0, *, wall_ns: int | None = None) -> None:
        """wall_ns: the wall clock at `now_ns`; None is a wall clock that nobody has set."""
        self._now_ns = now_ns
        self._offset_ns = 0 if wall_ns is None else wall_ns - now_ns
        self._trusted = wall_ns is not None
        self._lock = threading.Lock()
        self.slept_s: list[float] = []

    def now_ns(self) -> int:
        return self._now_ns

    def wall_ns(self) -> int:
        return self._now_ns + self._offset_ns

    def trusted(self) -> bool:
        return self._trusted

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept_s.append(seconds)
            self._now_ns += max(0, round(seconds * NS_PER_S))
