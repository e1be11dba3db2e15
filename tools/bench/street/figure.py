"""What a person is drawn with: a head cut out of a portrait, and a clothed body; each kept at several sizes."""

import math
from typing import Any

import cv2
import numpy as np

from agent.seams import Box, Pixels
from tools.bench.street.material import Portrait
from tools.bench.street.truth import HEAD, body_of

_SHRINK = 2**0.25  # between two sizes at which a sprite is kept
_SURELY_HEAD = 0.82  # radii of the oval within which nothing is cut away
_SMOOTH, _FEATHER = 0.12, 0.025  # of the face's width: bumps of the outline that are cut away, softness of its edge
_BODY_FACE = Box(70.0, 10.0, 110.0, 62.0)  # where the face would be in the picture of a body
_BODY_SIZE = (180, 480)
_FOLDS = 0.1  # standard deviation of the light on folds

Colour = tuple[float, float, float]


class Sprite:
    """A cut-out: premultiplied colours and alpha, (h, w, 4) float32 0..255, and where its face is or would be."""

    def __init__(self, rgba: Any, face: Box) -> None:
        self._rgba, self._face = rgba, face
        self._sizes: dict[int, Any] = {}

    def paint(self, pixels: Any, box: Box, *, narrow: float = 1.0, tilt_deg: float = 0.0) -> None:
        """Lay it over the picture so that its face comes to lie on box. narrow: factor on its width."""
        scale = box.height / self._face.height
        level = self._level(max(0, math.floor(-math.log(scale, _SHRINK))))
        shrunk = np.array([level.shape[1] / self._rgba.shape[1], level.shape[0] / self._rgba.shape[0]])
        sine, cosine = math.sin(math.radians(tilt_deg)), math.cos(math.radians(tilt_deg))
        across, down = narrow * box.width / self._face.width / shrunk[0], scale / shrunk[1]
        turn = np.array([[cosine * across, -sine * down], [sine * across, cosine * down]])
        offset = np.array(box.centre) - 0.5 - turn @ (np.array(self._face.centre) * shrunk - 0.5)
        height, width = level.shape[:2]
        corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) @ turn.T + offset
        x0, y0 = (max(0, math.floor(value)) for value in corners.min(axis=0))
        x1 = min(pixels.shape[1], math.ceil(corners[:, 0].max()) + 1)
        y1 = min(pixels.shape[0], math.ceil(corners[:, 1].max()) + 1)
        if x0 >= x1 or y0 >= y1:
            return
        moved: Any = cv2.warpAffine(
            level, np.column_stack([turn, offset - (x0, y0)]), (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR
        )
        part = pixels[y0:y1, x0:x1]
        part[:] = np.rint(moved[..., :3] + part * (1 - moved[..., 3:] / 255)).clip(0, 255).astype(np.uint8)

    def _level(self, step: int) -> Any:
        if step not in self._sizes:
            height, width = self._rgba.shape[:2]
            size = max(1, round(width / _SHRINK**step)), max(1, round(height / _SHRINK**step))
            self._sizes[step] = cv2.resize(self._rgba, size, interpolation=cv2.INTER_AREA)
        return self._sizes[step]


def make_head(portrait: Portrait, *, flip: bool = False) -> Sprite:
    """Cut a head out of its portrait."""
    alpha = _outline(portrait.pixels, portrait.face)[..., None]
    rgba = np.concatenate([portrait.pixels * alpha, alpha * 255], axis=2).astype(np.float32)
    face = portrait.face
    if flip:
        width = rgba.shape[1]
        rgba, face = np.ascontiguousarray(rgba[:, ::-1]), Box(width - face.x1, face.y0, width - face.x0, face.y1)
    return Sprite(rgba, face)


def make_back(portrait: Portrait) -> Sprite:
    """Draw the same head from behind: plain, in the colour of the hair."""
    red, green, blue = (min(0.6 * level, 90.0) for level in _median(portrait, (0.2, -0.1, 0.8, 0.02)))
    side, up, down = HEAD
    (x, y), width, height = portrait.face.centre, portrait.face.width, portrait.face.height
    rgba = np.zeros((*portrait.pixels.shape[:2], 4), np.float32)
    centre = round(x), round(y - (up - down) / 2 * height)
    axes = round(0.9 * side * width), round((up + down) / 2 * height)
    cv2.ellipse(rgba, centre, axes, 0, 0, 360, (red, green, blue, 255), -1, cv2.LINE_AA)
    return Sprite(rgba, portrait.face)


def make_body(portrait: Portrait, clothes: tuple[int, int, int], rng: np.random.Generator) -> Sprite:
    """Draw somebody from the neck to the feet: skin, a shirt or an open jacket, trousers, folds, rounded by light."""
    width, height = _BODY_SIZE
    face, unit = _BODY_FACE, np.array([_BODY_FACE.width, _BODY_FACE.height])
    body: Any = np.empty((height, width, 3), np.float32)
    body[:] = clothes
    across = (np.arange(width) + 0.5 - face.centre[0]) / unit[0]
    down = (np.arange(height) + 0.5 - face.y0) / unit[1]
    if rng.random() < 0.35:  # stripes or checks
        other = rng.uniform(20, 235, 3)
        pace = rng.uniform(0.12, 0.4)
        body[(down / pace % 1 < 0.5)] = other
        if rng.random() < 0.5:
            body[:, across / pace % 1 < 0.5] = 0.5 * body[:, across / pace % 1 < 0.5] + 0.5 * other
    if rng.random() < 0.4:  # what is under an open jacket
        body[:, np.abs(across) < rng.uniform(0.12, 0.3)] = rng.uniform(20, 235, 3)
    collar = (np.abs(across)[None] < 0.34) & (down < rng.uniform(1.2, 1.6))[:, None]
    skin = _median(portrait, (0.3, 0.12, 0.7, 0.32))
    body[collar] = skin
    body[down > rng.uniform(4.1, 4.6)] = rng.uniform(15, 130) + rng.normal(0, 15, 3)
    half = body_of(face)
    reach = np.interp(down * unit[1] + face.y0, half[: len(half) // 2, 1], half[: len(half) // 2, 0] - face.centre[0])
    rim = np.clip(np.abs(across * unit[0])[None] / np.maximum(reach, 1)[:, None], 0, 1)
    light = 1.05 - 0.4 * rim**3
    light += _FOLDS * _cloud(rng, (height, width), (4, 14)) + 0.5 * _FOLDS * _cloud(rng, (height, width), (2, 2))
    for x, top, bottom, strength in ((-0.82, 1.9, 4.2, 0.4), (0.82, 1.9, 4.2, 0.4), (0.0, 4.7, 8.0, 0.55)):
        crease = np.exp(-(((across - x) / 0.05) ** 2))[None] * ((down > top) & (down < bottom))[:, None]
        light -= strength * crease
    alpha: Any = np.zeros((height, width), np.uint8)
    cv2.fillPoly(alpha, [np.rint(half * 8).astype(np.int32)], 255, cv2.LINE_AA, 3)
    body = np.clip(body * light[..., None], 0, 255) * (alpha[..., None] / 255)
    return Sprite(np.dstack([body, alpha]).astype(np.float32), face)


def _cloud(rng: np.random.Generator, size: tuple[int, int], sigma: tuple[float, float]) -> Any:
    """Give smooth noise, mean 0 and standard deviation 1. sigma: across and down."""
    noise: Any = cv2.GaussianBlur(rng.normal(0, 1, size), (0, 0), sigma[0], sigmaY=sigma[1])
    return noise / noise.std()


def _outline(pixels: Pixels, box: Box) -> Any:
    """Give (height, width) float: 1 inside the head, 0 outside, soft between. Source: Rother et al. 2004, GrabCut."""
    side, up, down = HEAD
    height, width = pixels.shape[:2]
    across, below = np.meshgrid(np.arange(width) + 0.5 - box.centre[0], np.arange(height) + 0.5 - box.centre[1])
    radius = np.hypot(across / (side * box.width), below / (np.where(below < 0, up, down) * box.height))
    marks = np.where(radius < _SURELY_HEAD, cv2.GC_FGD, np.where(radius < 1, cv2.GC_PR_FGD, cv2.GC_BGD)).astype(
        np.uint8
    )
    cv2.setRNGSeed(1)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(np.ascontiguousarray(pixels), marks, (0, 0, 0, 0), *models, 3, cv2.GC_INIT_WITH_MASK)
    head = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).astype(np.uint8) * 255
    smooth: Any = cv2.medianBlur(head, max(3, round(_SMOOTH * box.width) | 1))
    soft: Any = cv2.GaussianBlur(smooth.astype(np.float32) / 255, (0, 0), _FEATHER * box.width)
    return soft * np.clip((1.05 - radius) / 0.1, 0, 1)


def _median(portrait: Portrait, part: tuple[float, float, float, float]) -> Colour:
    """Give the median colour of a part of the face's box, in widths and heights of it."""
    box, pixels = portrait.face, portrait.pixels
    x0, x1 = (max(0, round(box.x0 + part[place] * box.width)) for place in (0, 2))
    y0, y1 = (max(0, round(box.y0 + part[place] * box.height)) for place in (1, 3))
    colours = pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].reshape(-1, 3)
    red, green, blue = (float(level) for level in np.median(colours, axis=0))
    return red, green, blue
