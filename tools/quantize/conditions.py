"""The conditions under which a labelled face is shown to the agent: which sources, and what is done to a picture.

"crop" is what `maskwatch inspect --crops` is given: the box cut out of the picture, and nothing round it. The others
are that crop with one thing changed, but for "frame", the face in its surroundings, as behind the agent's detector.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from agent.seams import Box, Pixels
from tools.quantize.looks import face_at, own_px
from tools.train.data import Faces

# The eight whose mean and worst count: both labels, real faces, few wrong labels. The others stand beside them.
EIGHT = ("concordia_a", "concordia_b", "kaggle12k", "kagglecovid", "webportrait", "k853", "adi920", "macwin")
BESIDE = ("mafa", "fer_hands", "k210cam")
SIZES_PX = (48, 32, 24, 16, 12, 10, 8, 6)
AT_SIZE = tuple(f"{size} px" for size in SIZES_PX)
DARK = {"dark 3": 3.0, "dark 6": 6.0}  # how many times darker
SOFT = {"soft 8": 0.08, "soft 16": 0.16}  # standard deviation of the blur / side of the face
CONDITIONS = ("crop", "frame", "wide", *AT_SIZE, "gray", *DARK, *SOFT)
_READ_NOISE = 2.0  # levels: what a sensor adds however dark it is


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture and the box that the agent is told. face_px: the size of face that it really holds."""

    pixels: Pixels
    box: Box
    face_px: float


def show(faces: Faces, row: int, condition: str) -> Shown | None:
    """Give a face in a condition, the same each time; None where the condition would change nothing.

    A face is never enlarged. frame and wide need surroundings, which a source of tight crops has not.
    """
    own = own_px(faces, row)
    if condition in AT_SIZE:
        size = SIZES_PX[AT_SIZE.index(condition)]
        if own <= size:
            return None
        pixels, box = face_at(faces, row, size, tight=True)
        return Shown(pixels=pixels, box=box, face_px=size)
    if condition in ("frame", "wide"):
        if not faces.boxed[row]:
            return None
        pixels, box = face_at(faces, row, None)
        if condition == "wide":  # one and a half times as large, as far as the stored picture goes
            (x, y), half = box.centre, (0.75 * box.width, 0.75 * box.height)
            height, width = pixels.shape[:2]
            x0, y0 = max(0, round(x - half[0])), max(0, round(y - half[1]))
            pixels = pixels[y0 : min(height, round(y + half[1])), x0 : min(width, round(x + half[0]))]
            box = _whole(pixels)
        return Shown(pixels=pixels, box=box, face_px=own)
    pixels, _ = face_at(faces, row, None, tight=True)
    if condition == "gray":
        gray: Any = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        pixels = np.repeat(gray[..., None], 3, 2)
    elif condition in DARK:
        noise = np.random.default_rng([row, 16]).normal(0, _READ_NOISE, pixels.shape)
        pixels = np.clip(pixels / DARK[condition] + noise, 0, 255).round().astype(np.uint8)
    elif condition in SOFT:
        deviation = SOFT[condition] * _whole(pixels).size_px
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), deviation, borderType=cv2.BORDER_REPLICATE), np.uint8)
    return Shown(pixels=pixels, box=_whole(pixels), face_px=own)


def _whole(pixels: Pixels) -> Box:
    height, width = pixels.shape[:2]
    return Box(0, 0, width, height)
