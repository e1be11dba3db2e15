"""`maskwatch run` as a process of its own, watched by a service manager's notify socket."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.real import NotifySocket

ROOT = Path(__file__).parents[2]
_RUN = "import sys; from agent.cli.main import main; sys.exit(main(sys.argv[1:]))"


def sped_up(factor: int) -> str:
    """Give what to put first into an agent so that its seconds are shorter than ours by a factor."""
    return f"""
import agent.clock, agent.service.process as process
class SpedUpClock(agent.clock.SystemClock):
    def __init__(self):
        self.start_ns = super().now_ns()
    def now_ns(self):
        return self.start_ns + {factor} * (super().now_ns() - self.start_ns)
    def sleep(self, seconds):
        super().sleep(seconds / {factor})
process.SystemClock = SpedUpClock
"""


def switched(switches: Path) -> dict[str, str]:
    """Give the environment for an agent that hangs when a switch is there (tests/board/shims/hang), and its camera."""
    return {
        "PYTHONPATH": f"{ROOT}/tests/board/shims/hang:{ROOT}",
        "MASKWATCH_SWITCHES": str(switches),
        "MASKWATCH_SHIM_CAMERA": "1",
    }


SHIM_CAMERA = "camera.source=v4l2:/dev/shim"


class AgentProcess:
    """The agent, its home a folder in which nothing else is. It is killed at exit if it still runs."""

    def __init__(
        self,
        home: Path,
        *,
        url: str,
        settings: Sequence[str] = (),
        first: str = "",
        environ: dict[str, str] | None = None,
    ) -> None:
        """first: Python that the process runs before anything else. settings: section.key=value."""
        self.home = home
        self.outbox = home / "outbox"
        self.log = home.with_name(home.name + ".log")
        home.mkdir(exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(prefix="maskwatch-")  # a socket's name has 107 characters at most
        ours = [
            f"mqtt.url={url}",
            f"outbox.directory={self.outbox}",
            "device.site=test",
            "device.id=board",
            "camera.source=scene",
        ]
        words = [word for setting in (*ours, *settings) for word in ("--set", setting)]
        self._manager = NotifySocket(Path(self._folder.name))
        self._stderr = self.log.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{first}\n{_RUN}", "run", *words],
            cwd=home,
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(home),
                "OMP_NUM_THREADS": "1",
                "NOTIFY_SOCKET": str(self._manager.path),
            }
            | (environ or {}),
            stdout=self._stderr,
            stderr=self._stderr,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self._stderr.close()
        self._manager.__exit__(None, None, None)
        self._folder.cleanup()

    def wait_for(self, word: str, timeout_s: float = 30.0) -> str:
        """Wait until the agent notifies something that begins with `word`; give the whole notification."""
        try:
            return self._manager.wait_for(word, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; log:\n{self.log.read_text()}") from None

    def terminate(self) -> int:
        """Send SIGTERM; give the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self) -> None:
        """Send SIGKILL and see it die."""
        self.process.kill()
        self.process.wait(30)
