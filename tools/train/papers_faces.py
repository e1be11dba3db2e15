"""The faces of the papers' nets: one seeded subset, what no net may see, and the pictures that are made of them."""

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.seams import Box
from agent.vision.crop import crop
from tools.train.data import Faces, data_digest, generated_faces

OUT_OF_SOURCE = ("k853", "adi920", "macwin")  # street and press pictures: no net here sees a face of theirs


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One call. counts: faces of train, val and test in the subset, half of them masked."""

    seed: int = 1
    threads: int = 1
    counts: tuple[int, int, int] = (1600, 80, 320)
    large_px: int = 224
    head_epochs: int = 20  # of the two phases: at most so many before the last layers learn too
    work: str = ".work/papers"
    smoke: bool = False


@dataclass(frozen=True, kw_only=True)
class Task:
    """The faces and which rows of them are for what. full: all training rows that the subset is drawn from."""

    faces: Faces
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    full: NDArray[np.int64]
    unseen: NDArray[np.int64]


def choose(faces: Faces, settings: Settings) -> Task:
    """Draw the subset by the data's own split, evenly over the real faces of a label; raises ModelError if too few."""
    real = (faces.label < 2) & (np.char.find(faces.flags, "synthetic") < 0)
    out = np.isin(faces.source, OUT_OF_SOURCE)
    drawn = []
    for index, (split, count) in enumerate(zip(("train", "val", "test"), settings.counts, strict=True)):
        rng = np.random.default_rng([settings.seed, index])
        halves = []
        for label in (0, 1):
            rows = np.flatnonzero(real & ~out & (faces.split == split) & (faces.label == label))
            if len(rows) < count // 2:
                raise ModelError(
                    f"{len(rows)} real faces of label {label} in {split}, not {count // 2}",
                    where="the papers' subset",
                    remedy="add sources beside the checkout",
                )
            halves.append(rng.choice(rows, count // 2, replace=False))
        drawn.append(np.sort(np.concatenate(halves)))
    full = np.flatnonzero(real & ~out & (faces.split == "train"))
    return Task(faces=faces, train=drawn[0], val=drawn[1], test=drawn[2], full=full, unseen=np.flatnonzero(real & out))


def cut(faces: Faces, rows: NDArray[np.int64], size_px: int, scale: float) -> NDArray[np.uint8]:
    """Cut rows as the agent does; a tight crop is a face from edge to edge. Returns (n, size_px, size_px, 3)."""
    cuts = np.empty((len(rows), size_px, size_px, 3), np.uint8)
    for place, row in enumerate(rows):
        picture = faces.picture(row)
        whole = Box(0, 0, picture.shape[1], picture.shape[0])
        cuts[place] = crop(picture, faces.face_box(row) if faces.boxed[row] else whole, scale, size_px)
    return cuts


def turned(pictures: NDArray[np.uint8], rng: np.random.Generator, *, shift: bool) -> NDArray[np.uint8]:
    """Rotate each picture by up to 15 degrees and mirror half of them; with shift, move and zoom by up to a tenth."""
    size = pictures.shape[1]
    centre = (size - 1) / 2
    done = np.empty_like(pictures)
    for index, picture in enumerate(pictures):
        angle, zoom, across, down = rng.uniform((-15, 0.9, -0.1, -0.1), (15, 1.1, 0.1, 0.1))
        way = cv2.getRotationMatrix2D((centre, centre), angle, zoom if shift else 1.0)
        if shift:
            way[:, 2] += np.array((across, down)) * size
        warped = cv2.warpAffine(picture, way, (size, size), borderMode=cv2.BORDER_REPLICATE)
        done[index] = warped[:, ::-1] if rng.random() < 0.5 else warped
    return done


def blank(task: Task, settings: Settings) -> dict[str, Any]:
    """Give the report without rows: which faces it is about."""

    def by_source(rows: NDArray[np.int64]) -> dict[str, list[int]]:
        source, label = task.faces.source[rows], task.faces.label[rows]
        return {str(name): [int(((source == name) & (label == k)).sum()) for k in (0, 1)] for name in np.unique(source)}

    subset = np.concatenate([task.train, task.val, task.test])
    return {
        "command": "python -m tools.train.papers",
        "data_sha256": "drawn" if settings.smoke else data_digest(),
        "seed": settings.seed,
        "subset": {
            "faces": {name: len(getattr(task, name)) for name in ("train", "val", "test")},
            "sha256": hashlib.sha256("".join(task.faces.id[subset]).encode()).hexdigest(),
            "mask_and_no_mask": by_source(subset),
        },
        "out_of_source": {"faces": len(task.unseen), "mask_and_no_mask": by_source(task.unseen)},
        "rows": [],
    }


def drawn_faces(seed: int) -> Faces:
    """Give faces for a run in seconds: every fifth three are of a source that no net may see."""
    faces = generated_faces(240, seed)
    return replace(faces, source=np.where(np.arange(len(faces)) // 3 % 5 == 0, OUT_OF_SOURCE[0], "drawn"))
