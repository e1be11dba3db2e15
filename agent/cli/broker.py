"""A small real broker for the demo, in a thread of its own: amqtt, MQTT 3.1.1, on loopback, gone when the demo ends."""

import asyncio
import importlib
import importlib.util
import logging
import socket
import threading
from types import TracebackType
from typing import Any, Self

from agent.errors import UnavailableError

_START_S = 10.0


def check_extra(*, broker: bool, scene: bool) -> None:
    """Make sure that those packages of the `demo` extra are there that the demo needs: for its broker, for its scene.

    Raises UnavailableError, naming the extra.
    """
    needed = (("amqtt",) if broker else ()) + (("skimage", "matplotlib") if scene else ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UnavailableError(
            f"{' and '.join(missing)} not installed", where="demo", remedy="pip install 'maskwatch[demo]'"
        )


class EmbeddedBroker:
    """The broker, running from enter to exit. url: where."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)
        self._broker: Any = None
        self.url = ""

    def __enter__(self) -> Self:
        """Raises UnavailableError if it does not start."""
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)  # it tells every lost client as an error
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        self._thread.start()
        port = _free_port()
        try:
            asyncio.run_coroutine_threadsafe(self._start(port), self._loop).result(_START_S)
        except Exception as error:
            self._stop_loop()
            raise UnavailableError(
                f"the embedded broker does not start: {error}",
                where=f"127.0.0.1:{port}",
                remedy="name another broker with --set mqtt.url=...",
            ) from error
        self.url = f"mqtt://127.0.0.1:{port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._broker.shutdown(), self._loop).result(_START_S)
        finally:
            self._stop_loop()

    async def _start(self, port: int) -> None:
        amqtt = importlib.import_module("amqtt.broker")
        self._broker = amqtt.Broker(
            {
                "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
                "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
            }
        )
        await self._broker.start()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self._loop.close()


def _free_port() -> int:
    """Give a port that nobody listens on: the kernel does not hand it out again at once."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port: int = door.getsockname()[1]
        return port
