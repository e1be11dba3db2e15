"""One thing that may go wrong again and again, as lines of the log."""

import logging

from agent.clock import NS_PER_S, Clock

_REMIND_NS = 30 * NS_PER_S


class Complaint:
    """Said at once, then at most every 30 s with a count, and when it is over."""

    def __init__(self, log: logging.Logger, event: str, clock: Clock) -> None:
        self._log = log
        self._event = event
        self._clock = clock
        self._count = 0
        self._said_ns = 0

    def failing(self, why: str) -> None:
        """Note one more failure."""
        self._count += 1
        now_ns = self._clock.now_ns()
        if self._count > 1 and now_ns - self._said_ns < _REMIND_NS:
            return
        self._said_ns = now_ns
        self._log.warning("%s why=%r count=%d", self._event, why, self._count)

    def over(self) -> None:
        """Note that it works, or works again."""
        if self._count:
            self._log.info("%s.recovered after=%d", self._event, self._count)
        self._count = 0
