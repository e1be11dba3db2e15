"""The agent's end of the Edge TPU's driver: a process of its own, which may crash, hang or talk nonsense.

Nothing here waits for longer than a call's deadline: not for the process to start, and not for it to end, for one that
hangs in the kernel cannot be killed.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

import agent
from agent.clock import NS_PER_S, Clock
from agent.vision.model import Net
from agent.vision.talk import ANSWER, CALL, LENGTH, TEXT_MAX, size, split

CALL_TIMEOUT_S = 0.5  # a call takes some milliseconds
WORKER = (sys.executable, "-P", "-m", "agent.vision.worker")
_LAST_WORDS = 2000  # bytes of its stderr that are kept
_ENDING_S = 0.05  # between the end of the talk and the end of the process, where both come of a crash


class EdgeTpuLost(Exception):
    """The device, its driver or its process is not there or of no use; str() says which."""


class Driver(Protocol):
    """A driver that has been started."""

    def poll(self) -> bool:
        """Tell, without waiting, whether it has proved its net. Raises EdgeTpuLost when it will not."""

    def call(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Run once, as runtime.Runtime, within a deadline. Raises EdgeTpuLost."""

    def end(self) -> str:
        """Tell it to end at once, without waiting until it has. Returns the last line that it wrote on stderr."""

    def gone(self, timeout_s: float = 0.0) -> bool:
        """Tell whether it has ended, after waiting for at most so long."""


class EdgeTpuDriver:
    """A Driver in a process."""

    def __init__(
        self,
        net: Net,
        model: Path,
        *,
        library: str,
        clock: Clock,
        worker: Sequence[str] = WORKER,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        """Start the process and return. model: compiled for the Edge TPU. Raises EdgeTpuLost if there can be none."""
        self._net = net
        self._clock = clock
        self._timeout_ns = round(call_timeout_s * NS_PER_S)
        self._number = 0
        self._answer_size = sum(size(tensor) for tensor in net.outputs.values())
        content = msgspec.json.encode(net)
        self._outgoing = LENGTH.pack(len(content)) + content
        self._incoming = b""
        self._words = b""
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        ours, stderr = socket.socketpair()
        ours.setblocking(False)
        stderr.setblocking(False)  # what is too much is lost, rather than that the driver waits until somebody reads
        self._stderr = ours
        with theirs, stderr:
            try:
                # A session of its own: Ctrl-C is for the agent, which then ends its process by closing the socket.
                self._process: subprocess.Popen[bytes] = subprocess.Popen(
                    [*worker, str(theirs.fileno()), str(model), library],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr.fileno(),
                    pass_fds=[theirs.fileno()],
                    env=_environ(),
                    start_new_session=True,
                )
            except OSError as error:
                self._close()
                raise EdgeTpuLost(f"Edge TPU process cannot be started: {error.strerror}") from error

    def poll(self) -> bool:
        self._listen()
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
            while more := self._socket.recv(4096):
                self._incoming += more
        except BlockingIOError:
            pass
        except OSError:
            raise self._ended("while starting") from None
        else:
            if not self._said_why():
                raise self._ended("while starting")
        return self._said_why()

    def _said_why(self) -> bool:
        """Tell whether the start's text is here and empty. Raises EdgeTpuLost if it says why not."""
        if len(self._incoming) < LENGTH.size:
            return False
        (length,) = LENGTH.unpack_from(self._incoming)
        text = self._incoming[LENGTH.size :]
        if length > TEXT_MAX or len(text) > length:
            raise EdgeTpuLost("Edge TPU process talked nonsense while starting")
        if length and len(text) == length:
            raise EdgeTpuLost(text.decode(errors="replace"))
        return not length

    def call(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        deadline_ns = self._clock.now_ns() + self._timeout_ns
        self._number = (self._number + 1) % (1 << 32)
        try:
            self._listen()
            self._expect_silence()
            self._wait_until(deadline_ns)
            self._socket.sendall(CALL.pack(self._number))
            self._wait_until(deadline_ns)
            self._socket.sendall(np.ascontiguousarray(batch).data)
            head = self._receive(ANSWER.size, deadline_ns)
            if ANSWER.unpack(head) != (self._number, self._answer_size):
                raise EdgeTpuLost("Edge TPU process talked nonsense in a call")
            return split(self._receive(self._answer_size, deadline_ns), self._net.outputs)
        except TimeoutError:
            raise EdgeTpuLost("Edge TPU process did not answer in time in a call") from None
        except OSError:
            raise self._ended("in a call") from None

    def _expect_silence(self) -> None:
        """Raises EdgeTpuLost if the process has spoken unasked, ConnectionError if it has hung up."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if not self._socket.recv(1):
                raise ConnectionError
            raise EdgeTpuLost("Edge TPU process talked unasked")

    def _receive(self, length: int, deadline_ns: int) -> bytearray:
        """Give so many bytes. Raises TimeoutError at the deadline, ConnectionError at the end of the talk."""
        data = bytearray(length)
        rest = memoryview(data)
        while rest:
            self._wait_until(deadline_ns)
            count = self._socket.recv_into(rest)
            if count == 0:
                raise ConnectionError
            rest = rest[count:]
        return data

    def _wait_until(self, deadline_ns: int) -> None:
        """Let the next wait end at the deadline. Raises TimeoutError when that has passed."""
        left_s = (deadline_ns - self._clock.now_ns()) / NS_PER_S
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)

    def end(self) -> str:
        self._listen()
        self._close()
        self._process.kill()
        lines = self._words.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def gone(self, timeout_s: float = 0.0) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self._process.returncode is not None

    @property
    def pid(self) -> int:
        """The process of the driver."""
        return self._process.pid

    def _ended(self, when: str) -> EdgeTpuLost:
        """Say how it has ended, where that is known already."""
        if not self.gone(_ENDING_S):
            return EdgeTpuLost(f"Edge TPU process hung up {when}")
        code = self._process.returncode
        how = f"crashed (signal {-code})" if code < 0 else f"ended (exit code {code})"
        return EdgeTpuLost(f"Edge TPU process {how} {when}")

    def _listen(self) -> None:
        """Keep the last of what it wrote on stderr."""
        with contextlib.suppress(OSError):
            while more := self._stderr.recv(4096):
                self._words = (self._words + more)[-_LAST_WORDS:]

    def _close(self) -> None:
        self._socket.close()
        self._stderr.close()


def _environ() -> dict[str, str]:
    """Give our environment, from which ours can be imported, and in which no library starts threads of its own."""
    path = os.pathsep.join(filter(None, [str(Path(agent.__path__[0]).parent), os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
