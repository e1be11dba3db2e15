"""The motion gate: what moves, what does not, and what only seems to."""

import numpy as np
import pytest

from agent.seams import Frame
from agent.vision.motion import HEIGHT, WIDTH, Luma, Motion, MotionGate, shrink
from tests.scripted import MS

STEP = 66 * MS


def scene(seed: int = 1) -> Luma:
    coarse = np.random.default_rng(seed).integers(40, 200, (HEIGHT // 5, WIDTH // 5), np.uint8)
    return np.kron(coarse, np.ones((5, 5), np.uint8))


def shown(gate: MotionGate, pictures: list[Luma], first: int = 0) -> list[Motion]:
    return [gate.look(picture, (first + index) * STEP) for index, picture in enumerate(pictures)]


def noisy(picture: Luma, sigma: float, rng: np.random.Generator) -> Luma:
    return np.clip(picture + rng.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


def with_blob(picture: Luma, x: int, y: int, level: int, size: int = 3) -> Luma:
    changed = picture.copy()
    changed[y : y + size, x : x + size] = level
    return changed


def test_the_first_picture_is_all_motion_because_somebody_may_be_in_it() -> None:
    (motion,) = shown(MotionGate(), [scene()])
    assert motion.moving
    assert motion.cells.all()


def test_a_still_scene_does_not_move() -> None:
    motions = shown(MotionGate(), [scene()] * 100)
    assert not any(motion.moving for motion in motions[1:])


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_sensor_noise_is_no_motion(sigma: float) -> None:
    rng = np.random.default_rng(5)
    motions = shown(MotionGate(), [noisy(scene(), sigma, rng) for _ in range(300)])
    assert sum(motion.moving for motion in motions[1:]) <= 3


def test_a_small_thing_that_moves_is_seen_and_placed() -> None:
    gate = MotionGate()
    shown(gate, [scene()] * 10)
    motion = gate.look(with_blob(scene(), 20, 30, 250), 10 * STEP)
    assert motion.moving
    rows, columns = np.nonzero(motion.cells)
    assert {*range(30, 33)} <= {*rows} <= {*range(29, 34)}
    assert {*range(20, 23)} <= {*columns} <= {*range(19, 24)}


def test_a_uniform_change_by_sixteen_levels_does_not_wrap_around() -> None:
    dark = np.full((HEIGHT, WIDTH), 250, np.uint8)
    gate = MotionGate()
    shown(gate, [dark] * 5)
    bright = dark.copy()
    bright[10:20, 10:20] = 10  # as uint8 the difference would be 16
    assert gate.look(bright, 5 * STEP).moving


def test_one_glittering_cell_is_no_motion() -> None:
    gate = MotionGate()
    pictures = [with_blob(scene(), 40, 30, 255 if index % 2 else 0, size=1) for index in range(40)]
    assert not any(motion.moving for motion in shown(gate, pictures)[1:])


def test_two_glittering_cells_far_apart_are_no_motion_even_with_a_third() -> None:
    gate = MotionGate()
    shown(gate, [scene()] * 5)
    spots = scene()
    for x, y in ((5, 5), (40, 30), (70, 50)):
        spots = with_blob(spots, x, y, 255 if spots[y, x] < 128 else 0, size=1)
    assert not gate.look(spots, 5 * STEP).moving


def test_slow_light_changes_are_no_motion() -> None:
    pictures = [np.clip(scene().astype(int) + index // 15, 0, 255).astype(np.uint8) for index in range(600)]
    assert not any(motion.moving for motion in shown(MotionGate(), pictures)[1:])


def test_a_light_switched_on_is_motion_once() -> None:
    gate = MotionGate()
    dim = (scene() // 2).astype(np.uint8)
    shown(gate, [dim] * 20)
    motions = shown(gate, [scene()] * 40, first=20)
    assert motions[0].moving
    assert not any(motion.moving for motion in motions[1:])


def test_somebody_who_stops_moves_until_he_belongs_to_the_background() -> None:
    gate = MotionGate()
    shown(gate, [scene()] * 20)
    motions = shown(gate, [with_blob(scene(), 30, 30, 255, size=6)] * 600, first=20)
    assert all(motion.moving for motion in motions[:30])
    assert not motions[-1].moving


def test_after_a_pause_without_pictures_the_next_one_counts_as_a_first() -> None:
    gate = MotionGate()
    shown(gate, [scene()] * 5)
    assert gate.look(scene(), 60_000 * MS).moving


def test_after_a_reset_the_next_picture_counts_as_a_first() -> None:
    gate = MotionGate()
    shown(gate, [scene()] * 5)
    gate.reset()
    assert gate.look(scene(), 5 * STEP).moving


@pytest.mark.parametrize("shape", [(480, 640), (1080, 1920), (240, 320), (120, 160), (40, 60), (360, 641)])
def test_any_size_of_frame_gives_the_same_small_picture_size(shape: tuple[int, int]) -> None:
    pixels = np.full((*shape, 3), 77, np.uint8)
    small = shrink(Frame(pixels=pixels, captured_ns=0, index=0))
    assert small.shape == (HEIGHT, WIDTH)
    assert small.dtype == np.uint8
    assert (small == 77).all()


def test_the_small_picture_is_made_from_lores_where_there_is_one() -> None:
    frame = Frame(
        pixels=np.zeros((480, 640, 3), np.uint8),
        captured_ns=0,
        index=0,
        lores=np.full((240, 320, 3), 90, np.uint8),
    )
    assert (shrink(frame) == 90).all()
