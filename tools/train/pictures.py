"""The pictures with face boxes that the detector learns from, decoded once into one file of raw bytes.

A WebP takes five milliseconds to decode and one batch needs dozens, so every picture is decoded on the first use into
`<cache>/<digest>.u8` (about 4 GB, never committed) and mapped from there: workers share it through the page cache.
The digest covers the tars and tables, so a changed source makes a new cache and is named in every report.
"""

import csv
import hashlib
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

MASKED_SOURCES = ("k853", "adi920", "street", "mafa", "macwin")
BARE_SOURCES = ("wider", "wider_more", "wider_events", "scutb")
EMPTY_SOURCES = ("background",)
UNSEEN_SOURCES = ("k210cam",)
SOURCES = MASKED_SOURCES + BARE_SOURCES + EMPTY_SOURCES + UNSEEN_SOURCES


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture and the faces in it."""

    name: str
    source: str
    split: str
    pixels: npt.NDArray[np.uint8]
    """(h, w, 3) RGB, read-only: a view of the cache."""
    boxes: npt.NDArray[np.float32]
    """(n, 4) x0, y0, x1, y1 in pixels of this picture, x1 and y1 exclusive."""
    ignore: npt.NDArray[np.bool_]
    """(n,) true where nobody knows whether it is a face: neither learnt nor counted."""
    pseudo: npt.NDArray[np.bool_]
    """(n,) true where another detector found it and nobody looked: learnt, but not counted."""
    labels: tuple[str, ...]
    """n of `mask`, `no_mask`, `incorrect` or `face` (a mask was not looked for)."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a source's table: a picture, and a face in it unless the box is empty."""

    picture: str
    split: str
    label: str
    ignore: bool
    pseudo: bool
    box: tuple[float, float, float, float] | None


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """Where a picture lies in the cache."""

    source: str
    name: str
    offset: int
    height: int
    width: int


def read_rows(table: Path) -> list[Row]:
    """Give the rows of one source's table. Raises OSError if it is missing, KeyError if a column is."""
    with table.open(newline="") as lines:
        return [
            Row(
                picture=line["picture"],
                split=line["split"],
                label=line["label"],
                ignore=line["ignore"] == "1",
                pseudo=line["origin"] == "pseudo",
                box=(float(line["x0"]), float(line["y0"]), float(line["x1"]), float(line["y1"]))
                if line["x0"]
                else None,
            )
            for line in csv.DictReader(lines)
        ]


def digest_of(folder: Path, sources: Iterable[str]) -> str:
    """Give a hex digest of the tars and tables of these sources."""
    total = hashlib.sha256()
    for source in sources:
        for suffix in ("tar", "csv"):
            with (folder / f"{source}.{suffix}").open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()[:16]


def load_pictures(folder: Path, cache: Path, sources: Sequence[str] = SOURCES) -> tuple[list[Picture], str]:
    """Give every picture of these sources, in the order of the tables, and the digest of the data.

    The first call decodes everything (about a minute), later ones map the file.

    Raises:
        OSError: a source or the cache cannot be read or written.
    """
    digest = digest_of(folder, sources)
    raw, index = cache / f"{digest}.u8", cache / f"{digest}.json"
    if not index.exists():
        cache.mkdir(parents=True, exist_ok=True)
        decode_all(folder, sources, raw, index)
    stored = msgspec.json.decode(index.read_bytes(), type=list[Stored])
    memory = np.memmap(raw, np.uint8, "r")
    places = {(place.source, place.name): place for place in stored}
    pictures = []
    for source in sources:
        faces: dict[str, list[Row]] = defaultdict(list)
        for row in read_rows(folder / f"{source}.csv"):
            faces[row.picture].append(row)
        for name, rows in faces.items():
            pictures.append(to_picture(places[source, name], rows, memory))
    return pictures, digest


def to_picture(place: Stored, rows: Sequence[Row], memory: npt.NDArray[np.uint8]) -> Picture:
    """Give the picture stored at `place` with the faces of its rows."""
    size = place.height * place.width * 3
    boxed = [row for row in rows if row.box is not None]
    return Picture(
        name=place.name,
        source=place.source,
        split=rows[0].split,
        pixels=memory[place.offset : place.offset + size].reshape(place.height, place.width, 3),
        boxes=np.array([row.box for row in boxed], np.float32).reshape(-1, 4),
        ignore=np.array([row.ignore for row in boxed], bool),
        pseudo=np.array([row.pseudo for row in boxed], bool),
        labels=tuple(row.label for row in boxed),
    )


def decode_all(folder: Path, sources: Iterable[str], raw: Path, index: Path) -> None:
    """Decode every picture of these sources into `raw`; `index` is written last, so its presence means complete."""
    stored: list[Stored] = []
    with raw.open("wb") as out:
        for source in sources:
            with tarfile.open(folder / f"{source}.tar") as tar:
                for member in tar:
                    content = tar.extractfile(member) if member.name.endswith(".webp") else None
                    if content is not None:
                        stored.append(decode_one(source, Path(member.name).stem, content, out))
    index.write_bytes(msgspec.json.encode(stored))


def decode_one(source: str, name: str, content: IO[bytes], out: IO[bytes]) -> Stored:
    """Append one decoded picture to `out` and say where it lies. Raises ValueError if it is no picture."""
    decoded = cv2.imdecode(np.frombuffer(content.read(), np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None:
        raise ValueError(f"{source}.tar: {name} is no picture that OpenCV can read; fetch the tar again")
    offset = out.tell()
    out.write(decoded.tobytes())
    return Stored(source=source, name=name, offset=offset, height=decoded.shape[0], width=decoded.shape[1])
