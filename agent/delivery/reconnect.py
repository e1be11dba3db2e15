"""When to connect again, and what to say meanwhile.

    state        leaves it by                              next
    waiting      the instant comes                         connecting
    connecting   Connected; Refused, or CONNECT_MAX_S      up; waiting
    up           Lost                                      waiting

A certificate that our clock makes look expired, or not valid yet, is shown again as soon as that clock is set.

A connection that does not live for STABLE_S counts as another failure: "connected" alone is no sign of health (a
cluster without a majority accepts and drops in a loop, and so does a fight over a client id).
"""

import logging
import random

from agent.backoff import Backoff
from agent.clock import NS_PER_S, Clock
from agent.delivery.complaint import Complaint
from agent.delivery.link import Trouble

_log = logging.getLogger(__name__)

STABLE_S = 60
CONNECT_MAX_S = 40  # four addresses with TLS that do not answer, and 3.1.1 after MQTT 5
_CROWD_S = 10.0  # a thousand boards that come back within this are 125 connections a second (tools/chaos/herd.py)
_SHORT_LIVES = 3  # so many in a row are no accident

# These go on until somebody does something, here or at the broker: asking every second would only fill its log.
_SOMEBODY_MUST_ACT = {
    Trouble.TLS_UNKNOWN_CA,
    Trouble.TLS_EXPIRED,
    Trouble.TLS_NOT_YET_VALID,
    Trouble.TLS_HOST_NAME,
    Trouble.TLS_CLIENT_CERTIFICATE,
    Trouble.TLS_OTHER,
    Trouble.CREDENTIALS,
    Trouble.NOT_AUTHORISED,
    Trouble.PROTOCOL_VERSION,
    Trouble.CLIENT_ID,
    Trouble.TAKEN_OVER,
}

_BROKER_AWAY = {Trouble.REFUSED, Trouble.UNREACHABLE, Trouble.DNS, Trouble.TIMEOUT}
_CLOCK_MAY_BE_WRONG = {Trouble.TLS_EXPIRED, Trouble.TLS_NOT_YET_VALID}


class Reconnect:
    """The life of the connection, as far as time goes."""

    def __init__(self, clock: Clock, rng: random.Random) -> None:
        self._clock = clock
        self._quick = Backoff(rng, shortest_s=0.2, first_s=1.0, longest_s=60.0)
        self._slow = Backoff(rng, shortest_s=5.0, first_s=10.0, longest_s=300.0)
        self._complaint = Complaint(_log, "mqtt.away", clock)
        self._short_lives = 0
        self._in_crowd = False  # a broker that was there for long is lost by a whole fleet in one instant
        self._waits_for_clock = False  # it was not set, and a certificate was judged by it
        self._next_ns: int | None = clock.now_ns()  # the next try; while connecting, its end; None while up
        self.connecting = False
        self.up_since_ns: int | None = None
        self.trouble: Trouble | None = None
        """Why there is no connection; None with one."""
        self.sentence = ""

    @property
    def due_ns(self) -> int | None:
        """When something is to be done about the connection; None while there is one."""
        return self._next_ns

    @property
    def is_due(self) -> bool:
        if self._next_ns is None:
            return False
        return self._clock.now_ns() >= self._next_ns or (self._waits_for_clock and self._clock.trusted())

    def begun(self) -> None:
        """An attempt has begun."""
        self.connecting = True
        self._waits_for_clock = False
        self._next_ns = self._clock.now_ns() + CONNECT_MAX_S * NS_PER_S

    def succeeded(self) -> None:
        """The broker has accepted us."""
        self.connecting = False
        self.up_since_ns = self._clock.now_ns()
        self._next_ns = None
        self.trouble = None
        self.sentence = ""
        self._complaint.over()

    def again(self) -> None:
        """A connection was ended by our own wish, to have another one at once."""
        self.up_since_ns = None
        self._next_ns = self._clock.now_ns()

    def failed(self, trouble: Trouble, sentence: str, *, at_once: bool = False) -> None:
        """An attempt, or a connection, has come to its end. at_once: the next one is another, and owes no wait."""
        now_ns = self._clock.now_ns()
        if self.up_since_ns is not None:
            if now_ns - self.up_since_ns >= STABLE_S * NS_PER_S:
                self._quick.reset()
                self._slow.reset()
                self._short_lives = 0
                self._in_crowd = True
            elif trouble is Trouble.CLOSED:  # MQTT 3.1.1 has no word for a fight over the client id
                self._short_lives += 1
                if self._short_lives >= _SHORT_LIVES:
                    trouble = Trouble.TAKEN_OVER
                    sentence += "; each connection ends soon: does another client use this device's id?"
        elif trouble in _BROKER_AWAY:
            self._short_lives = 0  # it was the broker that ended, and not a fight
        backoff = self._slow if trouble in _SOMEBODY_MUST_ACT else self._quick
        wait_ns = 0 if at_once else backoff.next_ns(limit_min_s=_CROWD_S if self._in_crowd else 0.0)
        self._next_ns = now_ns + wait_ns
        self._waits_for_clock = trouble in _CLOCK_MAY_BE_WRONG and not self._clock.trusted()
        self.connecting = False
        self.up_since_ns = None
        self.trouble = trouble
        self.sentence = sentence
        self._complaint.failing(sentence)

    def overdue(self) -> bool:
        """Tell whether the attempt has taken too long."""
        return self.connecting and self.is_due
