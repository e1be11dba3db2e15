"""A generated scene: people with and without masks walk through a room, the same byte for byte for the same seed.

For the demo, the tests and the bench: needs no camera, and the truth about who is where is known.
"""

from types import TracebackType
from typing import Any, Self

import cv2
import numpy as np

from agent.camera.portraits import MASKS, PORTRAITS, Figure, make_figure
from agent.camera.turn import rotate
from agent.camera.walk import HORIZON, Walker, plan
from agent.clock import NS_PER_S
from agent.seams import Box, End, Frame, Pixels, Silence

_NOISE_LEVELS = 1.6  # standard deviation of the sensor noise, in grey levels
_NOISE_MARGIN = 64


class SceneCamera:
    """The scene as a camera; `truth` tells what it shows, in the time of its first round."""

    live = False

    def __init__(
        self,
        *,
        width: int = 640,
        height: int = 480,
        fps: float = 15.0,
        persons: int = 6,
        duration_s: float = 25.0,
        seed: int = 7,
        rotate_deg: int = 0,
        loop: bool = False,
    ) -> None:
        """persons: 0 gives an empty room. truth is of the picture before rotation."""
        self._size = (width, height)
        self._fps = fps
        self._frames = max(1, round(duration_s * fps))
        self._seed = seed
        self._rotate_deg = rotate_deg
        self._loop = loop
        self._index = 0
        aspects = [portrait.face.height / portrait.face.width for portrait in _portraits()]
        self.truth: tuple[Walker, ...] = plan(
            width=width, height=height, fps=fps, persons=persons, duration_s=duration_s, seed=seed, aspects=aspects
        )
        self._figures: list[_Sprite] = []
        self._room: Any = None
        self._noise: Any = None

    def __enter__(self) -> Self:
        """Raises InputError when the portraits are not installed."""
        for number, walker in enumerate(self.truth):
            portrait = _portraits()[walker.look]
            figure = make_figure(
                portrait,
                mask=MASKS[number // 2 % len(MASKS)] if walker.label == "mask" else None,
                clothes=portrait.wardrobe[number // 2 % len(portrait.wardrobe)],
                flip=number % 3 == 2,
                seed=self._seed + number,
            )
            self._figures.append(_Sprite(figure))
        random = np.random.default_rng(self._seed)
        self._room = _room(*self._size, random)
        width, height = self._size
        noise = random.normal(0, _NOISE_LEVELS, (height + _NOISE_MARGIN, width + _NOISE_MARGIN, 3))
        levels = np.rint(noise).astype(np.int16)
        self._noise = (np.clip(levels, 0, 255).astype(np.uint8), np.clip(-levels, 0, 255).astype(np.uint8))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._figures, self._room, self._noise = [], None, None

    def read(self, timeout_s: float) -> Frame | Silence | End:
        scene, in_scene = divmod(self._index, self._frames)
        if scene and not self._loop:
            return End()
        frame = Frame(
            pixels=rotate(self._draw(in_scene), self._rotate_deg),
            captured_ns=round(self._index * NS_PER_S / self._fps),
            index=self._index,
            scene=scene,
        )
        self._index += 1
        return frame

    def describe(self) -> str:
        width, height = self._size
        return f"generated scene, {len(self.truth)} persons, {width}x{height}, {self._fps:g} frames/s"

    def _draw(self, number: int) -> Pixels:
        at_s = round(number * NS_PER_S / self._fps) / NS_PER_S
        pixels = self._room.copy()
        present = []
        for walker, sprite in zip(self.truth, self._figures, strict=True):
            face = walker.face_at(at_s)
            if face is not None:
                present.append((face.size_px, face, sprite))
        for _, face, sprite in sorted(present, key=lambda one: one[0]):  # the far ones first
            sprite.paint(pixels, face)
        top, left = np.random.default_rng((self._seed, number)).integers(0, _NOISE_MARGIN, 2)
        height, width = pixels.shape[:2]
        brighter, darker = (part[top : top + height, left : left + width] for part in self._noise)
        cv2.add(pixels, brighter, dst=pixels)
        cv2.subtract(pixels, darker, dst=pixels)
        result: Pixels = pixels
        return result


class _Sprite:
    """A figure at the size last asked for; sizes come in steps, so most frames need no scaling."""

    def __init__(self, figure: Figure) -> None:
        self._figure = figure
        self._scale = 0.0
        self._rgb: Any = None
        self._behind: Any = None  # 255 - alpha, in three channels, ready to be multiplied with the background

    def paint(self, pixels: Any, face: Box) -> None:
        """Lay the figure over the frame so that its face comes to lie on `face`, to the pixel."""
        height, width = pixels.shape[:2]
        self._scale_to(face.height / self._figure.face.height, height)
        left = round(face.x0 - self._figure.face.x0 * self._scale)
        top = round(face.y0 - self._figure.face.y0 * self._scale)
        sprite_height, sprite_width = self._rgb.shape[:2]
        x0, x1 = max(0, left), min(width, left + sprite_width)
        y0, y1 = max(0, top), min(height, top + sprite_height)
        if x0 >= x1 or y0 >= y1:
            return
        part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        behind = cv2.multiply(pixels[y0:y1, x0:x1], self._behind[part], scale=1 / 255)
        pixels[y0:y1, x0:x1] = cv2.add(behind, self._rgb[part])

    def _scale_to(self, scale: float, frame_height: int) -> None:
        if abs(scale - self._scale) < 1e-9:
            return
        self._scale = scale
        rows = min(self._figure.rgba.shape[0], round(1.3 * frame_height / scale))  # what is lower is never in view
        size = (round(self._figure.rgba.shape[1] * scale), round(rows * scale))
        kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        rgba = cv2.resize(self._figure.rgba[:rows], size, interpolation=kind)
        self._rgb = np.ascontiguousarray(rgba[..., :3])
        self._behind = cv2.merge([255 - rgba[..., 3]] * 3)


def _portraits() -> list[Any]:
    """Give the portraits in the order in which walkers take them: so that each appears with mask and without."""
    return [PORTRAITS[0], PORTRAITS[1], PORTRAITS[1], PORTRAITS[0]]


def _room(width: int, height: int, random: np.random.Generator) -> Any:
    """Give (height, width, 3) uint8: a plain wall with light from the left, a door, a picture, a floor."""
    floor_y = round((HORIZON + 0.24) * height)
    across, down = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    wall = np.array([196.0, 190.0, 178.0]) * (1.08 - 0.28 * across) * (1.05 - 0.12 * down)
    floor = np.array([134.0, 116.0, 98.0]) * (1.05 - 0.25 * across) * (0.75 + 0.35 * down)
    room = np.where(down * height < floor_y, wall, floor)
    room = np.ascontiguousarray(np.clip(room, 0, 255).astype(np.uint8))

    def place(x0: float, y0: float, x1: float, y1: float, rgb: tuple[int, int, int]) -> None:
        corners = (round(x0 * width), round(y0 * height)), (round(x1 * width), round(y1 * height))
        cv2.rectangle(room, *corners, rgb, -1, cv2.LINE_AA)

    floor_part = floor_y / height
    place(0, floor_part - 0.025, 1, floor_part, (168, 160, 148))
    place(0.66, 0.13, 0.83, floor_part, (150, 134, 112))
    place(0.675, 0.15, 0.815, floor_part, (172, 152, 124))
    place(0.80, 0.41, 0.81, 0.43, (90, 84, 74))
    place(0.16, 0.12, 0.32, 0.30, (110, 100, 88))
    place(0.17, 0.135, 0.31, 0.285, (150, 168, 172))
    place(0.17, 0.22, 0.31, 0.285, (122, 138, 104))
    for part in np.linspace(-1.0, 2.0, 13):  # boards of the floor run to the vanishing point
        foot = (round((0.5 + (part - 0.5) * 1.6) * width), height)
        head_part = (floor_part - HORIZON) / (1 - HORIZON)
        head = (round((0.5 + (part - 0.5) * 1.6 * head_part) * width), floor_y)
        cv2.line(room, head, foot, (112, 96, 80), 1, cv2.LINE_AA)
    grain = cv2.GaussianBlur(random.normal(0, 14, (height, width)), (0, 0), 3)[..., None]
    return np.clip(np.rint(cv2.GaussianBlur(room, (0, 0), 1.1) + grain), 0, 255).astype(np.uint8)
