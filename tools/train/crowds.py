"""Bare faces of crowds and classrooms, cut out of the detector's pictures: small, badly lit, at all angles.

Nobody labelled them as bare. The pictures were taken before people wore masks in the street; where some did (operating
theatres, spas) they are left out, and 208 of `wider` were looked at: one or two had the mouth covered. They are
learnt, never counted, and are of the train split alone.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from agent.seams import Box, Pixels
from tools.train.data import Faces, columns_of
from tools.train.pictures import Picture, load_pictures

SHARED_PICTURES = Path("../shared/data/pictures")
CACHE = Path(".work/pictures")
CROWDS = ("scutb", "wider_events", "wider_more")
MASKED_EVENTS = ("27_", "30_")  # WIDER FACE's numbers of Spa and Surgeons
LEAST_PX = 12.0
PER_PICTURE = 12  # of a classroom with a hundred faces
CONTEXT = 1.5  # side of the cut / side of the box, as in the crops


def load_crowds(folder: Path = SHARED_PICTURES, cache: Path = CACHE) -> Faces:
    """Give the crowds' faces as sources of their own, label no_mask, split train. Raises OSError without the data."""
    pictures, _ = load_pictures(folder, cache)
    rows: list[dict[str, str]] = []
    cuts: dict[str, Pixels] = {}
    for picture in pictures:
        if picture.source in CROWDS and picture.split == "train" and not picture.name.startswith(MASKED_EVENTS):
            for name, box, cut in _faces_of(picture):
                corners = dict(zip(("x0", "y0", "x1", "y1"), map(str, box), strict=True))
                row = {"id": name, "label": "no_mask", "split": "train", "flags": "assumed", "of": picture.source}
                rows.append(row | corners | {"native_px": str(box.size_px)})
                cuts[name] = cut
    faces = columns_of("crowds", rows, cuts)
    source = np.array([row["of"] for row in rows])
    return Faces(**{name: getattr(faces, name) for name in Faces.__dataclass_fields__} | {"source": source})


def _faces_of(picture: Picture) -> Iterator[tuple[str, Box, Pixels]]:
    """Give id, box in the cut's pixels, and the cut, of some faces of one picture, the same ones each time."""
    usable = [index for index in np.flatnonzero(~picture.ignore) if Box(*picture.boxes[index]).size_px >= LEAST_PX]
    seed = int.from_bytes(hashlib.sha256(picture.name.encode()).digest()[:4], "big")
    height, width = picture.pixels.shape[:2]
    for index in np.random.default_rng(seed).permutation(usable)[:PER_PICTURE]:
        box = Box(*(float(value) for value in picture.boxes[index]))
        (x, y), reach_x, reach_y = box.centre, box.width * CONTEXT / 2, box.height * CONTEXT / 2
        left, top = max(0, int(x - reach_x)), max(0, int(y - reach_y))
        cut = picture.pixels[top : min(height, int(y + reach_y) + 1), left : min(width, int(x + reach_x) + 1)]
        moved = Box(box.x0 - left, box.y0 - top, box.x1 - left, box.y1 - top)
        yield f"{picture.source}/{picture.name}/{index}", moved, np.array(cut)
