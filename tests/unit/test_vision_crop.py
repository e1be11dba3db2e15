"""The square that the classifier sees: geometry against plain indexing, edges, filters, measures."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.seams import Box, Pixels
from agent.vision.crop import crop, quality


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def smooth(height: int, width: int, seed: int = 0) -> Pixels:
    return cv2.GaussianBlur(noise(height, width, seed), (0, 0), 4)


@given(
    x0=st.integers(-60, 90),
    y0=st.integers(-60, 70),
    side=st.integers(1, 16),
    width=st.integers(1, 30),
    height=st.integers(1, 25),
)
def test_pixels_are_those_of_the_frame_with_its_edge_repeated(
    x0: int, y0: int, side: int, width: int, height: int
) -> None:
    pixels = noise(height, width)

    face = crop(pixels, Box(x0, y0, x0 + side, y0 + side), 1.0, side)  # as large as the box: nothing is scaled

    rows = np.clip(np.arange(y0, y0 + side), 0, height - 1)
    columns = np.clip(np.arange(x0, x0 + side), 0, width - 1)
    np.testing.assert_array_equal(face, pixels[rows][:, columns])


def test_the_square_has_the_longer_side_and_the_box_in_its_middle() -> None:
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[40:60, 45:55] = 255

    face = crop(pixels, Box(45, 40, 55, 60), 2.0, 40)

    assert face.shape == (40, 40, 3)
    ys, xs = np.nonzero(face[..., 0])
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (10, 29, 15, 24)


@pytest.mark.parametrize("side", [70, 100, 127, 150, 200, 300, 450])
def test_shrinking_agrees_with_an_area_filter(side: int) -> None:
    pixels = smooth(480, 640)

    face = crop(pixels, Box(10, 10, 10 + side, 10 + side), 1.0, 64)

    exact = cv2.resize(pixels[10 : 10 + side, 10 : 10 + side], (64, 64), interpolation=cv2.INTER_AREA)
    difference = np.abs(face.astype(int) - exact)
    assert difference.mean() < 1.0
    assert difference.max() <= 8


def test_fine_stripes_shrink_to_grey_and_not_to_false_stripes() -> None:
    pixels = np.zeros((512, 512, 3), np.uint8)
    pixels[:, ::2] = 255

    face = crop(pixels, Box(0, 0, 512, 512), 1.0, 64)

    assert np.ptp(face.astype(int)) <= 2
    assert abs(float(face.mean()) - 127.5) < 2


def test_the_result_is_a_copy() -> None:
    pixels = noise(64, 64)
    before = pixels.copy()

    crop(pixels, Box(0, 0, 64, 64), 1.0, 64)[:] = 0

    np.testing.assert_array_equal(pixels, before)


def test_sharpness_falls_with_blur_and_is_zero_for_a_flat_crop() -> None:
    sharp = noise(64, 64)
    measured = [quality(cv2.GaussianBlur(sharp, (0, 0), sigma)).sharpness for sigma in (0.5, 1.0, 2.0, 4.0)]

    assert quality(sharp).sharpness > measured[0]
    assert measured == sorted(measured, reverse=True)
    assert quality(np.full((64, 64, 3), 90, np.uint8)).sharpness == 0.0


def test_brightness_is_the_mean_luma() -> None:
    grey = np.full((64, 64, 3), 90, np.uint8)
    green = np.zeros((64, 64, 3), np.uint8)
    green[..., 1] = 200

    assert quality(grey).brightness == pytest.approx(90)
    assert quality(green).brightness == pytest.approx(0.587 * 200, abs=1)
