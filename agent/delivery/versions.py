"""Which MQTT to speak first: 5, or 3.1.1 where a broker has nothing to say to 5.

A broker that refuses MQTT 5, by a word or by hanging up, is asked in 3.1.1 at once, each time anew: that costs a round
trip, and a broker that was updated is found out by it. One that stays silent costs a whole attempt, and may only have
been frozen just then: 3.1.1 is next, and if that works it is spoken in the next connection, then in the next two, four
and so on, before MQTT 5 is tried again.
"""

from typing import Literal

from agent.delivery.link import Version

_CONNECTIONS_MAX = 64  # in 3.1.1 before MQTT 5 is tried again


class Versions:
    """Remembers what worked, for one run of the agent."""

    def __init__(self, protocol: Literal["auto", "5", "3.1.1"]) -> None:
        self._protocol = protocol
        self._was_silent = False  # the last attempt, in MQTT 5
        self._trust = 0  # connections in 3.1.1 that the last silence was worth
        self._left = 0  # of them

    @property
    def first(self) -> Version:
        """What an attempt begins with."""
        if self._protocol != "auto":
            return self._protocol
        return "3.1.1" if self._was_silent or self._left else "5"

    def falls_back(self, version: Version) -> bool:
        """Tell whether 3.1.1 is to be tried at once, after a refusal of this version."""
        return self._protocol == "auto" and version == "5"

    def silent(self, version: Version) -> None:
        """An attempt was accepted by the network, and the broker never said a word."""
        self._was_silent = version == "5"
        self._left = 0

    def works(self, version: Version) -> None:
        """The broker has accepted a connection."""
        if version == "5":
            self._trust = 0
        elif self._was_silent:
            self._trust = self._left = min(max(1, 2 * self._trust), _CONNECTIONS_MAX)
        elif self._left:
            self._left -= 1
        self._was_silent = False
