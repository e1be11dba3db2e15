"""What the broker does not let us read or write, in words, for as long as a connection lasts."""

import logging
from typing import Literal

from agent.clock import Clock
from agent.delivery.complaint import Complaint

_log = logging.getLogger(__name__)


class Refusals:
    """Notes refusals. mosquitto 2.0.11 closes the connection after each: why it did is in `sentence` then."""

    def __init__(self, clock: Clock) -> None:
        self._complaint = Complaint(_log, "mqtt.message_refused", clock)
        self._event = ""
        self._topic = ""

    @property
    def sentence(self) -> str:
        """What this connection was refused and has not been granted since, or an empty string."""
        return self._event or self._topic

    def connected(self) -> None:
        """Begin anew: somebody may have mended the access list."""
        self._event = self._topic = ""

    def event(self, sentence: str) -> None:
        """An event was refused, for the reason that the pump gives; or taken, if that is empty."""
        self._event = sentence

    def topic(self, verb: Literal["read", "write"], topic: str, code: int) -> None:
        """A topic is not ours to read or to write."""
        self._topic = f"the broker does not let this device {verb} {topic}; mend its access list"
        self._complaint.failing(f"may not {verb} {topic} (reason {code})")
