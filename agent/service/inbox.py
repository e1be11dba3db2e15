"""What the supervisor hears from threads, signals and the broker: values in one queue, read by one thread."""

import queue
from typing import Literal

import msgspec

from agent.delivery.delivery import Delivery, Request
from agent.errors import MaskwatchError
from agent.events.types import PersonNew, PersonUpdate


class StopAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants the agent to end: a signal, a command. exit_code: what the process is to say then."""

    reason: str
    exit_code: int = 0


class Over(msgspec.Struct, frozen=True, kw_only=True):
    """The medium is over; every frame of it has been worked on."""

    damage: MaskwatchError | None


class Died(msgspec.Struct, frozen=True, kw_only=True):
    """A thread has ended that should not have."""

    thread: str
    error: BaseException


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """The outbox is open. open_persons: who was present when the run before ended without a stop."""

    delivery: Delivery
    stream: str
    previous_stop: Literal["clean", "unclean", "none"]
    open_persons: list[PersonNew | PersonUpdate]


class Commanded(msgspec.Struct, frozen=True, kw_only=True):
    """A command came from the broker."""

    request: Request


News = StopAsked | Over | Died | Opened | Commanded


class Inbox:
    """The queue; `put` may be called from signal handlers too (queue.SimpleQueue is made for that)."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[News] = queue.SimpleQueue()

    def put(self, news: News) -> None:
        self._queue.put(news)

    def take(self, timeout_s: float) -> News | None:
        """Give the next news, or None when there was none in time."""
        try:
            return self._queue.get(timeout=timeout_s)
        except queue.Empty:
            return None
