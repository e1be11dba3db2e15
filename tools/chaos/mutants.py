"""Collectors that die, and one that is wrong: `python -m tools.chaos.mutants dying|careless` and a collector's words.

SIGUSR1 arms them: `dying` ends itself with SIGKILL after the commit and before anybody is answered, which must cost
nothing. `careless` answers before it commits, from what it has received, and then ends itself in the same way: the
events in between are lost, and the suite must say so.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from agent.events.state import Ack
from tools.fleet.collector.__main__ import main
from tools.fleet.collector.collector import Batch, Collector
from tools.fleet.collector.messages import Event
from tools.fleet.collector.store import Committed


class DyingCollector(Collector):
    """The collector as it is, with a moment to die in."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._armed = False
        signal.signal(signal.SIGUSR1, self._arm)

    def settle(self, batch: Batch) -> Committed:
        commit = self.store.commit

        def commit_and_die(messages: Any, **how: Any) -> Committed:
            committed = commit(messages, **how)
            self._die_if_armed(batch)
            return committed

        self.store.commit = commit_and_die  # type: ignore[method-assign]
        try:
            return super().settle(batch)
        finally:
            self.store.commit = commit  # type: ignore[method-assign]

    def _arm(self, *_: object) -> None:
        self._armed = True

    def _die_if_armed(self, batch: Batch) -> None:
        if self._armed and any(isinstance(message, Event) for message in batch.messages):
            os.kill(os.getpid(), signal.SIGKILL)


class CarelessCollector(DyingCollector):
    """Acknowledges what it has received, and commits afterwards."""

    def settle(self, batch: Batch) -> Committed:
        for event in batch.messages:
            if isinstance(event, Event):
                word = msgspec.json.encode(Ack(stream=event.stream, hwm=event.sequence))
                batch.broker.publish(f"maskwatch/{event.site}/{event.device}/ack", word)
        batch.broker.acknowledge(batch.receipts)
        self._die_if_armed(batch)
        return super().settle(batch)


def run(words: Sequence[str]) -> int:
    """Run one of them. Gives the exit code."""
    return main(words[1:], {"dying": DyingCollector, "careless": CarelessCollector}[words[0]])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
