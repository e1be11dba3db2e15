"""One frame in, events out: the vision thread's whole story.

  shrink -> does anything move? can the camera see? -> find faces, now and then -> follow them -> look at them
         -> who is it about, what is decided -> count

The same object runs in the daemon, in `inspect`, `demo`, `bench` and the tests. It is told all times but those that it
takes of its own stages.
"""

from collections.abc import Callable, Sequence

import msgspec

from agent.clock import NS_PER_S, SystemClock
from agent.decision.census import Census
from agent.decision.people import EndReason, People
from agent.decision.sight import Sight
from agent.events.state import StageTimes
from agent.events.types import BlindReason, Event
from agent.seams import Classifier, Decision, Detector, Face, Frame, Look, Track
from agent.settings import Settings, VisionSettings
from agent.stages import Stages
from agent.vision.blind import BlindJudge
from agent.vision.focus import Focus, Window
from agent.vision.motion import Motion, MotionGate, shrink
from agent.vision.relevance import is_relevant, region_px
from agent.vision.tracker import SILENT_AFTER_S, Tracker

_CLOCK = SystemClock()
_DETECT_GAP_NS = NS_PER_S // 10  # from a slow camera every frame counts: detect_every is for fast ones
_CLOSER_GAP_NS = NS_PER_S // 5  # on average; more find hardly more, and a Zero 2 W would not keep up with 15 frames/s
_LOOK_GAP_NS = NS_PER_S // 16  # pictures closer than this are the same look
_RELOOK_GAP_NS = NS_PER_S // 2  # at a person who has a label


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers since start, and of now: persons, still_faces, blind."""

    frames: int
    detections: int
    faces: int
    persons: int
    glimpses: int
    still_faces: int
    blind: BlindReason | None


class InView(msgspec.Struct, frozen=True, kw_only=True):
    """A face followed in the last frame, for whoever draws or prints it. silenced: never moves, nobody."""

    track: Track
    silenced: bool
    person: str | None = None
    decision: Decision | None = None
    look: Look | None = None


class Pipeline:
    """Watches one camera. Not thread-safe, except `stats`, `take_stages` and `in_view`, which only read."""

    def __init__(
        self,
        *,
        detector: Detector,
        classifier: Classifier,
        settings: Settings,
        run_id: str,
        live: bool = False,
        now_ns: Callable[[], int] = _CLOCK.now_ns,
    ) -> None:
        """live: frames come from a sensor (seams.Camera). now_ns: for the times of the stages only."""
        self._detector, self._classifier = detector, classifier
        self._vision: VisionSettings = settings.vision
        self._stages = Stages(now_ns)
        self._gate, self._judge = MotionGate(), BlindJudge(live=live)
        self._tracker = Tracker(forget_after_s=settings.decision.forget_after_s)
        self._people = People(settings.decision, run_id=run_id)
        self._sight = Sight(blind_after_s=settings.camera.blind_after_s)
        self._census = Census(settings.report, self._sight)
        self._recheck_ns = round(settings.vision.recheck_s * NS_PER_S)
        self._scene: tuple[int, int, int] | None = None
        self._now_ns = 0
        self._detected_ns: int | None = None
        self._focus = Focus(frame=(1, 1), input_size=detector.input_size)
        self._before_ns = self._closer_due_ns = 0
        self._waited = 0  # frames since faces were last searched
        self._frames = self._detections = self._faces = 0
        self._tracks: Sequence[Track] = ()
        self._looks: dict[int, Look] = {}

    def step(self, frame: Frame) -> list[Event]:
        """Take the next frame; give what is to be told, in order."""
        events = self._cut(frame)
        self._before_ns, self._now_ns = self._now_ns, frame.captured_ns
        now_ns = frame.captured_ns
        self._frames += 1
        height, width = frame.pixels.shape[:2]
        with self._stages.time("motion"):
            small = shrink(frame)
            motion = self._gate.look(small, now_ns)
            events += self._sight.observe(self._judge.look(frame.pixels, small, now_ns), now_ns)
        faces = self._search(frame, motion)
        if faces is None:
            self._tracks = self._tracker.coast(now_ns)
        else:
            with self._stages.time("track"):
                self._tracks = self._tracker.update(faces, now_ns, region_px(self._vision, width, height))
        moving = [track for track in self._tracks if track.still_s < SILENT_AFTER_S]
        due = [track for track in moving if self._is_worth_a_look(track, now_ns)]
        if due:
            with self._stages.time("classify"):
                looks = self._classifier.look(frame.pixels, [track.box for track in due])
            self._looks = {track.id: look for track, look in zip(due, looks, strict=True)}
        else:
            self._looks = {}
        with self._stages.time("decide"):
            events += self._people.observe(moving, self._looks, now_ns, width=width, height=height)
            events += self._census.observe(events, self._people.present, now_ns, frames=1)
        return events

    def idle(self, now_ns: int) -> list[Event]:
        """Take that there is no frame at now_ns: people are forgotten, the camera goes blind, counts go on."""
        self._now_ns = now_ns = max(now_ns, self._now_ns)
        events = self._sight.observe("no_frames", now_ns)
        events += self._people.observe((), {}, now_ns, width=1, height=1)
        return events + self._census.observe(events, self._people.present, now_ns, frames=0)

    def finish(self, now_ns: int, reason: EndReason = "stop") -> list[Event]:
        """End everybody's story and give the last counts. `gone`: the medium has ended; `stop`: the agent does."""
        now_ns = max(now_ns, self._now_ns)
        events = self._people.finish(now_ns, reason)
        self._census.observe(events, 0, now_ns, frames=0)
        return events + self._census.finish(now_ns)

    @property
    def stats(self) -> Stats:
        return Stats(
            frames=self._frames,
            detections=self._detections,
            faces=self._faces,
            persons=self._people.present,
            glimpses=self._people.glimpses,
            still_faces=self._tracker.still_faces,
            blind=self._sight.blind,
        )

    def take_stages(self) -> dict[str, StageTimes]:
        """Give the times of motion, detect, track, classify and decide since last asked."""
        return self._stages.take()

    def in_view(self) -> list[InView]:
        """Give everybody followed in the last frame."""
        views = self._people.views()
        result = []
        for track in self._tracks:
            if not track.confirmed:
                continue
            view = views.get(track.id)
            result.append(
                InView(
                    track=track,
                    silenced=track.still_s >= SILENT_AFTER_S,
                    person=None if view is None else view.person,
                    decision=None if view is None else view.decision,
                    look=self._looks.get(track.id),
                )
            )
        return result

    def _cut(self, frame: Frame) -> list[Event]:
        """Begin a new scene where one begins: nobody of the one before is in it. Another size is another scene."""
        height, width = frame.pixels.shape[:2]
        scene = (frame.scene, height, width)
        before, self._scene = self._scene, scene
        if before == scene:
            return []
        self._focus = Focus(frame=(width, height), input_size=self._detector.input_size)
        if before is None:
            return []
        self._gate.reset()
        self._judge.reset()
        self._tracker.reset()
        self._detected_ns = None
        events = self._people.finish(self._now_ns, "gone")
        return events + self._census.observe(events, 0, self._now_ns, frames=0)

    def _search(self, frame: Frame, motion: Motion) -> list[Face] | None:
        """Give the faces that count, in the region and large enough, or None when it is not time to search."""
        now_ns = frame.captured_ns
        if motion.moving and self._detected_ns is not None:
            self._focus.note(motion.cells)
        whole = self._is_time(motion, now_ns)
        window = self._choose_window(now_ns, whole=whole)
        if not whole and window is None:
            return None
        faces: list[Face] = []
        with self._stages.time("detect"):
            if whole:
                self._detected_ns, self._waited = now_ns, 0
                self._detections += 1
                faces += self._detector.find(frame.pixels)
            if window is not None:
                # What waited for a frame that is free for it has the next one sooner.
                self._closer_due_ns = max(self._closer_due_ns + _CLOSER_GAP_NS, now_ns)
                self._detections += 1
                found = self._detector.find(frame.pixels[window.y0 : window.y1, window.x0 : window.x1])
                faces += [kept for face in found if (kept := self._focus.keep(face, window)) is not None]
        height, width = frame.pixels.shape[:2]
        faces = [face for face in faces if is_relevant(face, self._vision, width, height)]
        self._faces += sum(face.sure for face in faces)
        return faces

    def _is_time(self, motion: Motion, now_ns: int) -> bool:
        """Tell whether faces are to be searched in this whole frame."""
        self._waited += 1
        if self._detected_ns is None:
            return True
        since_ns = now_ns - self._detected_ns
        if motion.moving or self._tracker.alive:
            return self._waited >= self._vision.detect_every or since_ns >= _DETECT_GAP_NS
        return since_ns >= self._recheck_ns

    def _choose_window(self, now_ns: int, *, whole: bool) -> Window | None:
        """Give the part of this frame to look at closely, if any; one not searched as a whole, where there are such."""
        if not self._focus.useful or now_ns < self._closer_due_ns:
            return None
        if whole and self._vision.detect_every > 1 and now_ns - self._before_ns < _DETECT_GAP_NS:
            return None
        moving = (track.box for track in self._tracks if track.still_s < SILENT_AFTER_S)
        return self._focus.choose(moving, now_ns)

    def _is_worth_a_look(self, track: Track, now_ns: int) -> bool:
        if not track.seen:
            return False
        last_ns = self._people.looked_ns(track.id)
        if last_ns is None:
            return True
        return now_ns - last_ns >= (_RELOOK_GAP_NS if self._people.decided(track.id) else _LOOK_GAP_NS)
