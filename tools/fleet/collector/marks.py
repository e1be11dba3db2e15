"""How far a stream is gap-free: the mark that its device is told. Pure.

A sequence is present when it is stored or when a gap names it: a device says so of what it had to give up, and the
collector notes it of what a device says that it will never send again.
"""

from collections.abc import Callable, Collection, Iterable, Sequence

CHUNK = 1000  # sequences that are read from the store at once


def advance(mark: int, there: Collection[int], gaps: Iterable[tuple[int, int]]) -> int:
    """Give the end of the run that goes on after `mark`, in what is there and what gaps (first, last) name."""
    ahead = sorted(gap for gap in gaps if gap[1] > mark)
    while True:
        before = mark
        while mark + 1 in there:
            mark += 1
        for first, last in ahead:
            if first <= mark + 1:
                mark = max(mark, last)
        if mark == before:
            return mark


def advance_in_store(
    mark: int,
    *,
    there: Collection[int],
    gaps: Sequence[tuple[int, int]],
    top: int,
    stored_gaps: Callable[[int], Sequence[tuple[int, int]]],
    stored_after: Callable[[int], Sequence[int]],
) -> int:
    """Give the new mark of a stream to which a batch has brought `there` and `gaps`, all of it in the store by now.

    top: the highest sequence stored; each gap of the store ends before it, or at a mark that it has moved.
    stored_gaps, stored_after: the gaps that reach beyond a sequence, and the first CHUNK sequences after it. They are
    asked only when the batch has moved a mark that lies behind `top`: a stream that arrives in order costs no query,
    and one with a hole costs none until the hole is filled.
    """
    moved = advance(mark, there, gaps)
    if moved == mark:
        return mark
    while moved < top:
        chunk = stored_after(moved)
        before, moved = moved, advance(moved, set(chunk), stored_gaps(moved))
        if moved == before:
            break
    return moved
