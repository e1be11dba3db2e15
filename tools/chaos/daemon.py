"""`maskwatch run` as it is, but for an outbox that tells a ledger on stdout what it stores (tools.chaos.ledger).

`python -m tools.chaos.daemon run --set ...`: the words are maskwatch's own.
"""

import sys
from collections.abc import Sequence
from typing import Any, Self
from unittest.mock import patch

from agent.cli.main import main
from agent.clock import SystemClock
from agent.events.types import Event
from tools.chaos.ledger import Begun, Handed, Told
from tools.chaos.producer import LedgerOutbox, Teller


class DaemonOutbox(LedgerOutbox):
    """The ledger's outbox for a process that hands events over by itself: they are told when they are taken."""

    tell = Teller()
    real_ns = SystemClock().now_ns

    @classmethod
    def open(cls, *where: Any, **how: Any) -> Self:
        outbox = super().open(*where, **how)
        begun = Begun(
            stream=outbox.stream,
            sequence=outbox.last_sequence,
            previous_stop=outbox.previous_stop,
            at_ns=outbox.real_ns(),
        )
        outbox.tell(begun)
        return outbox

    def append(self, events: Sequence[Event]) -> None:
        self.tell(Handed(count=len(events), at_ns=self.real_ns()))
        super().append(events)

    def acknowledge(self, stream: str, up_to_sequence: int) -> int:
        count = super().acknowledge(stream, up_to_sequence)
        self.tell(
            Told(
                stream=self.stream,
                sequence=self.last_sequence,
                acknowledged=self.acknowledged,
                backlog=self.backlog,
                connected=True,
                trouble="",
                storage="",
            )
        )
        return count


if __name__ == "__main__":
    with patch("agent.service.wiring.Outbox", DaemonOutbox):
        sys.exit(main(sys.argv[1:]))
