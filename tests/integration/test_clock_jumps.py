"""The whole delivery under clocks that nobody set, that are set late, that jump by years, and that were asleep.

Order and age come from the sequence and from monotonic time; wall time is a label, and only where it can be believed.
"""

import itertools
import random
from pathlib import Path

import msgspec
import pytest

from agent.clock import NS_PER_MS, NS_PER_S
from agent.delivery.link import Message, Refused, Trouble
from agent.delivery.reconnect import Reconnect
from agent.events.envelope import Envelope, decode, timestamp
from agent.events.types import EventData
from tests.delivery_parts import IDENTITY, Parts, ScriptedLink, TurnedClock, counted, make_parts

TWO_YEARS_S = 2 * 365 * 86_400
_1970_S = -1_800_000_000


class TimedLink(ScriptedLink):
    """Notes when it was given each event."""

    def __init__(self, clock: TurnedClock) -> None:
        super().__init__()
        self._clock = clock
        self.sent_ns: list[int] = []

    def publish(self, message: Message) -> int:
        if message.topic == IDENTITY.events:
            self.sent_ns.append(self._clock.now_ns())
        return super().publish(message)


class Board:
    """A delivery with a scripted link; each event tells its number."""

    def __init__(self, directory: Path, clock: TurnedClock) -> None:
        self.clock = clock
        self.link = TimedLink(clock)
        self.parts: Parts = make_parts(directory, self.link, clock)
        self.numbers = 0

    def tell(self, count: int = 1) -> None:
        """Let events happen, a second between them, and be sent if there is a connection."""
        for _ in range(count):
            self.parts.hand_over.put([counted(self.numbers, self.clock.now_ns())])
            self.numbers += 1
            self.clock.turn(1.0)
            for _ in range(3):
                self.parts.delivery.step(0)

    def step(self, seconds: float, count: int = 1) -> None:
        for _ in range(count):
            self.clock.turn(seconds)
            self.parts.delivery.step(0)

    @property
    def sent(self) -> list[Envelope[EventData]]:
        return [decode(payload) for payload in self.link.on(IDENTITY.events)]


def numbers(events: list[Envelope[EventData]]) -> list[int]:
    return [event.data.frames for event in events]  # type: ignore[union-attr]


def assert_in_order(events: list[Envelope[EventData]]) -> None:
    assert [int(event.sequence) for event in events] == list(range(1, len(events) + 1))
    monos_ms = [int(event.monoms) for event in events]
    assert monos_ms == sorted(monos_ms)


def test_a_board_that_boots_in_1970_tells_no_time_until_the_network_has_given_it_one(tmp_path: Path) -> None:
    clock = TurnedClock(trusted=False)
    clock.jump(_1970_S)
    board = Board(tmp_path, clock)
    board.tell(5)
    clock.jump(-_1970_S)
    board.tell(2)  # it is right now, but nobody has said so
    clock.is_trusted = True
    board.tell(3)
    events = board.sent
    assert_in_order(events)
    assert [event.timeok for event in events] == [False] * 7 + [True] * 3
    assert all(event.time is event.recordedtime is msgspec.UNSET for event in events[:7])
    happened_ns = 1_800_000_000 * NS_PER_S + 7 * NS_PER_S
    assert [event.time for event in events[7:]] == [timestamp(happened_ns + n * NS_PER_S) for n in range(3)]
    assert not any(event.historical for event in events)


def test_what_was_stored_without_a_time_stays_without_one_and_is_history_by_its_age(tmp_path: Path) -> None:
    clock = TurnedClock(trusted=False)
    board = Board(tmp_path, clock)
    board.link.accepts = False
    board.tell(50)
    board.link.news.append(Refused(trouble=Trouble.REFUSED, sentence="nobody there"))
    board.step(0.1)
    clock.jump(TWO_YEARS_S)
    clock.is_trusted = True
    board.link.accepts = True
    board.tell(50)
    board.step(0.5, 200)
    events = board.sent
    assert_in_order(events)
    assert numbers(events) == list(range(100))
    without = [event for event in events if event.time is msgspec.UNSET]
    assert numbers(without) == list(range(50))
    fresh = [event.historical for event in events]
    assert fresh == sorted(fresh, reverse=True)  # by age alone


@pytest.mark.parametrize("years_s", [TWO_YEARS_S, -TWO_YEARS_S])
def test_a_jump_of_two_years_moves_nothing_but_the_label(tmp_path: Path, years_s: int) -> None:
    clock = TurnedClock()
    board = Board(tmp_path, clock)
    board.tell(5)
    clock.jump(years_s)
    board.tell(5)
    clock.jump(-years_s)
    board.tell(5)
    events = board.sent
    assert_in_order(events)
    monos_ms = [int(event.monoms) for event in events]
    assert [after - before for before, after in itertools.pairwise(monos_ms)] == [1000] * 14
    assert not any(event.historical for event in events)
    year = [str(event.time)[:4] for event in events]
    assert year == ["2027"] * 5 + [str(2027 + (2 if years_s > 0 else -2))] * 5 + ["2027"] * 5
    assert board.link.attempts == 1  # and nobody reconnects for it


@pytest.mark.parametrize("years_s", [TWO_YEARS_S, -TWO_YEARS_S])
def test_a_jump_while_the_broker_is_away_changes_neither_order_nor_age(tmp_path: Path, years_s: int) -> None:
    clock = TurnedClock()
    board = Board(tmp_path, clock)
    board.tell(1)
    board.step(0.1, 3)
    board.link.accepts = False
    board.link.lose()
    board.step(0.1, 3)
    board.tell(100)
    clock.jump(years_s)
    board.tell(20)
    board.link.accepts = True
    board.link.news.append(Refused(trouble=Trouble.REFUSED, sentence="nobody there"))
    board.step(1.0, 12)
    events = board.sent
    assert_in_order(events)
    assert numbers(events) == list(range(121))
    ages_ms = [
        sent_ns // NS_PER_MS - int(event.monoms) for sent_ns, event in zip(board.link.sent_ns, events, strict=True)
    ]
    assert [event.historical for event in events] == [age_ms > 60_000 for age_ms in ages_ms]
    assert {event.historical for event in events} == {True, False}


@pytest.mark.parametrize("years_s", [0, TWO_YEARS_S, -TWO_YEARS_S])
def test_after_a_reboot_with_a_clock_that_lies_the_order_is_that_of_the_sequence(tmp_path: Path, years_s: int) -> None:
    clock = TurnedClock()
    board = Board(tmp_path, clock)
    board.link.accepts = False
    board.tell(5)
    board.parts.outbox.close(clean=False)
    again = TurnedClock()  # monotonic time begins anew; twenty seconds have passed
    again.jump(clock.wall_ns() / NS_PER_S - again.wall_ns() / NS_PER_S + 20 + years_s)
    next_board = Board(tmp_path, again)
    next_board.parts.outbox.boot_id = "cd" * 16
    next_board.numbers = 5
    next_board.tell(5)
    next_board.step(0.5, 20)
    events = next_board.sent
    assert [int(event.sequence) for event in events] == list(range(1, 11))
    assert numbers(events) == list(range(10))
    of_before = [event.historical for event in events[:5]]
    assert of_before == ([False] * 5 if years_s == 0 else [True] * 5)  # one clock was wrong: nobody knows their age
    assert not any(event.historical for event in events[5:])


def test_a_suspended_board_connects_anew_and_resends_what_was_on_its_way(tmp_path: Path) -> None:
    clock = TurnedClock()
    board = Board(tmp_path, clock)
    board.tell(3)
    board.link.auto = False
    board.tell(2)
    board.link.auto = True
    clock.turn(3600.0)  # monotonic time counts through a suspend; the broker gave us up meanwhile
    board.step(0.0)
    assert board.parts.delivery.figures.trouble is Trouble.TIMEOUT
    assert board.parts.delivery.figures.sentence == "asleep for 3600 s"
    board.step(0.2, 51)  # ten seconds, over which a fleet spreads itself
    board.tell(1)
    assert board.link.attempts == 2
    events = {event.id: event for event in board.sent}.values()
    assert_in_order(list(events))
    assert len(events) == 6
    assert board.parts.delivery.figures.backlog == 0
    assert [event.historical for event in board.sent][-3:] == [True, True, False]


def test_a_nap_shorter_than_the_brokers_patience_costs_no_connection(tmp_path: Path) -> None:
    clock = TurnedClock()
    board = Board(tmp_path, clock)
    board.tell(1)
    board.step(89.0)
    board.tell(1)
    assert board.link.attempts == 1


def test_a_certificate_that_only_our_clock_finds_wrong_is_shown_again_as_soon_as_that_clock_is_set() -> None:
    clock = TurnedClock(trusted=False)
    reconnect = Reconnect(clock, random.Random(1))
    for _ in range(10):  # by now it waits for minutes
        reconnect.begun()
        reconnect.failed(Trouble.TLS_NOT_YET_VALID, "not valid yet; is this board's clock right?")
    due = [reconnect.is_due]
    clock.is_trusted = True
    due.append(reconnect.is_due)
    reconnect.begun()
    due.append(reconnect.is_due)
    reconnect.failed(Trouble.TLS_NOT_YET_VALID, "not valid yet")  # so it is the certificate
    due.append(reconnect.is_due)
    clock.is_trusted = False
    reconnect.begun()
    reconnect.failed(Trouble.CREDENTIALS, "wrong password")
    clock.is_trusted = True
    due.append(reconnect.is_due)
    assert due == [False, True, False, False, False]
