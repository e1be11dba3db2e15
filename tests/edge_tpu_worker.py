"""The Edge TPU's process as the agent starts it, on the CPU, and as bad as it is told to be.

It is agent.vision.worker with another net behind it and another socket in front, so the talk is the real one. What
would be the library's path is that of a file which says what to do wrong from now on; empty: nothing.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.vision import worker
from agent.vision.model import Net
from agent.vision.runtime import CpuRuntime, check_golden

AT_START = ("unplugged", "hang at start", "segfault at start", "garbage at start")
IN_A_CALL = (
    *("exit", "hang", "segfault", "garbage", "half an answer", "drip", "too much", "wrong number"),
    *("wrong", "dead", "shifted"),
)


class FaultyNet:
    """The net on the CPU, in the place of agent.vision.runtime.DelegateRuntime."""

    def __init__(self, model: Path, net: Net, *, library: str) -> None:
        self._fault = Path(library)
        self._net = net
        self._random = np.random.default_rng(1)
        match self._fault.read_text():
            case "unplugged":
                raise ModelError("not usable: no device", where="libedgetpu.so.1", remedy="plug the device in")
            case "hang at start":
                hang()
            case "segfault at start":
                ctypes.string_at(0)
        self._cpu = CpuRuntime(model.read_bytes(), net, where=str(model))
        self._proved = False
        check_golden(self, net, str(model))
        self._proved = True

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        fault = self._fault.read_text()
        if fault == "instant":  # no fault: what remains is the way there and back
            return {name: np.zeros(tensor.shape, np.int8) for name, tensor in self._net.outputs.items()}
        if self._proved:
            do_wrong(fault)
        answers = self._cpu.invoke(batch)
        match fault:
            case "wrong":
                return {
                    name: self._random.integers(-128, 128, of.shape).astype(np.int8) for name, of in answers.items()
                }
            case "dead":
                return {name: np.full_like(of, -128) for name, of in answers.items()}
            case "shifted":
                return {name: np.roll(of, 700, axis=1) for name, of in answers.items()}
        return answers


def do_wrong(fault: str) -> None:
    """End or hang in the middle of a call."""
    match fault:
        case "exit":
            print("HandleQueuedBulkIn transfer in failed", file=sys.stderr, flush=True)
            os._exit(3)
        case "talk and exit":
            for _ in range(20_000):
                with contextlib.suppress(BlockingIOError):  # C's stdio does not mind either
                    os.write(2, b"a driver may say a lot\n")
            os._exit(4)
        case "hang":
            hang()
        case "segfault":
            ctypes.string_at(0)


class FaultySocket(socket.socket):
    """The socket to the agent; it may say something else than it is given."""

    fault = Path()

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        match self.fault.read_text():
            case "garbage" | "garbage at start":
                data = os.urandom(len(data) + 99)
            case "half an answer":
                super().sendall(data[: len(data) // 2])
                hang()
            case "drip":
                for byte in data:
                    super().sendall(bytes([byte]))
                    signal.sigtimedwait([], 0.1)
            case "too much":
                data += b"and more"
            case "wrong number":
                data = bytes([data[0] ^ 1]) + data[1:]
        super().sendall(data, flags)


def hang() -> None:
    while True:
        signal.pause()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker.DelegateRuntime = FaultyNet  # type: ignore[assignment,misc]
    FaultySocket.fault = Path(sys.argv[3])
    with FaultySocket(fileno=int(sys.argv[1])) as connection:
        worker.serve(connection, Path(sys.argv[2]), sys.argv[3])
