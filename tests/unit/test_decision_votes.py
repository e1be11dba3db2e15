"""Votes: what looks at one person add up to."""

import pytest

from agent.decision.votes import Votes, weight
from agent.events.types import LabelCounts
from agent.seams import Look, Reason
from tests.scripted import MASK, MS, NO_MASK, TORN, S, look


def cast(looks: list[Look], step_ns: int = 100 * MS) -> Votes:
    votes = Votes()
    for index, one in enumerate(looks):
        votes.add(one, index * step_ns)
    return votes


def test_without_looks_every_label_is_as_likely() -> None:
    votes = Votes()
    assert votes.means() == (1 / 3, 1 / 3, 1 / 3)
    assert votes.looks == votes.good_looks == 0


def test_looks_that_agree_mean_what_each_says() -> None:
    votes = cast([look(MASK)] * 5)
    assert votes.likeliest() == ("mask", pytest.approx(0.96))
    assert (votes.looks, votes.good_looks) == (5, 5)


def test_sharper_and_larger_looks_count_more() -> None:
    assert weight(look(sharpness=20)) < weight(look(sharpness=90))
    assert weight(look(face_px=14)) < weight(look(face_px=30))
    assert weight(look(face_px=500, sharpness=5000)) == 1.0


@pytest.mark.parametrize("reason", ["too_small", "blurred", "dark"])
def test_poor_looks_hardly_count_against_a_good_one(reason: Reason) -> None:
    votes = cast([look(MASK), *[look(NO_MASK, reason=reason)] * 4])
    label, mean = votes.likeliest()
    assert label == "mask"
    assert mean > 0.7
    assert (votes.looks, votes.good_looks) == (5, 1)


def test_an_undecided_look_counts_in_full() -> None:
    votes = cast([look(MASK), look(TORN, reason="undecided")])
    assert votes.likeliest()[1] == pytest.approx((0.96 + 0.5) / 2, abs=0.02)
    assert votes.good_looks == 2


def test_old_looks_fade() -> None:
    votes = cast([*[look(NO_MASK)] * 20, *[look(MASK)] * 60])
    assert votes.likeliest()[0] == "mask"
    assert votes.likeliest()[1] > 0.7


def test_a_look_at_the_same_instant_adds_no_weight() -> None:
    votes = Votes()
    votes.add(look(MASK), S)
    votes.add(look(NO_MASK), S)
    assert votes.likeliest()[0] == "mask"


@pytest.mark.parametrize("reason", ["too_small", "blurred", "dark"])
def test_unsure_names_what_most_looks_lacked(reason: Reason) -> None:
    votes = cast([look(MASK), *[look(MASK, reason=reason)] * 3, look(MASK, reason="undecided")])
    decision = votes.unsure(min_looks=4)
    assert (decision.label, decision.reason) == ("unsure", reason)


def test_unsure_with_looks_enough_is_undecided() -> None:
    assert cast([look(TORN, reason="undecided")] * 5).unsure(min_looks=4).reason == "undecided"
    assert cast([look(TORN)] * 2).unsure(min_looks=4).reason == "undecided"


def test_looks_are_counted_by_their_own_label() -> None:
    votes = cast([look(MASK), look(MASK), look(NO_MASK), look(TORN, reason="undecided"), look((0.1, 0.1, 0.8))])
    assert votes.by_label() == LabelCounts(mask=2, no_mask=1, incorrect=1, unsure=1)
