"""The pipeline: frames in, events out, with nets that are told what to find."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest

from agent.events.types import CameraBack, CameraBlind, Counts, Event, PersonEnd, PersonNew
from agent.pipeline import Pipeline
from agent.seams import Box, Face, Frame, Look, Pixels
from agent.settings import ReportSettings, Settings, VisionSettings
from tests.scripted import MASK, MS, NO_MASK, S, ScriptedClassifier, ScriptedDetector, face, frame, look

STEP = 66 * MS


class Rig:
    """A pipeline between scripted nets, shown one frame after another."""

    def __init__(
        self,
        script: Callable[[int], Sequence[Face]],
        *,
        settings: Settings | None = None,
        looks: Callable[[Box], Look] = lambda _: look(),
        live: bool = False,
    ) -> None:
        self.detector = ScriptedDetector(script)
        self.classifier = ScriptedClassifier(looks)
        self.ticks = 0
        self.pipeline = Pipeline(
            detector=self.detector,
            classifier=self.classifier,
            settings=settings or Settings(),
            run_id="abcdef0123456789",
            live=live,
            now_ns=self._tick,
        )
        self.now_ns = 0
        self.events: list[Event] = []
        self.still = frame(0)

    def _tick(self) -> int:
        self.ticks += 1
        return self.ticks * 1000

    def show(self, count: int, *, moving: bool = True, scene: int = 0) -> None:
        """Show frames in which something far from any face moves, or nothing."""
        for index in range(count):
            pixels = self.still.pixels
            if moving:
                pixels = pixels.copy()
                pixels[420:, 40 * (index % 8) : 40 * (index % 8) + 60] = 255
            self.see(Frame(pixels=pixels, captured_ns=self.now_ns, index=0, scene=scene))

    def see(self, one: Frame) -> None:
        self.events += self.pipeline.step(msgspec.structs.replace(one, captured_ns=self.now_ns))
        self.now_ns += STEP

    def kinds(self) -> list[str]:
        return [type(event.data).__name__ for event in self.events]


def test_a_person_becomes_one_new_and_one_end() -> None:
    rig = Rig(lambda n: [face(100 + 3 * n, 100)] if n < 20 else [])
    rig.show(100)
    assert rig.kinds() == ["PersonNew", "PersonEnd"]
    new, end = (event.data for event in rig.events)
    assert isinstance(new, PersonNew)
    assert isinstance(end, PersonEnd)
    assert (new.label, end.label, end.reason) == ("mask", "mask", "gone")
    assert new.person == end.person == "abcdef01-1"


def test_two_persons_keep_their_own_labels() -> None:
    rig = Rig(
        lambda n: [face(100 + 3 * n, 100), face(400 - 3 * n, 300)],
        looks=lambda box: look(MASK if box.y0 < 200 else NO_MASK),
    )
    rig.show(40)
    labels = {event.person: event.data.label for event in rig.events if isinstance(event.data, PersonNew)}
    assert sorted(labels.values()) == ["mask", "no_mask"]


def test_while_something_moves_faces_are_searched_in_every_second_frame() -> None:
    rig = Rig(lambda _: [])
    rig.show(41)
    assert rig.detector.searches == 21


def test_a_slow_camera_is_searched_frame_by_frame() -> None:
    rig = Rig(lambda _: [])
    for index in range(10):
        rig.show(1, moving=index % 2 == 0)
        rig.now_ns += 40 * MS
    assert rig.detector.searches == 10


def test_a_still_scene_is_searched_once_in_recheck_s() -> None:
    rig = Rig(lambda _: [])
    rig.show(round(20 * S / STEP), moving=False)
    assert 9 <= rig.detector.searches <= 11


def test_somebody_who_stands_still_is_searched_as_often_as_somebody_who_walks() -> None:
    rig = Rig(lambda n: [face(100, 100)])
    rig.show(60, moving=False)
    assert rig.detector.searches == 30


def test_after_somebody_was_lost_the_search_goes_on_for_as_long_as_he_may_come_back() -> None:
    rig = Rig(lambda n: [face(100, 100)] if n < 10 else [])
    rig.show(20, moving=False)
    rig.show(round(1.9 * S / STEP), moving=False)
    assert rig.detector.searches == (20 + round(1.9 * S / STEP) + 1) // 2
    rig.show(round(10 * S / STEP), moving=False)
    assert rig.detector.searches < 35


def test_faces_smaller_than_the_setting_are_not_followed() -> None:
    rig = Rig(lambda _: [face(100, 100, 15.9), face(300, 100, 16.1)])
    rig.show(10)
    assert len(rig.pipeline.in_view()) == 1


def test_faces_outside_the_region_are_not_followed() -> None:
    vision = VisionSettings(region=(0.5, 0.0, 1.0, 1.0))
    rig = Rig(lambda _: [face(310, 100), face(330, 100)], settings=Settings(vision=vision))
    rig.show(10)
    (view,) = rig.pipeline.in_view()
    assert view.track.box.centre[0] == 330


def test_a_decided_person_is_looked_at_twice_a_second() -> None:
    rig = Rig(lambda _: [face(100, 100)])
    rig.show(round(20 * S / STEP))
    assert 40 <= rig.classifier.looks <= 48


def test_looks_are_not_taken_more_often_than_pictures_differ() -> None:
    rig = Rig(lambda _: [face(100, 100)], looks=lambda _: look((0.4, 0.35, 0.25), reason="undecided"))
    for _ in range(600):
        rig.show(1)
        rig.now_ns += 8 * MS - STEP
    assert rig.classifier.looks <= 600 * 8 * MS // (S // 16) + 1


def test_a_poster_is_told_once_then_silenced_counted_and_left_alone() -> None:
    rig = Rig(lambda _: [face(100, 100)])
    rig.show(round(31 * S / STEP), moving=False)
    looks = rig.classifier.looks
    searches = rig.detector.searches
    rig.show(round(30 * S / STEP), moving=False)
    assert [kind for kind in rig.kinds() if kind != "Counts"] == ["PersonNew", "PersonEnd"]
    assert rig.classifier.looks == looks
    assert rig.detector.searches - searches <= 16
    stats = rig.pipeline.stats
    assert (stats.still_faces, stats.persons) == (1, 0)
    (view,) = rig.pipeline.in_view()
    assert view.silenced


def test_a_new_scene_ends_everybody_at_the_time_of_the_old_one() -> None:
    rig = Rig(lambda _: [face(100, 100)])
    rig.show(20)
    old_ns = rig.now_ns - STEP
    rig.show(20, scene=1)
    assert rig.kinds() == ["PersonNew", "PersonEnd", "PersonNew"]
    assert rig.events[1].at_ns == old_ns
    assert rig.events[2].person == "abcdef01-2"


def test_a_frame_of_another_size_is_another_scene() -> None:
    rig = Rig(lambda _: [face(100, 100)])
    rig.show(20)
    rig.see(frame(0, side=(240, 320)))
    assert rig.kinds() == ["PersonNew", "PersonEnd"]


def test_the_end_of_the_medium_ends_everybody_and_counts() -> None:
    rig = Rig(lambda _: [face(100, 100)])
    rig.show(20)
    events = rig.pipeline.finish(rig.now_ns, "gone")
    end, counts = (event.data for event in events)
    assert isinstance(end, PersonEnd)
    assert isinstance(counts, Counts)
    assert (end.reason, counts.ended.mask, counts.frames) == ("gone", 1, 20)


def test_a_stop_says_so() -> None:
    rig = Rig(lambda _: [face(100, 100)])
    rig.show(20)
    end = rig.pipeline.finish(0)[0]
    assert isinstance(end.data, PersonEnd)
    assert end.data.reason == "stop"
    assert end.at_ns == rig.now_ns - STEP


def test_without_frames_people_are_forgotten_and_the_camera_goes_blind_and_comes_back() -> None:
    rig = Rig(lambda _: [face(100, 100)])
    rig.show(20)
    gone = [event for second in range(1, 15) for event in rig.pipeline.idle(rig.now_ns + second * S)]
    assert [type(event.data) for event in gone] == [PersonEnd, CameraBlind]
    assert rig.pipeline.stats.blind == "no_frames"
    rig.now_ns += 15 * S
    rig.events.clear()
    rig.show(1)
    back = rig.events[0].data
    assert isinstance(back, CameraBack)
    assert back.blind_s == pytest.approx(15, abs=0.1)


def test_time_that_goes_backwards_while_idle_is_held() -> None:
    rig = Rig(lambda _: [])
    rig.show(20)
    assert rig.pipeline.idle(0) == []


def test_a_black_camera_is_told_blind() -> None:
    rig = Rig(lambda _: [], live=True)
    rig.show(10)
    for _ in range(round(12 * S / STEP)):
        rig.see(frame(0, grey=3))
    (event,) = rig.events
    assert isinstance(event.data, CameraBlind)
    assert event.data.reason == "black"


@pytest.mark.parametrize(("live", "told"), [(True, ["CameraBlind"]), (False, [])])
def test_the_same_picture_for_long_is_frozen_only_from_a_live_camera(live: bool, told: list[str]) -> None:
    rig = Rig(lambda _: [], live=live)
    rig.show(round(15 * S / STEP), moving=False)
    assert rig.kinds() == told


def test_counts_come_as_the_settings_say() -> None:
    settings = Settings(report=ReportSettings(counts_every_s=2, counts_idle_every_s=4))
    rig = Rig(lambda _: [], settings=settings)
    rig.show(round(8.5 * S / STEP))
    assert [round(event.at_ns / S) for event in rig.events] == [4, 8]


def test_numbers_and_times_of_the_stages_can_be_asked_for() -> None:
    rig = Rig(lambda n: [face(100, 100)])
    rig.show(20)
    stats = rig.pipeline.stats
    assert (stats.frames, stats.detections, stats.faces, stats.persons, stats.glimpses) == (20, 10, 10, 1, 0)
    assert set(rig.pipeline.take_stages()) == {"motion", "detect", "track", "classify", "decide"}
    assert rig.pipeline.take_stages() == {}


def test_a_view_shows_who_is_who_in_the_last_frame() -> None:
    rig = Rig(lambda _: [face(100, 100)])
    rig.show(1)
    assert rig.pipeline.in_view() == []
    rig.show(20)
    (view,) = rig.pipeline.in_view()
    assert (view.person, view.silenced) == ("abcdef01-1", False)
    assert view.decision is not None
    assert view.decision.label == "mask"


def test_the_same_frames_give_the_same_bytes() -> None:
    def replay() -> list[bytes]:
        rng = np.random.default_rng(3)
        rig = Rig(
            lambda n: [face(100 + 7.3 * n + rng.normal(), 100.1), face(500 - 5.7 * n, 90 + rng.normal())],
            looks=lambda box: look(MASK if box.x0 < 300 else NO_MASK, face_px=box.size_px),
        )
        rig.show(200)
        rig.events += rig.pipeline.finish(rig.now_ns)
        return [msgspec.json.encode(event) for event in rig.events]

    first = replay()
    assert len(first) > 4
    assert replay() == first


class FarDetector(ScriptedDetector):
    """Sees a face of 20 px only where the picture is not shrunk."""

    def __init__(self) -> None:
        super().__init__(lambda _: [])
        self.windows = 0

    @property
    def input_size(self) -> tuple[int, int]:
        return 320, 256

    def find(self, pixels: Pixels) -> list[Face]:
        self.searches += 1
        height, width = pixels.shape[:2]
        if (width, height) == (640, 480):
            return []
        self.windows += 1
        row, column = np.unravel_index(np.argmax(pixels[:, :, 1] == 201), (height, width))
        return [face(column, row, 20)] if (pixels[:, :, 1] == 201).any() else []


def test_a_far_person_is_found_by_looking_closely_where_something_moves() -> None:
    rig = Rig(lambda _: [])
    detector = FarDetector()
    rig.pipeline = Pipeline(
        detector=detector, classifier=rig.classifier, settings=Settings(), run_id="abcdef0123456789"
    )
    for index in range(100):
        pixels = rig.still.pixels.copy()
        x = 60 + 2 * index
        pixels[150:200, x - 10 : x + 10] = 255  # the body
        pixels[140, x] = 201  # the face
        rig.see(Frame(pixels=pixels, captured_ns=0, index=0))
    assert rig.kinds() == ["PersonNew"]
    assert 30 <= detector.windows <= 36  # in six and a half seconds
    new = rig.events[0].data
    assert isinstance(new, PersonNew)
    assert new.face_px == 20.0


def test_in_a_still_scene_nothing_is_looked_at_closely() -> None:
    rig = Rig(lambda _: [])
    detector = FarDetector()
    rig.pipeline = Pipeline(
        detector=detector, classifier=rig.classifier, settings=Settings(), run_id="abcdef0123456789"
    )
    rig.show(round(20 * S / STEP), moving=False)
    assert detector.windows == 0
    assert 9 <= detector.searches <= 11
