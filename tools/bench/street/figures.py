"""Sums up findings: who was told once, twice or never, rightly or not, by size, by label and altogether."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from agent.seams import LABELS
from tools.bench.street.match import Findings, Outcome, Told
from tools.bench.street.plan import SIZES_PX
from tools.quantize.figures import wilson

AIM_PX = 20.0  # the aims are about persons of this size and above
_CLASSES = list(pairwise(SIZES_PX))


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """hits of count, and the per cent with their 95 % interval (Wilson)."""

    hits: int
    count: int
    percent: float | None
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, hits: int, count: int) -> "Share":
        if not count:
            return cls(hits=hits, count=count, percent=None, interval=None)
        low, high = wilson(hits, count)
        interval = round(max(0.0, low), 1), round(min(100.0, high), 1)
        return cls(hits=hits, count=count, percent=round(100 * hits / count, 1), interval=interval)

    def __str__(self) -> str:
        if self.percent is None or self.interval is None:
            return "-"
        return f"{self.percent:.1f} ({self.interval[0]:.1f}-{self.interval[1]:.1f})"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Some persons. right, wrong, unsure: of those told; right_of_labelled: of those told with a label."""

    persons: int
    once: Share
    twice: Share
    missed: Share
    right: Share
    wrong: Share
    unsure: Share
    right_of_labelled: Share
    unsure_why: dict[str, int]
    missed_why: dict[str, int]
    twice_why: dict[str, int]


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one frame rate. per_100: of the persons that count, of any size."""

    fps: int
    aim: Group
    by_size: dict[str, Group]
    by_label: dict[str, Group]
    said: dict[str, dict[str, int]]
    stories: int
    mixed_up: Share
    nobody: Share
    nobody_what: dict[str, int]
    nobody_before: dict[str, int]
    nobody_where: list[Told]
    posters: int
    poster_stories: int
    false_blind: int
    short_persons: int


def sum_up(fps: int, scenes: Iterable[Findings]) -> Rate:
    """Sum up the findings of all scenes at one rate. Persons not clear for a second are named, and count nowhere."""
    many = list(scenes)
    outcomes = [outcome for one in many for outcome in one.outcomes]
    counted = [outcome for outcome in outcomes if outcome.size_px is not None]
    stories = [story for one in many for story in one.stories]
    large = [outcome for outcome in counted if _size(outcome) >= AIM_PX]
    about_persons = [story for story in stories if story.about == "person"]
    nobody = [story for story in stories if story.about not in ("person", "poster")]
    return Rate(
        fps=fps,
        aim=_group(large),
        by_size={
            f"{low:g}-{high:g}": _group([one for one in counted if low <= _size(one) < high])
            for low, high in [(0.0, SIZES_PX[0]), *_CLASSES]
        },
        by_label={label: _group([one for one in large if one.label == label]) for label in LABELS},
        said={
            label: dict(sorted(Counter(one.said or "nothing" for one in large if one.label == label).items()))
            for label in LABELS
        },
        stories=len(stories),
        mixed_up=Share.of(sum(story.mixed for story in about_persons), len(about_persons)),
        nobody=Share.of(len(nobody), max(len(counted), len(nobody))),  # more of them than persons would be 100 too
        nobody_what=_count(story.about for story in nobody),
        nobody_before=_count(
            one.backdrop for one in many for story in one.stories if story.about not in ("person", "poster")
        ),
        nobody_where=nobody,
        posters=sum(one.posters for one in many),
        poster_stories=sum(story.about == "poster" for story in stories),
        false_blind=sum(one.blind for one in many),
        short_persons=len(outcomes) - len(counted),
    )


def aims(rates: Sequence[Rate]) -> dict[str, bool]:
    """Tell which aims of the street are reached, those about rates that were run."""
    by_fps = {rate.fps: rate for rate in rates}
    found: dict[str, bool] = {}
    at_15, at_5 = by_fps.get(15), by_fps.get(5)
    if at_15:
        found["15 frames/s: told once >= 95 %"] = (at_15.aim.once.percent or 0) >= 95
        found["15 frames/s: told twice <= 2 %"] = (at_15.aim.twice.percent or 0) <= 2
        found["15 frames/s: of the told rightly labelled >= 97 %"] = (at_15.aim.right.percent or 0) >= 97
        found["15 frames/s: about nobody <= 1 in 100 persons"] = (at_15.nobody.percent or 0) <= 1
    if at_15 and at_5:
        worse = max(_worse(at_15, at_5, lambda rate: rate.aim.once), _worse(at_15, at_5, lambda rate: rate.aim.right))
        found["5 frames/s: at most 3 points worse"] = (
            worse <= 3 and _worse(at_5, at_15, lambda rate: rate.aim.twice) <= 3
        )
    return found


def tables(rates: Sequence[Rate]) -> str:
    """Give the tables of the report as Markdown."""
    head = [
        "frames/s",
        "persons",
        "once %",
        "twice %",
        "missed %",
        "right %",
        "wrong %",
        "unsure %",
        "right, labelled %",
    ]
    parts = ["Persons of 20 px and more; right, wrong and unsure are of those told.", "", *_row(head, rule=True)]
    parts += [line for rate in rates for line in _row([f"{rate.fps}", *_cells(rate.aim)])]
    head = [
        "frames/s",
        "stories",
        "mixed up %",
        "nobody per 100 persons",
        "nobody is",
        "posters",
        "told of them",
        "blind",
    ]
    parts += ["", *_row(head, rule=True)]
    for rate in rates:
        what, before = _words(rate.nobody_what), _words(rate.nobody_before)
        numbers = [f"{rate.posters}", f"{rate.poster_stories}", f"{rate.false_blind}"]
        parts += _row([f"{rate.fps}", f"{rate.stories}", f"{rate.mixed_up}", f"{rate.nobody}", what, before, *numbers])
    for rate in rates:
        parts += ["", f"At {rate.fps} frames/s, by size in pixels and, from 20 px on, by label:", ""]
        parts += _row(["", "persons", *head_of_groups(), "unsure: why", "missed: why", "twice: why"], rule=True)
        for name, group in {**rate.by_size, **rate.by_label}.items():
            if group.persons:
                parts += _row(
                    [name, *_cells(group), *map(_words, (group.unsure_why, group.missed_why, group.twice_why))]
                )
    return "\n".join(parts) + "\n"


def head_of_groups() -> list[str]:
    """Name the columns of a group's shares."""
    return ["once %", "twice %", "missed %", "right %", "wrong %", "unsure %", "right, labelled %"]


def _group(outcomes: Sequence[Outcome]) -> Group:
    count = len(outcomes)
    told = [one for one in outcomes if one.told]
    right, unsure = sum(one.said == one.label for one in told), sum(one.said == "unsure" for one in told)
    return Group(
        persons=count,
        once=Share.of(sum(one.told == 1 for one in outcomes), count),
        twice=Share.of(sum(one.told > 1 for one in outcomes), count),
        missed=Share.of(count - len(told), count),
        right=Share.of(right, len(told)),
        wrong=Share.of(len(told) - right - unsure, len(told)),
        unsure=Share.of(unsure, len(told)),
        right_of_labelled=Share.of(right, len(told) - unsure),
        unsure_why=_count(one.reason for one in told if one.said == "unsure"),
        missed_why=_count(one.why for one in outcomes if not one.told),
        twice_why=_count(one.why for one in outcomes if one.told > 1),
    )


def _size(outcome: Outcome) -> float:
    return outcome.size_px or 0.0


def _count(names: Iterable[str | None]) -> dict[str, int]:
    return dict(Counter(name for name in names if name).most_common())


def _worse(before: Rate, after: Rate, share: Callable[[Rate], Share]) -> float:
    return (share(before).percent or 0) - (share(after).percent or 0)


def _cells(group: Group) -> list[str]:
    shares = [group.once, group.twice, group.missed, group.right, group.wrong, group.unsure, group.right_of_labelled]
    return [f"{group.persons}", *map(str, shares)]


def _words(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "-"


def _row(cells: Sequence[str], *, rule: bool = False) -> list[str]:
    line = "| " + " | ".join(cells) + " |"
    return [line, "|" + "---|" * len(cells)] if rule else [line]
