"""The pump: what to send next. Pure: it is told the time and what happened, and never touches disk or network.

One lane, strictly by sequence. Rules for whoever edits this:

    state      leaves it by                                  sends
    down       connected -> flowing                          nothing
    flowing    refused answer -> held; disconnected -> down  while fewer than WINDOW are unanswered
    held       time over and all answered -> flowing         nothing; then again from the first unacknowledged on
               (lives on through a reconnect: mosquitto 2.0.11 closes the connection after each refusal)

- The first row of a pass goes alone: a broker that refuses may hang up, and what was sent behind it would meet a
  closed socket and take the refusal with it.
- A row is unanswered once at most: it is sent again after a reconnect, or in `held` after all answers have come.
- `acknowledged` never moves back, and never over a row that was not done: with ack_mode puback a row is done when it
  and all before it were taken by the broker, with collector when the collector says so.
- No PUBACK within PUBACK_TIMEOUT_S: the connection is dead though it looks alive, and MQTT allows no second send on
  it (MQTT 5.0 section 4.4). The pump asks for a new one.
- A pass runs ahead of the collector's mark by WINDOW rows until the collector says a word, then by LEAD rows: whoever
  is gone must not get the whole backlog, again and again. A word without progress makes room for another WINDOW: the
  `gap` that would move the mark may be the last row there is.
- A mark that does not move, though all that may be sent was sent, begins another pass from it, after a wait that
  doubles until it moves.
"""

import random
from enum import Enum, IntEnum
from typing import Literal

import msgspec

from agent.backoff import Backoff
from agent.clock import NS_PER_S

WINDOW = 20  # mosquitto's Receive Maximum; a larger one gains nothing there
# A collector that commits once a second still gets 1,000 events/s, and a broker keeps as many for one that is away
# (mosquitto's max_queued_messages).
LEAD = 1000
PUBACK_TIMEOUT_S = 10.0
CAPPED_PER_S = 200.0  # while frames come: draining a backlog leaves the processor to them
_CAPPED_BURST = 4.0  # rows that may go at once under the cap: one wake-up of the thread every 20 ms
_COLLECTOR_TIMEOUT_S = 30.0
_COLLECTOR_TIMEOUT_MAX_S = 1800.0


class PubackCode(IntEnum):
    """The broker's answers to a QoS 1 message. Source: MQTT 5.0 section 3.4.2.1."""

    SUCCESS = 0
    NO_MATCHING_SUBSCRIBERS = 16
    UNSPECIFIED_ERROR = 128
    IMPLEMENTATION_SPECIFIC_ERROR = 131
    NOT_AUTHORISED = 135
    TOPIC_NAME_INVALID = 144
    PACKET_IDENTIFIER_IN_USE = 145
    QUOTA_EXCEEDED = 151
    PAYLOAD_FORMAT_INVALID = 153

    @classmethod
    def of(cls, code: int) -> "PubackCode":
        """Give the member of a code; of one that the standard does not know, the general error."""
        return cls(code) if code in cls._value2member_map_ else cls.UNSPECIFIED_ERROR


class Outcome(Enum):
    """What an answer leads to."""

    TAKEN = "taken"
    UNHEARD = "taken, and nobody subscribes"
    HOLD = "refused: wait, then send again"
    REBUILD = "out of step: connect anew"


OUTCOMES: dict[PubackCode, Outcome] = {
    PubackCode.SUCCESS: Outcome.TAKEN,
    PubackCode.NO_MATCHING_SUBSCRIBERS: Outcome.UNHEARD,
    PubackCode.UNSPECIFIED_ERROR: Outcome.HOLD,
    PubackCode.IMPLEMENTATION_SPECIFIC_ERROR: Outcome.HOLD,
    PubackCode.NOT_AUTHORISED: Outcome.HOLD,
    PubackCode.TOPIC_NAME_INVALID: Outcome.HOLD,
    PubackCode.PACKET_IDENTIFIER_IN_USE: Outcome.REBUILD,
    PubackCode.QUOTA_EXCEEDED: Outcome.HOLD,
    PubackCode.PAYLOAD_FORMAT_INVALID: Outcome.HOLD,
}

_SENTENCES: dict[PubackCode, str] = {
    PubackCode.NO_MATCHING_SUBSCRIBERS: "nobody subscribes to the events",
    PubackCode.NOT_AUTHORISED: "the broker does not let this device publish events; mend its access list",
    PubackCode.QUOTA_EXCEEDED: "the broker's quota for this device is used up",
    PubackCode.TOPIC_NAME_INVALID: "the broker does not take the topic of the events",
}


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Publish the next rows after a sequence, at most `count`, telling `sent` of each."""

    after: int
    count: int


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing to send; ask again when something happens or, unless None, at this instant."""

    until_ns: int | None


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """The connection is dead though it looks alive: drop it and connect anew."""

    why: str


class _Flight(msgspec.Struct):
    """A row that was published. taken: None until the broker has answered."""

    sent_ns: int
    taken: bool | None = None


class Pump:
    """Sends one stream strictly by sequence, at most a window at a time."""

    def __init__(self, *, ack_mode: Literal["puback", "collector"], acknowledged: int, rng: random.Random) -> None:
        self.acknowledged = acknowledged
        """Everything up to this sequence is done."""
        self.is_stuck = False
        """All was sent, and the collector's mark has not moved in time."""
        self._by_collector = ack_mode == "collector"
        self._up = False
        self._broken = ""  # why the connection must go
        self._cursor = acknowledged  # the last row sent in this pass
        self._flight: dict[int, _Flight] = {}  # by sequence, in order
        self._proven = False  # the broker has taken a row in this pass
        self._answer = PubackCode.SUCCESS  # what hinders us
        self._held_until_ns: int | None = None
        self._refusals = Backoff(rng, shortest_s=1.0, first_s=2.0, longest_s=300.0)
        self._tokens = _CAPPED_BURST
        self._tokens_ns = 0
        self._goal = acknowledged  # rows beyond it came later, and do not prolong the collector's time
        self._since_ns = 0  # from when that runs
        self._ahead = 0  # rows of this pass that the collector has not spoken for
        self._is_heard = False  # the collector has said a word in this pass
        self._word_ns: int | None = None  # its last word
        self._is_silent = False
        self._collector_timeout_s = _COLLECTOR_TIMEOUT_S

    @property
    def sentence(self) -> str:
        """What hinders progress, or an empty string."""
        if self._answer is PubackCode.SUCCESS:
            return "the collector is silent" if self._is_silent else ""
        return _SENTENCES.get(self._answer, f"the broker refuses events: {self._answer.name.lower().replace('_', ' ')}")

    @property
    def is_held(self) -> bool:
        """Whether the broker has refused an event and is left alone for a while."""
        return self._held_until_ns is not None

    @property
    def unanswered(self) -> int:
        """Rows that the broker has not answered yet."""
        return sum(flight.taken is None for flight in self._flight.values())

    def connected(self, now_ns: int, *, newest: int) -> None:
        """Begin to send, with what is not acknowledged."""
        self._up = True
        if not self.is_held:
            self._rewind(now_ns, newest=newest)

    def disconnected(self) -> None:
        """Forget what was on its way."""
        self._up = False
        self._broken = ""
        self._flight.clear()
        self._cursor = self.acknowledged

    def next(self, now_ns: int, *, newest: int, room: int, frames_coming: bool) -> Send | Wait | Rebuild:
        """Say what to do now.

        newest: the last sequence stored. room: QoS 1 messages that the connection takes beside those unanswered.
        """
        if not self._up:
            return Wait(until_ns=None)
        overdue_ns = self._overdue_ns()
        if self._broken or (overdue_ns is not None and now_ns >= overdue_ns):
            return Rebuild(why=self._broken or f"no answer to an event for {PUBACK_TIMEOUT_S:.0f} s")
        if self._held_until_ns is not None:
            if now_ns < self._held_until_ns or self.unanswered:
                held_ns = self._held_until_ns if now_ns < self._held_until_ns else None
                return Wait(until_ns=_earliest(held_ns, overdue_ns))
            self._rewind(now_ns, newest=newest)
        silence_ends_ns = self._silence_ends_ns(newest)
        if silence_ends_ns is not None and now_ns >= silence_ends_ns:
            self.is_stuck = self._cursor >= min(self._goal, newest)
            self._rewind(now_ns, newest=newest)
            self._is_silent = self._word_ns is None or now_ns - self._word_ns >= _COLLECTOR_TIMEOUT_S * NS_PER_S
            self._collector_timeout_s = min(2 * self._collector_timeout_s, _COLLECTOR_TIMEOUT_MAX_S)
            silence_ends_ns = None
        until_ns = _earliest(overdue_ns, silence_ends_ns)
        window = WINDOW if self._proven else 1
        count = min(window - len(self._flight), room, newest - self._cursor)
        if self._by_collector:
            count = min(count, self._lead - self._ahead)
        if count <= 0:
            return Wait(until_ns=until_ns)
        if frames_coming:
            tokens = self._refilled(now_ns)
            if tokens < 1:
                full_ns = now_ns + int((_CAPPED_BURST - tokens) / CAPPED_PER_S * NS_PER_S) + 1
                return Wait(until_ns=_earliest(until_ns, full_ns))
            count = min(count, int(tokens))
        return Send(after=self._cursor, count=count)

    def sent(self, sequence: int, now_ns: int) -> None:
        """Take note that a row was published."""
        assert sequence > self._cursor, (sequence, self._cursor)
        self._ahead += 1
        if self._cursor < self._goal or self._cursor == self.acknowledged:
            self._since_ns = now_ns
        self._tokens = max(0.0, self._refilled(now_ns) - 1)  # what was sent without the cap is no debt
        self._tokens_ns = now_ns
        self._cursor = sequence
        self._flight[sequence] = _Flight(sent_ns=now_ns)

    def answered(self, sequence: int, code: PubackCode, now_ns: int) -> None:
        """Take note of the broker's answer; one for a row that is not on its way changes nothing."""
        flight = self._flight.get(sequence)
        if flight is None or flight.taken is not None:
            return
        outcome = OUTCOMES[code]
        if outcome is Outcome.UNHEARD and self._by_collector:
            outcome = Outcome.HOLD  # the collector is no subscriber: the row is gone
        flight.taken = outcome in (Outcome.TAKEN, Outcome.UNHEARD)
        self._proven = self._proven or flight.taken
        if outcome is Outcome.REBUILD:
            self._broken = f"the broker and we disagree: {code.name.lower().replace('_', ' ')}"
        elif outcome is Outcome.HOLD:
            self._answer = code
            if not self.is_held:
                self._held_until_ns = now_ns + self._refusals.next_ns()
        while self._flight and self._flight[first := next(iter(self._flight))].taken:
            del self._flight[first]
            if not self.is_held:
                self._answer = code
                self._refusals.reset()
            if not self._by_collector:
                self.acknowledged = first

    def collected(self, mark: int, now_ns: int, *, newest: int) -> None:
        """Take note of the collector's word: everything up to `mark` is in its database."""
        if not self._by_collector:
            return
        self._is_heard = True
        self._is_silent = False
        self._word_ns = now_ns
        if mark <= self.acknowledged:
            self._ahead = max(0, self._ahead - WINDOW)
            return
        self.is_stuck = False
        self.acknowledged = mark
        self._cursor = max(self._cursor, mark)
        if self._cursor - mark <= LEAD:  # else a hole lies between: the count before it stands
            self._ahead = self._cursor - mark
        self._since_ns = now_ns
        self._goal = newest
        self._collector_timeout_s = _COLLECTOR_TIMEOUT_S
        if self.is_held:
            self._held_until_ns = now_ns  # it listens again

    def resend(self, now_ns: int) -> None:
        """Send everything that is not acknowledged again, as soon as what is on its way is answered."""
        self._held_until_ns = now_ns

    def _rewind(self, now_ns: int, *, newest: int) -> None:
        self._flight.clear()
        self._proven = False
        self._held_until_ns = None
        self._ahead = 0
        self._is_heard = False
        self._cursor = self.acknowledged
        self._goal = newest
        self._since_ns = now_ns

    @property
    def _lead(self) -> int:
        return LEAD if self._is_heard else WINDOW

    def _overdue_ns(self) -> int | None:
        for flight in self._flight.values():
            if flight.taken is None:
                return flight.sent_ns + int(PUBACK_TIMEOUT_S * NS_PER_S)
        return None

    def _silence_ends_ns(self, newest: int) -> int | None:
        """When the collector's time is over, if it runs: all, or all that may be, was sent and is not in its store."""
        if not self._by_collector or self._cursor == self.acknowledged or self.unanswered:
            return None
        if self._cursor < min(self._goal, newest) and self._ahead < self._lead:
            return None
        return self._since_ns + int(self._collector_timeout_s * NS_PER_S)

    def _refilled(self, now_ns: int) -> float:
        return min(_CAPPED_BURST, self._tokens + (now_ns - self._tokens_ns) * CAPPED_PER_S / NS_PER_S)


def _earliest(*instants_ns: int | None) -> int | None:
    return min((instant_ns for instant_ns in instants_ns if instant_ns is not None), default=None)
