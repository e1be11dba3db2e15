"""What a street is made of: faces of the test split and pictures without any face, from the data beside the checkout.

No net has learnt them. They show real people: frames made of them stay in memory, or in .work/ for who looks at them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from agent.seams import LABELS, Box, Label, Pixels
from tools.train.data import Faces, load_faces
from tools.train.pictures import load_pictures
from tools.train.wrong_labels import WRONG_LABELS

SHARED = Path("../shared/data")
_CACHE = Path(".work/pictures")
# Sources whose crops show hair and surroundings, and of many persons; k210cam shows two, street one.
_SOURCES = (
    "adi920",
    "concordia_a",
    "concordia_b",
    "k853",
    "kagglecovid",
    "masktypes",
    "prajnasb",
    "webportrait",
    "wider",
)
_UNLIKE = ("difficult", "gray", "synthetic", "occluder")  # flags: a gray head on a coloured body is nobody's
_MARGIN = (0.15, 0.12, 0.1)  # of the face's side that its picture must show beside, above and below it
# Regions x, y, width, height of test pictures in which no face is, labelled or not: looked at one by one.
_FREE = {
    "adi_fa6f8536cd": (0, 0, 544, 408),
    "5_Car_Accident_Car_Crash_5_66": (32, 0, 480, 360),
    "0_Parade_Parade_0_479": (0, 0, 464, 348),
    "5_Car_Accident_Accident_5_72": (0, 0, 448, 336),
    "5_Car_Accident_Accident_5_90": (64, 0, 448, 336),
    "5_Car_Accident_Car_Crash_5_259": (0, 0, 416, 312),
    "5_Car_Accident_Accident_5_907": (0, 96, 416, 312),
    "2_Demonstration_Demonstration_Or_Protest_2_741": (0, 0, 408, 306),
    "5_Car_Accident_Accident_5_768": (0, 80, 400, 300),
    "adi_5a7b3c5052": (0, 128, 393, 294),
    "2_Demonstration_Demonstration_Or_Protest_2_415": (0, 0, 384, 288),
    "5_Car_Accident_Accident_5_596": (0, 128, 384, 288),
    "5_Car_Accident_Accident_5_122": (0, 0, 376, 282),
    "5_Car_Accident_Car_Crash_5_882": (0, 96, 368, 276),
    "street_m1022": (0, 0, 362, 271),
    "street_m1169": (0, 0, 362, 271),
    "5_Car_Accident_Accident_5_53": (0, 0, 362, 271),
    "adi_91c077595c": (0, 128, 357, 267),
    "0_Parade_Parade_0_852": (160, 0, 352, 264),
    "5_Car_Accident_Accident_5_238": (144, 0, 338, 253),
    "5_Car_Accident_Car_Crash_5_282": (0, 0, 338, 253),
    "5_Car_Accident_Car_Crash_5_241": (0, 96, 328, 246),
}
_CLIP = "one_by_one.mp4"  # people from behind, never a face


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A face in a picture of its own, (h, w, 3) uint8 RGB, with some surroundings."""

    id: str
    label: Label
    pixels: Pixels
    face: Box

    @property
    def aspect(self) -> float:
        return self.face.height / self.face.width


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """What is behind everybody: one picture, or some that follow each other at `fps`. frames: (h, w, 3) uint8 RGB."""

    name: str
    frames: Sequence[Pixels]
    fps: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that scenes are drawn from."""

    portraits: list[Portrait]
    backdrops: list[Backdrop]


def load_material(seed: int, shared: Path = SHARED) -> Material:
    """Read the data; the order of both lists depends on the seed. Raises OSError where it is missing."""
    faces = load_faces(shared / "crops")
    portraits = portraits_of(faces, faces.rows(split="test", only=_SOURCES).tolist(), seed)
    pictures, _ = load_pictures(shared / "pictures", _CACHE)
    backdrops = [
        Backdrop(name=picture.name, frames=[picture.pixels])
        for picture in pictures
        if picture.source == "background" and picture.split == "val" and picture.name.startswith(("sun_", "shop_"))
    ]
    for picture in pictures:
        if picture.split == "test" and picture.name in _FREE:
            x, y, width, height = _FREE[picture.name]
            backdrops.append(Backdrop(name=picture.name, frames=[picture.pixels[y : y + height, x : x + width]]))
    backdrops += [_clip(shared / "video" / _CLIP)] * 3
    order = np.random.default_rng((seed, 1)).permutation(len(backdrops))
    return Material(portraits=portraits, backdrops=[backdrops[place] for place in order])


def portraits_of(faces: Faces, rows: Sequence[int], seed: int) -> list[Portrait]:
    """Give the usable faces among rows. Each label's sources come in turns, so that the largest does not rule."""
    usable = [row for row in np.random.default_rng(seed).permutation(rows).tolist() if _is_usable(faces, row)]
    turn: dict[tuple[str, int], int] = {}
    ranked = []
    for row in usable:
        key = str(faces.source[row]), int(faces.label[row])
        turn[key] = turn.get(key, 0) + 1
        ranked.append((turn[key], row))
    return [
        Portrait(
            id=str(faces.id[row]),
            label=LABELS[int(faces.label[row])],
            pixels=faces.picture(row),
            face=faces.face_box(row),
        )
        for _, row in sorted(ranked, key=lambda one: one[0])
    ]


def _is_usable(faces: Faces, row: int) -> bool:
    if not faces.boxed[row] or str(faces.id[row]) in WRONG_LABELS or any(flag in faces.flags[row] for flag in _UNLIKE):
        return False
    box, height, width = faces.face_box(row), int(faces.height[row]), int(faces.width[row])
    beside, above, below = _MARGIN
    return (
        min(box.x0, width - box.x1) >= beside * box.width
        and box.y0 >= above * box.height
        and height - box.y1 >= below * box.height
        and 0.8 <= box.height / box.width <= 1.8
        and min(box.size_px, float(faces.native_px[row])) >= 14
    )


def _clip(path: Path) -> Backdrop:
    """Read the middle of the clip, 4:3. Raises FileNotFoundError if it is no clip."""
    frames = []
    reader = cv2.VideoCapture(str(path))
    while True:
        good, picture = reader.read()
        if not good:
            break
        frames.append(np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)[:, 80:560])
    reader.release()
    if not frames:
        raise FileNotFoundError(f"{path}: no clip that OpenCV can read; fetch the data again")
    return Backdrop(name=path.stem, frames=frames)
