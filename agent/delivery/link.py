"""What passes between Delivery and a broker connection, as values: messages out, and what came of them."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

import msgspec

Version = Literal["5", "3.1.1"]


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Something to publish. The last two are MQTT 5 properties and are left out on 3.1.1."""

    topic: str
    payload: bytes
    qos: Literal[0, 1]
    retain: bool = False
    content_type: str | None = None
    correlation: bytes | None = None


class Trouble(Enum):
    """Why there is no connection; the value is the word for logs and telemetry."""

    DNS = "dns"
    REFUSED = "connection refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    TLS_UNKNOWN_CA = "unknown certificate authority"
    TLS_EXPIRED = "certificate expired"
    TLS_NOT_YET_VALID = "certificate not valid yet"
    TLS_HOST_NAME = "certificate of another host"
    TLS_CLIENT_CERTIFICATE = "client certificate refused"
    TLS_OTHER = "TLS failure"
    CREDENTIALS = "wrong user or password"
    NOT_AUTHORISED = "not authorised"
    PROTOCOL_VERSION = "protocol version refused"
    CLIENT_ID = "client id refused"
    TAKEN_OVER = "client id used by another connection"
    BROKER_BUSY = "broker unavailable"
    CLOSED = "closed by the broker"
    MESSAGE_REFUSED = "message refused"
    STALLED = "no answer"


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """The broker has accepted us. receive_max: QoS 1 messages that it takes unanswered at once."""

    version: Version
    receive_max: int


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt to connect came to nothing. sentence: for people, with the remedy."""

    trouble: Trouble
    sentence: str


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted connection has ended without our wish."""

    trouble: Trouble
    sentence: str


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's answer to a QoS 1 message. token: what `publish` gave; code: MQTT 5 reason, 0 on 3.1.1."""

    token: int
    code: int


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a topic that we subscribe to."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None


class SubscriptionRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The broker does not let us read a topic."""

    topic: str
    code: int


News = Connected | Refused | Lost | Answered | Received | SubscriptionRefused


class Link(Protocol):
    """A connection to a broker, driven by one thread; failures are News, never exceptions."""

    def connect(self, will: Message | None, certificate: Path | None = None) -> None:
        """Begin to connect, without waiting. Ends in Connected or Refused.

        will: None for who only listens. certificate: to show in place of the settings', with the same key.
        """

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for topics, QoS 1."""

    def publish(self, message: Message) -> int:
        """Send now and never keep for later; gives the token of the answer (QoS 1)."""

    def wait(self, timeout_s: float, wake: int) -> list[News]:
        """Wait until something has happened, the descriptor `wake` is readable or the time is over."""

    def drop(self) -> None:
        """Forget the connection at once, without a goodbye: the broker publishes the will."""

    def close(self) -> None:
        """Disconnect in order: the broker does not publish the will."""
