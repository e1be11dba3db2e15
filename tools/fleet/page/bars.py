"""Where the bars of a chart stand, in units of its picture. Pure."""

from collections.abc import Mapping, Sequence

import msgspec

WIDTH, HEIGHT = 900.0, 250.0
LEFT, BOTTOM, TOP = 48.0, 38.0, 16.0  # for the scale, for the days and the marks, for the number of the highest line
_GAP = 0.22  # of a bar's place
_DOT = 7.0  # from one dot to the next


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """What a bar shows. heard: whether anything came from then. marks: what else happened then, number by name."""

    name: str
    short: str
    counts: Mapping[str, int]
    heard: bool
    marks: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def told(self) -> str:
        """What a bar says when it is pointed at or read aloud."""
        parts = [f"{number} {label}" for label, number in self.counts.items() if number]
        parts += [f"{number} x {mark}" for mark, number in self.marks.items()]
        return f"{self.name}: {', '.join(parts) or ('nobody' if self.heard else 'nothing was heard')}"


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A rectangle. kind: the label that it stands for, or `unheard`."""

    x: float
    y: float
    width: float
    height: float
    kind: str


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A bar: its blocks from the ground up. told: for who points at it. short: beneath it; empty: nothing.

    marks: what else happened then, dots under it: where, and by which name.
    """

    x: float
    middle: float
    place: float
    told: str
    short: str
    blocks: tuple[Block, ...]
    marks: tuple[tuple[float, str], ...]


class Line(msgspec.Struct, frozen=True):
    """A line of the scale."""

    y: float
    value: int


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A picture of WIDTH by HEIGHT."""

    bars: tuple[Bar, ...]
    lines: tuple[Line, ...]


def chart(buckets: Sequence[Bucket], kinds: Mapping[str, str], *, every: int) -> Chart:
    """Lay bars out.

    kinds: names in `counts` with what they are called in the picture, from the ground up. every: the number of bars
    from one date to the next.
    """
    step, count = scale(max((bucket.total for bucket in buckets), default=0))
    ground = HEIGHT - BOTTOM
    unit = (ground - TOP) / (step * count)
    place = (WIDTH - LEFT) / max(1, len(buckets))
    bars = []
    for number, bucket in enumerate(buckets):
        x = LEFT + number * place
        blocks, y = [], ground
        for name, kind in kinds.items():
            height = bucket.counts.get(name, 0) * unit
            y -= height
            if height:
                blocks.append(_block(x, y, place, height, kind))
        if not bucket.heard and not bucket.total:
            blocks.append(Block(x=round(x, 1), y=TOP, width=round(place, 1), height=ground - TOP, kind="unheard"))
        bars.append(
            Bar(
                x=round(x, 1),
                middle=round(x + place / 2, 1),
                place=round(place, 1),
                told=bucket.told,
                short=bucket.short if number % every == 0 else "",
                blocks=tuple(blocks),
                marks=_dots(x + place / 2, sorted(bucket.marks)),
            )
        )
    lines = tuple(Line(round(ground - number * step * unit, 1), number * step) for number in range(count + 1))
    return Chart(bars=tuple(bars), lines=lines)


def scale(top: int) -> tuple[int, int]:
    """Give the step of a scale, 1, 2 or 5 times a power of ten, and how many steps reach `top`: 1 to 5."""
    step = 1
    while step * 5 < top:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step, max(1, -(-top // step))


def _dots(middle: float, names: Sequence[str]) -> tuple[tuple[float, str], ...]:
    first = middle - (len(names) - 1) * _DOT / 2
    return tuple((round(first + number * _DOT, 1), name) for number, name in enumerate(names))


def _block(x: float, y: float, place: float, height: float, kind: str) -> Block:
    return Block(
        x=round(x + place * _GAP / 2, 1),
        y=round(y, 1),
        width=round(place * (1 - _GAP), 1),
        height=round(height, 1),
        kind=kind,
    )
