"""The sheet on which to look for rows whose label is wrong: the surest wrong answers, without those known already.

    python -m tools.quantize.wrong_labels            # .work/left-out/wrong.png, of the looks that left_out kept

The sheet shows real people: it stays in .work/. What is found goes to tools/train/wrong_labels.py.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tools.quantize.conditions import EIGHT
from tools.quantize.figures import INCORRECT
from tools.quantize.looks import softmax
from tools.quantize.unseen import LOOKS, Unseen
from tools.train.data import load_faces
from tools.train.wrong_labels import WRONG_LABELS

_TILE_PX, _ACROSS = 128, 8


def surest_wrong(seen: Unseen, temperature: float, count: int) -> Unseen:
    """Give the looks at tight crops of the eight that are wrong, the surest first, without those known."""
    part = seen.only(
        (seen.condition == "crop")
        & np.isin(seen.source, EIGHT)
        & (seen.label != INCORRECT)
        & ~np.isin(seen.id, list(WRONG_LABELS))
    )
    probs = softmax(part.logits / np.float32(temperature))
    wrong = np.flatnonzero(probs.argmax(1) != part.label)
    kept = wrong[np.argsort(-probs.max(1)[wrong], kind="stable")][:count]
    return part.take(kept)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".work/left-out"))
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=1.0, help="only the order may depend on it")
    chosen = parser.parse_args()
    found = surest_wrong(Unseen.load(chosen.folder / LOOKS), chosen.temperature, chosen.count)
    faces = load_faces()
    row_of = {str(name): row for row, name in enumerate(faces.id)}
    probs = softmax(found.logits / np.float32(chosen.temperature))
    tiles = []
    for at, name in enumerate(found.id):
        tile: Any = cv2.resize(faces.picture(row_of[str(name)]), (_TILE_PX, _TILE_PX))
        tile = cv2.copyMakeBorder(tile, 0, 14, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        cv2.putText(tile, f"{at}: {probs[at].max():.3f}", (2, _TILE_PX + 11), 0, 0.4, (0, 0, 0))
        tiles.append(tile)
        print(at, name, "labelled", "mask" if found.label[at] == 0 else "no_mask", probs[at].round(3).tolist())
    tiles += [np.full((_TILE_PX + 14, _TILE_PX, 3), 255, np.uint8)] * (-len(tiles) % _ACROSS)
    rows = [np.hstack(tiles[start : start + _ACROSS]) for start in range(0, len(tiles), _ACROSS)]
    if rows:
        cv2.imwrite(str(chosen.folder / "wrong.png"), np.vstack(rows)[..., ::-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
