"""The people of the generated scene: two public-domain portraits, cut out, dressed, and with or without a drawn mask.

The portraits are read from the packages of the `demo` extra; nothing here is training data. Coordinates are pixels of
the portrait files. The outlines were traced once; cutting them anew at each start would cost seconds.
"""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.camera.pictures import read_picture
from agent.errors import InputError
from agent.seams import Box

Points = tuple[tuple[int, int], ...]


class Clothes(NamedTuple):
    """How clothing differs from the portrait's: degrees of hue, and factor of brightness."""

    hue_deg: int = 0
    gain: float = 1.0


class Portrait(NamedTuple):
    """Where what is in a portrait. face: hairline to chin, cheek to cheek; mask: its outline, from the left cheek on.

    cut_y: where the picture ends and a drawn body begins; collar_y: where clothing begins, but for the
    neck and what is white round it.
    """

    package: str
    file: str
    outline: Points
    face: Box
    cut_y: int
    collar_y: int
    neck: Points
    mask: Points
    loops: tuple[Points, ...]
    wardrobe: tuple[Clothes, ...]


class MaskStyle(NamedTuple):
    """A drawn mask: RGB colour, and pleats as a surgical one has or a seam in the middle."""

    rgb: tuple[int, int, int]
    pleated: bool


PORTRAITS = (
    # Eileen Collins, NASA, 1999 (public domain)
    Portrait(
        package="skimage",
        file="data/astronaut.png",
        outline=(
            *((276, 31), (248, 18), (227, 16), (201, 23), (189, 35), (174, 43), (156, 58), (153, 68)),
            *((155, 98), (158, 105), (170, 116), (173, 123), (181, 129), (184, 148), (153, 151), (140, 158)),
            *((129, 170), (126, 187), (115, 198), (113, 205), (90, 227), (65, 246), (44, 282), (36, 306)),
            *((30, 400), (362, 400), (359, 330), (357, 302), (352, 287), (340, 262), (319, 243), (303, 233)),
            *((299, 219), (289, 203), (276, 189), (256, 174), (256, 163), (264, 149), (266, 137), (275, 134)),
            *((290, 117), (296, 107), (301, 90), (296, 58), (286, 40)),
        ),
        face=Box(179, 72, 270, 180),
        cut_y=337,
        collar_y=190,
        neck=(),
        mask=(
            *((181, 121), (203, 113), (222, 106), (242, 113), (267, 121)),
            *((265, 145), (254, 168), (227, 184), (200, 170), (185, 146)),
        ),
        loops=(((182, 122), (176, 121)), ((185, 146), (178, 128)), ((266, 122), (274, 120)), ((265, 145), (271, 129))),
        wardrobe=(Clothes(), Clothes(hue_deg=190, gain=0.8), Clothes(hue_deg=110, gain=0.6)),
    ),
    # Grace Hopper, US Navy, 1984 (public domain)
    Portrait(
        package="matplotlib",
        file="mpl-data/sample_data/grace_hopper.jpg",
        outline=(
            *((218, 30), (213, 43), (197, 49), (182, 63), (176, 73), (175, 84), (160, 97), (156, 104)),
            *((156, 150), (162, 156), (160, 180), (153, 197), (153, 211), (167, 247), (167, 258), (163, 273)),
            *((172, 286), (194, 298), (200, 319), (197, 333), (183, 343), (129, 355), (90, 365), (62, 380)),
            *((47, 388), (38, 405), (28, 500), (511, 500), (504, 410), (495, 395), (483, 387), (464, 377)),
            *((422, 366), (365, 342), (333, 319), (333, 311), (341, 302), (343, 290), (350, 283), (356, 266)),
            *((361, 262), (367, 227), (374, 201), (374, 188), (368, 182), (371, 134), (368, 95), (352, 86)),
            *((347, 70), (335, 56), (315, 45), (301, 43), (281, 27), (249, 23)),
        ),
        face=Box(182, 135, 350, 330),
        cut_y=437,
        collar_y=325,
        neck=((190, 318), (199, 335), (219, 436), (275, 436), (328, 372), (335, 318)),
        mask=(
            *((188, 232), (222, 224), (263, 204), (303, 224), (341, 232)),
            *((336, 280), (318, 318), (266, 340), (215, 320), (196, 282)),
        ),
        loops=(((189, 234), (174, 226)), ((196, 281), (176, 252)), ((340, 234), (354, 226)), ((336, 279), (355, 252))),
        wardrobe=(Clothes(), Clothes(gain=2.6), Clothes(hue_deg=130, gain=1.8)),
    ),
)  # fmt: skip

MASKS = (
    MaskStyle((152, 196, 222), pleated=True),
    MaskStyle((238, 238, 234), pleated=False),
    MaskStyle((146, 202, 176), pleated=True),
    MaskStyle((38, 40, 48), pleated=False),
    MaskStyle((226, 176, 188), pleated=True),
)

_BODY_FACES = 4.4  # from the cut of the portrait to the soles, in face heights
_SUPERSAMPLED = 4


class Figure(NamedTuple):
    """A person to be scaled into a frame.

    rgba: (h, w, 4) uint8, RGB multiplied by alpha; face: in its pixels.
    """

    rgba: NDArray[np.uint8]
    face: Box


def make_figure(portrait: Portrait, *, mask: MaskStyle | None, clothes: Clothes, flip: bool, seed: int) -> Figure:
    """Cut out, dress and mask a portrait. Raises InputError when its package is not installed."""
    picture = read_picture(_find(portrait))
    if mask is not None:
        picture = _put_on(picture, portrait, mask, np.random.default_rng(seed))
    height = portrait.cut_y
    left, right = min(x for x, _ in portrait.outline), max(x for x, _ in portrait.outline)
    alpha = _filled(portrait.outline, picture.shape[:2])
    alpha = cv2.GaussianBlur(cv2.erode(alpha, np.ones((3, 3), np.uint8)), (0, 0), 1.2)
    bust = _dye(picture[:height, left:right], portrait, left, clothes)
    rgb, alpha = _with_body(bust, alpha[:height, left:right], round(_BODY_FACES * portrait.face.height), seed)
    face = Box(portrait.face.x0 - left, portrait.face.y0, portrait.face.x1 - left, portrait.face.y1)
    if flip:
        width = rgb.shape[1]
        rgb, alpha = rgb[:, ::-1], alpha[:, ::-1]
        face = Box(width - face.x1, face.y0, width - face.x0, face.y1)
    multiplied = rgb.astype(np.float32) * (alpha[..., None].astype(np.float32) / 255)
    rgba = np.dstack([np.rint(multiplied).astype(np.uint8), alpha])
    return Figure(rgba=np.ascontiguousarray(rgba), face=face)


def _find(portrait: Portrait) -> Path:
    # Found, not imported: the two packages would cost a second and a hundred megabytes.
    spec = importlib.util.find_spec(portrait.package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, portrait.file)
        if path.is_file():
            return path
    raise InputError(
        f"the portrait {Path(portrait.file).name} of {portrait.package} is not installed",
        where="camera.source = scene",
        remedy="pip install 'maskwatch[demo]'",
    )


def _filled(points: Points | NDArray[np.float64], shape: tuple[int, ...]) -> Any:
    """Give (h, w) uint8: 255 inside the outline, its corners cut (Chaikin 1974), its edge smooth."""
    curve = np.asarray(points, np.float64)
    for _ in range(3):
        after = np.roll(curve, -1, axis=0)
        curve = np.stack([0.75 * curve + 0.25 * after, 0.25 * curve + 0.75 * after], axis=1).reshape(-1, 2)
    large = np.zeros((shape[0] * _SUPERSAMPLED, shape[1] * _SUPERSAMPLED), np.uint8)
    cv2.fillPoly(large, [np.rint(curve * _SUPERSAMPLED).astype(np.int32)], (255,))
    return cv2.resize(large, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


def _put_on(picture: Any, portrait: Portrait, style: MaskStyle, random: np.random.Generator) -> Any:
    """Draw a mask over nose and mouth: cloth with the light of the face, pleats or a seam, loops, a soft shadow."""
    height, width = picture.shape[:2]
    alpha = _filled(portrait.mask, (height, width)).astype(np.float32) / 255
    outline = np.asarray(portrait.mask, np.float64)
    (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
    across = ((np.arange(width) - (left + right) / 2) / ((right - left) / 2))[None, :]  # -1 .. 1
    down = ((np.arange(height) - top) / (bottom - top))[:, None]  # 0 .. 1
    light = 1.02 - 0.22 * across**2 - 0.20 * np.clip(down - 0.25, 0, 1) + 0.06 * np.exp(-((across / 0.25) ** 2))
    if style.pleated:
        for middle in (0.36, 0.52, 0.68):
            fold = (down - middle - 0.05 * (1 - across**2)) / 0.022
            light = light - 0.16 * np.exp(-(fold**2)) + 0.08 * np.exp(-((fold - 1.6) ** 2))
    else:
        light = light - 0.12 * np.exp(-((across / 0.02) ** 2))
    light = light - 0.10 * np.exp(-(((down - 0.10 * across**2) / 0.05) ** 2))  # the wire over the nose
    face_light = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), portrait.face.width / 6)
    light = light * (0.8 + 0.2 * face_light / max(1.0, float(face_light[alpha > 0].mean())))
    weave = cv2.GaussianBlur(random.normal(0, 5, (height, width)), (0, 0), 0.8)
    cloth = np.asarray(style.rgb, np.float64) * light[..., None] + weave[..., None]
    thick = max(1, round(portrait.face.width / 60))
    result = picture.copy()
    loop_rgb = tuple(int(0.85 * channel) for channel in style.rgb)
    for start, end in portrait.loops:
        cv2.line(result, start, end, loop_rgb, thick, cv2.LINE_AA)
    shadow = cv2.GaussianBlur(alpha, (0, 0), portrait.face.width / 30)
    result = result * (1 - 0.35 * shadow * (1 - alpha))[..., None]
    soft = cv2.GaussianBlur(alpha, (0, 0), 0.7)[..., None]
    return np.clip(np.rint(result * (1 - soft) + cloth * soft), 0, 255).astype(np.uint8)


def _dye(bust: Any, portrait: Portrait, left: int, clothes: Clothes) -> Any:
    """Change the colour of a bust, whose left edge is the portrait's column `left`, below the collar."""
    keep = np.zeros(bust.shape[:2], np.uint8)
    if portrait.neck:
        cv2.fillPoly(keep, [np.array(portrait.neck, np.int32) - (left, 0)], (255,))
        keep = cv2.GaussianBlur(keep, (0, 0), 2)
    hsv = cv2.cvtColor(bust, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + clothes.hue_deg / 2) % 180
    hsv[..., 2] = np.clip(hsv[..., 2] * clothes.gain, 0, 255)
    dyed = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    below = np.clip((np.arange(bust.shape[0]) - portrait.collar_y) / 20, 0, 1)[:, None, None]
    weight = below * (1 - keep[..., None] / 255)
    return np.rint(bust * (1 - weight) + dyed * weight).astype(np.uint8)


def _with_body(bust: Any, alpha: Any, length: int, seed: int) -> tuple[Any, Any]:
    """Continue a bust downwards to the soles: a coat of the chest's colour, trousers, shoes."""
    height, width = bust.shape[:2]
    random = np.random.default_rng(seed + 1)
    chest = bust[-12:][alpha[-12:] > 200].reshape(-1, 3).mean(axis=0)
    folds = cv2.GaussianBlur(random.normal(1.0, 0.5, (1, width)), (0, 0), width / 30)
    coat = np.clip(chest * folds[..., None] * np.linspace(1.0, 0.85, length)[:, None, None], 0, 255)
    hem = round(0.45 * length)
    coat[hem:] = np.array([48, 50, 58]) * folds[..., None] * np.linspace(1.0, 0.8, length - hem)[:, None, None]
    coat[round(0.95 * length) :] = (25, 24, 24)
    shape = np.array([(0.0, -0.3), (0.05, 0.2), (0.2, 1.0), (0.45, 1.0), (0.49, 0.5), (0.51, 0.5), (0.55, 1.0)])
    shape = np.vstack([shape, [(0.8, 1.0), (0.95, 0.2), (1.0, -0.3)]]) * (width, length)
    below = _filled(shape, (length, width))
    rgb = np.vstack([bust, np.rint(coat).astype(np.uint8)])
    fade = 24
    weight = np.linspace(0, 1, fade)[:, None, None]
    rgb[height - fade : height] = np.rint(bust[-fade:] * (1 - weight) + chest * folds[..., None] * weight).clip(0, 255)
    return rgb, cv2.GaussianBlur(np.vstack([alpha, below]), (0, 0), 0.8)
