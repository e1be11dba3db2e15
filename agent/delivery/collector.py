"""What the collector says, and what follows from it: it may be late, or of a store or a card that was put back.

    its word                                     what it means                        what is done
    about another stream                         it lives                             nothing else
    below what it said before, though all was    its store was put back, or is new    a `gap` names what it lacks, being
    sent and its mark did not move in time       here (PUBACKs did until then)        gone here too; the rest is sent
    beyond the newest event                      this card was put back: its next     a new stream begins, with what
                                                 events would be taken for doubles    this one still holds

A late word of one of several collectors looks like the second line; it gets no gap unless the mark stands still, and a
gap that names what arrived after all takes nothing away.
"""

import logging

import msgspec

from agent.clock import NS_PER_S, Clock
from agent.delivery.complaint import Complaint
from agent.delivery.handover import HandOver, HandOverFull
from agent.delivery.link import Received
from agent.delivery.outbox import Outbox
from agent.delivery.publisher import Pump
from agent.errors import MaskwatchError
from agent.events.state import Ack
from agent.events.types import Event, Gap

_log = logging.getLogger(__name__)

_NEW_STREAM_NS = 3600 * NS_PER_S  # a collector that talks nonsense must not fill the disk with files set aside


class Collector:
    """Hears the collector's words on the delivery thread."""

    def __init__(self, hand_over: HandOver, outbox: Outbox, clock: Clock) -> None:
        self._hand_over = hand_over
        self._outbox = outbox
        self._clock = clock
        self._nonsense = Complaint(_log, "collector.nonsense", clock)
        self._named: tuple[str, int, int] | None = None  # the stream, first and last of the newest gap made here
        self._no_new_stream_until_ns: int | None = None
        self.sentence = ""
        """What is wrong with its store, or an empty string."""

    def hear(self, received: Received, pump: Pump) -> None:
        """Take one word."""
        try:
            ack = msgspec.json.decode(received.payload, type=Ack)
        except msgspec.DecodeError as error:
            self._nonsense.failing(f"not an acknowledgement on {received.topic}: {error}")
            return
        now_ns, newest = self._clock.now_ns(), self._outbox.last_sequence
        self._nonsense.over()
        if ack.stream != self._outbox.stream:
            pump.collected(0, now_ns, newest=newest)
        elif ack.hwm > newest:
            self._ahead(ack.hwm, newest, now_ns)
        else:
            pump.collected(ack.hwm, now_ns, newest=newest)
            if ack.hwm >= pump.acknowledged:
                self.sentence = ""
            elif pump.is_stuck:
                self._behind(ack, gone_to=pump.acknowledged)

    def _behind(self, ack: Ack, *, gone_to: int) -> None:
        """Name what the collector lacks and we have not any more, once."""
        if self._named is not None:
            stream, first, last = self._named
            if stream == ack.stream and first <= ack.hwm + 1 and gone_to <= last:
                return
        gap = Gap(first=ack.hwm + 1, last=gone_to, by_type={}, why="collector")
        try:
            self._hand_over.put([Event(at_ns=self._clock.now_ns(), data=gap)])
        except HandOverFull:
            return  # at its next word
        self._named = ack.stream, gap.first, gap.last
        self.sentence = f"the collector lost events {gap.first} to {gap.last}, which are gone here as well"
        _log.warning("collector.behind stream=%s first=%d last=%d", ack.stream, gap.first, gap.last)

    def _ahead(self, hwm: int, newest: int, now_ns: int) -> None:
        why = f"the collector has event {hwm}, {newest} is the newest here: was this card put back?"
        if self._no_new_stream_until_ns is not None and now_ns < self._no_new_stream_until_ns:
            self._nonsense.failing(why)
            return
        try:
            self._outbox.begin_stream(why)
        except MaskwatchError as error:
            self._nonsense.failing(f"{why} {error}")
        else:
            self._no_new_stream_until_ns = now_ns + _NEW_STREAM_NS
