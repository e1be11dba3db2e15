"""The blind judge: what is wrong with a picture, and what is not."""

import functools

import cv2
import numpy as np
import pytest

from agent.events.types import BlindReason
from agent.seams import Frame, Pixels
from agent.vision.blind import BlindJudge
from agent.vision.motion import shrink
from tests.scripted import MS

STEP = 500 * MS


@functools.cache
def picture(seed: int = 1, *, noise: float = 2.0, noise_seed: int = 0) -> Pixels:
    """A textured scene as a sensor sees it."""
    coarse = np.random.default_rng(seed).integers(30, 220, (12, 16, 3), np.uint8)
    scene = cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    grain = np.random.default_rng(noise_seed).normal(0, noise, scene.shape)
    return np.clip(scene + grain, 0, 255).astype(np.uint8)


class Watch:
    """A judge and its clock."""

    def __init__(self, *, live: bool = True) -> None:
        self.judge = BlindJudge(live=live)
        self.now_ns = 0

    def see(self, pixels: Pixels) -> BlindReason | None:
        small = shrink(Frame(pixels=pixels, captured_ns=self.now_ns, index=0))
        said = self.judge.look(pixels, small, self.now_ns)
        self.now_ns += STEP
        return said

    def learn(self, seconds: float = 40.0) -> None:
        for index in range(round(seconds * 1000 * MS / STEP)):
            self.see(picture(noise_seed=index % 7))


def test_an_ordinary_noisy_scene_is_seen() -> None:
    watch = Watch()
    assert {watch.see(picture(noise_seed=index)) for index in range(20)} == {None}


def test_a_dark_frame_is_black() -> None:
    assert Watch().see(np.full((120, 160, 3), 5, np.uint8)) == "black"


def test_a_night_with_a_lamp_in_it_is_not_black() -> None:
    night = np.full((120, 160, 3), 5, np.uint8)
    night[25:50, 25:50] = 255
    assert Watch().see(night) is None


@pytest.mark.parametrize("level", [60, 128, 250])
def test_one_grey_is_flat(level: int) -> None:
    assert Watch().see(np.full((120, 160, 3), level, np.uint8)) == "flat"


def test_the_same_bits_again_and_again_from_a_sensor_are_frozen() -> None:
    watch = Watch()
    same = picture()
    assert [watch.see(same) for _ in range(4)] == [None, "frozen", "frozen", "frozen"]


def test_a_clip_may_stand_still() -> None:
    watch = Watch(live=False)
    assert {watch.see(picture()) for _ in range(5)} == {None}


def test_a_still_scene_with_sensor_noise_is_not_frozen() -> None:
    watch = Watch()
    assert {watch.see(picture(noise=0.6, noise_seed=index)) for index in range(10)} == {None}


def test_a_hand_before_the_lens_is_covered_once_the_scene_is_known() -> None:
    watch = Watch()
    watch.learn()
    hand = cv2.GaussianBlur(picture(), (0, 0), 15)
    assert watch.see(hand) == "covered"
    assert watch.see(picture()) is None


def test_nothing_is_covered_before_the_scene_is_known() -> None:
    watch = Watch()
    watch.learn(5)
    assert watch.see(cv2.GaussianBlur(picture(), (0, 0), 15)) is None


def test_a_camera_that_looks_elsewhere_has_moved() -> None:
    watch = Watch()
    watch.learn()
    assert watch.see(picture(seed=2)) == "moved"
    assert watch.see(picture(seed=1)) is None


def test_a_camera_that_looks_elsewhere_for_minutes_was_meant_to() -> None:
    watch = Watch()
    watch.learn()
    said = [watch.see(picture(seed=2, noise_seed=index % 5)) for index in range(260)]
    assert said[0] == "moved"
    assert said[200] == "moved"
    assert said[-1] is None


def test_somebody_who_fills_half_the_picture_has_not_moved_the_camera() -> None:
    watch = Watch()
    watch.learn()
    crowded = picture().copy()
    crowded[:, 80:] = picture(seed=9)[:, 80:]
    assert watch.see(crowded) is None


def test_a_dimmed_light_has_not_moved_the_camera() -> None:
    watch = Watch()
    watch.learn()
    assert watch.see((picture() * 0.5).astype(np.uint8)) is None


def test_a_plain_wall_cannot_tell_whether_it_has_moved() -> None:
    watch = Watch()
    ramp = np.tile(np.linspace(90, 130, 160).astype(np.uint8)[None, :, None], (120, 1, 3))
    for index in range(80):
        assert watch.see(ramp + np.uint8(index % 2)) is None


def test_another_scene_is_learnt_anew() -> None:
    watch = Watch()
    watch.learn()
    watch.judge.reset()
    assert watch.see(picture(seed=2)) is None


def test_between_two_judgements_the_last_one_holds() -> None:
    judge = BlindJudge(live=True)
    black = np.zeros((120, 160, 3), np.uint8)
    small = shrink(Frame(pixels=black, captured_ns=0, index=0))
    assert judge.look(black, small, 0) == "black"
    bright = picture()
    small = shrink(Frame(pixels=bright, captured_ns=0, index=0))
    assert judge.look(bright, small, 100 * MS) == "black"
    assert judge.look(bright, small, 300 * MS) is None
