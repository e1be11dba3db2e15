"""The one lane of events: from the outbox to the link as the pump lets them go, and what is done back to the outbox."""

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Literal, TypeVar

from agent.clock import Clock
from agent.delivery.collector import Collector
from agent.delivery.disk import DiskTrouble
from agent.delivery.handover import HandOver
from agent.delivery.link import Message, Received
from agent.delivery.outbox import Outbox
from agent.delivery.presence import Standing
from agent.delivery.publisher import PubackCode, Pump, Rebuild, Send, Wait
from agent.delivery.topics import Identity
from agent.errors import MaskwatchError
from agent.events.envelope import CONTENT_TYPE, Stored, encode, is_historical

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Lane:
    """Belongs to the delivery thread. disk: what is wrong with reading the outbox."""

    def __init__(
        self,
        identity: Identity,
        outbox: Outbox,
        hand_over: HandOver,
        *,
        ack_mode: Literal["puback", "collector"],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._identity = identity
        self._outbox = outbox
        self._ack_mode = ack_mode
        self._clock = clock
        self._rng = rng
        self._collector = Collector(hand_over, outbox, clock)
        self._stream = outbox.stream
        self.disk = DiskTrouble(_log, "outbox.read", clock=clock, rng=rng)
        self.pump = self._new_pump()
        self.acknowledged = 0
        """Events acknowledged since the start."""

    @property
    def sentence(self) -> str:
        """What keeps events from getting through a connection, or an empty string."""
        return self._collector.sentence or self.pump.sentence

    @property
    def standing(self) -> Standing:
        box = self._outbox
        return Standing(stream=box.stream, acknowledged=box.acknowledged, backlog=box.backlog)

    def connected(self) -> None:
        """Begin to send, with what is not acknowledged."""
        self.pump.connected(self._clock.now_ns(), newest=self._outbox.last_sequence)

    def replay(self, first: int) -> int:
        """Send again what the outbox still holds from `first` on; gives the first sequence there is (0: none)."""
        held = self.from_disk(lambda: self._outbox.pending(first - 1, 1)) or []
        if held:
            self.pump.resend(self._clock.now_ns())
        return held[0].sequence if held else 0

    def send(
        self, publish: Callable[[Message, int], None], *, room: Callable[[], int], frames_coming: Callable[[], bool]
    ) -> int | Rebuild | None:
        """Send what the pump lets go, and tell when to ask again (None: when something happens) or to connect anew.

        publish: takes a message and its sequence. room: QoS 1 messages that the connection takes now.
        """
        while True:
            now_ns = self._clock.now_ns()
            move = self.pump.next(now_ns, newest=self._outbox.last_sequence, room=room(), frames_coming=frames_coming())
            match move:
                case Send(after=after, count=count):
                    rows = self.from_disk(partial(self._outbox.pending, after, count))
                    if not rows or self._outbox.stream != self._stream:
                        return self.disk.retry_ns or now_ns
                    for row in rows:
                        publish(self._message(row, now_ns), row.sequence)
                        self.pump.sent(row.sequence, now_ns)
                case Rebuild():
                    return move
                case Wait(until_ns=until_ns):
                    return until_ns

    def answered(self, sequence: int, code: int) -> None:
        """Take note of the broker's answer."""
        self.pump.answered(sequence, PubackCode.of(code), self._clock.now_ns())

    def hear(self, received: Received) -> None:
        """Take note of the collector's word."""
        if self._outbox.stream == self._stream:  # else the pump is of the old one
            self._collector.hear(received, self.pump)

    def acknowledge(self) -> None:
        """Tell the outbox what is done."""
        if self.pump.acknowledged > self._outbox.acknowledged and self._outbox.stream == self._stream:
            count = self.from_disk(lambda: self._outbox.acknowledge(self._stream, self.pump.acknowledged))
            self.acknowledged += count or 0

    def check_stream(self, *, is_up: bool) -> bool:
        """Begin anew with the pump when the outbox has begun a new stream; tells whether it has."""
        if self._outbox.stream == self._stream:
            return False
        self._stream = self._outbox.stream
        self.pump = self._new_pump()
        if is_up:
            self.connected()
        return True

    def from_disk(self, action: Callable[[], T]) -> T | None:
        """Run an action on the outbox; None when the disk fails, or has just failed."""
        if self.disk.is_resting:
            return None
        try:
            result = action()
        except MaskwatchError as error:
            self.disk.failed(error)
            return None
        self.disk.works()
        return result

    def _message(self, row: Stored, now_ns: int) -> Message:
        wall_ns = self._clock.wall_ns() if self._clock.trusted() else None
        historical = is_historical(row, boot_id=self._outbox.boot_id, now_ns=now_ns, wall_ns=wall_ns)
        payload = encode(row, source=self._identity.source, historical=historical)
        return Message(topic=self._identity.events, payload=payload, qos=1, content_type=CONTENT_TYPE)

    def _new_pump(self) -> Pump:
        return Pump(ack_mode=self._ack_mode, acknowledged=self._outbox.acknowledged, rng=self._rng)
