"""What a cheap camera, a street and a hand do to a face: one model of it, the same for every label and source.

The order is the world's: what is worn or held (in the picture's own pixels), where the detector's box falls, how small
the face is in the frame, optics and motion, light, sensor, compression, and the crop's way back to the net's size.
Every function takes the generator that it draws from.
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
INPUT_PX = 64
OVERLAY_PX = 100  # no face in the data is wider, and large overlays cost a millisecond each


@dataclass(frozen=True, kw_only=True)
class DegradeSettings:
    """How hard the world is. Probabilities are per face, ranges uniform unless said."""

    face_px: tuple[float, float] = (9.0, 72.0)  # face size in the frame, log-uniform; never above what there is
    crop_scale: tuple[float, float] = (0.95, 1.5)  # side of the crop / longer side of the box
    shift: float = 0.07  # box centre, share of the side, standard deviation
    rotate_deg: float = 9.0  # standard deviation
    tight: float = 0.2  # nothing but the box is known: its edge is repeated, as for a folder of tight crops
    gray: float = 0.3
    stretch: float = 0.25  # of the gray ones: contrast stretched to the full range, as old gray archives are
    blur: float = 0.35
    motion: float = 0.2
    light: float = 0.7
    noise: float = 0.5
    jpeg: float = 0.6
    resample: float = 0.15  # enlarged and shrunk again by somebody else's software


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
    top = rng.uniform(0.44, 0.56)
    if incorrect:
        top = rng.uniform(0.70, 0.76) if rng.random() < 0.6 else rng.uniform(0.86, 0.93)
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
    return _blend(pixels, layer, box, rng)


def view(pixels: Pixels, box: Box, settings: DegradeSettings, native_px: float, rng: Generator) -> Pixels:
    """Cut the crop that a real detector would on a real camera, (64, 64, 3) uint8.

    native_px: the size below which the picture itself holds nothing; the face in the frame is never larger.
    """
    if rng.random() < settings.tight:
        x0, y0, x1, y1 = (round(value) for value in box)
        pixels = pixels[max(0, y0) : max(y1, y0 + 2), max(0, x0) : max(x1, x0 + 2)]
        box = Box(box.x0 - max(0, x0), box.y0 - max(0, y0), box.x1 - max(0, x0), box.y1 - max(0, y0))
        scale = rng.uniform(0.95, 1.2)
    else:
        scale = float(np.exp(rng.uniform(*np.log(settings.crop_scale))))
    face_px = float(np.exp(rng.uniform(*np.log(settings.face_px))))
    longer = max(box.width, box.height)
    aspect = longer / max(1.0, box.size_px)
    side_px = max(6, round(min(face_px, max(native_px, 8.0), box.size_px) * aspect * scale))
    picture = _warp(pixels, box, longer * scale, settings, rng)
    if rng.random() < settings.gray:
        gray: Any = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        if rng.random() < settings.stretch:
            gray = cv2.equalizeHist(gray)
        picture = np.repeat(gray[..., None], 3, 2)
    if rng.random() < settings.light:
        picture = _light(picture, rng)
    small: Any = cv2.resize(_optics(picture, side_px, settings, rng), (side_px, side_px), interpolation=cv2.INTER_AREA)
    if rng.random() < settings.noise:
        small = _sensor(small, rng)
    if rng.random() < settings.resample:
        other = max(6, round(side_px * rng.uniform(0.6, 2.0)))
        how = int(rng.choice([cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_NEAREST]))
        small = cv2.resize(small, (other, other), interpolation=how)
    if rng.random() < settings.jpeg:
        _, coded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(18, 92))])
        small = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    how = cv2.INTER_AREA if small.shape[0] > 2 * INPUT_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(small, (INPUT_PX, INPUT_PX), interpolation=how), np.uint8)


def shrink_face(pixels: Pixels, box: Box, face_px: float) -> tuple[Pixels, Box]:
    """Give the picture in which the face has face_px (never enlarged), by area: the ruler of accuracy by size."""
    factor = min(1.0, face_px / box.size_px)
    height, width = pixels.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    kx, ky = size[0] / width, size[1] / height
    return small, Box(box.x0 * kx, box.y0 * ky, box.x1 * kx, box.y1 * ky)


def _warp(pixels: Pixels, box: Box, side: float, settings: DegradeSettings, rng: Generator) -> Pixels:
    """Shift, turn and mirror the crop; at 96 px, or at its own size where that is smaller."""
    out = int(min(96, max(24, np.ceil(side))))
    angle = rng.normal(0, settings.rotate_deg)
    matrix: Any = cv2.getRotationMatrix2D(box.centre, angle, out / side)
    matrix[:, 2] += out / 2 - np.array(box.centre) + rng.normal(0, settings.shift, 2) * out
    if rng.random() < 0.5:
        matrix[0] = -matrix[0]
        matrix[0, 2] += out - 1
    return np.asarray(cv2.warpAffine(pixels, matrix, (out, out), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _optics(picture: Pixels, side_px: int, settings: DegradeSettings, rng: Generator) -> Pixels:
    """Blur as it falls on the sensor: in units of the small face's own pixels."""
    pixel = picture.shape[0] / side_px
    if rng.random() < settings.blur:
        picture = np.asarray(
            cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.3)) * max(1.0, pixel)), np.uint8
        )
    if rng.random() < settings.motion:
        length = int(np.clip(rng.uniform(1.5, 5.0) * pixel, 2, 25))
        kernel = np.zeros((length, length), np.float32)
        angle = rng.uniform(0, np.pi)
        reach = np.array([np.cos(angle), np.sin(angle)]) * length / 2
        start, end = (np.array([length / 2] * 2) - reach).astype(int), (np.array([length / 2] * 2) + reach).astype(int)
        cv2.line(kernel, tuple(map(int, start)), tuple(map(int, end)), 1.0)
        picture = np.asarray(cv2.filter2D(picture, -1, kernel / max(1.0, kernel.sum())), np.uint8)
    return picture


def _light(picture: Pixels, rng: Generator) -> Pixels:
    """Exposure, contrast, gamma and a colour cast, by one table a channel."""
    levels = np.arange(256) / 255
    gamma = np.exp(rng.normal(0, 0.3))
    contrast, offset = np.exp(rng.normal(0, 0.2)), rng.normal(0, 0.08)
    cast = np.exp(rng.normal(0, 0.08, 3)) if rng.random() < 0.5 else np.ones(3)
    curve = (levels**gamma - 0.5) * contrast + 0.5 + offset
    table = np.clip(curve[:, None] * cast * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table[None]), np.uint8)


def _sensor(small: Pixels, rng: Generator) -> Pixels:
    """Noise: grows with the square root of the light, partly the same in all channels."""
    strength = rng.uniform(1, 11)
    shape = small.shape[:2]
    grain = rng.standard_normal((*shape, 3 if rng.random() < 0.6 else 1), np.float32) * strength
    return np.clip(small + grain * np.sqrt(small / 160.0 + 0.2), 0, 255).astype(np.uint8)


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
