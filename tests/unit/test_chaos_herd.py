"""How a herd is judged."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from tools.chaos.herd import Herd, fullest, judge, table
from tools.chaos.herd_member import Same


@given(st.lists(st.integers(0, 60)).map(sorted), st.integers(1, 20))
def test_the_fullest_span_is_the_fullest_of_all_spans(instants_ns: list[int], span_ns: int) -> None:
    spans = [sum(start <= other < start + span_ns for other in instants_ns) for start in instants_ns]

    assert fullest(instants_ns, span_ns) == max(spans, default=0)


def herd_of(*told: tuple[str, float]) -> Herd:
    herd = Herd()
    herd.listen([msgspec.json.encode([what, int(at_s * NS_PER_S)]) for what, at_s in told])
    return herd


def judged(herd: Herd, **more: Any) -> Any:
    given = {"jitter": True, "agents": 3, "away_s": 1.0, "listening_ns": 20 * NS_PER_S, "cpu_s": 0.006}
    return judge(herd, **(given | more))


def test_a_round_counts_from_the_instant_at_which_the_broker_listens_again() -> None:
    first = [("begun", 1.0), ("up", 1.1)] * 3
    down = [("lost", 19.0)] * 3 + [("begun", 19.5)]  # refused: nobody listens
    back = [("begun", 20.5), ("up", 20.75), ("begun", 20.6), ("up", 21.0), ("begun", 22.0), ("up", 24.0)]
    row = judged(herd_of(*first, *down, *back))

    assert (row.back, row.attempts, row.attempts_peak_1s, row.accepted_peak_1s) == (3, 3, 2, 2)
    assert (row.back_p50_s, row.back_all_s, row.cpu_ms) == (1.0, 4.0, 2.0)


def test_a_herd_is_back_when_each_has_lost_a_connection_and_has_one() -> None:
    up = [("up", 1.0)] * 3
    assert not herd_of(*up).is_back(3, 19 * NS_PER_S)  # the news of the kill has not come yet
    lost = [*up, *[("lost", 19.0)] * 3]
    assert not herd_of(*lost, *[("up", 20.0)] * 2).is_back(3, 19 * NS_PER_S)
    assert herd_of(*lost, *[("up", 20.0)] * 3).is_back(3, 19 * NS_PER_S)


def test_a_herd_that_did_not_come_back_says_how_many_did() -> None:
    row = judged(herd_of(*[("up", 1.0)] * 3, *[("lost", 19.0)] * 3, ("up", 20.5)))

    assert row.back == 1
    assert [cell for column in table([row]).columns for cell in column.cells].count("1 of 3") == 1


def test_without_jitter_chance_falls_in_the_middle() -> None:
    assert [Same().uniform(0, 10) for _ in range(3)] == [5.0] * 3
