"""What `cut` leaves in its folder, and what a person makes of it: crops, who is on them, and what they are.

cut.json      what was found, for machines; nobody edits it
crops/        one lossless WebP a look: the square of 1.5 times the face's longer side, as far as the frame goes
labels.csv    one line a crop: crop, person, label. This is what a person corrects
sheet.html    the same to look at, and to correct with a mouse or a keyboard
"""

import csv
import io
import re
from pathlib import Path
from typing import Literal

import msgspec

from agent.errors import InputError, nearest
from agent.seams import LABELS, Label, Reason
from tools.camera.private import told

Said = Literal["mask", "no_mask", "incorrect", "not_a_face", "leave_out"]
WORDS: dict[Said, str] = {
    "mask": "mask",
    "no_mask": "no mask",
    "incorrect": "worn wrongly",
    "not_a_face": "not a face",
    "leave_out": "leave out",
}
_COLUMNS = ("crop", "person", "label")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class Crop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One look at a person. box: in pixels of the crop; native_px: size of the face in the clip's own pixels.

    clip: index into the album's; t_s: seconds of it. probs and reason: what the classifier said of this look alone.
    """

    id: str
    person: str
    clip: int
    t_s: float
    box: tuple[float, float, float, float]
    native_px: float
    probs: tuple[float, float, float]
    reason: Reason | None = None

    @property
    def likeliest(self) -> Label:
        return LABELS[self.probs.index(max(self.probs))]


class Album(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of a cut. token: begins every crop's name, another for other clips, settings or models."""

    token: str
    clips: list[str]
    models: list[str]
    crops: list[Crop]

    def persons(self) -> dict[str, list[Crop]]:
        """Give the crops of each person, in the order in which the persons came."""
        found: dict[str, list[Crop]] = {}
        for crop in self.crops:
            found.setdefault(crop.person, []).append(crop)
        return found

    def proposals(self) -> dict[str, "Line"]:
        """Give what is proposed of each crop: the label that is likeliest over all looks at its person."""
        lines: dict[str, Line] = {}
        for person, crops in self.persons().items():
            sums = [sum(column) for column in zip(*(crop.probs for crop in crops), strict=True)]
            label = LABELS[sums.index(max(sums))]
            lines |= {crop.id: Line(crop=crop.id, person=person, label=label) for crop in crops}
        return lines


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one crop: who it is, and what."""

    crop: str
    person: str
    label: Said


def load_album(folder: Path) -> Album:
    """Read cut.json. Raises InputError if there is none, or it is damaged."""
    path = folder / "cut.json"
    with told(path, "name a folder that `cut` has made"):
        content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=Album)
    except msgspec.DecodeError as error:
        raise InputError(f"not what `cut` writes: {error}", where=str(path), remedy="cut the clips again") from error


def labels_csv(album: Album) -> str:
    """Give labels.csv as proposed; the columns after the label are for whoever reads it without the pictures."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, "this_look", "probability", "clip", "seconds", "face_px"])
    proposed = album.proposals()
    for crop in album.crops:
        line = proposed[crop.id]
        look = [
            crop.likeliest,
            f"{max(crop.probs):.2f}",
            album.clips[crop.clip],
            f"{crop.t_s:.1f}",
            f"{crop.native_px:.0f}",
        ]
        writer.writerow([line.crop, line.person, line.label, *look])
    return out.getvalue()


def read_labels(path: Path, album: Album) -> dict[str, Line]:
    """Read a corrected labels.csv, by crop; a crop whose line was deleted is left out.

    Raises InputError for a file that is missing or no such table, a label that there is not, a crop that is not in
    this cut or is there twice, and a person's name that is none.
    """
    with told(path, "name the table that was saved for this folder"):
        content = path.read_bytes()
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))  # spreadsheets begin with a mark
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not a CSV file: {error}", where=str(path), remedy="save it as CSV, UTF-8") from error
    known = {crop.id for crop in album.crops}
    lines: dict[str, Line] = {}
    for number, row in enumerate(rows, 2):
        line = _checked(row, f"{path}:{number}")
        if line.crop not in known:
            what = "is of another cut" if not line.crop.startswith(f"{album.token}_") else "is not in this cut"
            raise InputError(
                f"{line.crop} {what}",
                where=f"{path}:{number}",
                remedy="use the labels.csv that was saved for this folder",
            )
        if line.crop in lines:
            raise InputError(f"{line.crop} is there twice", where=f"{path}:{number}", remedy="delete one of the lines")
        lines[line.crop] = line
    if not lines:
        raise InputError("has no line", where=str(path), remedy=f"give it the columns {', '.join(_COLUMNS)}")
    return lines


def _checked(row: dict[str, str | None], where: str) -> Line:
    missing = [column for column in _COLUMNS if not row.get(column)]
    if missing:
        raise InputError(f"no {missing[0]}", where=where, remedy=f"give it the columns {', '.join(_COLUMNS)}")
    person, label = row["person"] or "", (row["label"] or "").strip()
    if not _NAME.fullmatch(person):
        raise InputError(f"{person!r} is no person", where=where, remedy="use 1 to 32 letters, digits, _ or -")
    try:
        return Line(crop=row["crop"] or "", person=person, label=msgspec.convert(label, Said))
    except msgspec.ValidationError as error:
        raise InputError(
            f"no label {label!r}{nearest(label, WORDS)}", where=where, remedy=f"use one of {', '.join(WORDS)}"
        ) from error
