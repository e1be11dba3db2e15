"""The collector's own counters, added up over its lives."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable

from tools.chaos.processes import Collector

_POLL_S = 1.0
DUPLICATES = "maskwatch_collector_duplicates_total"


class Counters:
    """Reads /metrics of each collector every second: what was counted in the last second of a life is not seen."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._seen: dict[str, float] = {}
        self._before: dict[str, float] = {}

    def watch(self, collector: Collector, enter: Callable[[], None]) -> None:
        """Begin to read a collector's counters, over all its lives. enter: what the thread does first."""
        threading.Thread(target=lambda: self._watch(collector, enter), daemon=True).start()

    @property
    def duplicates(self) -> int:
        """Messages that the collectors had already."""
        return int(sum(self._seen.values()) + sum(self._before.values()))

    def close(self) -> None:
        self._ended.set()

    def _watch(self, collector: Collector, enter: Callable[[], None]) -> None:
        enter()
        name = str(collector.log)
        while not self._ended.wait(_POLL_S):
            value = read(collector.metrics_port)
            if value is None:
                continue
            if value < self._seen.get(name, 0.0):  # another life: it counts from 0
                self._before[name] = self._before.get(name, 0.0) + self._seen[name]
            self._seen[name] = value


def read(port: int) -> float | None:
    """Give the count of duplicates; None when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(DUPLICATES))
