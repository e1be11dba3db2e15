"""When a connection is tried again: back-off by cause, what counts as a success, and a clock that is set meanwhile."""

import random

import pytest

from agent.backoff import Backoff
from agent.clock import NS_PER_S
from agent.delivery.link import Trouble
from agent.delivery.reconnect import Reconnect
from tests.delivery_parts import TurnedClock

SLOW = {
    Trouble.TLS_UNKNOWN_CA,
    Trouble.TLS_EXPIRED,
    Trouble.TLS_NOT_YET_VALID,
    Trouble.TLS_HOST_NAME,
    Trouble.TLS_CLIENT_CERTIFICATE,
    Trouble.TLS_OTHER,
    Trouble.CREDENTIALS,
    Trouble.NOT_AUTHORISED,
    Trouble.PROTOCOL_VERSION,
    Trouble.CLIENT_ID,
    Trouble.TAKEN_OVER,
}


def made(clock: TurnedClock, seed: int = 1) -> Reconnect:
    return Reconnect(clock, random.Random(seed))


def wait_s(reconnect: Reconnect, clock: TurnedClock) -> float:
    assert reconnect.due_ns is not None
    return (reconnect.due_ns - clock.now_ns()) / NS_PER_S


def said(reconnect: Reconnect) -> tuple[Trouble | None, str, int | None]:
    return reconnect.trouble, reconnect.sentence, reconnect.up_since_ns


def live(reconnect: Reconnect, clock: TurnedClock, seconds: float, trouble: Trouble) -> None:
    reconnect.begun()
    reconnect.succeeded()
    clock.turn(seconds)
    reconnect.failed(trouble, "why")


def test_the_first_attempt_is_due_at_once_and_has_forty_seconds() -> None:
    clock = TurnedClock()
    reconnect = made(clock)
    seen = [(reconnect.is_due, reconnect.connecting, reconnect.overdue())]
    reconnect.begun()
    for seconds in (0, 39.999, 0.001):
        clock.turn(seconds)
        seen.append((reconnect.is_due, reconnect.connecting, reconnect.overdue()))
    assert seen == [(True, False, False), (False, True, False), (False, True, False), (True, True, True)]


def test_a_connection_has_nothing_due_and_no_trouble() -> None:
    clock = TurnedClock()
    reconnect = made(clock)
    reconnect.begun()
    reconnect.failed(Trouble.REFUSED, "nobody there")
    assert said(reconnect) == (Trouble.REFUSED, "nobody there", None)
    clock.turn(1.0)
    reconnect.begun()
    reconnect.succeeded()
    assert said(reconnect) == (None, "", clock.now_ns())
    assert reconnect.due_ns is None
    assert not any((reconnect.is_due, reconnect.connecting, reconnect.overdue()))


@pytest.mark.parametrize("trouble", list(Trouble))
def test_what_somebody_has_to_mend_is_tried_seldom_and_anything_else_soon(trouble: Trouble) -> None:
    firsts, longest = [], 0.0
    for seed in range(200):
        clock = TurnedClock()
        reconnect = made(clock, seed)
        reconnect.begun()
        reconnect.failed(trouble, "why")
        firsts.append(wait_s(reconnect, clock))
        for _ in range(40):
            reconnect.begun()
            reconnect.failed(trouble, "why")
            longest = max(longest, wait_s(reconnect, clock))
    bounds = (5.0, 10.0, 300.0) if trouble in SLOW else (0.2, 1.0, 60.0)
    assert bounds[0] <= min(firsts) < 1.1 * bounds[0]
    assert 0.95 * bounds[1] < max(firsts) <= bounds[1]
    assert 0.997 * bounds[2] < longest <= bounds[2]


@pytest.mark.parametrize("trouble", [Trouble.CREDENTIALS, Trouble.REFUSED])
def test_a_minute_of_life_ends_the_back_off_and_less_does_not(trouble: Trouble) -> None:
    waits = {}
    for lived_s in (59.9, 60.0):
        waits[lived_s] = 0.0
        for seed in range(50):
            clock = TurnedClock()
            reconnect = made(clock, seed)
            for _ in range(9):
                reconnect.begun()
                reconnect.failed(trouble, "why")
            live(reconnect, clock, lived_s, trouble)
            waits[lived_s] = max(waits[lived_s], wait_s(reconnect, clock))
    assert waits[60.0] <= 10.0
    assert waits[59.9] > 40.0


def test_three_short_lives_that_the_broker_ended_are_a_fight_over_the_client_id() -> None:
    clock = TurnedClock()
    reconnect = made(clock)
    seen = []
    for seconds in (5.0, 59.9, 5.0, 5.0, 60.0, 5.0, 5.0, 5.0):
        live(reconnect, clock, seconds, Trouble.CLOSED)
        seen.append(reconnect.trouble is Trouble.TAKEN_OVER)
        assert ("does another client use this device's id?" in reconnect.sentence) == seen[-1]
    assert seen == [False, False, True, True, False, False, False, True]


def test_an_end_that_has_its_reason_is_no_fight_and_an_attempt_that_is_cut_off_is_none_either() -> None:
    clock = TurnedClock()
    reconnect = made(clock)
    for _ in range(5):
        live(reconnect, clock, 5.0, Trouble.MESSAGE_REFUSED)
    live(reconnect, clock, 5.0, Trouble.CLOSED)
    live(reconnect, clock, 5.0, Trouble.CLOSED)
    for _ in range(3):
        reconnect.begun()
        reconnect.failed(Trouble.CLOSED, "hung up without an answer")
        assert reconnect.trouble is Trouble.CLOSED
    live(reconnect, clock, 5.0, Trouble.CLOSED)
    assert reconnect.trouble is Trouble.TAKEN_OVER


def test_the_wait_is_anything_between_its_bounds_and_a_thousand_failures_do_not_overflow_it() -> None:
    backoff = Backoff(random.Random(3), shortest_s=1.0, first_s=4.0, longest_s=100.0)
    assert backoff.failures == 0
    firsts = []
    for _ in range(300):
        backoff.reset()
        firsts.append(backoff.next_ns() / NS_PER_S)
    assert backoff.failures == 1
    assert 1.0 <= min(firsts) < 1.1
    assert 3.9 < max(firsts) <= 4.0
    seconds = []
    for _ in range(300):
        backoff.reset()
        backoff.next_ns()
        seconds.append(backoff.next_ns() / NS_PER_S)
    assert 7.8 < max(seconds) <= 8.0
    many = [backoff.next_ns() / NS_PER_S for _ in range(2000)]
    assert 99.0 < max(many) <= 100.0
    assert backoff.failures == 2002


def test_a_shortest_wait_above_the_first_limit_is_the_wait() -> None:
    assert Backoff(random.Random(1), shortest_s=2.0, first_s=1.0, longest_s=60.0).next_ns() == 2 * NS_PER_S


def test_boards_that_lose_a_broker_of_long_standing_come_back_spread_over_ten_seconds() -> None:
    firsts_s, seconds_s = [], []
    for seed in range(400):
        clock = TurnedClock()
        reconnect = made(clock, seed)
        live(reconnect, clock, 60.0, Trouble.CLOSED)
        firsts_s.append(wait_s(reconnect, clock))
        reconnect.begun()
        reconnect.failed(Trouble.REFUSED, "not there yet")
        seconds_s.append(wait_s(reconnect, clock))
    for waits_s in (firsts_s, seconds_s):
        in_tenths = [sum(tenth <= wait < tenth + 1 for wait in waits_s) for tenth in range(10)]
        assert sum(in_tenths) == 400
        assert max(waits_s) > 9.5
        assert max(in_tenths) < 65  # of 40 that are expected in each second


def test_a_board_that_has_just_come_tries_again_within_a_second() -> None:
    for seed in range(50):
        clock = TurnedClock()
        reconnect = made(clock, seed)
        live(reconnect, clock, 59.9, Trouble.CLOSED)
        assert wait_s(reconnect, clock) <= 1.0


def test_a_first_limit_below_a_second_is_kept() -> None:
    waits_s = [
        Backoff(random.Random(seed), shortest_s=0.1, first_s=0.4, longest_s=60.0).next_ns() / NS_PER_S
        for seed in range(50)
    ]
    assert 0.1 <= min(waits_s) < max(waits_s) <= 0.4


@pytest.mark.parametrize("away", [Trouble.REFUSED, Trouble.UNREACHABLE, Trouble.DNS, Trouble.TIMEOUT])
def test_a_broker_that_is_started_again_and_again_is_no_fight_over_the_client_id(away: Trouble) -> None:
    clock = TurnedClock()
    reconnect = made(clock)
    for _ in range(6):
        live(reconnect, clock, 20.0, Trouble.CLOSED)
        assert reconnect.trouble is Trouble.CLOSED
        reconnect.begun()
        reconnect.failed(away, "not there")


def test_an_attempt_of_another_kind_follows_at_once_and_owes_nothing() -> None:
    clock = TurnedClock()
    reconnect = made(clock)
    reconnect.begun()
    reconnect.failed(Trouble.TLS_CLIENT_CERTIFICATE, "refused", at_once=True)
    assert wait_s(reconnect, clock) == 0
    assert said(reconnect) == (Trouble.TLS_CLIENT_CERTIFICATE, "refused", None)
    reconnect.begun()
    reconnect.failed(Trouble.TLS_CLIENT_CERTIFICATE, "refused")
    assert 5 <= wait_s(reconnect, clock) <= 10, "the first wait, not the second"


def test_a_connection_that_was_ended_by_our_own_wish_has_no_trouble() -> None:
    clock = TurnedClock()
    reconnect = made(clock)
    reconnect.begun()
    reconnect.succeeded()
    clock.turn(1)
    reconnect.again()
    assert (wait_s(reconnect, clock), reconnect.is_due) == (0, True)
    assert said(reconnect) == (None, "", None)
