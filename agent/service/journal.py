"""Lines for the journal: `event.name key=value`, with a priority where the journal reads one."""

import logging
import os
import sys
from collections.abc import Mapping

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
