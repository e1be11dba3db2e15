"""Draws a generated street: heads cut out of portraits on plain bodies, before a backdrop, through a plain camera.

The head is cut out along its own outline, as far as GrabCut finds one inside an oval round face and hair; the edge is
soft. Who turns becomes narrower, then shows a plain dark
head. The lens softens a little, the light dims everything, the sensor adds noise: of each frame's own, and the same
whatever other frames are drawn.
"""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from agent.seams import Box, Pixels
from tools.bench.street.material import Backdrop, Portrait
from tools.bench.street.plan import BASE_FPS, SHAKE_MAX_PX, Poster, Scene
from tools.bench.street.truth import HEAD, Sight, body_of

_NOISE_LEVELS = 2.2  # standard deviation of the sensor's noise, in grey levels
_NOISE_MARGIN = 64
_SHRINK = 2**0.25  # between two sizes at which a head is kept
_SURELY_HEAD = 0.72  # radii of the oval within which nothing is cut away
_SMOOTH, _FEATHER = 0.12, 0.025  # of the face's width: bumps of the outline that are cut away, softness of its edge
_LENS_SIGMA_PX = 0.5
_AWAY_DEG = 80.0  # turned further, the face is gone
_NARROWEST = 0.35
_SUBPIXEL = 3  # bits


class Sprite:
    """A head cut out once, kept at several sizes: premultiplied colours and alpha, float32."""

    def __init__(self, portrait: Portrait, *, flip: bool) -> None:
        pixels, box = portrait.pixels, portrait.face
        if flip:
            pixels, width = pixels[:, ::-1], pixels.shape[1]
            box = Box(width - box.x1, box.y0, width - box.x0, box.y1)
        alpha = _outline(pixels, box)[..., None]
        self._rgba = np.concatenate([pixels * alpha, alpha * 255], axis=2).astype(np.float32)
        self._face = box
        self._sizes: dict[int, Any] = {}
        self.skin = _median(pixels, box, (0.3, 0.12, 0.7, 0.32))
        hair = _median(pixels, box, (0.2, -0.1, 0.8, 0.02))
        self.hair = tuple(min(0.6 * level, 90.0) for level in hair)

    def paint(self, pixels: Any, box: Box, *, narrow: float, tilt_deg: float) -> None:
        """Lay the head over the picture so that its face comes to lie on box. narrow: factor on its width."""
        scale = box.height / self._face.height
        step = max(0, math.floor(-math.log(scale, _SHRINK)))
        level = self._level(step)
        shrunk = level.shape[1] / self._rgba.shape[1], level.shape[0] / self._rgba.shape[0]
        side = round(1.7 * max(box.width, box.height)) + 4
        left, top = round(box.centre[0]) - side // 2, round(box.centre[1]) - side // 2
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(pixels.shape[1], left + side), min(pixels.shape[0], top + side)
        if x0 >= x1 or y0 >= y1:
            return
        sine, cosine = math.sin(math.radians(tilt_deg)), math.cos(math.radians(tilt_deg))
        across, down = narrow * box.width / self._face.width / shrunk[0], scale / shrunk[1]
        turn = np.array([[cosine * across, -sine * down], [sine * across, cosine * down]])
        centre = np.array(self._face.centre) * shrunk - 0.5
        offset = np.array(box.centre) - 0.5 - (x0, y0) - turn @ centre
        moved: Any = cv2.warpAffine(level, np.column_stack([turn, offset]), (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
        part = pixels[y0:y1, x0:x1]
        part[:] = np.rint(moved[..., :3] + part * (1 - moved[..., 3:] / 255)).clip(0, 255).astype(np.uint8)

    def _level(self, step: int) -> Any:
        if step not in self._sizes:
            height, width = self._rgba.shape[:2]
            size = max(1, round(width / _SHRINK**step)), max(1, round(height / _SHRINK**step))
            self._sizes[step] = cv2.resize(self._rgba, size, interpolation=cv2.INTER_AREA)
        return self._sizes[step]


class Painter:
    """Draws the frames of one scene, in any order. portraits: by look."""

    def __init__(self, scene: Scene, portraits: Sequence[Portrait], backdrop: Backdrop) -> None:
        self._scene, self._backdrop = scene, backdrop
        view = scene.view
        self._size = view.width + 2 * SHAKE_MAX_PX, view.height + 2 * SHAKE_MAX_PX
        self._sprites = [Sprite(portraits[person.look], flip=person.flip) for person in scene.persons]
        self._poster = scene.poster and (scene.poster, Sprite(portraits[scene.poster.look], flip=False))
        self._poster_aspect = portraits[scene.poster.look].aspect if scene.poster else 1.0
        self._still: tuple[int, Any] = (-1, None)
        rng = np.random.default_rng((scene.seed, scene.number, 2))
        levels = rng.normal(0, _NOISE_LEVELS, (view.height + _NOISE_MARGIN, view.width + _NOISE_MARGIN, 3))
        whole = np.rint(levels).astype(np.int16)
        self._noise = np.clip(whole, 0, 255).astype(np.uint8), np.clip(-whole, 0, 255).astype(np.uint8)

    def draw(self, frame: int, sights: Sequence[Sight]) -> Pixels:
        """Give the picture of a frame at BASE_FPS, (h, w, 3) uint8 RGB. sights: truth.sights_at of that frame."""
        at_s = frame / BASE_FPS
        view, (right, down) = self._scene.view, self._scene.shake_at(at_s)
        top, left = SHAKE_MAX_PX - down, SHAKE_MAX_PX - right
        pixels: Any = self._behind(at_s)[top : top + view.height, left : left + view.width].copy()
        for sight in sights:
            self._draw_person(pixels, sight)
        cv2.GaussianBlur(pixels, (3, 3), _LENS_SIGMA_PX, dst=pixels)
        if (gain := self._scene.light_at(at_s)) != 1:
            pixels = cv2.convertScaleAbs(pixels, alpha=gain)
        top, left = np.random.default_rng((self._scene.seed, self._scene.number, frame)).integers(0, _NOISE_MARGIN, 2)
        brighter, darker = (part[top : top + view.height, left : left + view.width] for part in self._noise)
        cv2.add(pixels, brighter, dst=pixels)
        cv2.subtract(pixels, darker, dst=pixels)
        result: Pixels = pixels
        return result

    def _behind(self, at_s: float) -> Any:
        """Give the backdrop and the poster on it; a clip goes forth and back."""
        frames = self._backdrop.frames
        turn = int(at_s * self._backdrop.fps) % max(1, 2 * len(frames) - 2)
        index = min(turn, 2 * len(frames) - 2 - turn) if len(frames) > 1 else 0
        if self._still[0] != index:
            picture = _cover(frames[index], self._size)
            if self._poster:
                _draw_poster(picture, *self._poster, self._poster_aspect)
            self._still = index, picture
        return self._still[1]

    def _draw_person(self, pixels: Any, sight: Sight) -> None:
        head, person = sight.head, self._scene.persons[sight.head.person]
        sprite, box = self._sprites[sight.head.person], sight.head.box
        corners = body_of(box)
        _fill(pixels, corners[[0, 1, -2, -1]], sprite.skin)
        _fill(pixels, corners[1:-1], person.clothes)
        if head.yaw_deg < _AWAY_DEG:
            narrow = max(_NARROWEST, math.cos(math.radians(head.yaw_deg)))
            sprite.paint(pixels, box, narrow=narrow, tilt_deg=head.tilt_deg)
        else:
            side, up, down = HEAD
            (x, y), one = box.centre, 1 << _SUBPIXEL
            centre = round(x * one), round((y - (up - down) / 2 * box.height) * one)
            axes = round(0.9 * side * box.width * one), round((up + down) / 2 * box.height * one)
            cv2.ellipse(pixels, centre, axes, head.tilt_deg, 0, 360, sprite.hair, -1, cv2.LINE_AA, _SUBPIXEL)


def _fill(pixels: Any, corners: Any, colour: Sequence[float]) -> None:
    fixed = np.rint(np.asarray(corners) * (1 << _SUBPIXEL)).astype(np.int32)
    cv2.fillPoly(pixels, [fixed], tuple(colour), cv2.LINE_AA, _SUBPIXEL)


def _draw_poster(picture: Any, poster: Poster, sprite: Sprite, aspect: float) -> None:
    box = poster_box(poster, aspect, (SHAKE_MAX_PX, SHAKE_MAX_PX))
    (x, y), width, height = box.centre, 1.2 * box.width, 1.3 * box.height
    corners = np.array(
        [(x - width, y - height), (x + width, y - height), (x + width, y + height), (x - width, y + height)]
    )
    _fill(picture, corners, (235, 232, 224))
    sprite.paint(picture, box, narrow=1.0, tilt_deg=0.0)


def poster_box(poster: Poster, aspect: float, shake: tuple[int, int]) -> Box:
    """Give the box of the poster's face. aspect: height / width of it."""
    width, height = poster.size_px / math.sqrt(aspect), poster.size_px * math.sqrt(aspect)
    x, y = poster.x + shake[0], poster.y + shake[1]
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _cover(picture: Pixels, size: tuple[int, int]) -> Any:
    """Give the middle of a picture, scaled to that width and height."""
    height, width = picture.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    scaled: Any = cv2.resize(
        picture,
        (math.ceil(width * scale), math.ceil(height * scale)),
        interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA,
    )
    left, top = (scaled.shape[1] - size[0]) // 2, (scaled.shape[0] - size[1]) // 2
    return np.ascontiguousarray(scaled[top : top + size[1], left : left + size[0]])


def _outline(pixels: Pixels, box: Box) -> Any:
    """Give (height, width) float: 1 inside the head, 0 outside, soft between. Source: Rother et al. 2004, GrabCut."""
    radius = _radius(pixels, box)
    marks = np.where(radius < _SURELY_HEAD, cv2.GC_FGD, np.where(radius < 1, cv2.GC_PR_FGD, cv2.GC_BGD)).astype(
        np.uint8
    )
    cv2.setRNGSeed(1)
    cv2.grabCut(
        np.ascontiguousarray(pixels),
        marks,
        (0, 0, 0, 0),
        np.zeros((1, 65)),
        np.zeros((1, 65)),
        3,
        cv2.GC_INIT_WITH_MASK,
    )
    head = ((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD)).astype(np.float32)
    side = max(3, round(_SMOOTH * box.width) | 1)
    smooth: Any = cv2.medianBlur((head * 255).astype(np.uint8), side)
    soft: Any = cv2.GaussianBlur(smooth.astype(np.float32) / 255, (0, 0), _FEATHER * box.width)
    return soft * np.clip((1.05 - radius) / 0.1, 0, 1)


def _radius(pixels: Pixels, box: Box) -> Any:
    """Give the distance of each pixel from the middle of the head, in radii of the oval of truth.HEAD."""
    side, up, down = HEAD
    height, width = pixels.shape[:2]
    across, below = np.meshgrid(np.arange(width) + 0.5 - box.centre[0], np.arange(height) + 0.5 - box.centre[1])
    return np.hypot(across / (side * box.width), below / (np.where(below < 0, up, down) * box.height))


def _median(pixels: Pixels, box: Box, part: tuple[float, float, float, float]) -> tuple[float, ...]:
    """Give the median colour of a part of the face's box, in widths and heights of it."""
    x0, x1 = (max(0, round(box.x0 + part[place] * box.width)) for place in (0, 2))
    y0, y1 = (max(0, round(box.y0 + part[place] * box.height)) for place in (1, 3))
    colours = pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].reshape(-1, 3)
    return tuple(float(level) for level in np.median(colours, axis=0))
