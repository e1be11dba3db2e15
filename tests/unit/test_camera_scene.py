"""The generated scene: the same for the same seed, and its truth is true."""

import hashlib
import importlib.util

import numpy as np
import pytest

from agent.camera.portraits import MASKS, PORTRAITS, Clothes, make_figure
from agent.camera.scene import SceneCamera
from agent.camera.walk import plan
from agent.clock import NS_PER_S
from agent.errors import InputError
from agent.seams import Box, End, Frame

needs_portraits = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None or importlib.util.find_spec("matplotlib") is None,
    reason="needs the demo extra: pip install -e '.[demo]'",
)


def _frames(camera: SceneCamera, limit: int = 10_000) -> list[Frame]:
    frames: list[Frame] = []
    while len(frames) < limit and isinstance(frame := camera.read(0), Frame):
        frames.append(frame)
    return frames


def _digest(frames: list[Frame]) -> str:
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(frame.pixels.tobytes())
    return digest.hexdigest()


@needs_portraits
def test_a_scene_is_the_same_byte_for_byte_for_the_same_seed_and_another_for_another() -> None:
    digests = []
    for seed in (3, 3, 4):
        with SceneCamera(width=320, height=240, fps=5, persons=2, duration_s=8, seed=seed) as camera:
            digests.append(_digest(_frames(camera)))
    assert digests[0] == digests[1] != digests[2]


@needs_portraits
def test_frames_come_in_order_and_on_time_and_then_the_end_without_damage() -> None:
    with SceneCamera(width=160, height=120, fps=10, persons=0, duration_s=2) as camera:
        frames = _frames(camera)
        assert camera.read(0) == End()
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.captured_ns for frame in frames] == [number * NS_PER_S // 10 for number in range(20)]
    assert {frame.scene for frame in frames} == {0}
    assert frames[0].pixels.shape == (120, 160, 3)


@needs_portraits
def test_a_loop_is_a_new_scene_with_the_same_pictures_and_time_that_goes_on() -> None:
    with SceneCamera(width=160, height=120, fps=10, persons=1, duration_s=2, loop=True) as camera:
        frames = _frames(camera, limit=50)
    assert [frame.scene for frame in frames] == [0] * 20 + [1] * 20 + [2] * 10
    assert [frame.captured_ns for frame in frames] == [number * NS_PER_S // 10 for number in range(50)]
    assert _digest(frames[:20]) == _digest(frames[20:40])


@needs_portraits
def test_rotation_turns_the_picture_clockwise() -> None:
    with (
        SceneCamera(width=160, height=120, persons=0, duration_s=1) as plain,
        SceneCamera(width=160, height=120, persons=0, duration_s=1, rotate_deg=90) as turned,
    ):
        first, second = plain.read(0), turned.read(0)
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert np.array_equal(second.pixels, np.rot90(first.pixels, k=-1))


@needs_portraits
def test_what_the_truth_calls_a_face_differs_from_the_empty_room_and_the_rest_of_an_empty_frame_does_not() -> None:
    with SceneCamera(persons=4, duration_s=20, fps=5) as camera, SceneCamera(persons=0, duration_s=20, fps=5) as empty:
        checked = 0
        for frame, room in zip(_frames(camera), _frames(empty), strict=True):
            difference = np.abs(frame.pixels.astype(np.int16) - room.pixels).max(axis=2)
            boxes = [walker.face_at(frame.captured_ns / NS_PER_S) for walker in camera.truth]
            if not any(boxes):
                assert difference.max() <= 1
            for walker in camera.truth:
                box = walker.box_at(frame.captured_ns)
                if box is not None:
                    x0, y0, x1, y1 = (max(0, round(edge)) for edge in box)
                    assert (difference[y0:y1, x0:x1] > 20).mean() > 0.8
                    checked += 1
    assert checked > 50


@needs_portraits
def test_a_masked_figure_differs_from_a_bare_one_below_the_eyes_only() -> None:
    bare, masked = (make_figure(PORTRAITS[0], mask=m, clothes=Clothes(), flip=False, seed=1) for m in (None, MASKS[0]))
    difference = np.abs(bare.rgba.astype(np.int16) - masked.rgba).max(axis=2)
    x0, y0, x1, y1 = (round(edge) for edge in bare.face)
    eyes, mouth = y0 + (y1 - y0) // 4, y1 - (y1 - y0) // 3
    assert difference[:eyes].max() == 0
    assert (difference[mouth : y1 - 12, x0 + 20 : x1 - 20] > 20).mean() > 0.9


@needs_portraits
def test_a_flipped_figure_is_the_mirror_image_with_its_face_box_mirrored() -> None:
    plain, flipped = (make_figure(PORTRAITS[1], mask=None, clothes=Clothes(), flip=f, seed=1) for f in (False, True))
    width = plain.rgba.shape[1]
    assert np.array_equal(flipped.rgba, plain.rgba[:, ::-1])
    assert flipped.face == Box(width - plain.face.x1, plain.face.y0, width - plain.face.x0, plain.face.y1)


def test_a_missing_portrait_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as caught, SceneCamera(persons=1):
        pass
    assert "maskwatch[demo]" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_room_needs_no_portraits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with SceneCamera(width=160, height=120, persons=0) as camera:
        assert isinstance(camera.read(0), Frame)
        assert camera.describe() == "generated scene, 0 persons, 160x120, 15 frames/s"


def test_persons_alternate_between_mask_and_no_mask_and_are_in_view_for_seconds() -> None:
    truth = SceneCamera().truth
    assert sorted(walker.label for walker in truth) == ["mask"] * 3 + ["no_mask"] * 3
    assert all((walker.last_ns - walker.first_ns) / NS_PER_S > 3 for walker in truth)
    assert truth == SceneCamera().truth


def test_a_true_box_begins_and_ends_with_the_instants_of_the_truth() -> None:
    for walker in SceneCamera(fps=15).truth:
        inside = [n for n in range(25 * 15) if walker.box_at(round(n * NS_PER_S / 15)) is not None]
        assert round(inside[0] * NS_PER_S / 15) == walker.first_ns
        assert round(inside[-1] * NS_PER_S / 15) == walker.last_ns
        assert inside == list(range(inside[0], inside[-1] + 1))


@pytest.mark.parametrize("seed", range(12))
def test_no_face_is_ever_over_another_and_sizes_stay_in_bounds(seed: int) -> None:
    truth = plan(width=640, height=480, fps=15, persons=10, duration_s=30, seed=seed, aspects=[1.2, 1.15])
    most = 0
    for at_ns in range(0, 30 * NS_PER_S, NS_PER_S // 20):
        boxes = [box for walker in truth if (box := walker.box_at(at_ns)) is not None]
        most = max(most, len(boxes))
        assert all(19 <= box.size_px <= 124 for box in boxes)
        for number, one in enumerate(boxes):
            for other in boxes[:number]:
                assert one.x1 <= other.x0 or other.x1 <= one.x0
    assert 2 <= most <= 4
