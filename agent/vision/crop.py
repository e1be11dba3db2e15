"""The classifier's view of a face: one square crop, cut the same way by the agent, the training and the evaluation.

Whoever wants the tensor that the net sees calls `crop` and nothing else: two ways of cutting would be two data sets.
"""

from typing import Any, NamedTuple

import cv2

from agent.seams import Box, Pixels


class Quality(NamedTuple):
    """How much a crop can tell.

    sharpness: variance of the Laplacian of the luma, in squared grey levels at the crop's own size; flat = 0, a sharp
    portrait at 64 px some hundreds to thousands, a face enlarged from 12 px some tens.
    brightness: mean luma, 0..255.
    """

    sharpness: float
    brightness: float


def crop(pixels: Pixels, box: Box, scale: float, size_px: int) -> Pixels:
    """Give the square round a face, scaled to the classifier's input.

    pixels: (h, w, 3) uint8, h and w at least 1. The square has the side max(width, height) * scale, rounded to whole
    pixels, at least 1, round the box's centre. What lies outside the frame repeats the frame's edge. Enlarges linearly;
    shrinks linearly to less than twice the size or a multiple, then by halves of area: a plain area filter, which a
    portrait cannot be told from, takes five times as long.
    Returns (size_px, size_px, 3) uint8, a copy.
    """
    height, width = pixels.shape[:2]
    side = max(1, round(max(box.width, box.height) * scale))
    centre_x, centre_y = box.centre
    left, right, pad_left, pad_right = _span(round(centre_x - side / 2), side, width)
    top, bottom, pad_top, pad_bottom = _span(round(centre_y - side / 2), side, height)
    square: Any = pixels[top:bottom, left:right]  # OpenCV's stubs know no dtypes
    if pad_left or pad_right or pad_top or pad_bottom:  # only the crop is padded: the whole frame would cost a copy
        square = cv2.copyMakeBorder(square, pad_top, pad_bottom, pad_left, pad_right, cv2.BORDER_REPLICATE)
    halvings = max(1, side // size_px).bit_length() - 1
    face: Any = cv2.resize(square, (size_px << halvings, size_px << halvings), interpolation=cv2.INTER_LINEAR)
    for step in reversed(range(halvings)):
        face = cv2.resize(face, (size_px << step, size_px << step), interpolation=cv2.INTER_AREA)
    cut: Pixels = face
    return cut


def _span(start: int, length: int, limit: int) -> tuple[int, int, int, int]:
    """Give first and last of [start, start + length) inside [0, limit), at least one pixel, and the padding around."""
    first = min(max(start, 0), limit - 1)
    last = max(min(start + length, limit), first + 1)
    missing = length - (last - first)
    before = min(max(first - start, 0), missing)
    return first, last, before, missing - before


def quality(face: Pixels) -> Quality:
    """Measure a crop, (size, size, 3) uint8 RGB, as `crop` gives it.

    Source: variance of the Laplacian, Pech-Pacheco et al., ICPR 2000.
    """
    luma = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    _, deviation = cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))
    return Quality(sharpness=float(deviation[0, 0]) ** 2, brightness=float(cv2.mean(luma)[0]))
