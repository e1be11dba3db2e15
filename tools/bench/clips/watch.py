"""Lets the agent's own pipeline watch a clip, as `maskwatch inspect CLIP` does, with its gates as shipped or open."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.camera import open_camera
from agent.clock import NS_PER_S, SystemClock
from agent.decision.people import EndReason
from agent.events.types import Event, PersonEnd, PersonNew
from agent.pipeline import InView, Pipeline
from agent.seams import Camera, Classifier, Detector, End, Frame
from agent.settings import CameraSettings, Settings
from tools.bench.street.plan import BASE_FPS
from tools.bench.street.watch import Story, Watcher

_READ_TIMEOUT_S = 30.0
_AT_ONCE_S = 0.001


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """Which gates are open. still: frames in which nothing moves are searched as well; every_frame: and each of them
    and of the others, not one in detect_every."""

    still: bool = False
    every_frame: bool = False

    def pipeline(self, detector: Detector, classifier: Classifier) -> Pipeline:
        """Make a pipeline with the shipped defaults but for the gates."""
        shipped = Settings()
        vision = msgspec.structs.replace(
            shipped.vision,
            recheck_s=_AT_ONCE_S if self.still else shipped.vision.recheck_s,
            detect_every=1 if self.every_frame else shipped.vision.detect_every,
        )
        settings = msgspec.structs.replace(shipped, vision=vision)
        return Pipeline(detector=detector, classifier=classifier, settings=settings, run_id="clip")


SHIPPED = Gates()
OPEN: Mapping[str, Gates] = {
    "still frames too": Gates(still=True),
    "every frame": Gates(still=True, every_frame=True),
}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What became of one clip. frames: their numbers at BASE_FPS; new_s, end_s: when each person was told, by name.

    told: how many `new` and `end` events there were for each person.
    """

    stories: list[Story]
    frames: list[int]
    detections: int
    new_s: dict[str, float]
    end_s: dict[str, float]
    told: dict[str, tuple[int, int]]


class _Heard:
    """Passes everything on, and remembers the events."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.events: list[Event] = []

    def step(self, frame: Frame) -> list[Event]:
        events = self._pipeline.step(frame)
        self.events += events
        return events

    def finish(self, now_ns: int, reason: EndReason) -> list[Event]:
        events = self._pipeline.finish(now_ns, reason)
        self.events += events
        return events

    def in_view(self) -> list[InView]:
        return self._pipeline.in_view()


def open_clip(path: Path) -> Camera:
    """Open a clip as the agent does."""
    return open_camera(CameraSettings(source=str(path.absolute()), loop=False), SystemClock())


def watch(camera: Camera, pipeline: Pipeline) -> Watched:
    """Show all frames of a medium of at most BASE_FPS. Raises InputError when it is damaged."""
    heard = _Heard(pipeline)
    watcher = Watcher(heard)
    frames = []
    with camera:
        while not isinstance(message := camera.read(_READ_TIMEOUT_S), End):
            assert isinstance(message, Frame), "a medium is never silent"
            frames.append(round(message.captured_ns * BASE_FPS / NS_PER_S))
            watcher.show(frames[-1], message)
    if message.damage is not None:
        raise message.damage
    stories = watcher.finish()
    new = [(event.data.person, event.at_ns / NS_PER_S) for event in heard.events if isinstance(event.data, PersonNew)]
    end = [(event.data.person, event.at_ns / NS_PER_S) for event in heard.events if isinstance(event.data, PersonEnd)]
    news, ends = ([person for person, _ in one] for one in (new, end))
    return Watched(
        stories=stories,
        frames=frames,
        detections=pipeline.stats.detections,
        new_s=dict(new),
        end_s=dict(end),
        told={person: (news.count(person), ends.count(person)) for person in [*news, *ends]},
    )
