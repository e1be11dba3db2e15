"""From the plugin's lines and the names of the marks to figures."""

import statistics
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from tools.arm.figures import Counted, Watched
from tools.arm.guest import MARKED


class Count(NamedTuple):
    """Instructions executed: all, loads and stores, vector and floating point, dot products among the latter."""

    all: int
    memory: int
    vector: int
    dot: int


class Interval(NamedTuple):
    """What was executed from one mark to the next; the empty name is nobody's."""

    name: str
    executed: Count


def intervals(names: Sequence[str], lines: Sequence[str]) -> list[Interval]:
    """Join names and counts. lines: of the plugin, one a mark, each the sum since the start.

    What a mark itself costs is taken off. Raises ValueError when there are not as many lines as names.
    """
    if len(names) != len(lines):
        raise ValueError(f"{len(lines)} marks were counted, {len(names)} were made")
    sums = [Count(*map(int, line.split())) for line in lines]
    between = [
        Interval(name, Count(*(after - before for before, after in zip(*pair, strict=True))))
        for name, pair in zip(names, pairwise(sums), strict=False)
    ]
    marks = [interval.executed for interval in between if interval.name == MARKED]
    cost = Count(*(round(statistics.median(column)) for column in zip(*marks, strict=True)))
    return [
        Interval(name, Count(*(max(0, value - own) for value, own in zip(count, cost, strict=True))))
        for name, count in between
        if name != MARKED
    ]


def repeated(found: Sequence[Interval], work: str, *, suite: str, cpu: str) -> Counted:
    """Give one piece of work. Raises StatisticsError where it was not counted."""
    counts = [count for name, count in found if name == work]
    middle = Count(*(round(statistics.median(column)) for column in zip(*counts, strict=True)))
    return Counted(
        suite=suite,
        cpu=cpu,
        work=work,
        repetitions=len(counts),
        instructions=middle.all,
        lowest=min(count.all for count in counts),
        highest=max(count.all for count in counts),
        memory=middle.memory,
        vector=middle.vector,
        dot=middle.dot,
    )


def watched(found: Sequence[Interval], scene: str, rate: int, *, suite: str, cpu: str) -> Watched:
    """Give one clip, whose intervals are named `SCENE detect`, `SCENE classify` and `SCENE rest`."""
    frames = [frame for frame in _runs(found) if frame[0].name.startswith(f"{scene} ")]
    parts = {part: [_sum(frame, f"{scene} {part}") for frame in frames] for part in ("detect", "classify", "rest")}
    calls = {part: sum(name == f"{scene} {part}" for frame in frames for name, _ in frame) for part in parts}
    return Watched(
        suite=suite,
        cpu=cpu,
        scene=scene.split()[0],
        rate=rate,
        frames=len(frames),
        nets=round(statistics.mean(map(sum, zip(parts["detect"], parts["classify"], strict=True)))),
        rest=round(statistics.mean(parts["rest"])),
        highest=max(map(sum, zip(*parts.values(), strict=True))),
        detections=round(calls["detect"] / len(frames), 3),
        looks=round(calls["classify"] / len(frames), 3),
    )


def _runs(found: Sequence[Interval]) -> Iterator[list[Interval]]:
    """Give what lies between nobody's intervals: the pieces of one frame."""
    for is_named, run in groupby(found, key=lambda interval: bool(interval.name)):
        if is_named:
            yield list(run)


def _sum(frame: Sequence[Interval], name: str) -> int:
    return sum(count.all for called, count in frame if called == name)
