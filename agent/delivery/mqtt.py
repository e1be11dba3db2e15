"""The edge to paho: a connection's worth of MQTT, told as values (agent.delivery.link)."""

from collections.abc import Callable, Mapping, Sequence

from agent.delivery.link import Message, News
from agent.settings import MqttSettings

Spawn = Callable[[Callable[[], None]], None]
"""Runs a function on a thread of its own that the process does not wait for at its end; service and cli have one."""


class MqttLink:
    """A link (agent.delivery.link) over TCP or TLS, MQTT 5 with 3.1.1 where that is refused."""

    def __init__(
        self, settings: MqttSettings, *, client_id: str, spawn: Spawn, environ: Mapping[str, str] | None = None
    ) -> None:
        """Read the files that the settings name; nothing is sent yet.

        environ: where CREDENTIALS_DIRECTORY is looked up, for relative file names.
        Raises ConfigError for a missing or wrong file, NotPermittedError for one that may not be read.
        """
        raise NotImplementedError

    def connect(self, will: Message | None) -> None:
        raise NotImplementedError

    def subscribe(self, topics: Sequence[str]) -> None:
        raise NotImplementedError

    def publish(self, message: Message) -> int:
        raise NotImplementedError

    def wait(self, timeout_s: float, wake: int) -> list[News]:
        raise NotImplementedError

    def drop(self) -> None:
        raise NotImplementedError

    def close(self, goodbye: Sequence[Message]) -> None:
        raise NotImplementedError
