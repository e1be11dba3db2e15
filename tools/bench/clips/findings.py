"""Holds what the agent told of a clip against what is to be seen in it, and what it tells with its gates open."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from agent.seams import Box, Label, Reason, Verdict
from tools.bench.clips.truth import AIM_PX, Clip, presences, timeline
from tools.bench.clips.watch import Watched
from tools.bench.street.match import Outcome, judge, overlap
from tools.bench.street.plan import BASE_FPS
from tools.bench.street.truth import Sight
from tools.bench.street.watch import Story

SAME_TIME_S = 0.5
_SHARED_MIN, _SHARED_PART = 2, 0.2  # sightings
_HIDDEN_COUNTS = 0.25  # as in tools.bench.street.match: of two heads the one that is shown more


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One story that was told. who: the person's name, or nobody; shared: others whom a fifth of it or more is on."""

    who: str
    label: Verdict
    new_s: float
    end_s: float
    shared: list[str] = []


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one person. counts: a human sees the face at AIM_PX and above for a second or longer.

    times: how often he was told; told: the stories about him; once: one story, with one `new` and one `end`; found: in
    how many of the frames that show his face it was found; why: the cause where he was not told once.
    """

    who: str
    label: Label
    size_px: float | None
    clear_s: float
    counts: bool
    times: int
    told: list[Told]
    once: bool
    said: Verdict | None
    reason: Reason | None
    found: int
    shown: int
    why: str = ""


class Nobody(msgspec.Struct, frozen=True, kw_only=True):
    """A story that is about no face. what: a head that shows no face, a body, the background."""

    what: str
    label: Verdict
    begin_s: float
    box: Box


class Verdicts(msgspec.Struct, frozen=True, kw_only=True):
    """Of one clip."""

    persons: list[Seen]
    nobody: list[Nobody]


def examine(clip: Clip, watched: Watched) -> Verdicts:
    """Judge everything that was told about a clip, with the judge of the generated street."""
    seen = timeline(clip)
    there = presences(clip, seen)
    told = [story for story in watched.stories if story.sightings and story.person is not None]
    findings = judge(0, there, seen, [None] * len(seen), watched.stories)
    owners = {id(story): _owner(story, seen) for story in watched.stories if story.sightings}
    persons = []
    for presence, outcome in zip(there, findings.outcomes, strict=True):
        mine = [story for story in told if owners[id(story)] == presence.person]
        shown = {
            frame
            for frame in watched.frames
            if any(sight.head.person == presence.person and sight.glimpsed for sight in seen[frame])
        }
        spans = [_span(story, presence.person, seen) for story in mine]
        on = _sightings(watched.stories, presence.person, seen)
        found, looks = len({frame for frame, _ in on} & shown), sum(looked for _, looked in on)
        stories = [_told(story, clip, watched, seen) for story in mine]
        persons.append(
            Seen(
                who=clip.person[presence.person].who,
                label=presence.label,
                size_px=outcome.size_px,
                clear_s=outcome.clear_s,
                counts=outcome.size_px is not None and outcome.size_px >= AIM_PX,
                times=outcome.told,
                told=stories,
                once=outcome.told == 1 and [watched.told[str(story.person)] for story in mine] == [(1, 1)],
                said=outcome.said,
                reason=outcome.reason,
                found=found,
                shown=len(shown),
                why=_why(outcome, stories, spans, f"found in {found} of {len(shown)} frames, {looks} looks"),
            )
        )
    nobody = [
        Nobody(what=story.about, label=story.label, begin_s=story.begin_s, box=story.box)
        for story in findings.stories
        if story.about != "person"
    ]
    return Verdicts(persons=persons, nobody=nobody)


def _belongs(box: Box, sights: Sequence[Sight]) -> int | None:
    """Give the person on whose head a box is."""
    worth = {
        sight.head.person: overlap(box, sight.head.box) * (_HIDDEN_COUNTS + sight.shown)
        for sight in sights
        if overlap(box, sight.head.box)
    }
    return max(worth, key=lambda person: worth[person], default=None)


def _owners(story: Story, seen: Sequence[Sequence[Sight]]) -> Counter[int | None]:
    """Count on whom a story's boxes are; None is nobody."""
    return Counter(_belongs(one.box, seen[one.frame]) for one in story.sightings)


def _owner(story: Story, seen: Sequence[Sequence[Sight]]) -> int | None:
    """Give the person whom most of a story's boxes are on."""
    return _owners(story, seen).most_common(1)[0][0]


def _sightings(stories: Sequence[Story], person: int, seen: Sequence[Sequence[Sight]]) -> list[tuple[int, bool]]:
    """Give the frames in which any story, told or not, is on somebody, and whether he was looked at."""
    return [
        (one.frame, one.looked)
        for story in stories
        for one in story.sightings
        if _belongs(one.box, seen[one.frame]) == person
    ]


def _span(story: Story, person: int, seen: Sequence[Sequence[Sight]]) -> tuple[int, int]:
    frames = [frame for frame, _ in _sightings([story], person, seen)]
    return frames[0], frames[-1]


def _told(story: Story, clip: Clip, watched: Watched, seen: Sequence[Sequence[Sight]]) -> Told:
    assert story.person is not None
    assert story.label is not None
    owner = _owner(story, seen)
    return Told(
        who="nobody" if owner is None else clip.person[owner].who,
        label=story.label,
        new_s=round(watched.new_s[story.person], 2),
        end_s=round(watched.end_s[story.person], 2),
        shared=[
            clip.person[other].who
            for other, count in _owners(story, seen).items()
            if other not in (owner, None) and count >= max(_SHARED_MIN, _SHARED_PART * len(story.sightings))
        ],
    )


def _why(outcome: Outcome, told: Sequence[Told], spans: Sequence[tuple[int, int]], found: str) -> str:
    """Name the cause where somebody was not told once, with what can be counted about it.

    spans: the first and the last frame in which each of his stories is on him.
    """
    if outcome.why is None:
        return ""
    if not outcome.told:
        return f"{outcome.why}, {found}"
    others = sorted({who for one in told for who in one.shared})
    why = f"mixed up with {' and '.join(others)}" if others else outcome.why
    gaps = [(after[0] - before[1]) / BASE_FPS for before, after in pairwise(sorted(spans))]
    apart = " and ".join(f"{gap_s:.1f} s" for gap_s in gaps if gap_s > 0)
    return f"{why}, {apart} apart" if apart else why


def tales(clip: Clip, watched: Watched) -> list[Told]:
    """Give every story that was told, by whom it is about, in the order of their `new`."""
    seen = timeline(clip)
    stories = [story for story in watched.stories if story.person is not None and story.sightings]
    return sorted((_told(story, clip, watched, seen) for story in stories), key=lambda one: (one.new_s, one.who))


def differences(shipped: Sequence[Told], other: Sequence[Told]) -> list[str]:
    """Name in what the stories told as shipped differ from those told with a gate open; none: in nothing."""
    ours, theirs = _by_who(shipped), _by_who(other)
    found = []
    for who in sorted({*ours, *theirs}):
        mine, yours = ours[who], theirs[who]
        if len(mine) != len(yours):
            found.append(f"{who}: told {len(mine)} times, gate open {len(yours)}")
            continue
        for one, two in zip(mine, yours, strict=True):
            if one.label != two.label:
                found.append(f"{who}: {one.label}, gate open {two.label}")
            for name, by_s in (("new", one.new_s - two.new_s), ("end", one.end_s - two.end_s)):
                if abs(by_s) > SAME_TIME_S:
                    found.append(f"{who}: `{name}` {abs(by_s):.2f} s {'later' if by_s > 0 else 'sooner'}")
    return found


def _by_who(stories: Sequence[Told]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = defaultdict(list)
    for story in stories:
        found[story.who].append(story)
    return found
