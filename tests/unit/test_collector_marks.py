"""How far a stream is gap-free, beside the plain definition."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tools.fleet.collector.marks import CHUNK, advance, advance_in_store

SEQUENCES = st.sets(st.integers(1, 40))
GAPS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 10)).map(lambda it: (it[0], it[0] + it[1])), max_size=4)


def plain(there: set[int], gaps: list[tuple[int, int]]) -> int:
    """Give the end of the run from 1, one step at a time."""
    mark = 0
    while mark + 1 in there or any(first <= mark + 1 <= last for first, last in gaps):
        mark += 1
    return mark


@given(SEQUENCES, GAPS)
def test_a_run_ends_before_the_first_sequence_that_is_neither_there_nor_named(
    there: set[int], gaps: list[tuple[int, int]]
) -> None:
    assert advance(0, there, gaps) == plain(there, gaps)


@given(st.lists(st.tuples(SEQUENCES, GAPS), max_size=6))
def test_a_mark_that_goes_on_from_the_one_before_is_the_mark_of_all(
    batches: list[tuple[set[int], list[tuple[int, int]]]],
) -> None:
    stored: set[int] = set()
    named: list[tuple[int, int]] = []

    def gaps_beyond(mark: int) -> list[tuple[int, int]]:
        return [gap for gap in named if gap[1] > mark]

    def three_after(mark: int) -> list[int]:
        return sorted(sequence for sequence in stored if sequence > mark)[:3]

    mark = 0
    for events, gaps in batches:
        there = events | {last + 1 for _, last in gaps}  # an event that names a gap comes after it, or it names none
        stored |= there
        named += gaps
        mark = advance_in_store(
            mark,
            there=there,
            gaps=gaps,
            top=max(stored, default=0),
            stored_gaps=gaps_beyond,
            stored_after=three_after,
        )

        assert mark == plain(stored, named)


def test_a_stream_that_arrives_in_order_asks_the_store_nothing() -> None:
    def never(_: int) -> list[Any]:
        raise AssertionError("a query")

    moved = advance_in_store(5, there={6, 7}, gaps=[], top=7, stored_gaps=never, stored_after=never)

    assert moved == 7


def test_a_hole_that_is_filled_after_a_day_reads_what_lies_behind_it_in_chunks() -> None:
    asked = []

    def stored_after(after: int) -> list[int]:
        asked.append(after)
        return list(range(after + 1, min(after + CHUNK, 86_400) + 1))

    moved = advance_in_store(0, there={1}, gaps=[], top=86_400, stored_gaps=lambda _: [], stored_after=stored_after)

    assert moved == 86_400
    assert len(asked) == 87
