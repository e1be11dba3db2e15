"""The hand-over: a bounded list between the vision thread, which never waits for a disk, and the delivery thread."""

import contextlib
import os
import select
import threading
from collections.abc import Sequence

from agent.events.types import Event

# 100 events/s (the burst of the budgets) for 100 s: a card that takes that long to write has stalled for good.
# An event in memory is about 1 kB, so a full hand-over is 10 MB of the 110 MB that the agent may use.
CAPACITY = 10_000


class HandOverFull(Exception):
    """Nobody has taken events for minutes: delivery has stalled, and its supervisor decides what that means."""


class HandOver:
    """Events on their way to the outbox, in the order in which they were put; any thread may put, one takes.

    `wake` and `fileno` let the taker wait for events and for sockets in one select(2).
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._events: list[Event] = []
        self._lock = threading.Lock()
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def put(self, events: Sequence[Event]) -> None:
        """Hand over events; all of them or, when they do not fit, none.

        Raises HandOverFull.
        """
        if not events:
            return
        with self._lock:
            if len(self._events) + len(events) > self._capacity:
                raise HandOverFull(f"{len(self._events)} events wait and nobody takes them")
            self._events.extend(events)
        self.wake()

    def take(self, timeout_s: float = 0.0) -> list[Event]:
        """Take all there is, waiting up to `timeout_s` for the first; empty when none came or `wake` was called."""
        if timeout_s > 0:
            select.select([self], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):  # nothing was put and nobody woke us
            os.eventfd_read(self._ready)
        with self._lock:
            events, self._events = self._events, []
        return events

    def wake(self) -> None:
        """End the taker's wait, from any thread, whether or not there are events."""
        os.eventfd_write(self._ready, 1)

    def fileno(self) -> int:
        """Give the descriptor that is readable when there is something to take."""
        return self._ready

    def __len__(self) -> int:
        return len(self._events)

    def close(self) -> None:
        """Give the descriptor back; nothing may be put or taken afterwards."""
        os.close(self._ready)
