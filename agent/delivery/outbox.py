"""The outbox: every event is on the disk before it is sent, and stays until it is acknowledged."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self

from agent.clock import Clock
from agent.events.envelope import Stored
from agent.events.types import Event, PersonNew, PersonUpdate


class Outbox:
    """One stream of events in one SQLite file, owned by one thread of one process."""

    stream: str
    previous_stop: Literal["clean", "unclean", "none"]

    @classmethod
    def open(cls, directory: Path, *, clock: Clock, new_id: Callable[[], str], boot_id: str, quota_mb: float) -> Self:
        """Open the outbox in `directory`, making both if need be; set a damaged one aside and begin a new stream.

        Raises StorageError (disk full, read-only, broken; made by a newer release; used by another process) or
        NotPermittedError, one line each.
        """
        raise NotImplementedError

    def append(self, events: Sequence[Event]) -> None:
        """Store events in one durable transaction, deleting what was acknowledged since the last one.

        Raises StorageError; then none of them is stored and the call may be repeated.
        """
        raise NotImplementedError

    def pending(self, after_sequence: int = 0, limit: int = 20) -> list[Stored]:
        """Give the first unacknowledged events after a sequence, in order."""
        raise NotImplementedError

    def acknowledge(self, stream: str, up_to_sequence: int) -> int:
        """Take note that everything up to a sequence has arrived; gives how many events that were."""
        raise NotImplementedError

    def open_persons(self) -> list[PersonNew | PersonUpdate]:
        """Give the last word on each person whose end is not stored, in the order of their first event."""
        raise NotImplementedError

    @property
    def backlog(self) -> int:
        """Events stored and not acknowledged."""
        raise NotImplementedError

    @property
    def last_sequence(self) -> int:
        """The newest sequence given out; 0 before the first event."""
        raise NotImplementedError

    @property
    def session(self) -> int:
        """The number of the last connection; 0 before the first."""
        raise NotImplementedError

    def next_session(self) -> int:
        """Count a connection, durably, and give its number (from 1)."""
        raise NotImplementedError

    def close(self, *, clean: bool) -> None:
        """Close the file. clean: leave the mark of an orderly stop, for `previous_stop` of the next open."""
        raise NotImplementedError


def restart_ends(persons: Sequence[PersonNew | PersonUpdate], now_ns: int) -> list[Event]:
    """Give the person.end (reason restart) of everybody who was present when the agent died."""
    raise NotImplementedError
