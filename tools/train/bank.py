"""Views drawn once and learnt from many times: nets that are compared see the same ones, and nobody waits for OpenCV.

A bank is a folder under .work/: views.u8 (count, 64, 64, 3), labels and sources. Chunk i depends on (seed, i) and the
recipe alone, so any number of processes gives the same bytes. A net that must not see a source skips its views.
"""

import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from tools.train.data import Faces
from tools.train.dress import Overlays
from tools.train.examples import Examples, Recipe

INPUT_PX = 64
CHUNK = 2048
VIEW_SHAPE = (INPUT_PX, INPUT_PX, 3)


@dataclass(frozen=True, kw_only=True)
class Bank:
    """views: (n, 64, 64, 3) uint8, mapped from the disk. label: (n,) int8. sources: (n, 2) names, see Example."""

    views: NDArray[np.uint8]
    label: NDArray[np.int8]
    sources: NDArray[np.str_]

    def without(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Give the rows in which no face of these sources is."""
        return np.flatnonzero(~np.isin(self.sources, list(names)).any(1))


def open_bank(
    faces: Faces, overlays: Overlays, recipe: Recipe, *, seed: int, count: int, folder: Path, processes: int
) -> Bank:
    """Give the bank of a recipe, drawn on the first call (a million views: 12 GB, fifteen minutes of one core).

    count: of views, rounded up to whole chunks of 2,048. A face added, relabelled or moved makes another bank.
    """
    chunks = -(-count // CHUNK)
    content = hashlib.sha256(faces.id.tobytes() + faces.label.tobytes() + faces.box.tobytes()).hexdigest()
    told = json.dumps(asdict(recipe) | {"seed": seed, "chunks": chunks, "faces": content}, sort_keys=True)
    home = folder / hashlib.sha256(told.encode()).hexdigest()[:12]
    shape = (chunks * CHUNK, *VIEW_SHAPE)
    if not (home / "labels.npz").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "recipe.json").write_text(told + "\n")
        np.memmap(home / "views.u8", np.uint8, "w+", shape=shape).flush()
        artist = _Artist(Examples(faces, overlays, recipe), seed, home / "views.u8", shape)
        drawn = list(track(_all(artist, chunks, processes), "drawing views", chunks))
        labels, sources = zip(*drawn, strict=True)
        np.savez(home / "labels.partial.npz", label=np.concatenate(labels), sources=np.concatenate(sources))
        (home / "labels.partial.npz").rename(home / "labels.npz")  # written last: a bank that has it is whole
    with np.load(home / "labels.npz") as stored:
        return Bank(
            views=np.memmap(home / "views.u8", np.uint8, "r", shape=shape),
            label=stored["label"],
            sources=stored["sources"],
        )


@dataclass(frozen=True)
class _Artist:
    examples: Examples
    seed: int
    file: Path
    shape: tuple[int, ...]

    def draw(self, chunk: int) -> tuple[NDArray[np.int8], NDArray[np.str_]]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, chunk])
        drawn = [self.examples.draw(rng) for _ in range(CHUNK)]
        views = np.memmap(self.file, np.uint8, "r+", shape=self.shape)
        views[chunk * CHUNK : (chunk + 1) * CHUNK] = [one.view for one in drawn]
        views.flush()
        return np.array([one.label for one in drawn], np.int8), np.array([one.sources for one in drawn])


def _all(artist: _Artist, chunks: int, processes: int) -> Iterator[tuple[NDArray[np.int8], NDArray[np.str_]]]:
    if processes == 1:
        yield from map(artist.draw, range(chunks))
        return
    # Spawned, though each takes a copy of the faces: a forked child waits for ever for OpenCV's threads of its parent.
    with multiprocessing.get_context("spawn").Pool(processes, _become, (artist,)) as pool:
        yield from pool.imap(_draw, range(chunks))


_self: _Artist | None = None


def _become(artist: _Artist) -> None:
    global _self
    _self = artist


def _draw(chunk: int) -> tuple[NDArray[np.int8], NDArray[np.str_]]:
    assert _self is not None
    return _self.draw(chunk)
