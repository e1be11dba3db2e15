"""The pump against a broker and a collector that do anything they may do, and then behave.

Whatever happens before, once they behave everything that is stored is delivered, in order, and acknowledged.
"""

import random
from typing import Literal

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from agent.clock import NS_PER_MS, NS_PER_S
from agent.delivery.publisher import LEAD, OUTCOMES, WINDOW, Outcome, PubackCode, Pump, Rebuild, Send, Wait

Mode = Literal["puback", "collector"]
REFUSALS = [code for code, outcome in OUTCOMES.items() if outcome in (Outcome.HOLD, Outcome.REBUILD)]


class World:
    """Rows on a disk, a pump, a connection, a broker, a collector."""

    def __init__(self, mode: Mode, *, rows: int = 0, holes: frozenset[int] = frozenset()) -> None:
        self.mode = mode
        self.rows = [sequence for sequence in range(1, rows + 1) if sequence not in holes]
        self.holes = set(holes)
        self.newest = max(self.rows, default=0)
        self.pump = Pump(ack_mode=mode, acknowledged=0, rng=random.Random(3))
        self.now_ns = 50 * NS_PER_S
        self.up = False
        self.flight: list[int] = []  # what the broker has to answer, in order
        self.taken: list[int] = []  # what the broker took, in order, doubles and all
        self.stored: set[int] = set()  # what the collector has
        self.passes: list[list[int]] = []  # what was sent, one list a pass
        self.acknowledged = 0
        self.frames_coming = False

    def append(self, count: int) -> None:
        self.rows += range(self.newest + 1, self.newest + 1 + count)
        self.newest += count

    def connect(self) -> None:
        self.up = True
        self.passes.append([])
        self.pump.connected(self.now_ns, newest=self.newest)

    def disconnect(self) -> None:
        self.up = False
        self.flight.clear()
        self.pump.disconnected()

    def run(self) -> Wait | None:
        """Do what the pump says until it waits; None when it gave the connection up."""
        while True:
            move = self.pump.next(self.now_ns, newest=self.newest, room=WINDOW, frames_coming=self.frames_coming)
            if isinstance(move, Wait):
                return move
            if isinstance(move, Rebuild):
                self.disconnect()
                return None
            self.send(move)

    def send(self, move: Send) -> None:
        assert move.count >= 1
        rows = [row for row in self.rows if row > max(move.after, self.pump.acknowledged)][: move.count]
        assert rows, (move, self.newest)
        for row in rows:
            last = self.passes[-1][-1] if self.passes[-1] else 0
            if row <= last:  # a new pass: it begins at the first row that is not acknowledged
                assert row == min(row for row in self.rows if row > self.pump.acknowledged)
                self.passes.append([])
                last = 0
            owed = [other for other in self.rows if max(last, self.pump.acknowledged) < other < row]
            assert not last or not owed, "skipped"
            assert row not in self.flight
            self.passes[-1].append(row)
            self.flight.append(row)
            assert len(self.flight) <= WINDOW
            self.pump.sent(row, self.now_ns)

    def answer(self, code: PubackCode = PubackCode.SUCCESS, *, dropped: bool = False) -> None:
        """Let the broker answer its oldest row. dropped: it takes the row and loses it."""
        if not self.flight:
            return
        row = self.flight.pop(0)
        if OUTCOMES[code] is Outcome.TAKEN:
            self.taken.append(row)
            if not dropped:
                self.stored.add(row)
        self.pump.answered(row, code, self.now_ns)
        self.check()

    def collect(self) -> None:
        """Let the collector say how far it has everything, as it would: holes are named once all is there."""
        mark = 0
        while mark + 1 in self.stored or (mark + 1 in self.holes and self.newest in self.stored):
            mark += 1
        self.pump.collected(mark, self.now_ns, newest=self.newest)
        self.check()

    def check(self) -> None:
        assert self.pump.acknowledged >= self.acknowledged
        self.acknowledged = self.pump.acknowledged
        done = set(self.taken) if self.mode == "puback" else self.stored
        assert all(row in done for row in self.rows if row <= self.acknowledged)

    def behave(self) -> None:
        """From now on all goes well; it has to end with everything acknowledged, in a number of steps with a bound."""
        for _ in range(20_000):
            if self.pump.acknowledged == self.newest:
                return
            if not self.up:
                self.connect()
            wait = self.run()
            while self.flight:
                self.answer()
            if self.mode == "collector":
                self.collect()
            if wait is not None and wait.until_ns is not None:
                self.now_ns = max(self.now_ns, wait.until_ns)
            self.now_ns += NS_PER_MS
        raise AssertionError((self.pump.acknowledged, self.newest, self.pump.sentence))


faults = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40)),
        st.tuples(st.just("answer"), st.integers(1, 25)),
        st.tuples(st.just("drop"), st.integers(1, 5)),
        st.tuples(st.just("refuse"), st.sampled_from(REFUSALS)),
        st.tuples(st.just("unheard"), st.integers(1, 3)),
        st.tuples(st.just("disconnect"), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([1, 50, 1000, 11_000, 40_000, 4_000_000])),
        st.tuples(st.just("collect"), st.just(0)),
        st.tuples(st.just("frames"), st.just(0)),
        st.tuples(st.just("resend"), st.just(0)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("mode", ["puback", "collector"])
@settings(max_examples=150, deadline=None)
@given(script=faults, rows=st.integers(0, 60), holes=st.frozensets(st.integers(2, 40), max_size=30))
def test_after_any_faults_everything_is_delivered_in_order(
    mode: Mode, script: list[tuple[str, int]], rows: int, holes: frozenset[int]
) -> None:
    world = World(mode, rows=rows, holes=frozenset(hole for hole in holes if hole < rows))
    for action, value in script:
        if not world.up:
            world.connect()
        world.run()
        match action:
            case "append":
                world.append(value)
            case "answer" | "drop" | "unheard":
                code = PubackCode.NO_MATCHING_SUBSCRIBERS if action == "unheard" else PubackCode.SUCCESS
                if action == "unheard" and mode == "puback":
                    code = PubackCode.SUCCESS  # it counts as taken, and nothing else is to be seen
                for _ in range(value):
                    world.answer(code, dropped=action == "drop" and mode == "collector")
            case "refuse":
                world.answer(PubackCode(value))
            case "disconnect":
                world.disconnect()
            case "wait":
                world.now_ns += value * NS_PER_MS
            case "collect" if mode == "collector":
                world.collect()
            case "frames":
                world.frames_coming = not world.frames_coming
            case "resend":
                world.pump.resend(world.now_ns)
    world.behave()
    done = set(world.taken) if mode == "puback" else world.stored
    assert set(world.rows) <= done
    firsts = list(dict.fromkeys(world.taken))
    if not any(action in ("refuse", "unheard", "drop") for action, _ in script):
        assert firsts == sorted(firsts)


@settings(max_examples=50, deadline=None)
@given(rows=st.integers(1, 400), every_ms=st.integers(1, 30))
def test_while_frames_come_no_second_sees_more_than_the_cap(rows: int, every_ms: int) -> None:
    world = World("puback", rows=rows)
    world.frames_coming = True
    world.connect()
    sent_ns: list[int] = []
    while world.pump.acknowledged < rows:
        before = sum(map(len, world.passes))
        world.run()
        sent_ns += [world.now_ns] * (sum(map(len, world.passes)) - before)
        while world.flight:
            world.answer()
        world.now_ns += every_ms * NS_PER_MS
    for index, first_ns in enumerate(sent_ns):
        within = sum(first_ns <= instant_ns < first_ns + NS_PER_S for instant_ns in sent_ns[index:])
        assert within <= 200 + 4


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 2500),
    script=st.lists(
        st.one_of(
            st.tuples(st.just("commit"), st.integers(1, 700)),
            st.tuples(st.just("wait"), st.sampled_from([10, 29_000, 31_000, 4_000_000])),
            st.tuples(st.just("reconnect"), st.just(0)),
        ),
        max_size=40,
    ),
)
def test_no_collector_is_sent_more_than_it_may_be_behind(rows: int, script: list[tuple[str, int]]) -> None:
    world = World("collector", rows=rows)
    spoken = 0  # the number of passes when it last said a word
    for action, value in script:
        if not world.up:
            world.connect()
        world.run()
        while world.flight:
            world.pump.answered(world.flight.pop(0), PubackCode.SUCCESS, world.now_ns)
            world.run()
        ahead = [row for row in world.passes[-1] if row > world.pump.acknowledged]
        assert len(ahead) <= (LEAD if spoken == len(world.passes) else WINDOW)
        match action:
            case "commit":
                newest = max(world.passes[-1], default=0)
                mark = min(world.pump.acknowledged + value, newest)
                if mark > world.pump.acknowledged:
                    world.pump.collected(mark, world.now_ns, newest=world.newest)
                    spoken = len(world.passes)
            case "wait":
                world.now_ns += value * NS_PER_MS
            case "reconnect":
                world.disconnect()
