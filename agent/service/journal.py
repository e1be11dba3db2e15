"""Lines for the journal: `event.name key=value`, on change; what repeats is counted instead of repeated."""

import logging
import os
import sys
from collections.abc import Mapping

from agent.clock import NS_PER_S, Clock

_REMIND_NS = 30 * NS_PER_S
# sd-daemon(3): the journal reads a leading <n> as the priority.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def start_logging(environ: Mapping[str, str], *, verbose: bool) -> None:
    """Send the agent's log to stderr: with priorities to a journal, else plain; the journal has its own timestamps."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JournalFormatter("%(message)s") if _to_journal(environ) else logging.Formatter("%(message)s"))
    root = logging.getLogger("agent")
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    root.propagate = False


def _to_journal(environ: Mapping[str, str]) -> bool:
    """Tell whether stderr is the journal: systemd.exec(5) gives its device and inode in $JOURNAL_STREAM."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{stderr.st_dev}:{stderr.st_ino}"


class Complaint:
    """One thing that may go wrong again and again: said at once, then at most every 30 s, and when it is over."""

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
        if self._count == 1:
            self._log.warning("%s why=%r", self._event, why)
        elif now_ns - self._said_ns >= _REMIND_NS:
            self._log.warning("%s why=%r count=%d", self._event, why, self._count)
        else:
            return
        self._said_ns = now_ns

    def over(self) -> None:
        """Note that it works (again)."""
        if self._count:
            self._log.info("%s.recovered after=%d", self._event, self._count)
        self._count = 0
