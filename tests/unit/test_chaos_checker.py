"""The fault suite's checker: an event dropped, altered or moved is found, and only what is named is excused."""

import random
from collections.abc import Callable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events.types import Gap, OutboxReset, PersonNew
from tools.chaos.checker import Arrived, Verdict, judge
from tools.chaos.ledger import Decided

STREAM, NEXT = "5eed", "beef"
COUNT = 12


def decided(count: int = COUNT, stream: str = STREAM) -> list[Decided]:
    return [Decided(stream, sequence, f"{stream}-{sequence}") for sequence in range(1, count + 1)]


def arrived(events: Sequence[Decided]) -> list[Arrived]:
    return [Arrived(event.stream, event.sequence, PersonNew.TYPE, event.digest) for event in events]


def gap(sequence: int, first: int, last: int, counted: int, stream: str = STREAM) -> Arrived:
    data = Gap(first=first, last=last, by_type={PersonNew.TYPE: counted}, why="quota")
    return Arrived(stream, sequence, Gap.TYPE, "gap", msgspec.to_builtins(data))


def reset(saved: int, old_stream: str = STREAM, stream: str = NEXT, sequence: int = 1) -> Arrived:
    data = OutboxReset(old_stream=old_stream, saved=saved, last_sequence=COUNT, why="damaged")
    return Arrived(stream, sequence, OutboxReset.TYPE, f"reset of {old_stream}", msgspec.to_builtins(data))


def judged(
    events: Sequence[Decided], rows: Sequence[Arrived], *, maybe: Sequence[str] = (), **excuses: bool
) -> Verdict:
    return judge(events, maybe, [STREAM, NEXT], rows, **excuses)


def test_what_has_arrived_as_decided_is_delivered() -> None:
    verdict = judged(decided(), arrived(decided()))
    assert verdict == Verdict(decided=COUNT, delivered=COUNT)
    assert verdict.is_clean


@given(st.integers(1, COUNT))
def test_any_event_that_is_dropped_is_lost(sequence: int) -> None:
    verdict = judged(decided(), [row for row in arrived(decided()) if row.sequence != sequence])
    assert verdict.lost == (f"{STREAM}.{sequence}",)
    assert verdict.delivered == COUNT - 1


@given(st.integers(1, COUNT))
def test_any_event_that_is_altered_is_lost_and_the_stranger_uncounted(sequence: int) -> None:
    rows = [
        Arrived(STREAM, row.sequence, row.type, "x") if row.sequence == sequence else row for row in arrived(decided())
    ]
    verdict = judged(decided(), rows)
    assert len(verdict.lost) == 1
    assert verdict.uncounted == (f"altered: {STREAM}.{sequence} is not what was decided",)


@given(st.permutations(range(COUNT)))
def test_any_event_under_another_number_is_uncounted(order: list[int]) -> None:
    rows = [Arrived(STREAM, place + 1, PersonNew.TYPE, f"{STREAM}-{number + 1}") for place, number in enumerate(order)]
    verdict = judged(decided(), rows)
    moved = sum(place != number for place, number in enumerate(order))
    assert sum(sentence.startswith("moved") for sentence in verdict.uncounted) == moved
    assert verdict.is_clean == (moved == 0)
    assert not verdict.lost


@given(st.integers(1, COUNT), st.integers(0, 5), st.data())
def test_a_gap_excuses_exactly_what_it_names_and_only_where_the_disk_was_full(
    first: int, more: int, data: st.DataObject
) -> None:
    last = min(COUNT, first + more)
    missing = set(range(first, last + 1))
    counted = data.draw(st.integers(0, len(missing) + 2))
    rows = [row for row in arrived(decided()) if row.sequence not in missing]
    rows.append(gap(COUNT + 1, first, last, counted))
    excused = judged(decided(), rows, may_give_up=True)
    assert excused.given_up == len(missing)
    assert not excused.lost
    assert bool(excused.uncounted) == (counted < len(missing))
    assert len(judged(decided(), rows).lost) == len(missing)


def test_an_event_of_which_nobody_knows_may_be_there_or_not() -> None:
    rows = arrived(decided())
    assert judged(decided(COUNT - 1), rows, maybe=[f"{STREAM}-{COUNT}"]).is_clean
    assert judged(decided(COUNT - 1), rows[:-1], maybe=[f"{STREAM}-{COUNT}"]).is_clean
    assert judged(decided(COUNT - 1), rows).uncounted == (f"invented: {STREAM}.{COUNT} was never to be stored",)


def test_an_event_twice_in_a_stream_is_uncounted() -> None:
    rows = [*arrived(decided()), Arrived(STREAM, COUNT + 1, PersonNew.TYPE, f"{STREAM}-3")]
    assert judged(decided(), rows).uncounted == (f"doubled: {STREAM}.{COUNT + 1} has the contents of another",)


def test_a_number_that_nobody_decided_and_nothing_names_is_a_hole() -> None:
    later = [Decided(STREAM, COUNT + 2, "late")]
    verdict = judged([*decided(), *later], arrived([*decided(), *later]))
    assert verdict.uncounted == (f"hole: {STREAM}.{COUNT + 1} is missing and nothing names it",)
    assert not verdict.lost


def saved_by_a_reset(saved: Sequence[Decided], said: int) -> list[Arrived]:
    moved = [Arrived(NEXT, place, PersonNew.TYPE, event.digest) for place, event in enumerate(saved, start=2)]
    return [reset(said), *moved]


@given(st.sets(st.integers(1, COUNT)), st.sets(st.integers(1, COUNT)), st.integers(-1, 1))
def test_a_reset_excuses_what_was_destroyed_when_its_count_fits(come: set[int], saved: set[int], wrong: int) -> None:
    events = decided()
    kept = [event for event in events if event.sequence in saved]
    said = max(0, len(kept) + wrong)
    rows = [row for row in arrived(events) if row.sequence in come] + saved_by_a_reset(kept, said)
    verdict = judged(events, rows, may_destroy=True)
    assert not verdict.lost
    assert verdict.destroyed == COUNT - len(come | saved)
    assert verdict.repeated == len(come & saved)
    assert verdict.is_clean == (said == len(kept))
    assert len(judged(events, rows).lost) == verdict.destroyed


def test_a_reset_that_could_not_read_the_name_is_about_the_stream_before_it() -> None:
    rows = [reset(0, old_stream="")]
    assert judge(decided(), (), ["other", STREAM, NEXT], rows, may_destroy=True).destroyed == COUNT
    assert len(judge(decided(), (), ["other", NEXT], rows, may_destroy=True).lost) == COUNT


def test_a_reset_that_never_arrived_excuses_nothing() -> None:
    assert len(judged(decided(), arrived(decided())[:4], may_destroy=True).lost) == COUNT - 4


def test_a_reset_saved_by_a_second_one_still_counts() -> None:
    third = "cafe"
    events = decided()
    rows = [
        reset(2, old_stream=NEXT, stream=third),
        reset(1, old_stream=STREAM, stream=third, sequence=2),
        Arrived(third, 3, PersonNew.TYPE, events[0].digest),
    ]
    verdict = judge(events, (), [STREAM, NEXT, third], rows, may_destroy=True)
    assert verdict.is_clean
    assert (verdict.delivered, verdict.destroyed) == (1, COUNT - 1)


def test_a_nameless_reset_saved_by_a_second_one_is_about_the_stream_before_its_own() -> None:
    third = "cafe"
    rows = [reset(1, old_stream=NEXT, stream=third), reset(0, old_stream="", stream=third, sequence=2)]
    assert judge(decided(), (), [STREAM, NEXT, third], rows, may_destroy=True).destroyed == COUNT
    assert len(judge(decided(), (), [STREAM, "other", NEXT, third], rows, may_destroy=True).lost) == COUNT


def drop(rows: list[Arrived], rng: random.Random) -> None:
    del rows[rng.randrange(len(rows))]


def alter(rows: list[Arrived], rng: random.Random) -> None:
    place = rng.randrange(len(rows))
    rows[place] = Arrived(rows[place].stream, rows[place].sequence, rows[place].type, "other")


def add(rows: list[Arrived], rng: random.Random) -> None:
    rows.append(Arrived(STREAM, COUNT + rng.randint(1, 9), PersonNew.TYPE, f"new-{rng.random()}"))


@pytest.mark.parametrize("harm", [drop, alter, add], ids=lambda harm: harm.__name__)
@given(seed=st.integers(0, 2**32))
def test_no_harm_to_the_store_goes_unseen(harm: Callable[[list[Arrived], random.Random], None], seed: int) -> None:
    rows = arrived(decided())
    harm(rows, random.Random(seed))
    assert not judged(decided(), rows).is_clean
