"""One person, one story: tracks and looks in, new, update and end out.

A person is a track of the tracker. It is told as `new` at its first decision and as `end` when it has not been seen for
forget_after_s. One that goes undecided is told as `new` (unsure) and `end` when there were looks enough, and is a
glimpse, a number only, when there were not. A track that is not confirmed is nobody, but what was decided about it
counts once it is.
"""

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from agent.clock import NS_PER_S
from agent.decision.verdict import Verdict
from agent.decision.votes import Votes
from agent.events.types import BoxNorm, Event, PersonEnd, PersonNew, PersonUpdate
from agent.seams import Box, Decision, Look, Reason, Track
from agent.settings import DecisionSettings

_SIZES_MAX = 64  # of the latest sightings, for the median; bounded however long a person stays
EndReason = Literal["gone", "stop"]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one person in view. person: None and decision: None before the first decision."""

    track: int
    person: str | None
    decision: Decision | None


class _Story:
    """One person from first to last sighting."""

    def __init__(self, track: Track, settings: DecisionSettings) -> None:
        self.person: str | None = None
        self.confirmed = False
        self.votes = Votes()
        self.verdict = Verdict(settings, track.first_seen_ns)
        self.first_ns = track.first_seen_ns
        self.last_ns = track.last_seen_ns
        self.last_look_ns: int | None = None
        self.box_norm: BoxNorm = (0.0, 0.0, 0.0, 0.0)
        self.sizes_px: deque[float] = deque(maxlen=_SIZES_MAX)

    def sight(self, track: Track, width: int, height: int) -> None:
        self.last_ns = track.last_seen_ns
        self.confirmed |= track.confirmed
        if track.seen:
            self.box_norm = box_norm(track.box, width, height)
            self.sizes_px.append(track.box.size_px)


class People:
    """Everybody in view of one camera. run_id: its first eight characters begin the persons' ids."""

    def __init__(self, settings: DecisionSettings, *, run_id: str) -> None:
        self._settings = settings
        self._forget_ns = round(settings.forget_after_s * NS_PER_S)
        self._prefix = run_id[:8]
        self._told = 0
        self._stories: dict[int, _Story] = {}  # by track
        self.glimpses = 0

    @property
    def present(self) -> int:
        """Count the persons whose story has begun and not ended."""
        return sum(story.person is not None for story in self._stories.values())

    def views(self) -> dict[int, View]:
        """Give what is known about everybody, by track."""
        return {
            track: View(
                track=track,
                person=story.person,
                decision=None if story.person is None else story.verdict.decision,
            )
            for track, story in self._stories.items()
        }

    def looked_ns(self, track_id: int) -> int | None:
        """Give when this track's face was last looked at, or None."""
        story = self._stories.get(track_id)
        return None if story is None else story.last_look_ns

    def decided(self, track_id: int) -> bool:
        """Tell whether this track's person has a label."""
        story = self._stories.get(track_id)
        decision = None if story is None else story.verdict.decision
        return decision is not None and decision.label != "unsure"

    def observe(
        self, tracks: Sequence[Track], looks: Mapping[int, Look], now_ns: int, *, width: int, height: int
    ) -> list[Event]:
        """Take one frame's tracks and the looks at some of them, by track; give what is to be told.

        width, height: of the frame, for the boxes in the events.
        """
        events: list[Event] = []
        for track in sorted(tracks, key=lambda track: track.id):
            story = self._stories.get(track.id)
            if story is None:
                if now_ns - track.last_seen_ns >= self._forget_ns:
                    continue  # its story has ended already; the tracker has not noticed yet
                story = self._stories[track.id] = _Story(track, self._settings)
            story.sight(track, width, height)
            look = looks.get(track.id)
            if look is not None:
                story.votes.add(look, now_ns)
                story.last_look_ns = now_ns
        for track_id in sorted(self._stories):
            story = self._stories[track_id]
            if now_ns - story.last_ns >= self._forget_ns:
                events += self._end(story, now_ns, "gone")
                del self._stories[track_id]
            else:
                events += self._decide(story, now_ns)
        return events

    def finish(self, now_ns: int, reason: EndReason) -> list[Event]:
        """End every story at once: the agent stops, or the scene is another one."""
        stories = [self._stories[track_id] for track_id in sorted(self._stories)]
        self._stories.clear()
        return [event for story in stories for event in self._end(story, now_ns, reason)]

    def _decide(self, story: _Story, now_ns: int) -> list[Event]:
        before = story.verdict.decision
        changed = story.verdict.reconsider(story.votes, now_ns)
        if not story.confirmed or story.verdict.decision is None:
            return []
        if story.person is None:
            return [self._new(story, now_ns)]
        return [_update(story, before, now_ns)] if changed and before is not None else []

    def _new(self, story: _Story, now_ns: int) -> Event:
        self._told += 1
        story.person = f"{self._prefix}-{self._told}"
        return Event(at_ns=now_ns, data=PersonNew(**_fields(story), reason=_reason(story)))

    def _end(self, story: _Story, now_ns: int, reason: EndReason) -> list[Event]:
        events: list[Event] = []
        if not story.confirmed:
            return events
        if story.person is None:
            if story.votes.looks < self._settings.min_looks:
                self.glimpses += 1
                return events
            story.verdict.decision = story.votes.unsure(self._settings.min_looks)
            events.append(self._new(story, now_ns))
        before = story.verdict.decision
        if before is not None and story.verdict.settle(story.votes):
            events.append(_update(story, before, now_ns))
        fields = _fields(story)
        end = PersonEnd(**fields, duration_s=fields["seen_s"], looks_by_label=story.votes.by_label(), reason=reason)
        return [*events, Event(at_ns=now_ns, data=end)]


def box_norm(box: Box, width: int, height: int) -> BoxNorm:
    """Give a box in parts of the frame, cut to it, rounded so that a replay gives the same text."""

    def part(value: float, whole: int) -> float:
        return round(min(max(value / whole, 0.0), 1.0), 4)

    return part(box.x0, width), part(box.y0, height), part(box.x1, width), part(box.y1, height)


def _update(story: _Story, before: Decision, now_ns: int) -> Event:
    """Tell that the decision has changed."""
    data = PersonUpdate(**_fields(story), previous=before.label, reason=_reason(story))
    return Event(at_ns=now_ns, data=data)


def _fields(story: _Story) -> dict[str, Any]:
    """Give what new, update and end have in common."""
    decision = story.verdict.decision
    assert decision is not None
    assert story.person is not None
    return {
        "person": story.person,
        "label": decision.label,
        "confidence": round(decision.confidence, 3),
        "looks": story.votes.good_looks,
        "seen_s": round((story.last_ns - story.first_ns) / NS_PER_S, 3),
        "face_px": round(statistics.median(story.sizes_px), 1) if story.sizes_px else 0.0,
        "box": story.box_norm,
    }


def _reason(story: _Story) -> Reason | UnsetType:
    decision = story.verdict.decision
    return UNSET if decision is None or decision.reason is None else decision.reason
