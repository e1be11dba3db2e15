"""Faces with a label: read from ../shared/data/crops once, kept decoded in .work/, drawn in balance.

A face is a small picture, a box in its pixels and what is known of it. Tight crops have no box in the data: theirs is
the picture less the rim that their source is known to have. The split is the data's own, by original picture.
"""

import csv
import hashlib
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.seams import LABELS, Box, Pixels

SHARED_CROPS = Path("../shared/data/crops")
CACHE = Path(".work/crops")
SIZE_EDGES_PX = (24.0, 48.0)  # faces below, between and above are drawn equally often within a label

# Share of each side that is not face, in sources of tight crops; by eye on contact sheets.
_TIGHT_RIM = {"kaggle12k": 0.07, "fer_hands": 0.0}


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Rows of faces, column by column, all of length n.

    pixels: every picture one after the other, uint8 RGB; offset, height, width find one. box: (n, 4) x0, y0, x1, y1.
    label: index into LABELS. native_px: size of the face before the data set scaled it.
    """

    pixels: NDArray[np.uint8]
    offset: NDArray[np.int64]
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    box: NDArray[np.float32]
    boxed: NDArray[np.bool_]
    label: NDArray[np.int8]
    source: NDArray[np.str_]
    split: NDArray[np.str_]
    native_px: NDArray[np.float32]
    flags: NDArray[np.str_]
    id: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.id)

    def picture(self, row: int) -> Pixels:
        """Give one picture, (h, w, 3) uint8 RGB, a view: copy it before drawing on it."""
        start, height, width = self.offset[row], self.height[row], self.width[row]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    def face_box(self, row: int) -> Box:
        return Box(*(float(value) for value in self.box[row]))

    def rows(self, *, split: str, without: Sequence[str] = (), only: Sequence[str] = ()) -> NDArray[np.int64]:
        """Give the rows of a split, without some sources or only of some."""
        wanted = self.split == split
        if without:
            wanted &= ~np.isin(self.source, without)
        if only:
            wanted &= np.isin(self.source, only)
        return np.flatnonzero(wanted)


def sources(folder: Path = SHARED_CROPS) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.csv"))


def data_digest(folder: Path = SHARED_CROPS) -> str:
    """Give a sha256 over the label files: which rows, labels and splits a training saw."""
    digest = hashlib.sha256()
    for name in sources(folder):
        digest.update((folder / f"{name}.csv").read_bytes())
    return digest.hexdigest()


def load_faces(folder: Path = SHARED_CROPS, cache: Path = CACHE) -> Faces:
    """Read every source; the first time decodes the tars into `cache` (0.5 GB, 20 s).

    Raises FileNotFoundError if the folder has no sources.
    """
    names = sources(folder)
    if not names:
        raise FileNotFoundError(f"{folder}: no crops here; training needs the data beside the checkout")
    return joined([_load_source(folder, cache, name) for name in names])


def joined(parts: Sequence[Faces]) -> Faces:
    """Give the faces of all parts as one."""
    shift = np.cumsum([0] + [len(part.pixels) for part in parts[:-1]])
    columns = [column for column in Faces.__dataclass_fields__ if column != "offset"]
    values = {column: np.concatenate([getattr(part, column) for part in parts]) for column in columns}
    offset = np.concatenate([part.offset + start for part, start in zip(parts, shift, strict=True)])
    return Faces(offset=offset, **values)


def _load_source(folder: Path, cache: Path, name: str) -> Faces:
    table, archive = folder / f"{name}.csv", folder / f"{name}.tar"
    kept = cache / f"{name}-{hashlib.sha256(table.read_bytes()).hexdigest()[:12]}-{archive.stat().st_size}.npz"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        faces = _decode_source(table, archive)
        partial = kept.with_suffix(".partial.npz")
        np.savez(partial, **{column: getattr(faces, column) for column in Faces.__dataclass_fields__})
        partial.rename(kept)
    with np.load(kept) as stored:
        return Faces(**{column: stored[column] for column in Faces.__dataclass_fields__})


def _decode_source(table: Path, archive: Path) -> Faces:
    rows = {row["id"]: row for row in csv.DictReader(table.open(newline=""))}
    pictures: dict[str, Pixels] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            if (name := Path(member.name).stem) in rows and (stream := tar.extractfile(member)) is not None:
                decoded = cv2.imdecode(np.frombuffer(stream.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
                pictures[name] = np.asarray(decoded, np.uint8)
    return columns_of(table.stem, [row for name, row in rows.items() if name in pictures], pictures)


def columns_of(source: str, rows: list[dict[str, str]], pictures: dict[str, Pixels]) -> Faces:
    """Give the faces of one source from rows of its table and decoded pictures by id."""
    found = [pictures[row["id"]] for row in rows]
    sizes = np.array([picture.size for picture in found], np.int64)
    return Faces(
        pixels=np.concatenate([picture.reshape(-1) for picture in found]),
        offset=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
        height=np.array([picture.shape[0] for picture in found], np.int32),
        width=np.array([picture.shape[1] for picture in found], np.int32),
        box=np.array([_box(source, row, pictures[row["id"]]) for row in rows], np.float32),
        boxed=np.array([bool(row["x0"]) for row in rows]),
        label=np.array([LABELS.index(row["label"]) for row in rows], np.int8),
        source=np.array([source] * len(rows)),
        split=np.array([row["split"] for row in rows]),
        native_px=np.array([float(row["native_px"]) for row in rows], np.float32),
        flags=np.array([row["flags"] for row in rows]),
        id=np.array([row["id"] for row in rows]),
    )


def _box(source: str, row: dict[str, str], picture: Pixels) -> tuple[float, float, float, float]:
    if row["x0"]:
        return float(row["x0"]), float(row["y0"]), float(row["x1"]), float(row["y1"])
    height, width = picture.shape[:2]
    rim = _TIGHT_RIM.get(source, 0.0)
    return width * rim, height * rim, width * (1 - rim), height * (1 - rim)


def draw_weights(faces: Faces, rows: NDArray[np.int64], shares: Sequence[float]) -> NDArray[np.float64]:
    """Give the probability of drawing each of `rows`, balanced by label, size and source.

    shares: of each label. Within a label each size class that occurs has an equal share; within a class a source has
    the square root of its count, so that neither the largest nor the smallest rules; synthetic masks count a fifth.
    """
    weights = np.zeros(len(rows))
    label, source = faces.label[rows], faces.source[rows]
    size = np.digitize(faces.native_px[rows], SIZE_EDGES_PX)
    fake = np.char.find(faces.flags[rows], "synthetic") >= 0
    for which, share in enumerate(shares):
        sizes = np.unique(size[label == which])
        for one in sizes:
            group = (label == which) & (size == one)
            part = np.zeros(len(rows))
            for name in np.unique(source[group]):
                here = group & (source == name)
                part[here] = np.where(fake[here], 0.2, 1.0) / np.sqrt(here.sum())
            # A class of ten faces must not be seen every other step: it gets no more than twice its share by count.
            ceiling = min(1 / len(sizes), 2 * group.sum() / (label == which).sum())
            weights += share * ceiling * part / part.sum()
        drawn = weights[label == which].sum()
        if drawn > 0:
            weights[label == which] *= share / drawn
    total: NDArray[np.float64] = weights / weights.sum()
    return total


def generated_faces(count: int, seed: int) -> Faces:
    """Draw ovals with eyes, bare, masked or with the mask under the nose: stand-ins for tests, nobody's face."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, str]] = []
    pictures: dict[str, Pixels] = {}
    for index in range(count):
        label = LABELS[index % len(LABELS)]
        picture = np.full((90, 76, 3), rng.integers(0, 256, 3), np.uint8)
        skin = rng.integers(90, 230)
        cv2.ellipse(picture, (38, 45), (25, 33), 0, 0, 360, (int(skin), int(skin * 0.8), int(skin * 0.7)), -1)
        for x in (28, 48):
            cv2.circle(picture, (x, 36), 3, (20, 20, 20), -1)
        cv2.line(picture, (30, 64), (46, 64), (150, 40, 40), 3)
        if label != "no_mask":
            top = 48 if label == "mask" else 57
            cv2.rectangle(picture, (15, top), (61, 80), rng.integers(120, 256, 3).tolist(), -1)
        name = f"drawn_{index}"
        pictures[name] = picture
        rows.append(
            {"id": name, "label": label, "split": ("train", "train", "val", "test")[index // 3 % 4], "flags": ""}
            | {"x0": "13", "y0": "12", "x1": "63", "y1": "78", "native_px": str(rng.integers(14, 90))}
        )
    return columns_of("drawn", rows, pictures)
