"""The pipeline with the shipped nets on real pixels: the generated scene with its known truth, and the clips."""

import math

import msgspec
import pytest

from agent.camera import open_camera
from agent.camera.scene import SceneCamera
from agent.clock import SystemClock
from agent.events.types import Event, PersonEnd, PersonNew, PersonUpdate
from agent.pipeline import Pipeline
from agent.seams import Box, Camera, End, Frame
from agent.settings import CameraSettings, Settings, VisionSettings
from agent.vision.nets import load_classifier, load_detector
from tests.shared import shared

pytest.importorskip("skimage", reason="the scene's portraits come with the demo extra")


def watch(camera: Camera, settings: Settings) -> tuple[list[Event], Pipeline, dict[str, list[tuple[int, Box]]]]:
    """Show all frames; give the events, the pipeline and where each person was seen."""
    pipeline = Pipeline(
        detector=load_detector("face-320", "cpu").net,
        classifier=load_classifier("mask-64", "cpu").net,
        settings=settings,
        run_id="abcdef0123456789",
    )
    events: list[Event] = []
    places: dict[str, list[tuple[int, Box]]] = {}
    now_ns = 0
    with camera:
        while not isinstance(message := camera.read(10.0), End):
            assert isinstance(message, Frame)
            now_ns = message.captured_ns
            events += pipeline.step(message)
            for view in pipeline.in_view():
                if view.person is not None and view.track.seen:
                    places.setdefault(view.person, []).append((now_ns, view.track.box))
    return events + pipeline.finish(now_ns, "gone"), pipeline, places


@pytest.mark.parametrize("fps", [5.0, 15.0])
def test_everybody_in_the_scene_is_told_once_with_the_right_label(fps: float) -> None:
    camera = SceneCamera(fps=fps, persons=6, duration_s=20.0, seed=11)
    events, _, places = watch(camera, Settings())
    told = {event.data.person: event.data.label for event in events if isinstance(event.data, PersonEnd)}
    owners: list[int] = []
    for person, seen in places.items():
        at_ns, box = seen[len(seen) // 2]
        truth = {
            number: math.dist(true.centre, box.centre)
            for number, walker in enumerate(camera.truth)
            if (true := walker.box_at(at_ns)) is not None
        }
        owner = min(truth, key=lambda number: truth[number])
        owners.append(owner)
        assert truth[owner] < box.size_px / 2
        assert told[person] == camera.truth[owner].label
    assert sorted(owners) == list(range(len(camera.truth)))


def test_an_empty_room_is_searched_only_now_and_then() -> None:
    events, pipeline, _ = watch(SceneCamera(persons=0, duration_s=10.0, seed=11), Settings())
    assert [event.type for event in events] == ["maskwatch.counts.v1"]
    assert pipeline.stats.detections <= 6


@pytest.mark.parametrize(
    "clip", ["arcade", "hallway_pause", "hallway_walk", "handwash", "one_by_one", "parking", "station"]
)
def test_the_gate_loses_nobody_in_a_clip(clip: str) -> None:
    source = str(shared(f"data/video/{clip}.mp4"))
    stories = []
    for recheck_s in (2.0, 0.001):  # with the gate; without: searched whether anything moves or not
        settings = Settings(vision=VisionSettings(recheck_s=recheck_s))
        events, _, _ = watch(open_camera(CameraSettings(source=source), SystemClock()), settings)
        stories.append([event for event in events if isinstance(event.data, PersonNew | PersonUpdate | PersonEnd)])
    gated, always = stories
    assert [(event.type, event.person, label(event)) for event in gated] == [
        (event.type, event.person, label(event)) for event in always
    ]
    assert all(abs(one.at_ns - other.at_ns) <= 500_000_000 for one, other in zip(gated, always, strict=True))


def label(event: Event) -> str:
    assert isinstance(event.data, PersonNew | PersonUpdate | PersonEnd)
    return event.data.label


def test_a_replay_of_the_scene_gives_the_same_bytes() -> None:
    first, second = (watch(SceneCamera(persons=3, duration_s=6.0, seed=4), Settings())[0] for _ in range(2))
    assert [msgspec.json.encode(event) for event in first] == [msgspec.json.encode(event) for event in second]
    assert len(first) > 2
