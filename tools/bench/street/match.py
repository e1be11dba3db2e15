"""Holds what was told against what is true: who was told, how often, rightly; and which stories are about nobody.

A sighting belongs to the head that its box overlaps most, or in whose face its centre lies, those hidden counting less;
a story to whom most of its sightings belong to, and there to the presence that is nearest in time. Rules:

- Who was clear to see for a second counts: he is to be told once. A presence ends when the face was not to be seen for
  longer than the agent waits, less half a second; a break that is hardly that long may be told as one story or as two.
- Mixed up: another person has two looks of a story or more, and a fifth of them or more.
- Nobody: told, and mostly neither on a head nor on the poster, or on a head that was turned away or hidden throughout.
"""

import math
from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np

from agent.seams import Box, Label, Reason, Verdict
from tools.bench.street.plan import BASE_FPS
from tools.bench.street.truth import Presence, Sight, covers
from tools.bench.street.watch import Story

_OVERLAP_MIN = 0.2  # IoU; a box on a small face is easily half a face off
_SIZES_MAX = 2.2  # how much larger or smaller a box with its centre in the face may be
_NEAR_S = 1.0  # from a presence
_HIDDEN_COUNTS = 0.25
_MIXED_LOOKS, _MIXED_PART = 2, 0.2
_FACES_MIN = 2  # sightings in which the face is to be seen
_POSTER, _NOBODY = -1, -2


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one presence. told: stories about it; said, reason: at last, of the longest; why: if not once."""

    scene: int
    person: int
    label: Label
    size_px: float | None
    clear_s: float
    told: int
    said: Verdict | None = None
    reason: Reason | None = None
    why: str | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One story that was told. about: person, poster, or what nobody is; mixed: with another person."""

    scene: int
    about: str
    label: Verdict
    mixed: bool
    begin_s: float
    box: Box


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Of one scene. posters: how many hang there; blind: how often the agent called the camera blind."""

    outcomes: list[Outcome]
    stories: list[Told]
    backdrop: str
    posters: int
    blind: int


class _Owned:
    """A story and to whom each of its sightings belongs."""

    def __init__(self, story: Story, timeline: Sequence[Sequence[Sight]], posters: Sequence[Box | None]) -> None:
        self.story = story
        found = [_whose(one.box, timeline[one.frame], posters[one.frame]) for one in story.sightings]
        self.times = [
            (one.frame / BASE_FPS, who) for one, (who, facing) in zip(story.sightings, found, strict=True) if facing
        ]
        self.looks = Counter(
            who for one, (who, facing) in zip(story.sightings, found, strict=True) if one.looked and facing
        )
        most, _ = Counter(who for who, _ in found).most_common(1)[0]
        faces = sum(who == most for _, who in self.times)
        self.owner = most if faces >= _FACES_MIN else _NOBODY
        self.about = "head that shows no face" if most != _NOBODY else _what(story, timeline)

    def seen_in(self, presence: Presence) -> int:
        """Count the sightings of somebody's face during a presence."""
        return sum(
            who == presence.person and presence.begin_s - 0.1 <= at_s <= presence.end_s + 0.1
            for at_s, who in self.times
        )

    @property
    def mixed(self) -> bool:
        others = max((count for who, count in self.looks.items() if who >= 0 and who != self.owner), default=0)
        return self.owner >= 0 and others >= max(_MIXED_LOOKS, _MIXED_PART * self.looks.total())


def judge(
    scene: int,
    presences: Sequence[Presence],
    timeline: Sequence[Sequence[Sight]],
    posters: Sequence[Box | None],
    stories: Sequence[Story],
    *,
    backdrop: str = "",
    blind: int = 0,
) -> Findings:
    """Judge all stories of one scene. timeline, posters: what is to be seen in each frame at BASE_FPS."""
    owned = [_Owned(story, timeline, posters) for story in stories if story.sightings]
    places = [_nearest(one, presences) for one in owned]
    told = []
    for one, place in zip(owned, places, strict=True):
        if one.story.person is not None and one.story.label is not None:
            about = "poster" if one.owner == _POSTER else "person" if place is not None else one.about
            first = one.story.sightings[0]
            told.append(
                Told(
                    scene=scene,
                    about=about,
                    label=one.story.label,
                    mixed=one.mixed,
                    begin_s=round(first.frame / BASE_FPS, 2),
                    box=Box(*(round(side, 1) for side in first.box)),
                )
            )
    outcomes = [
        _outcome(scene, presence, [one for one, at in zip(owned, places, strict=True) if at == number], owned, timeline)
        for number, presence in enumerate(presences)
    ]
    hung = int(any(box is not None for box in posters))
    return Findings(outcomes=outcomes, stories=told, backdrop=backdrop, posters=hung, blind=blind)


def _whose(box: Box, sights: Sequence[Sight], poster: Box | None) -> tuple[int, bool]:
    """Give whose head a box is on, and whether that shows its face."""
    worth = {
        (sight.head.person, sight.glimpsed): overlap(box, sight.head.box) * (_HIDDEN_COUNTS + sight.shown)
        for sight in sights
    }
    if poster is not None:
        worth[_POSTER, True] = overlap(box, poster)
    best = max(worth, key=lambda key: worth[key], default=None)
    return (_NOBODY, False) if best is None or worth[best] <= 0 else best


def _what(story: Story, timeline: Sequence[Sequence[Sight]]) -> str:
    """Say what a story that is on no head is mostly on."""
    on_bodies = 0
    for one in story.sightings:
        x, y = (np.array([value]) for value in one.box.centre)
        on_bodies += any(covers(sight.head.box, x, y).item() for sight in timeline[one.frame])
    return "body" if on_bodies > len(story.sightings) / 2 else "background"


def overlap(box: Box, face: Box) -> float:
    """Give the IoU of a box that is on a face, else 0."""
    width = min(box.x1, face.x1) - max(box.x0, face.x0)
    height = min(box.y1, face.y1) - max(box.y0, face.y0)
    if width <= 0 or height <= 0:
        return 0.0
    iou = width * height / (box.area + face.area - width * height)
    x, y = box.centre
    within = face.x0 < x < face.x1 and face.y0 < y < face.y1
    alike = abs(math.log(box.size_px / face.size_px)) < math.log(_SIZES_MAX)
    return iou if iou >= _OVERLAP_MIN or (within and alike) else 0.0


def _nearest(one: _Owned, presences: Sequence[Presence]) -> int | None:
    """Give the number of the presence that a story is of: most of its sightings of its owner's face are in it."""
    counts = {
        number: one.seen_in(presence) for number, presence in enumerate(presences) if presence.person == one.owner
    }
    best = max(counts, key=lambda number: counts[number], default=None)
    return best if best is not None and counts[best] else None


def _outcome(
    scene: int,
    presence: Presence,
    mine: Sequence[_Owned],
    everything: Sequence[_Owned],
    timeline: Sequence[Sequence[Sight]],
) -> Outcome:
    told = [one for one in mine if one.story.person is not None]
    if not told:  # one story over a break that is hardly one
        told = [
            one
            for one in everything
            if one.story.person is not None and one.owner == presence.person and one.seen_in(presence)
        ][:1]
    longest = max(told, key=lambda one: len(one.story.sightings), default=None)
    why = (
        None if len(told) == 1 else _why_twice(told, presence, timeline) if told else _why_missed(presence, everything)
    )
    return Outcome(
        scene=scene,
        person=presence.person,
        label=presence.label,
        size_px=None if presence.size_px is None else round(presence.size_px, 1),
        clear_s=round(presence.clear_s, 2),
        told=len(told),
        said=None if longest is None else longest.story.label,
        reason=None if longest is None else longest.story.reason,
        why=why,
    )


def _why_missed(presence: Presence, everything: Sequence[_Owned]) -> str:
    for one in everything:
        if one.story.person is not None and one.seen_in(presence) >= 2:
            return "merged with another"
    if any(one.seen_in(presence) for one in everything):
        return "too few looks"
    return "never followed"


def _why_twice(told: Sequence[_Owned], presence: Presence, timeline: Sequence[Sequence[Sight]]) -> str:
    first, second = sorted(told, key=lambda one: one.story.sightings[0].frame)[:2]
    lost, found = first.story.sightings[-1].frame, second.story.sightings[0].frame
    if found <= lost:
        return "two at once"
    clear = [any(sight.clear and sight.head.person == presence.person for sight in one) for one in timeline[lost:found]]
    return "lost in plain sight" if sum(clear) > len(clear) / 2 else "hidden or turned away between"
