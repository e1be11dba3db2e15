"""The way in: events from the hand-over to the disk, in groups, whatever the disk does."""

import logging
import random
from collections import Counter

from agent.clock import NS_PER_MS, Clock
from agent.delivery.disk import DiskTrouble
from agent.delivery.handover import CAPACITY, HandOver
from agent.delivery.outbox import APPEND_MAX, Outbox
from agent.errors import MaskwatchError
from agent.events.types import Event

_log = logging.getLogger(__name__)

# A commit costs two blocks of the card however much it holds: at 100 events/s a group of 25 ms is three events, and
# 2.8 kB an event (20 ms: two, 4.2 kB). With the commit and the way to a subscriber it stays below 50 ms.
GROUP_NS = 25 * NS_PER_MS


class Intake:
    """Stores what is handed over: at once when the last commit is long ago, else in groups.

    A disk that takes nothing is tried again with back-off; meanwhile events wait here, as many as fit in a hand-over,
    then the oldest are given up and counted, and named in a `gap` as soon as there is a disk again.
    """

    def __init__(
        self, hand_over: HandOver, outbox: Outbox, *, clock: Clock, rng: random.Random, waiting_max: int = CAPACITY
    ) -> None:
        self._hand_over = hand_over
        self._outbox = outbox
        self._clock = clock
        self._waiting_max = waiting_max
        self._waiting: list[Event] = []
        self._since_ns = 0  # when the first of them came
        self._committed_ns = clock.now_ns() - GROUP_NS
        self._lost: Counter[str] = Counter()
        self.disk = DiskTrouble(_log, "outbox.write", clock=clock, rng=rng)
        self.stored = 0
        """Events stored since the start."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self._hand_over)

    @property
    def due_ns(self) -> int | None:
        """When the next group has to be stored; None while nothing waits."""
        if not self._waiting and not self._lost:
            return None
        if self.disk.retry_ns is not None:
            return self.disk.retry_ns
        if self._since_ns - self._committed_ns >= GROUP_NS or len(self._waiting) >= APPEND_MAX:
            return self._since_ns
        return self._since_ns + GROUP_NS

    def step(self, *, hurry: bool = False) -> None:
        """Take what was handed over, and store it if it is due. hurry: it is."""
        self.disk.hindered(self._outbox.hindrance())
        now_ns = self._clock.now_ns()
        taken = self._hand_over.take()
        if taken and not self._waiting:
            self._since_ns = now_ns
        self._waiting.extend(taken)
        due_ns = self.due_ns
        if due_ns is not None and (now_ns >= due_ns or (hurry and self.disk.retry_ns is None)):
            self._store()

    def _store(self) -> None:
        try:
            if self._lost:
                self._outbox.append_loss(self._lost)
                self._lost.clear()
            while self._waiting:
                group = self._waiting[:APPEND_MAX]
                self._outbox.append(group)
                del self._waiting[: len(group)]
                self.stored += len(group)
        except MaskwatchError as error:
            self.disk.failed(error)
            self._give_up()
        else:
            self.disk.works()
        self._committed_ns = self._clock.now_ns()

    def _give_up(self) -> None:
        too_many = len(self._waiting) - self._waiting_max
        if too_many > 0:
            self._lost.update(event.type for event in self._waiting[:too_many])
            del self._waiting[:too_many]
