"""Lines for the journal."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.delivery.complaint import Complaint
from tests.unit.service_clock import TestClock

_SAY = """
import logging, os
from agent.service.journal import start_logging
start_logging(os.environ, verbose={verbose})
log = logging.getLogger("agent.test")
log.debug("a"), log.info("b"), log.warning("c"), log.error("d\\ne"), log.critical("f")
"""


def lines(path: Path, *, journal: bool, verbose: bool) -> list[str]:
    """Give what a process writes to its stderr, which is the file `path`."""
    with path.open("wb") as stderr:
        facts = os.fstat(stderr.fileno())
        stream = f"{facts.st_dev}:{facts.st_ino}" if journal else "1:2"
        code = _SAY.format(verbose=verbose)
        environ = os.environ | {"JOURNAL_STREAM": stream}
        subprocess.run([sys.executable, "-c", code], stderr=stderr, env=environ, check=True, timeout=60)
    return path.read_text().splitlines()


def test_a_journal_gets_priorities_on_every_line(tmp_path: Path) -> None:
    assert lines(tmp_path / "err", journal=True, verbose=True) == ["<7>a", "<6>b", "<4>c", "<3>d", "<3>e", "<2>f"]


def test_anything_else_gets_plain_lines_and_debug_only_when_asked(tmp_path: Path) -> None:
    assert lines(tmp_path / "err", journal=False, verbose=False) == ["b", "c", "d", "e", "f"]


def test_a_repeating_failure_is_said_at_once_then_every_thirty_seconds_then_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = TestClock()
    trouble = Complaint(logging.getLogger("agent.test"), "camera.lost", clock)
    with caplog.at_level(logging.INFO):
        trouble.over()
        for _ in range(61):
            trouble.failing("unplugged")
            clock.sleep(1)
        trouble.over()
        trouble.over()
        trouble.failing("unplugged")
    assert caplog.messages == [
        "camera.lost why='unplugged' count=1",
        "camera.lost why='unplugged' count=31",
        "camera.lost why='unplugged' count=61",
        "camera.lost.recovered after=61",
        "camera.lost why='unplugged' count=1",
    ]
