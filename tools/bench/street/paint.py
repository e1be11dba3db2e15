"""Draws a generated street: heads cut out of portraits on drawn bodies, before a backdrop, through a plain camera.

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
from tools.bench.street.figure import Sprite, make_back, make_body, make_head
from tools.bench.street.material import Backdrop, Portrait
from tools.bench.street.plan import BASE_FPS, SHAKE_MAX_PX, Poster, Scene
from tools.bench.street.truth import Sight

_NOISE_LEVELS = 2.2  # standard deviation of the sensor's noise, in grey levels
_NOISE_MARGIN = 64
_LENS_SIGMA_PX = 0.5
_AWAY_DEG = 80.0  # turned further, the face is gone
_NARROWEST = 0.35


class Painter:
    """Draws the frames of one scene, in any order. portraits: by look."""

    def __init__(self, scene: Scene, portraits: Sequence[Portrait], backdrop: Backdrop) -> None:
        self._scene, self._backdrop = scene, backdrop
        view = scene.view
        self._size = view.width + 2 * SHAKE_MAX_PX, view.height + 2 * SHAKE_MAX_PX
        self._figures = [
            (
                make_head(portraits[person.look], flip=person.flip),
                make_back(portraits[person.look]),
                make_body(portraits[person.look], person.clothes, np.random.default_rng((scene.seed, person.number))),
            )
            for person in scene.persons
        ]
        self._poster = scene.poster and (scene.poster, make_head(portraits[scene.poster.look]))
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
        head, box = sight.head, sight.head.box
        front, back, body = self._figures[head.person]
        body.paint(pixels, box)
        if head.yaw_deg < _AWAY_DEG:
            narrow = max(_NARROWEST, math.cos(math.radians(head.yaw_deg)))
            front.paint(pixels, box, narrow=narrow, tilt_deg=head.tilt_deg)
        else:
            back.paint(pixels, box, tilt_deg=head.tilt_deg)


def _draw_poster(picture: Any, poster: Poster, sprite: Sprite, aspect: float) -> None:
    box = poster_box(poster, aspect, (SHAKE_MAX_PX, SHAKE_MAX_PX))
    (x, y), width, height = box.centre, 1.2 * box.width, 1.3 * box.height
    corners = np.array(
        [(x - width, y - height), (x + width, y - height), (x + width, y + height), (x - width, y + height)]
    )
    cv2.fillPoly(picture, [np.rint(corners).astype(np.int32)], (235, 232, 224))
    sprite.paint(picture, box)


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
