"""A net on the Edge TPU where there is one that works, on the CPU otherwise; losing the device loses nothing else.

The device's driver runs in a process of its own, because what goes wrong with it is no exception: a library built for
another TensorFlow crashes, an unplugged stick hangs. The parent asks over a socket and waits for at most a deadline;
no answer in time, or none any more, and the net goes on on the CPU for as long as the agent runs.

The talk, all of it (a length is a little-endian unsigned 32-bit number):
  parent to child, once     length, the net's part of the manifest as JSON
  child to parent, once     length, text: empty when the net has given its golden answers, else why it cannot be used
  parent to child, a frame  the input's bytes
  child to parent, a frame  the outputs' bytes, in the manifest's order
"""

import logging
import os
import socket
import struct
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

import agent
from agent.errors import ModelError
from agent.vision.model import Net, Tensor
from agent.vision.runtime import EDGETPU_LIBRARY, CpuRuntime, DelegateRuntime, Runtime

log = logging.getLogger(__name__)
Place = Literal["cpu", "edgetpu"]
_START_TIMEOUT_S = 15.0  # loading the firmware makes the stick leave the bus and come back: some seconds
_CALL_TIMEOUT_S = 0.5  # a call takes some milliseconds
_LENGTH = struct.Struct("<I")
_TEXT_MAX = 1 << 20


class EdgeTpuLost(Exception):
    """The device, its driver or its process is not there or does not answer; str() says which."""


class EdgeTpuRuntime:
    """A net on the Edge TPU, in a process of its own."""

    def __init__(
        self,
        model: Path,
        net: Net,
        *,
        library: str = EDGETPU_LIBRARY,
        start_timeout_s: float = _START_TIMEOUT_S,
        call_timeout_s: float = _CALL_TIMEOUT_S,
    ) -> None:
        """Start the process and wait until it has proved the net. Raises EdgeTpuLost, saying why."""
        self._net = net
        self._socket, theirs = socket.socketpair()
        with theirs:
            # A session of its own: Ctrl-C is for the agent, which then ends its process by closing the socket.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent.vision.accelerator", str(theirs.fileno()), str(model), library],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join([_import_root(), os.environ.get("PYTHONPATH", "")])},
                start_new_session=True,
            )
        self._socket.settimeout(start_timeout_s)
        try:
            _send_text(self._socket, msgspec.json.encode(net))
            why = _receive_text(self._socket).decode(errors="replace")
        except OSError as error:
            raise self._lost("while starting", error) from error
        if why:
            self.close()
            raise EdgeTpuLost(why)
        self._socket.settimeout(call_timeout_s)

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Run once, as runtime.Runtime. Raises EdgeTpuLost; the process has been ended then."""
        try:
            self._socket.sendall(np.ascontiguousarray(batch).data)
            return {name: _array(self._socket, tensor) for name, tensor in self._net.outputs.items()}
        except OSError as error:
            raise self._lost("in a call", error) from error

    @property
    def pid(self) -> int:
        """The process of the driver."""
        return self._process.pid

    def close(self) -> None:
        """End the process, however it fares."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _lost(self, when: str, error: OSError) -> EdgeTpuLost:
        self.close()
        what = "did not answer in time" if isinstance(error, TimeoutError) else "crashed"
        return EdgeTpuLost(f"Edge TPU driver {what} {when}")


class SafeRuntime:
    """A net that always answers: on the Edge TPU for as long as that does, else on the CPU.

    place: what it runs on now; why: in one line.
    """

    def __init__(self, cpu: Runtime, edge_tpu: EdgeTpuRuntime | None, why: str) -> None:
        self._cpu = cpu
        self._edge_tpu = edge_tpu
        self.why = why

    @property
    def place(self) -> Place:
        return "cpu" if self._edge_tpu is None else "edgetpu"

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        if self._edge_tpu is not None:
            try:
                return self._edge_tpu.invoke(batch)
            except EdgeTpuLost as lost:
                self._edge_tpu, self.why = None, str(lost)
                log.warning("accelerator.lost why=%r now=cpu", self.why)
        return self._cpu.invoke(batch)

    def close(self) -> None:
        """Let the device go."""
        if self._edge_tpu is not None:
            self._edge_tpu.close()
            self._edge_tpu, self.why = None, "closed"


def place(
    net: Net, content: bytes, manifest: Path, wanted: Literal["auto", "cpu", "edgetpu"], library: str = EDGETPU_LIBRARY
) -> SafeRuntime:
    """Put a net where the settings want it, or on the CPU, and say why.

    content: the model's bytes; manifest: its path, beside which the Edge TPU's file lies as NAME_edgetpu.tflite.
    Raises ModelError if the net is wrong on the CPU: that one must work in any case.
    """
    cpu = CpuRuntime(content, net, where=str(manifest.with_name(net.file)))
    if wanted == "cpu":
        return SafeRuntime(cpu, None, "configured")
    compiled = manifest.with_name(f"{Path(net.file).stem}_edgetpu.tflite")
    if not compiled.is_file():
        return SafeRuntime(cpu, None, f"no {compiled.name} beside the model")
    try:
        return SafeRuntime(cpu, EdgeTpuRuntime(compiled, net, library=library), "its golden answers are right")
    except EdgeTpuLost as lost:
        return SafeRuntime(cpu, None, str(lost))


def serve(connection: socket.socket, model: Path, library: str) -> None:
    """Be the child: prove the net, then answer until the parent closes."""
    net = msgspec.json.decode(_receive_text(connection), type=Net)
    try:
        runtime = DelegateRuntime(model, net, library=library)
    except ModelError as error:
        _send_text(connection, str(error).encode())
        return
    _send_text(connection, b"")
    while True:
        try:
            batch = _array(connection, net.input)
        except ConnectionError:
            return
        answers = runtime.invoke(batch)
        connection.sendall(b"".join(answers[name].tobytes() for name in net.outputs))


def _import_root() -> str:
    return str(Path(agent.__path__[0]).parent)


def _array(connection: socket.socket, tensor: Tensor) -> NDArray[np.int8]:
    return np.frombuffer(_receive(connection, prod(tensor.shape)), np.int8).reshape(tensor.shape)


def _send_text(connection: socket.socket, text: bytes) -> None:
    connection.sendall(_LENGTH.pack(len(text)) + text)


def _receive_text(connection: socket.socket) -> bytes:
    (length,) = _LENGTH.unpack(_receive(connection, _LENGTH.size))
    return bytes(_receive(connection, min(length, _TEXT_MAX)))


def _receive(connection: socket.socket, length: int) -> bytearray:
    """Give exactly so many bytes. Raises ConnectionError at the end of the talk, TimeoutError at the deadline."""
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = connection.recv_into(rest)
        if count == 0:
            raise ConnectionError("the other side has closed")
        rest = rest[count:]
    return data


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        serve(parent, Path(sys.argv[2]), sys.argv[3])
