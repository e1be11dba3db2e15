"""The outbox against a plain list, through appends, acknowledgements, orderly stops and crashes in any order."""

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from agent.delivery.outbox import Outbox
from agent.events.types import Event
from tests.delivery_parts import came, changed, counted, open_outbox, went

PERSONS = ("aa-1", "aa-2", "aa-3")


class OutboxAndList(RuleBasedStateMachine):
    """rows: all that was ever stored. acked and kept: what is acknowledged, in memory and on the disk."""

    outbox: Outbox

    @initialize()
    def begin(self) -> None:
        # in memory where it can be: thousands of commits, and what is looked for is not the disk
        self.directory = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.outbox = open_outbox(self.directory)
        self.stream = self.outbox.stream
        self.rows: list[Event] = []
        self.acked = 0
        self.kept = 0
        self.sessions = 0
        self.present: list[str] = []

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close(clean=False)
            shutil.rmtree(self.directory)

    @rule(actions=st.lists(st.sampled_from(["count", *PERSONS]), min_size=1, max_size=8), leave=st.booleans())
    def append(self, actions: list[str], leave: bool) -> None:
        events = []
        for action in actions:
            if action == "count":
                events.append(counted(len(self.rows) + len(events)))
            elif action not in self.present:
                events.append(came(action))
                self.present.append(action)
            else:
                events.append(went(action) if leave else changed(action))
                self.present.remove(action)
                if not leave:
                    self.present.append(action)
        self.outbox.append(events)
        self.rows += events
        self.kept = self.acked

    @rule(part=st.sampled_from([0.0, 0.3, 0.7, 1.0, 1.0]), beyond=st.sampled_from([0, 0, 0, 1, -100]))
    def acknowledge(self, part: float, beyond: int) -> None:
        up_to = self.acked + int(part * (len(self.rows) - self.acked)) + beyond
        expected = up_to - self.acked if self.acked < up_to <= len(self.rows) else 0
        assert self.outbox.acknowledge("0ther", up_to) == 0
        assert self.outbox.acknowledge(self.stream, up_to) == expected
        self.acked += expected

    @rule()
    def connect(self) -> None:
        self.sessions += 1
        assert self.outbox.next_session() == self.sessions

    @rule()
    def crash(self) -> None:
        self.outbox.close(clean=False)
        self.outbox = open_outbox(self.directory)
        assert self.outbox.previous_stop == "unclean"
        self.acked = self.kept

    @rule()
    def stop_and_start(self) -> None:
        self.outbox.close(clean=True)
        self.outbox = open_outbox(self.directory)
        assert self.outbox.previous_stop == "clean"
        self.kept = self.acked

    @rule(after=st.integers(min_value=0, max_value=60), limit=st.integers(min_value=1, max_value=20))
    def look(self, after: int, limit: int) -> None:
        first = max(after, self.acked)
        found = self.outbox.pending(after, limit)
        assert [row.sequence for row in found] == list(range(first + 1, len(self.rows) + 1))[:limit]
        assert [row.type for row in found] == [self.rows[row.sequence - 1].type for row in found]

    @invariant()
    def they_agree(self) -> None:
        if hasattr(self, "outbox"):
            assert self.outbox.stream == self.stream
            assert self.outbox.last_sequence == len(self.rows)
            assert self.outbox.backlog == len(self.rows) - self.acked
            assert [last.person for last in self.outbox.open_persons()] == self.present


TestOutboxAndList = OutboxAndList.TestCase
TestOutboxAndList.settings = settings(max_examples=250, stateful_step_count=30, deadline=None)
