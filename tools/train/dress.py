"""What people wear and hold before their faces, put on pictures of faces that had nothing there, or something else.

A source of pictures has its own light, sharpness, people and mostly one label, so a net can learn the source for the
label. Here every source's faces get masks, hands, cups and one another's lower halves, and what is left to tell the
labels apart is the lower face. Everything happens in the picture's own pixels, before the camera (`degrade`).
Every function takes the generator that it draws from, and gives a new picture.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from agent.seams import Box, Pixels

SHARED_OVERLAYS = Path("../shared/data/overlays")
OVERLAY_PX = 100  # no face in the data is wider, and large overlays cost a millisecond each


@dataclass(frozen=True, kw_only=True)
class Overlays:
    """Photographed masks (h, w, 4) uint8 RGBA by view, and cloth patterns (h, w, 3) uint8 RGB."""

    front: list[NDArray[np.uint8]]
    side: list[NDArray[np.uint8]]
    textures: list[NDArray[np.uint8]]


def load_overlays(folder: Path = SHARED_OVERLAYS) -> Overlays:
    def read(path: Path) -> NDArray[np.uint8]:
        picture: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        order = cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB
        shrink = min(1.0, OVERLAY_PX / max(picture.shape[:2]))
        picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.cvtColor(picture, order), np.uint8)

    masks = sorted((folder / "masks").glob("*.webp"))
    sideways = [path for path in masks if path.stem.endswith(("_left", "_right"))]
    return Overlays(
        front=[read(path) for path in masks if path not in sideways],
        side=[read(path) for path in sideways],
        textures=[read(path) for path in sorted((folder / "textures").glob("*.webp"))],
    )


def drawn_overlays() -> Overlays:
    """Make two plain masks and a pattern, for runs without the shared data."""
    mask = np.zeros((60, 100, 4), np.uint8)
    cv2.ellipse(mask, (50, 20), (48, 38), 0, 0, 360, (200, 210, 220, 255), -1)
    pattern = np.indices((40, 40)).sum(0) // 5 % 2 * 180 + 40
    return Overlays(front=[mask], side=[mask], textures=[np.repeat(pattern[..., None], 3, 2).astype(np.uint8)])


def wear_mask(pixels: Pixels, box: Box, overlays: Overlays, rng: Generator, *, incorrect: bool) -> Pixels:
    """Give a bare face a mask: from the bridge of the nose to the chin, or, `incorrect`, from below the nose or mouth.

    Proportions are of a face box from forehead to chin: bridge at 0.45, tip of the nose at 0.66, lips at 0.78.
    """
    mask = _some_mask(overlays, rng)
    if rng.random() < 0.12:  # skin-coloured: what tells it from a chin is its edge
        folds = mask[..., :3].mean(2, keepdims=True) / max(1.0, float(mask[..., :3].mean()))
        mask[..., :3] = np.clip(_skin(pixels, box, rng) * np.clip(folds, 0.6, 1.3), 0, 255)
    top = rng.uniform(0.44, 0.56)
    if incorrect:
        top = rng.uniform(0.66, 0.76) if rng.random() < 0.6 else rng.uniform(0.86, 0.93)
    bottom = rng.uniform(1.0, 1.1) if top < 0.8 else rng.uniform(1.08, 1.2)
    half = rng.uniform(0.42, 0.56) * box.width * (0.9 if top > 0.8 else 1.0)
    centre_x = box.centre[0] + rng.normal(0, 0.04) * box.width
    corners = np.array(
        [
            [centre_x - half, box.y0 + top * box.height],
            [centre_x + half, box.y0 + top * box.height],
            [centre_x + half * rng.uniform(0.85, 1.0), box.y0 + bottom * box.height],
            [centre_x - half * rng.uniform(0.85, 1.0), box.y0 + bottom * box.height],
        ],
        np.float32,
    )
    tilt = cv2.getRotationMatrix2D(tuple(map(float, corners.mean(0))), float(rng.normal(0, 5)), 1.0)
    return _paste(pixels, mask, cv2.transform(corners[None], tilt)[0].astype(np.float32), box, rng)


def hold_object(pixels: Pixels, box: Box, overlays: Overlays, rng: Generator) -> Pixels:
    """Put something that is no mask before mouth or nose: fingers, a phone, a cup, a cloth, another head."""
    height, width = pixels.shape[:2]
    layer = np.zeros((height, width, 4), np.uint8)
    mouth = (box.centre[0] + rng.normal(0, 0.12) * box.width, box.y0 + rng.uniform(0.6, 0.9) * box.height)
    unit = box.width
    kind = rng.choice(["fingers", "fist", "bar", "disc", "cloth", "head"], p=[0.32, 0.2, 0.16, 0.13, 0.07, 0.12])
    skin = _skin(pixels, box, rng)
    textured = kind in ("fingers", "fist") and rng.random() < 0.7
    if kind == "fingers":
        angle = rng.uniform(0, 2 * np.pi)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        thick = unit * rng.uniform(0.09, 0.14)
        for finger in range(rng.integers(1, 5)):
            tip = np.array(mouth) + across * thick * 1.1 * (finger - 1.5) + along * unit * rng.uniform(-0.15, 0.15)
            shade = np.clip(skin * rng.uniform(0.85, 1.1), 0, 255)
            _line(layer, tip, tip + along * unit * 1.3, thick, shade)
    elif kind == "fist":
        axes = (unit * rng.uniform(0.18, 0.34), unit * rng.uniform(0.15, 0.3))
        _disc(layer, mouth, axes, float(rng.uniform(0, 180)), skin)
        for knuckle in range(4):
            at = (mouth[0] + (knuckle - 1.5) * unit * 0.12, mouth[1] - unit * 0.05)
            _disc(layer, at, (unit * 0.05, unit * 0.12), 0.0, np.clip(skin * rng.uniform(0.75, 1.1), 0, 255))
    elif kind == "bar":
        angle = rng.uniform(0, np.pi)
        along = np.array([np.cos(angle), np.sin(angle)]) * unit * rng.uniform(0.2, 0.9)
        _line(
            layer, np.array(mouth) - along * 0.3, np.array(mouth) + along, unit * rng.uniform(0.08, 0.35), _colour(rng)
        )
    elif kind == "disc":
        axes = (unit * rng.uniform(0.12, 0.3), unit * rng.uniform(0.12, 0.35))
        _disc(layer, mouth, axes, float(rng.uniform(0, 180)), _colour(rng))
    elif kind == "head":  # somebody's in front, from behind: dark and larger than the mouth is wide
        at = (mouth[0] + rng.normal(0, 0.3) * unit, box.y1 + rng.uniform(0.05, 0.35) * unit)
        axes = (unit * rng.uniform(0.4, 0.7), unit * rng.uniform(0.45, 0.7))
        _disc(layer, at, axes, float(rng.uniform(-20, 20)), rng.uniform(10, 70) * rng.uniform(0.8, 1.2, 3))
    else:  # a cloth or sheet that crosses a part of the face and runs out of the picture
        angle = rng.uniform(0, 2 * np.pi)
        away = np.array([np.cos(angle), np.sin(angle)]) * unit
        _line(
            layer, np.array(mouth) + away * 0.55, np.array(mouth) + away * 2, unit * rng.uniform(0.8, 1.4), _colour(rng)
        )
        texture = overlays.textures[rng.integers(len(overlays.textures))]
        layer[..., :3] = np.where(rng.random() < 0.5, _tile(texture, height, width), layer[..., :3])
    if textured:
        layer[..., :3] = np.clip(layer[..., :3] * _relief(pixels, box, rng), 0, 255)
    return _blend(pixels, layer, box, rng)


def transplant(pixels: Pixels, box: Box, donor: Pixels, donor_box: Box, rng: Generator, *, seam: float) -> Pixels:
    """Give a face the lower half of another one, which then says the label: mask, hand, chin and all.

    seam: where the halves meet, in shares of the box's height from its top; about 0.4 is the bridge of the nose, above
    the upper edge of most masks. The lower half takes over the tone of the upper one where they meet.
    """
    height, width = pixels.shape[:2]
    kx, ky = box.width / donor_box.width, box.height / donor_box.height
    how = cv2.INTER_AREA if min(kx, ky) < 1 else cv2.INTER_LINEAR
    size = (max(1, round(donor.shape[1] * kx)), max(1, round(donor.shape[0] * ky)))
    scaled: Any = cv2.resize(donor, size, interpolation=how)
    matrix = np.array([[1, 0, box.x0 - donor_box.x0 * kx], [0, 1, box.y0 - donor_box.y0 * ky]], np.float64)
    if rng.random() < 0.5:
        matrix[0] = (-1, 0, box.x1 + donor_box.x0 * kx)
    lower: Any = cv2.warpAffine(scaled, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    meet, feather = box.y0 + seam * box.height, rng.uniform(0.02, 0.09) * box.height + 1
    alpha = np.clip((np.arange(height) - meet) / feather + 0.5, 0, 1)[:, None, None].astype(np.float32)
    if rng.random() < 0.5:  # nothing but the face: what is round it stays
        aside = np.abs(np.arange(width) - box.centre[0]) - rng.uniform(0.5, 0.6) * box.width
        alpha = alpha * np.clip(0.5 - aside / feather, 0, 1)[None, :, None].astype(np.float32)
    band = slice(max(0, int(meet - 0.06 * box.height)), max(1, int(meet + 0.06 * box.height) + 1))
    face = slice(max(0, int(box.x0)), max(1, int(box.x1)))
    there, here = (picture[band, face].reshape(-1, 3).mean(0) for picture in (pixels, lower))
    gain = np.clip((there + 8) / (here + 8), 0.4, 2.5) ** rng.uniform(0.5, 1.0)
    mixed: Pixels = np.clip(pixels * (1 - alpha) + lower * gain.astype(np.float32) * alpha, 0, 255).astype(np.uint8)
    return mixed


def cover_upper(pixels: Pixels, box: Box, rng: Generator) -> Pixels:
    """Put dark glasses, a cap's brim or a fringe over eyes or forehead: it says nothing about the mouth."""
    layer = np.zeros((*pixels.shape[:2], 4), np.uint8)
    colour = _colour(rng) * rng.uniform(0.1, 0.7)
    if rng.random() < 0.5:
        for side in (-1, 1):
            at = (box.centre[0] + side * box.width * rng.uniform(0.19, 0.24), box.y0 + 0.36 * box.height)
            _disc(layer, at, (box.width * rng.uniform(0.12, 0.19), box.height * rng.uniform(0.07, 0.12)), 0.0, colour)
        level = box.y0 + 0.34 * box.height
        _line(layer, (box.x0, level), (box.x1, level), box.height * 0.03, colour)
    else:
        level = box.y0 + rng.uniform(-0.1, 0.1) * box.height
        lift = rng.uniform(-0.12, 0.12) * box.height
        ends = (box.x0 - 0.15 * box.width, level - lift), (box.x1 + 0.15 * box.width, level + lift)
        _line(layer, *ends, box.height * rng.uniform(0.2, 0.4), colour)
    return _blend(pixels, layer, box, rng)


def grow_beard(pixels: Pixels, box: Box, rng: Generator) -> Pixels:
    """Darken jaw and upper lip as stubble or a beard do, the mouth left free more or less."""
    layer = np.zeros((*pixels.shape[:2], 4), np.uint8)
    colour = np.full(3, rng.uniform(10, 110)) * rng.uniform(0.85, 1.15, 3)
    jaw = (box.centre[0], box.y0 + 0.86 * box.height)
    _disc(layer, jaw, (box.width * rng.uniform(0.36, 0.46), box.height * rng.uniform(0.17, 0.27)), 0.0, colour)
    mouth = (box.centre[0], box.y0 + 0.78 * box.height)
    axes = (max(1, round(box.width * rng.uniform(0.1, 0.18))), max(1, round(box.height * rng.uniform(0.02, 0.06))))
    cv2.ellipse(layer, (round(mouth[0]), round(mouth[1])), axes, 0, 0, 360, (0, 0, 0, 0), -1)
    strand = rng.uniform(0.5, 1.0, pixels.shape[:2])  # hair lets skin through
    layer[..., 3] = (layer[..., 3] * strand * rng.uniform(0.4, 0.95)).astype(np.uint8)
    return _blend(pixels, layer, box, rng)


def _some_mask(overlays: Overlays, rng: Generator) -> NDArray[np.uint8]:
    pool = overlays.front if rng.random() < 0.75 else overlays.side
    mask = pool[rng.integers(len(pool))].copy()
    height, width = mask.shape[:2]
    kind = rng.random()
    folds = mask[..., :3].mean(2, keepdims=True) / max(1.0, float(mask[..., :3][mask[..., 3] > 128].mean()))
    if kind < 0.25:  # a cloth pattern, or a part of it
        texture = overlays.textures[rng.integers(len(overlays.textures))]
        mask[..., :3] = np.clip(_tile(texture, height, width) * np.clip(folds, 0.4, 1.4), 0, 255)
    elif kind < 0.6:  # any plain colour, dark ones often
        mask[..., :3] = np.clip(_colour(rng) * np.clip(folds, 0.4, 1.4), 0, 255)
    return mask


def _paste(pixels: Pixels, mask: Any, corners: Any, box: Box, rng: Generator) -> Pixels:
    height, width = pixels.shape[:2]
    rows, columns = mask.shape[:2]
    shrink = max(1.0, columns / max(4.0, float(np.ptp(corners[:, 0]))))
    if shrink > 1.5:  # perspective warping does not filter: a small mask is made small first
        mask = cv2.resize(mask, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        rows, columns = mask.shape[:2]
    ends = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    layer = cv2.warpPerspective(mask, cv2.getPerspectiveTransform(ends, corners), (width, height))
    return _blend(pixels, np.asarray(layer, np.uint8), box, rng)


def _blend(pixels: Pixels, layer: NDArray[np.uint8], box: Box, rng: Generator) -> Pixels:
    """Lay an RGBA layer over a face in the face's own light, with soft edges and a little shade from the side."""
    x0, y0 = max(0, int(box.x0)), max(0, int(box.y0))
    upper = pixels[y0 : max(y0 + 2, int(box.centre[1])), x0 : max(x0 + 2, int(box.x1))]
    light = np.clip(float(upper.mean()) / 140, 0.25, 1.4) * rng.uniform(0.85, 1.15)
    slope = rng.normal(0, 0.25)
    shade = 1 + slope * (np.linspace(-1, 1, pixels.shape[1]))[None, :, None]
    soft = cv2.GaussianBlur(layer, (0, 0), 0.7)
    alpha = soft[..., 3:].astype(np.float32) / 255
    lit = layer[..., :3].astype(np.float32) * light * shade
    blended: Pixels = np.clip(pixels * (1 - alpha) + lit * alpha, 0, 255).astype(np.uint8)
    return blended


def _tile(texture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    repeats = (height // texture.shape[0] + 1, width // texture.shape[1] + 1, 1)
    tiled: NDArray[np.uint8] = np.tile(texture, repeats)[:height, :width]
    return tiled


def _skin(pixels: Pixels, box: Box, rng: Generator) -> NDArray[np.float64]:
    """The colour of the forehead, or a hand's from anywhere: hands are seldom exactly as light as the face."""
    x, y = int(box.centre[0]), int(box.y0 + 0.22 * box.height)
    patch = pixels[max(0, y - 2) : y + 3, max(0, x - 3) : x + 4]
    tone = patch.reshape(-1, 3).mean(0) if patch.size else np.array([190.0, 150.0, 130.0])
    return np.asarray(np.clip(tone * rng.uniform(0.75, 1.2), 0, 255), np.float64)


def _relief(pixels: Pixels, box: Box, rng: Generator) -> NDArray[np.float32]:
    """Light and shade of skin, round 1: a patch of the face itself, turned and stretched over the whole picture."""
    left, top = box.x0 + rng.uniform(0.1, 0.4) * box.width, box.y0 + rng.uniform(0.05, 0.55) * box.height
    x, y = max(0, int(left)), max(0, int(top))
    patch = pixels[y : y + max(2, int(0.4 * box.height)), x : x + max(2, int(0.4 * box.width))].astype(np.float32)
    if not patch.size:
        return np.ones((*pixels.shape[:2], 3), np.float32)
    patch = np.rot90(patch, int(rng.integers(4)))
    size = (pixels.shape[1], pixels.shape[0])
    relief: Any = cv2.resize(np.ascontiguousarray(patch / max(1.0, float(patch.mean()))), size)
    return np.asarray(relief, np.float32)


def _colour(rng: Generator) -> NDArray[np.float64]:
    """Any colour; every third one dark, every third one nearly gray."""
    kind, colour = rng.random(), rng.uniform(0, 255, 3)
    if kind < 0.33:
        return colour * 0.2
    return np.asarray(np.clip(colour.mean() + rng.normal(0, 8, 3), 0, 255)) if kind < 0.66 else colour


def _line(layer: NDArray[np.uint8], start: Any, end: Any, thick: float, colour: Any) -> None:
    ends = [tuple(int(value) for value in np.clip(point, -2000, 2000)) for point in (start, end)]
    cv2.line(layer, ends[0], ends[1], (*(float(c) for c in colour), 255.0), max(1, round(thick)), cv2.LINE_AA)


def _disc(layer: NDArray[np.uint8], at: Any, axes: tuple[float, float], angle: float, colour: Any) -> None:
    centre = (round(at[0]), round(at[1]))
    size = (max(1, round(axes[0])), max(1, round(axes[1])))
    cv2.ellipse(layer, centre, size, angle, 0, 360, (*(float(c) for c in colour), 255.0), -1, cv2.LINE_AA)
