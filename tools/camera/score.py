"""Is the new net better on one's own camera? Both look at the persons held out; persons are counted, not looks.

Looks at one person are alike, so the interval is of persons: forty looks at two of them say what two persons say.
"""

import csv
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from agent.errors import InputError
from agent.seams import LABELS, Label
from agent.vision.classifier import MaskClassifier
from tools.camera.pack import COLUMNS
from tools.camera.private import told
from tools.train.data import Faces, load_faces

_Z = 1.96  # 95 %


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """How often a net is right on one label. Looks: its likeliest label, one by one; persons: over all their looks."""

    label: Label
    persons: int
    persons_right: int
    looks: int
    looks_right: int
    looks_answered: int
    answered_right: int


def load_packed(folder: Path) -> tuple[Faces, list[str]]:
    """Read what `pack` wrote: the faces, and who is on each. Leaves no decoded copy behind.

    Raises InputError if there is nothing, or if somebody is in two splits.
    """
    tables = sorted(folder.glob("*.csv"))
    if not tables:
        raise InputError("holds no packed faces", where=str(folder), remedy="name the folder that `pack` wrote")
    persons: dict[str, str] = {}
    splits: dict[str, str] = {}
    for path in tables:
        with told(path), path.open(newline="") as file:
            for row in csv.DictReader(file):
                if tuple(row) != COLUMNS or row["label"] not in LABELS:
                    raise InputError("is no table of faces", where=str(path), remedy="name what `pack` wrote")
                persons[row["id"]] = row["picture"]
                if splits.setdefault(row["picture"], row["split"]) != row["split"]:
                    raise InputError(
                        f"{row['picture']} is in {splits[row['picture']]} and in {row['split']}",
                        where=str(path),
                        remedy="pack again: who was learnt from must not be tested with",
                    )
    with told(folder), tempfile.TemporaryDirectory() as cache:
        faces = load_faces(folder, Path(cache))
    return faces, [persons[str(name)] for name in faces.id]


def score(classifier: MaskClassifier, faces: Faces, persons: Sequence[str], split: str) -> list[Score]:
    """Give the score of each label that occurs in a split. persons: of each row of `faces`."""
    rows = faces.rows(split=split)
    looks = [classifier.look(faces.picture(row), [faces.face_box(row)])[0] for row in rows]
    found = []
    for index, label in enumerate(LABELS):
        mine = [(persons[row], look) for row, look in zip(rows, looks, strict=True) if faces.label[row] == index]
        sums: dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        for person, look in mine:
            sums[person] = sums.get(person, np.zeros(len(LABELS))) + look.probs
        answered = [look for _, look in mine if look.reason is None]
        found.append(
            Score(
                label=label,
                persons=len(sums),
                persons_right=sum(int(total.argmax()) == index for total in sums.values()),
                looks=len(mine),
                looks_right=sum(_is(index, look.probs) for _, look in mine),
                looks_answered=len(answered),
                answered_right=sum(_is(index, look.probs) for look in answered),
            )
        )
    return [one for one in found if one.looks]


def _is(index: int, probs: Sequence[float]) -> bool:
    return max(probs) == probs[index]


def interval(right: int, count: int) -> tuple[float, float]:
    """Give the 95 % interval of a share, 0..1. Source: Wilson, J. Am. Stat. Assoc. 22 (1927)."""
    share, spread = right / count, _Z * _Z / count
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / count + spread / count / 4) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
