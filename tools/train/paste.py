"""Faces and things that look like faces, put into a view where nobody is.

Faces come from portraits that no training picture shows. What is pasted with soft borders must not be a face for that
alone, so as many things go in the same way: pieces of other pictures, heads from behind (their own hair drawn over the
face), fists and discs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tools.train.data import Faces

Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]

PORTRAIT_SOURCES = ("concordia_a", "concordia_b", "kagglecovid", "masktypes", "prajnasb", "webportrait")
"""Sources of crops with surroundings whose pictures are not among the detector's own."""
STORED_PX = 64
"""Longer side of a kept portrait's face: none is pasted larger."""
SIZES_PX = (6.0, 48.0)
FACE_SHARE = 0.55
TRIES = 6


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A face in its surroundings: pixels (h, w, 3) RGB and its box in them."""

    pixels: Pixels
    box: npt.NDArray[np.float32]


def portraits_of(faces: Faces) -> list[Portrait]:
    """Give the training faces of PORTRAIT_SOURCES, none larger than STORED_PX."""
    portraits = []
    for row in faces.rows(split="train", only=PORTRAIT_SOURCES):
        pixels, box = faces.picture(int(row)), faces.box[row].astype(np.float32)
        scale = min(1.0, STORED_PX / float(max(box[2] - box[0], box[3] - box[1])))
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        portraits.append(Portrait(pixels=np.asarray(small, np.uint8), box=box * np.float32(scale)))
    return portraits


def paste(
    pixels: Pixels, taken: Boxes, portraits: Sequence[Portrait], scrap: Pixels, rng: np.random.Generator
) -> Boxes:
    """Put one to four things into a view, in place, clear of what is there; give the boxes (n, 4) of the faces.

    taken: (n, 4) boxes to keep clear of. scrap: (h, w, 3) a picture without faces, for pieces of it.
    """
    height, width = pixels.shape[:2]
    boxes = np.zeros((0, 4), np.float32)
    for _ in range(int(rng.integers(1, 5))):
        is_face = rng.random() < FACE_SHARE
        thing = portraits[int(rng.integers(len(portraits)))]
        if not is_face:
            thing = _no_face(thing, scrap, rng)
        stored_px = float(np.sqrt(np.prod(thing.box[2:] - thing.box[:2])))
        scale = min(float(np.exp(rng.uniform(*np.log(SIZES_PX)))), stored_px) / stored_px
        small: Any = cv2.resize(thing.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        high, wide = small.shape[:2]
        free = _free_place(wide, high, width, height, np.concatenate([taken, boxes]), rng)
        if free is None:
            continue
        x, y = free
        box = thing.box * np.float32(scale)
        if rng.random() < 0.5:
            small, box = small[:, ::-1], np.array([wide - box[2], box[1], wide - box[0], box[3]], np.float32)
        _blend(pixels[y : y + high, x : x + wide], small, box, rng)
        taken = np.concatenate([taken, np.array([[x, y, x + wide, y + high]], np.float32)])
        if is_face:
            boxes = np.concatenate([boxes, box[None] + np.array([x, y, x, y], np.float32)])
    return boxes


def _free_place(
    wide: int, high: int, width: int, height: int, taken: Boxes, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Give where something of this size touches nothing, or None after some tries."""
    if wide >= width or high >= height:
        return None
    for _ in range(TRIES):
        x, y = int(rng.integers(width - wide)), int(rng.integers(height - high))
        apart = (taken[:, 0] >= x + wide) | (taken[:, 2] <= x) | (taken[:, 1] >= y + high) | (taken[:, 3] <= y)
        if apart.all():
            return x, y
    return None


def _blend(place: Pixels, thing: Pixels, box: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    """Lay a thing over a place of its size, in place: whole within an ellipse round the box, softly gone beyond."""
    high, wide = place.shape[:2]
    reach = rng.uniform(1.0, 1.35, 2)
    y, x = np.mgrid[:high, :wide] + 0.5
    far_x = (x - (box[0] + box[2]) / 2) / (reach[0] * (box[2] - box[0]) / 2)
    far_y = (y - (box[1] + box[3]) / 2) / (reach[1] * (box[3] - box[1]) / 2)
    share = np.clip((1.25 - np.hypot(far_x, far_y)) / rng.uniform(0.1, 0.4), 0, 1)[..., None]
    place[:] = np.round(place + share * (thing.astype(np.float32) - place)).astype(np.uint8)


def _no_face(portrait: Portrait, scrap: Pixels, rng: np.random.Generator) -> Portrait:
    """Make something that a detector takes for a face; the portrait lends its shape, hair and skin."""
    kind = rng.random()
    if kind < 0.4:
        return _piece(portrait, scrap, rng)
    if kind < 0.75:
        return _from_behind(portrait)
    return _fist_or_disc(portrait, rng)


def _piece(portrait: Portrait, scrap: Pixels, rng: np.random.Generator) -> Portrait:
    """Cut as large a piece out of a picture without faces, or a larger one shrunk to that."""
    high, wide = portrait.pixels.shape[:2]
    larger = float(rng.uniform(1.0, 3.0))
    rows, columns = min(scrap.shape[0], round(high * larger)), min(scrap.shape[1], round(wide * larger))
    y, x = int(rng.integers(scrap.shape[0] - rows + 1)), int(rng.integers(scrap.shape[1] - columns + 1))
    piece = cv2.resize(scrap[y : y + rows, x : x + columns], (wide, high), interpolation=cv2.INTER_AREA)
    return Portrait(pixels=np.asarray(piece, np.uint8), box=portrait.box)


def _from_behind(portrait: Portrait) -> Portrait:
    """Draw the band of hair above the forehead down to the neck: a head that looks away."""
    x0, y0, x1, y1 = (round(float(side)) for side in portrait.box)
    top, end = max(0, y0 - (y1 - y0) // 5), y1 - (y1 - y0) // 8
    pixels = portrait.pixels.copy()
    band = pixels[top : y0 + 1, x0:x1]
    pixels[y0:end, x0:x1] = cv2.resize(band, (x1 - x0, end - y0), interpolation=cv2.INTER_LINEAR)
    return Portrait(pixels=pixels, box=portrait.box)


def _fist_or_disc(portrait: Portrait, rng: np.random.Generator) -> Portrait:
    """Fill the box with one colour, half of the time that of the skin with the lines between fingers, and shade it."""
    x0, y0, x1, y1 = (float(side) for side in portrait.box)
    skin = portrait.pixels[round(y0 + 0.3 * (y1 - y0)) : round(y0 + 0.5 * (y1 - y0)) + 1, round(x0) : round(x1)]
    pixels = portrait.pixels.copy()
    colour = np.median(skin.reshape(-1, 3), 0) if skin.size and rng.random() < 0.7 else rng.integers(0, 256, 3)
    slope = np.linspace(1 + rng.uniform(-0.35, 0.35), 1 + rng.uniform(-0.35, 0.35), pixels.shape[0])[:, None, None]
    pixels[:] = np.clip(colour * slope, 0, 255)
    if rng.random() < 0.7:
        for finger in range(1, 4):
            middle = x0 + finger * (x1 - x0) / 4
            dark = (0.55 * np.asarray(colour, float)).tolist()
            ends = (round(middle), round(y0)), (round(middle + rng.normal(0, 2)), round(y0 + 0.6 * (y1 - y0)))
            cv2.line(pixels, *ends, dark, max(1, round((x1 - x0) / 20)))
    return Portrait(pixels=pixels, box=portrait.box)
