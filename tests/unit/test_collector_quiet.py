"""When an instance begins to leave devices to a newcomer: once the broker has been silent since it was seen."""

import random
from typing import Any, cast

from agent.clock import NS_PER_S
from tests.delivery_parts import TurnedClock
from tools.fleet.collector.collector import Collector
from tools.fleet.collector.fleet import Division
from tools.fleet.collector.metrics import Metrics


class Feed:
    """A broker that delivers a message at each of some instants; to wait for one turns the clock."""

    is_up, shares, client_id = True, False, "collector"

    def __init__(self, clock: TurnedClock) -> None:
        self._clock = clock
        self.due_s: list[float] = []
        self._start_ns = clock.now_ns()

    @property
    def now_s(self) -> float:
        return (self._clock.now_ns() - self._start_ns) / NS_PER_S

    def wait(self, timeout_s: float) -> list[Any]:
        end_s = self.now_s + timeout_s
        if self.due_s and self.due_s[0] <= end_s:
            self._clock.turn(max(0.0, self.due_s.pop(0) - self.now_s))
            return [_Nothing()]
        self._clock.turn(timeout_s)
        return []


class _Nothing:
    topic, payload, receipt = "maskwatch/lab/cam1/other", b"", None


class Roll:
    """A fleet that another instance joins at an instant."""

    def __init__(self, feed: Feed, joins_s: float) -> None:
        self.division = Division("collector")
        self._feed = feed
        self._joins_s = joins_s

    def step(self, _main: Any, _settle: Any) -> None:
        self.division.heard({"collector", "collector-2"} if self._feed.now_s >= self._joins_s else {"collector"})


class _Store:
    def commit(self, _messages: Any, *, now_ms: int) -> Any:
        return _Committed()

    def attest(self, _instance: str, *, connected: bool, now_ms: int) -> None:
        pass


class _Committed:
    stored = duplicates = 0
    marks = conflicts = births = ()


def trusted_at_s(due_s: list[float], joins_s: float) -> float:
    """Give when the newcomer has become somebody to leave devices to; 10 s when it has not."""
    clock = TurnedClock()
    feed = Feed(clock)
    feed.due_s = due_s
    fleet = Roll(feed, joins_s)
    collector = Collector(
        broker=cast(Any, feed),
        store=cast(Any, _Store()),
        fleet=cast(Any, fleet),
        clock=clock,
        rng=random.Random(1),
        metrics=Metrics(),
    )
    collector._settle = lambda *_: None  # type: ignore[method-assign]
    joined = False
    while feed.now_s < 10:
        collector.step()
        joined = joined or bool(fleet.division.newcomers)
        if joined and not fleet.division.newcomers:
            return feed.now_s
    return 10.0


def test_a_silence_of_a_tenth_of_a_second_after_it_was_seen_is_enough() -> None:
    assert 1.0 < trusted_at_s([], joins_s=1.0) < 1.7


def test_a_silence_from_before_it_was_seen_does_not_count() -> None:
    every_fifty_ms_from_one_s_on = [1.0 + number / 20 for number in range(200)]

    assert trusted_at_s(every_fifty_ms_from_one_s_on, joins_s=0.99) == 10.0


def test_no_silence_is_missed_though_it_falls_into_two_waits() -> None:
    rounds = [start / 10 + more / 1000 for start in range(0, 100, 5) for more in range(0, 350, 50)]

    assert trusted_at_s(rounds, joins_s=2.0) < 3.0
