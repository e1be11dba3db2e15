"""Lets the agent's pipeline watch a street and keeps what it followed and told, as stories with all their boxes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from agent.clock import NS_PER_S
from agent.decision.people import EndReason, box_norm
from agent.events.types import BoxNorm, CameraBlind, Event, PersonEnd, PersonNew, PersonUpdate
from agent.pipeline import InView
from agent.seams import Box, Frame, Pixels, Reason, Verdict
from tools.bench.street.plan import BASE_FPS


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A face found in a frame at BASE_FPS. looked: the classifier looked at it as well."""

    frame: int
    box: Box
    looked: bool


@dataclass(kw_only=True)
class Story:
    """A face followed. person: its name in the events, None where it was never told; label, reason: the last ones."""

    track: int
    person: str | None = None
    label: Verdict | None = None
    reason: Reason | None = None
    sightings: list[Sighting] = field(default_factory=list)


class Agent(Protocol):
    """What of the pipeline is needed here."""

    def step(self, frame: Frame) -> list[Event]: ...

    def finish(self, now_ns: int, reason: EndReason) -> list[Event]: ...

    def in_view(self) -> list[InView]: ...


class Watcher:
    """Shows frames to one agent. stories: told or not, in the order of their first sighting; blind: false alarms."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._open: dict[int, Story] = {}  # by track
        self._told: dict[str, Story] = {}
        self._last: Frame | None = None
        self._index = 0
        self.stories: list[Story] = []
        self.blind = 0

    def step(self, frame: int, pixels: Pixels) -> None:
        """Show the picture of a frame at BASE_FPS; slower cameras leave some out."""
        self.show(frame, Frame(pixels=pixels, captured_ns=round(frame * NS_PER_S / BASE_FPS), index=self._index))
        self._index += 1

    def show(self, frame: int, shown: Frame) -> None:
        """Show a frame that has a time of its own, which is that of `frame` at BASE_FPS or about it."""
        self._last = shown
        events = self._agent.step(shown)
        for view in self._agent.in_view():
            self._follow(frame, view)
        self._hear(events, *_size(shown))

    def finish(self) -> list[Story]:
        """End everything; give the stories."""
        if self._last is not None:
            self._hear(self._agent.finish(self._last.captured_ns, "gone"), *_size(self._last))
        return self.stories

    def _follow(self, frame: int, view: InView) -> None:
        story = self._open.get(view.track.id)
        if story is None or (story.person is not None and view.person not in (None, story.person)):
            story = self._open[view.track.id] = Story(track=view.track.id)
            self.stories.append(story)
        if story.person is None and view.person is not None:
            story.person = view.person
            self._told[view.person] = story
        if view.track.seen and not view.silenced:
            story.sightings.append(Sighting(frame=frame, box=view.track.box, looked=view.look is not None))

    def _hear(self, events: Iterable[Event], width: int, height: int) -> None:
        for event in events:
            if isinstance(event.data, CameraBlind):
                self.blind += 1
            if isinstance(event.data, PersonNew | PersonUpdate | PersonEnd):
                story = self._told.get(event.data.person) or self._find(event.data.box, width, height)
                story.person, story.label = event.data.person, event.data.label
                self._told[event.data.person] = story
                if isinstance(event.data, PersonNew | PersonUpdate):
                    story.reason = event.data.reason or None

    def _find(self, box: BoxNorm, width: int, height: int) -> Story:
        """Give the story that is told only as it ends, when its track is not in view any more: by its last box."""
        for story in reversed(self.stories):
            if story.person is None and any(
                box_norm(sighting.box, width, height) == box for sighting in reversed(story.sightings)
            ):
                return story
        raise AssertionError(f"the agent told somebody at {box} whom it had not followed")


def _size(frame: Frame) -> tuple[int, int]:
    return frame.pixels.shape[1], frame.pixels.shape[0]
