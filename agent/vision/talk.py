"""What the agent and the process of an Edge TPU's driver say to each other, over a pair of sockets.

  agent to process, once      length, the net's part of the manifest as JSON
  process to agent, once      length, text: empty when the net has given its golden answers, else why it cannot be used
  agent to process, a call    number of the call, the input's bytes
  process to agent, a call    number of the call, length, the outputs' bytes in the manifest's order

Numbers and lengths are little-endian unsigned 32-bit. The process speaks only when asked: a byte too many, another
number or another length is nonsense, and who speaks nonsense is ended.
"""

import socket
import struct
from math import prod

import numpy as np
from numpy.typing import NDArray

from agent.vision.model import Tensor

LENGTH = struct.Struct("<I")
CALL = struct.Struct("<I")
ANSWER = struct.Struct("<II")
TEXT_MAX = 1 << 20


def size(tensor: Tensor) -> int:
    """Give the bytes of an int8 tensor."""
    return prod(tensor.shape)


def split(answer: bytes | bytearray, outputs: dict[str, Tensor]) -> dict[str, NDArray[np.int8]]:
    """Give the outputs by their names from their bytes in this order; views, no copies."""
    arrays, start = {}, 0
    for name, tensor in outputs.items():
        end = start + size(tensor)
        arrays[name] = np.frombuffer(answer, np.int8, count=end - start, offset=start).reshape(tensor.shape)
        start = end
    return arrays


def send_text(connection: socket.socket, text: bytes) -> None:
    """Send a text with its length."""
    connection.sendall(LENGTH.pack(len(text)) + text)


def receive_text(connection: socket.socket) -> bytes:
    """Wait for a text. Raises ConnectionError at the end of the talk."""
    (length,) = LENGTH.unpack(receive(connection, LENGTH.size))
    return bytes(receive(connection, min(length, TEXT_MAX)))


def receive(connection: socket.socket, length: int) -> bytearray:
    """Wait for exactly so many bytes. Raises ConnectionError at the end of the talk."""
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = connection.recv_into(rest)
        if count == 0:
            raise ConnectionError("the other side has closed")
        rest = rest[count:]
    return data
