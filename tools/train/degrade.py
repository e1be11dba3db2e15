"""What a cheap camera, a street and a hand do to a face: one model of it, the same for every label and source.

The order is the world's: what is worn or held (in the picture's own pixels), where the detector's box falls, how small
the face is in the frame, optics and motion, light, sensor, compression, and the crop's way back to the net's size.
Every function takes the generator that it draws from.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from agent.seams import Box, Pixels

INPUT_PX = 64


@dataclass(frozen=True, kw_only=True)
class DegradeSettings:
    """How hard the world is. Probabilities are per face, ranges uniform unless said."""

    face_px: tuple[float, float] = (10.0, 90.0)  # face size in the frame, log-uniform; never above what there is
    crop_scale: tuple[float, float] = (0.95, 1.9)  # side of the crop / longer side of the box
    shift: float = 0.07  # box centre, share of the side, standard deviation
    rotate_deg: float = 9.0  # standard deviation
    tight: float = 0.3  # nothing but the box, or a looser one, is known: its edge is repeated, as for tight crops
    loose: float = 1.5  # a tight crop is up to so many times as large as the box
    gray: float = 0.45  # without colour a blue mask is skin to a net that was not made to look closer
    stretch: float = 0.25  # of the gray ones: contrast stretched to the full range, as old gray archives are
    blur: float = 0.25
    motion: float = 0.14
    light: float = 0.7
    dark: float = 0.1  # of those with another light: too little of it, down to an eighth
    sharpen: float = 0.12  # by a camera or an archive that wants to look crisp: halos, wrinkles, local contrast
    caption: float = 0.04  # letters over the picture, as stations and agencies put them
    shadow: float = 0.15  # a part of the face lies in it
    noise: float = 0.4
    jpeg: float = 0.5
    resample: float = 0.15  # enlarged and shrunk again by somebody else's software


def view(pixels: Pixels, box: Box, settings: DegradeSettings, native_px: float, rng: Generator) -> Pixels:
    """Cut the crop that a real detector would on a real camera, (64, 64, 3) uint8.

    native_px: the size below which the picture itself holds nothing; the face in the frame is never larger.
    """
    face_px = min(float(np.exp(rng.uniform(*np.log(settings.face_px)))), max(native_px, 8.0), box.size_px)
    scale = float(np.exp(rng.uniform(*np.log(settings.crop_scale))))
    if rng.random() < settings.tight:
        loose = rng.uniform(1.0, settings.loose)
        pixels, box = _cut_out(pixels, box, loose)
        face_px, scale = face_px * loose, rng.uniform(0.95, 1.25)
    longer = max(box.width, box.height)
    side_px = max(6, round(face_px * scale * longer / max(1.0, box.size_px)))
    picture = _warp(pixels, box, longer * scale, settings, rng)
    if rng.random() < settings.gray:
        gray: Any = cv2.transform(picture, rng.dirichlet((2.5, 5, 1.2))[None])  # sensors weigh colours differently
        if rng.random() < settings.stretch:
            gray = cv2.equalizeHist(gray)
        picture = np.repeat(gray.reshape(*picture.shape[:2], 1), 3, 2)
    if rng.random() < settings.light:
        picture = _light(picture, rng)
        if rng.random() < settings.dark:
            picture = (picture * rng.uniform(0.12, 0.5)).astype(np.uint8)
    if rng.random() < settings.sharpen:
        picture = _sharpen(picture, rng)
    if rng.random() < settings.caption:
        picture = _caption(picture, rng)
    if rng.random() < settings.shadow:
        picture = _shadow(picture, rng)
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


def _cut_out(pixels: Pixels, box: Box, scale: float) -> tuple[Pixels, Box]:
    """Leave nothing of the picture but the box, enlarged: the edge of that is now the edge of the box."""
    (x, y), half_w, half_h = box.centre, box.width * scale / 2, box.height * scale / 2
    left, top = max(0, round(x - half_w)), max(0, round(y - half_h))
    cut = pixels[top : max(top + 2, round(y + half_h)), left : max(left + 2, round(x + half_w))]
    return cut, Box(0, 0, cut.shape[1], cut.shape[0])


def _shadow(picture: Pixels, rng: Generator) -> Pixels:
    """Darken one side of a line across the face, its edge hard or soft."""
    side = picture.shape[0]
    angle, soft = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 0.4 * side)
    y, x = np.mgrid[:side, :side] - side / 2
    far = (x * np.cos(angle) + y * np.sin(angle) - rng.uniform(-0.3, 0.3) * side) / soft
    dim = 1 - rng.uniform(0.2, 0.7) * np.clip(far + 0.5, 0, 1)
    return np.asarray(np.clip(picture * dim[..., None], 0, 255), np.uint8)


def _sharpen(picture: Pixels, rng: Generator) -> Pixels:
    """Raise local contrast: by tiles of the histogram, or by what a blur takes away."""
    if rng.random() < 0.5:
        tiles = cv2.createCLAHE(float(rng.uniform(1.5, 5)), (4, 4))
        y, red, blue = cv2.split(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb))
        return np.asarray(cv2.cvtColor(cv2.merge([tiles.apply(y), red, blue]), cv2.COLOR_YCrCb2RGB), np.uint8)
    soft = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(1.0, 4.0)))
    gain = rng.uniform(0.5, 2.0)
    return np.asarray(cv2.addWeighted(picture, 1 + gain, soft, -gain, 0), np.uint8)


def _caption(picture: Pixels, rng: Generator) -> Pixels:
    """Write some letters across the picture, more often below its middle."""
    side = picture.shape[0]
    text = "".join(rng.choice(list("ABCDEFGHIKLMNOPRSTUVW 0123456789"), int(rng.integers(4, 12))))
    at = (int(rng.uniform(-0.1, 0.4) * side), int(rng.uniform(0.3, 1.0) * side))
    shade = (float(rng.choice([0, 255, rng.uniform(0, 255)])),) * 3
    written = cv2.putText(picture.copy(), text, at, 0, side * rng.uniform(0.004, 0.012), shade, 1, cv2.LINE_AA)
    return np.asarray(cv2.addWeighted(picture, 0.3, written, 0.7, 0), np.uint8)


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
