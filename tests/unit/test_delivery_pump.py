"""The pump, case by case: what each answer leads to, and when it waits."""

import random

import pytest

from agent.clock import NS_PER_S
from agent.delivery.publisher import LEAD, OUTCOMES, WINDOW, Outcome, PubackCode, Pump, Rebuild, Send, Wait

NOW = 100 * NS_PER_S


def pump(mode: str = "puback", acknowledged: int = 0) -> Pump:
    return Pump(ack_mode=mode, acknowledged=acknowledged, rng=random.Random(1))  # type: ignore[arg-type]


def flowing(mode: str = "puback", *, newest: int = 100) -> Pump:
    """Give a pump whose first row the broker has taken."""
    made = pump(mode)
    made.connected(NOW, newest=newest)
    made.sent(1, NOW)
    made.answered(1, PubackCode.SUCCESS, NOW)
    return made


def ask(made: Pump, now_ns: int = NOW, *, newest: int = 100, room: int = WINDOW, frames: bool = False) -> object:
    return made.next(now_ns, newest=newest, room=room, frames_coming=frames)


def send(made: Pump, now_ns: int, *sequences: int) -> None:
    """Let rows be sent, and be taken by the broker at once."""
    for sequence in sequences:
        made.sent(sequence, now_ns)
        made.answered(sequence, PubackCode.SUCCESS, now_ns)


def at(second: float) -> int:
    return NOW + round(second * NS_PER_S)


def test_nothing_goes_without_a_connection() -> None:
    assert ask(pump()) == Wait(until_ns=None)


def test_the_first_row_goes_alone_and_opens_the_window() -> None:
    made = pump()
    made.connected(NOW, newest=100)
    assert ask(made) == Send(after=0, count=1)
    made.sent(1, NOW)
    assert ask(made) == Wait(until_ns=NOW + 10 * NS_PER_S)
    made.answered(1, PubackCode.SUCCESS, NOW)
    assert ask(made) == Send(after=1, count=WINDOW)


def test_the_window_and_the_room_bound_what_is_on_its_way() -> None:
    made = flowing()
    for sequence in range(2, 2 + WINDOW):
        made.sent(sequence, NOW)
    assert isinstance(ask(made), Wait)
    made.answered(2, PubackCode.SUCCESS, NOW)
    assert ask(made) == Send(after=WINDOW + 1, count=1)
    for room in (0, -1):  # more than the connection takes may be on its way: a status goes before events
        assert isinstance(ask(made, room=room), Wait)
    assert made.acknowledged == 2


def test_an_answer_out_of_turn_does_not_acknowledge_what_lies_before_it() -> None:
    made = flowing()
    for sequence in (2, 3, 4):
        made.sent(sequence, NOW)
    made.answered(4, PubackCode.SUCCESS, NOW)
    made.answered(3, PubackCode.SUCCESS, NOW)
    assert made.acknowledged == 1
    made.answered(2, PubackCode.SUCCESS, NOW)
    assert made.acknowledged == 4


def test_an_answer_to_nothing_and_a_second_answer_change_nothing() -> None:
    made = flowing()
    made.sent(2, NOW)
    made.sent(3, NOW)
    made.answered(9, PubackCode.SUCCESS, NOW)
    made.answered(3, PubackCode.SUCCESS, NOW)
    made.answered(3, PubackCode.NOT_AUTHORISED, NOW)
    assert not made.is_held
    assert made.acknowledged == 1


def test_everything_acknowledged_is_nothing_to_do() -> None:
    made = flowing(newest=1)
    assert ask(made, newest=1) == Wait(until_ns=None)


def test_after_a_reconnect_what_was_not_acknowledged_goes_again_from_its_first_on() -> None:
    made = flowing()
    made.sent(2, NOW)
    made.sent(3, NOW)
    made.disconnected()
    assert ask(made) == Wait(until_ns=None)
    made.connected(NOW, newest=100)
    assert ask(made) == Send(after=1, count=1)


def test_no_answer_for_ten_seconds_asks_for_a_new_connection() -> None:
    made = flowing()
    made.sent(2, NOW)
    made.sent(3, NOW + NS_PER_S)
    assert isinstance(ask(made, NOW + 10 * NS_PER_S - 1, room=0), Wait)
    late = ask(made, NOW + 10 * NS_PER_S)
    assert late == ask(made, NOW + 11 * NS_PER_S) == Rebuild(why="no answer to an event for 10 s")
    made.disconnected()
    made.connected(NOW, newest=100)
    assert isinstance(ask(made), Send)


@pytest.mark.parametrize("code", [code for code, outcome in OUTCOMES.items() if outcome is Outcome.HOLD])
def test_a_refused_row_is_held_and_sent_again_with_all_after_it(code: PubackCode) -> None:
    made = flowing()
    made.sent(2, NOW)
    made.sent(3, NOW)
    made.answered(2, code, NOW)
    assert made.is_held
    assert made.sentence
    wait = ask(made)
    assert isinstance(wait, Wait)
    assert wait.until_ns is not None
    later = NOW + 3 * NS_PER_S
    assert isinstance(ask(made, later), Wait)  # row 3 is still to be answered: it must not be on its way twice
    made.answered(3, PubackCode.SUCCESS, later)
    assert ask(made, later) == Send(after=1, count=1)
    assert made.acknowledged == 1
    made.sent(2, later)
    made.answered(2, PubackCode.SUCCESS, later)
    assert made.sentence == ""


def test_a_hold_that_is_over_waits_for_the_answers_and_not_for_an_instant_that_is_past() -> None:
    made = flowing()
    made.sent(2, NOW)
    made.sent(3, at(1))
    made.answered(2, PubackCode.QUOTA_EXCEEDED, at(1))
    wait = ask(made, at(1))
    assert isinstance(wait, Wait)
    over_ns = wait.until_ns
    assert over_ns is not None
    assert at(2) <= over_ns <= at(3)
    assert ask(made, over_ns) == Wait(until_ns=at(11))
    assert ask(made, at(4)) == Wait(until_ns=at(11))
    assert isinstance(ask(made, at(11)), Rebuild)


def test_no_row_goes_twice_in_one_pass() -> None:
    made = flowing()
    made.sent(2, NOW)
    for sequence in (1, 2):
        with pytest.raises(AssertionError):
            made.sent(sequence, NOW)


def test_a_broker_that_refuses_again_and_again_is_asked_less_and_less() -> None:
    made = flowing()
    now_ns, waits = NOW, []
    for _ in range(60):
        made.sent(2, now_ns)
        made.answered(2, PubackCode.QUOTA_EXCEEDED, now_ns)
        wait = ask(made, now_ns)
        assert isinstance(wait, Wait)
        assert wait.until_ns is not None
        waits.append((wait.until_ns - now_ns) / NS_PER_S)
        now_ns = wait.until_ns
        assert isinstance(ask(made, now_ns), Send)
    assert min(waits) >= 1.0
    assert waits[0] < 2.0
    assert max(waits[:2]) <= 4.0
    assert 60.0 <= max(waits) <= 300.0


def test_the_waits_after_refusals_lie_anywhere_between_their_bounds() -> None:
    firsts: list[float] = []
    many: list[float] = []
    for seed in range(150):
        made = Pump(ack_mode="puback", acknowledged=0, rng=random.Random(seed))
        made.connected(NOW, newest=100)
        now_ns = NOW
        for refusal in range(30):
            made.sent(1, now_ns)
            made.answered(1, PubackCode.QUOTA_EXCEEDED, now_ns)
            wait = ask(made, now_ns)
            assert isinstance(wait, Wait)
            assert wait.until_ns is not None
            (many if refusal else firsts).append((wait.until_ns - now_ns) / NS_PER_S)
            now_ns = wait.until_ns
            ask(made, now_ns)
    assert 1.0 <= min(firsts) < 1.05
    assert 1.95 < max(firsts) <= 2.0
    assert 299.0 < max(many) <= 300.0


def test_a_refusal_is_remembered_through_a_reconnect() -> None:
    made = flowing()
    made.sent(2, NOW)
    made.answered(2, PubackCode.NOT_AUTHORISED, NOW)
    made.disconnected()
    made.connected(NOW, newest=100)
    assert isinstance(ask(made), Wait)
    assert "access list" in made.sentence
    assert ask(made, NOW + 3 * NS_PER_S) == Send(after=1, count=1)


def test_a_packet_identifier_in_use_asks_for_a_new_connection() -> None:
    made = flowing()
    made.sent(2, NOW)
    made.answered(2, PubackCode.PACKET_IDENTIFIER_IN_USE, NOW)
    assert isinstance(ask(made), Rebuild)
    made.disconnected()
    made.connected(NOW, newest=100)
    assert isinstance(ask(made), Send)


def test_nobody_listening_is_no_refusal_but_is_said() -> None:
    made = flowing()
    made.sent(2, NOW)
    made.answered(2, PubackCode.NO_MATCHING_SUBSCRIBERS, NOW)
    assert made.acknowledged == 2
    assert made.sentence == "nobody subscribes to the events"
    made.sent(3, NOW)
    made.answered(3, PubackCode.SUCCESS, NOW)
    assert made.sentence == ""


def test_each_code_of_the_standard_has_its_number_and_what_it_leads_to() -> None:
    taken, unheard, hold, rebuild = Outcome.TAKEN, Outcome.UNHEARD, Outcome.HOLD, Outcome.REBUILD
    by_number = {0: taken, 16: unheard, 128: hold, 131: hold, 135: hold, 144: hold, 145: rebuild, 151: hold, 153: hold}
    assert {int(code): OUTCOMES[code] for code in PubackCode} == by_number


def test_a_code_nobody_knows_is_a_failure() -> None:
    assert PubackCode.of(151) is PubackCode.QUOTA_EXCEEDED
    assert PubackCode.of(199) is PubackCode.UNSPECIFIED_ERROR


def test_with_a_collector_only_its_word_acknowledges() -> None:
    made = flowing("collector")
    assert made.acknowledged == 0
    made.collected(1, NOW, newest=100)
    assert made.acknowledged == 1
    made.collected(0, NOW, newest=100)
    assert made.acknowledged == 1
    assert ask(made) == Send(after=1, count=WINDOW)
    by_broker = flowing("puback")
    by_broker.collected(50, NOW, newest=100)
    assert by_broker.acknowledged == 1


def test_with_a_collector_nobody_listening_means_wait_until_it_does() -> None:
    made = flowing("collector")
    made.sent(2, NOW)
    made.answered(2, PubackCode.NO_MATCHING_SUBSCRIBERS, NOW)
    assert made.is_held
    made.collected(1, NOW, newest=100)  # it is there after all
    assert ask(made, NOW) == Send(after=1, count=1)


def pass_on(made: Pump, now_ns: int, *, newest: int) -> tuple[list[int], int | None]:
    """Send and have taken by the broker what the pump lets go; gives that, and when it wants to be asked again."""
    sent: list[int] = []
    while True:
        move = ask(made, now_ns, newest=newest)
        if isinstance(move, Wait):
            return sent, move.until_ns
        assert isinstance(move, Send)
        for sequence in range(move.after + 1, move.after + 1 + move.count):
            made.sent(sequence, now_ns)
            made.answered(sequence, PubackCode.SUCCESS, now_ns)
            sent.append(sequence)


def test_a_collector_that_says_nothing_gets_one_window_each_time_and_is_waited_for_longer_each_time() -> None:
    made = pump("collector")
    made.connected(NOW, newest=50_000)
    now_ns, silences = NOW, []
    for _ in range(8):
        sent, until_ns = pass_on(made, now_ns, newest=50_000)
        assert sent == list(range(1, WINDOW + 1))
        assert until_ns is not None
        silences.append((until_ns - now_ns) / NS_PER_S)
        now_ns = until_ns
    assert silences == [30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1800.0, 1800.0]
    assert isinstance(ask(made, now_ns, newest=50_000), Send)
    assert made.sentence == "the collector is silent"
    made.collected(0, now_ns, newest=50_000)  # it lives
    assert made.sentence == ""


def silence_ends(made: Pump, now_ns: int, *, newest: int) -> float:
    """Give the second, from NOW, at which a pump that has sent all it may loses patience with the collector."""
    wait = ask(made, now_ns, newest=newest)
    assert isinstance(wait, Wait)
    assert wait.until_ns is not None
    return (wait.until_ns - NOW) / NS_PER_S


def test_the_collectors_time_begins_when_all_that_there_was_is_sent() -> None:
    made = pump("collector")
    made.connected(NOW, newest=5)
    for sequence in range(1, 5):
        send(made, at(sequence), sequence)
        assert isinstance(ask(made, at(sequence), newest=5), Send)
    send(made, at(9), 5)
    assert silence_ends(made, at(9), newest=5) == 39.0


def test_the_collectors_time_begins_also_when_the_last_row_that_there_was_is_beyond_a_hole() -> None:
    made = pump("collector")
    made.connected(NOW, newest=5)  # which a quota then took away, and named in row 8
    send(made, at(1), 1)
    send(made, at(9), 8)
    assert silence_ends(made, at(9), newest=8) == 39.0


def test_rows_that_come_later_do_not_prolong_the_collectors_time() -> None:
    made = pump("collector")
    made.connected(NOW, newest=5)
    send(made, at(0), *range(1, 6))
    for second, sequence in enumerate(range(6, 21), 6):  # the last of them fills the window
        send(made, at(second), sequence)
    assert silence_ends(made, at(20), newest=20) == 30.0
    ask(made, at(30), newest=20)
    assert made.is_stuck  # whatever came later


def test_a_collector_that_was_idle_gets_all_its_time_for_the_next_row() -> None:
    made = pump("collector")
    made.connected(NOW, newest=3)
    send(made, at(0), 1, 2, 3)
    made.collected(3, at(0), newest=3)
    send(made, at(100), 4)
    assert silence_ends(made, at(100), newest=4) == 130.0


def test_a_full_lead_gives_the_collector_its_time_from_then_on() -> None:
    made = pump("collector")
    made.connected(NOW, newest=500)
    for sequence in range(1, WINDOW + 1):
        send(made, at(sequence), sequence)
    assert silence_ends(made, at(WINDOW), newest=500) == WINDOW + 30.0


def test_rows_that_have_to_wait_for_room_do_not_use_up_the_collectors_time() -> None:
    made = pump("collector")
    made.connected(NOW, newest=500)
    send(made, NOW, *range(1, 11))
    assert ask(made, NOW, newest=500, room=0) == Wait(until_ns=None)
    assert ask(made, at(31), newest=500, room=0) == Wait(until_ns=None)
    assert ask(made, at(31), newest=500) == Send(after=10, count=10)


def test_a_collector_is_silent_when_its_last_word_is_half_a_minute_old() -> None:
    for word_s, silent in ((9.9, True), (10.0, True), (10.1, False)):
        made = pump("collector")
        made.connected(NOW, newest=5)
        send(made, at(0), *range(1, 5))
        made.collected(2, at(1), newest=5)
        send(made, at(10), 5)
        made.collected(2, at(word_s), newest=5)
        assert isinstance(ask(made, at(40), newest=5), Send)
        assert made.sentence == ("the collector is silent" if silent else "")


def test_progress_gives_the_collector_its_time_anew_and_ends_the_doubling() -> None:
    made = pump("collector")
    made.connected(NOW, newest=5)
    send(made, at(0), *range(1, 6))
    assert isinstance(ask(made, at(30), newest=5), Send)
    send(made, at(30), *range(1, 6))
    assert silence_ends(made, at(30), newest=5) == 90.0
    made.collected(3, at(50), newest=5)
    assert silence_ends(made, at(50), newest=5) == 80.0


def test_the_first_word_without_progress_opens_the_whole_lead() -> None:
    made = pump("collector")
    made.connected(NOW, newest=5_000)
    pass_on(made, NOW, newest=5_000)
    made.collected(0, NOW, newest=5_000)
    made.collected(0, NOW, newest=5_000)  # another says the same
    assert pass_on(made, NOW, newest=5_000)[0] == list(range(21, 1_021))
    made.collected(0, NOW, newest=5_000)
    assert pass_on(made, NOW, newest=5_000)[0] == list(range(1_021, 1_041))


def test_a_mark_tells_exactly_how_far_ahead_we_are() -> None:
    made = pump("collector")
    assert not made.is_stuck
    made.connected(NOW, newest=5_000)
    pass_on(made, NOW, newest=5_000)
    made.collected(0, NOW, newest=5_000)
    pass_on(made, NOW, newest=5_000)
    made.collected(0, NOW, newest=5_000)  # makes room for twenty
    made.collected(20, NOW, newest=5_000)  # and this is the truth: 1,000 of 1,000
    assert isinstance(ask(made, newest=5_000), Wait)
    made.collected(21, NOW, newest=5_000)
    assert ask(made, newest=5_000) == Send(after=1_020, count=1)


def test_a_mark_before_a_hole_lets_as_many_rows_follow_as_before() -> None:
    made = pump("collector", acknowledged=100)
    made.connected(NOW, newest=20_000)
    rows = [*range(101, 501), *range(12_001, 12_601)]  # what lies between was given up
    send(made, NOW, *rows[:WINDOW])
    made.collected(100, NOW, newest=20_000)
    send(made, NOW, *rows[WINDOW:])
    assert ask(made, newest=20_000) == Send(after=12_600, count=WINDOW)  # of the lead of 1,000
    made.collected(300, NOW, newest=20_000)
    assert ask(made, newest=20_000) == Send(after=12_600, count=WINDOW)
    send(made, NOW, *range(12_601, 12_621))
    made.collected(400, NOW, newest=20_000)
    assert isinstance(ask(made, newest=20_000), Wait)  # nobody can tell what is before the hole and what behind it
    made.collected(12_100, NOW, newest=20_000)
    assert len(pass_on(made, NOW, newest=20_000)[0]) == LEAD - 520


def test_a_reconnect_to_a_broker_whose_collector_is_gone_costs_one_window() -> None:
    made = pump("collector")
    for _ in range(5):
        made.connected(NOW, newest=50_000)
        assert len(pass_on(made, NOW, newest=50_000)[0]) == WINDOW
        made.disconnected()


def test_a_collector_that_speaks_and_then_dies_gets_its_lead_and_no_more() -> None:
    made = pump("collector")
    made.connected(NOW, newest=50_000)
    pass_on(made, NOW, newest=50_000)
    made.collected(WINDOW, NOW, newest=50_000)
    sent, until_ns = pass_on(made, NOW, newest=50_000)
    assert sent == list(range(WINDOW + 1, WINDOW + 1 + LEAD))
    assert until_ns == NOW + 30 * NS_PER_S
    assert made.sentence == ""  # it may be busy
    sent, _ = pass_on(made, until_ns, newest=50_000)
    assert sent == list(range(WINDOW + 1, 2 * WINDOW + 1))  # from its mark on again
    assert made.sentence == "the collector is silent"


def test_each_mark_lets_as_many_rows_follow_as_it_covers() -> None:
    made = pump("collector")
    made.connected(NOW, newest=50_000)
    pass_on(made, NOW, newest=50_000)
    mark = 0
    for _ in range(30):
        mark += 7
        made.collected(mark, NOW, newest=50_000)
        sent, _ = pass_on(made, NOW, newest=50_000)
        assert sent[-1] == mark + LEAD


def test_words_without_progress_lead_through_a_hole_to_the_gap_that_names_it() -> None:
    made = pump("collector")  # 1 to 4,000 were given up; the gap that says so is row 9,000
    made.connected(NOW, newest=9_000)
    rows, at = list(range(4_001, 9_001)), 0
    words = 0
    while at < len(rows):
        move = ask(made, newest=9_000)
        if isinstance(move, Send):
            for sequence in rows[at : at + move.count]:
                made.sent(sequence, NOW)
                made.answered(sequence, PubackCode.SUCCESS, NOW)
            at += move.count
        else:
            made.collected(0, NOW, newest=9_000)
            words += 1
    assert words <= (len(rows) - LEAD) / WINDOW + 1
    made.collected(9_000, NOW, newest=9_000)
    assert ask(made, newest=9_000) == Wait(until_ns=None)


def test_a_mark_that_stands_still_though_it_speaks_gets_everything_from_it_on_again() -> None:
    made = pump("collector")
    made.connected(NOW, newest=30)
    pass_on(made, NOW, newest=30)
    made.collected(10, NOW, newest=30)  # the broker lost the eleventh
    pass_on(made, NOW, newest=30)
    later = NOW + 29 * NS_PER_S
    made.collected(10, later, newest=30)
    assert not made.is_stuck
    sent, _ = pass_on(made, NOW + 30 * NS_PER_S, newest=30)
    assert sent == list(range(11, 31))
    assert (made.is_stuck, made.sentence) == (True, "")  # it spoke a second ago
    made.collected(30, later, newest=30)
    assert (made.is_stuck, made.sentence) == (False, "")


def test_under_the_cap_four_rows_go_at_once_and_then_two_hundred_a_second() -> None:
    made = flowing()
    made.next(NOW + NS_PER_S, newest=100, room=WINDOW, frames_coming=True)
    move = ask(made, NOW + NS_PER_S, frames=True)
    assert move == Send(after=1, count=4)
    for sequence in range(2, 6):
        made.sent(sequence, NOW + NS_PER_S)
    wait = ask(made, NOW + NS_PER_S, frames=True)
    assert isinstance(wait, Wait)
    assert wait.until_ns == NOW + NS_PER_S + 4 * NS_PER_S // 200 + 1
    assert isinstance(ask(made, NOW + NS_PER_S, frames=False), Send)


def test_under_the_cap_a_row_may_go_as_soon_as_there_is_time_for_one() -> None:
    made = flowing()
    send(made, at(1), 2)
    assert ask(made, at(1), frames=True) == Send(after=2, count=3)
    send(made, at(1), 3, 4, 5)
    assert ask(made, at(1), frames=True) == Wait(until_ns=at(1.02) + 1)
    assert ask(made, at(1.002), frames=True) == Wait(until_ns=at(1.02) + 1)
    assert isinstance(ask(made, at(1.0049), frames=True), Wait)
    assert ask(made, at(1.005), frames=True) == Send(after=5, count=1)
    assert ask(made, at(1.0151), frames=True) == Send(after=5, count=3)
    assert ask(made, at(9), frames=True) == Send(after=5, count=4)


def test_what_went_without_the_cap_is_no_debt_under_it() -> None:
    made = flowing(newest=10_000)
    for sequence in range(2, 2000):
        made.sent(sequence, NOW)
        made.answered(sequence, PubackCode.SUCCESS, NOW)
    assert isinstance(ask(made, at(0.0049), newest=10_000, frames=True), Wait)
    assert isinstance(ask(made, at(0.0051), newest=10_000, frames=True), Send)


def test_everything_is_sent_again_on_demand_once_the_answers_are_in() -> None:
    made = flowing("collector")
    made.sent(2, NOW)
    made.resend(NOW)
    assert isinstance(ask(made), Wait)
    made.answered(2, PubackCode.SUCCESS, NOW)
    assert ask(made) == Send(after=0, count=1)
