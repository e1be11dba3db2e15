"""The process of the Edge TPU's driver: what goes wrong in here is no exception, but the end of a process.

Arguments: the descriptor of the socket to the agent, the compiled model, the delegate's library. See agent.vision.talk.
"""

import socket
import sys
from pathlib import Path

import msgspec
import numpy as np

from agent.errors import ModelError
from agent.vision.model import Net
from agent.vision.runtime import DelegateRuntime, Runtime
from agent.vision.talk import ANSWER, CALL, receive, receive_text, send_text, size


def serve(connection: socket.socket, model: Path, library: str) -> None:
    """Prove the net, then answer until the agent closes."""
    net = msgspec.json.decode(receive_text(connection), type=Net)
    try:
        runtime = DelegateRuntime(model, net, library=library)
    except ModelError as error:
        send_text(connection, str(error).encode())
        return
    send_text(connection, b"")
    try:
        while True:
            answer_one(connection, runtime, net)
    except ConnectionError:
        return


def answer_one(connection: socket.socket, runtime: Runtime, net: Net) -> None:
    """Take one call and answer it. Raises ConnectionError when the agent has closed."""
    (number,) = CALL.unpack(receive(connection, CALL.size))
    batch = np.frombuffer(receive(connection, size(net.input)), np.int8).reshape(net.input.shape)
    answers = runtime.invoke(batch)
    content = b"".join(answers[name].tobytes() for name in net.outputs)
    connection.sendall(ANSWER.pack(number, len(content)) + content)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as agent_side:
        serve(agent_side, Path(sys.argv[2]), sys.argv[3])
