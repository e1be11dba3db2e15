"""Corrected crops as a source of the training, split by person: the NAME.tar and NAME.csv of tools/train/data.py.

A person is in one split only: looks at somebody who was learnt would flatter the net. Which one is drawn with a seed,
label by label, so that each label that three persons have is learnt, watched and tested.
"""

import csv
import io
import random
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from agent.errors import InputError
from agent.seams import LABELS, Label
from tools.camera.album import Album, Line

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
PERSONS_MIN = 3  # one for each split
COLUMNS = ("id", "label", "split", "picture", "x0", "y0", "x1", "y1", "native_px", "flags")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One crop that is used."""

    crop: str
    person: str
    label: Label


def used(lines: Mapping[str, Line]) -> list[Row]:
    """Give what is left without the crops that are no faces or are left out."""
    return [
        Row(crop=line.crop, person=line.person, label=line.label) for line in lines.values() if line.label in LABELS
    ]


def split_persons(rows: Sequence[Row], *, val: float, test: float, seed: int) -> dict[str, Split]:
    """Give each person a split. val, test: shares of the persons of each label, at least one person each.

    Somebody seen with several labels counts as the commonest of them. Persons of a label that fewer than three have
    are learnt from only. Raises InputError if no label has three.
    """
    said: dict[str, Counter[Label]] = {}
    for row in rows:
        said.setdefault(row.person, Counter())[row.label] += 1
    result: dict[str, Split] = dict.fromkeys(said, "train")
    persons = {label: sorted(name for name in said if _main(said[name]) == label) for label in LABELS}
    if max(len(names) for names in persons.values()) < PERSONS_MIN:
        counted = ", ".join(f"{len(names)} {label}" for label, names in persons.items())
        raise InputError(
            f"too few persons to learn from some and test with others ({counted})",
            where="labels",
            remedy=f"cut more clips: at least {PERSONS_MIN} persons of one label are needed, twenty are a beginning",
        )
    for label, names in persons.items():
        if len(names) < PERSONS_MIN:
            continue
        random.Random(f"{seed} {label}").shuffle(names)
        tested, watched = (max(1, round(share * len(names))) for share in (test, val))
        for place, name in enumerate(names[: tested + watched]):
            result[name] = "test" if place < tested else "val"
    return result


def _main(said: Counter[Label]) -> Label:
    return max(LABELS, key=lambda label: (said[label], -LABELS.index(label)))


def table(album: Album, rows: Sequence[Row], splits: Mapping[str, Split]) -> bytes:
    """Write NAME.csv. `picture` is the person: what must stay together in that column's sense; flags: the clip."""
    crops = {crop.id: crop for crop in album.crops}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        crop = crops[row.crop]
        box = [f"{edge:.2f}" for edge in crop.box]
        who = f"{album.token}_{row.person}"
        writer.writerow([row.crop, row.label, splits[row.person], who, *box, crop.native_px, f"take:{crop.clip}"])
    return out.getvalue().encode()


def archive(rows: Sequence[Row], pictures: Mapping[str, bytes]) -> bytes:
    """Write NAME.tar. pictures: each crop's WebP file. The same crops give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            member = tarfile.TarInfo(f"{row.crop}.webp")
            member.size, member.mode = len(pictures[row.crop]), 0o600
            tar.addfile(member, io.BytesIO(pictures[row.crop]))
    return out.getvalue()
