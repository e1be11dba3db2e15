"""All devices, judged: once a second for everybody who looks, and again as soon as a state has changed."""

import threading

from agent.clock import NS_PER_MS, Clock
from tools.fleet.page.queries import Fleet
from tools.fleet.page.views import Seen, see

_KEPT_MS = 1000


class Roster:
    """Keeps the last look."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._lock = threading.Lock()  # who comes while one looks waits for that look
        self._seen: list[Seen] = []
        self._print: int | None = None
        self._looked_ms = 0

    def seen(self) -> list[Seen]:
        """Give all devices, by name. Raises what the database raises."""
        with self._lock:
            now_ms = self._clock.wall_ns() // NS_PER_MS
            found = self._fleet.fingerprint()
            if found != self._print or not 0 <= now_ms - self._looked_ms < _KEPT_MS:
                self._seen = see(self._fleet.states(), now_ms)
                self._print, self._looked_ms = found, now_ms
            return self._seen
