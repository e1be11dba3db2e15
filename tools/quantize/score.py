"""Let the agent's classifier look at labelled crops, at their own size and smaller, and say how often it is right.

    python -m tools.quantize.score mask-64 --split test

Prints a table and writes .work/scores/<px>.jsonl, the agent's verdicts in the form that the project's measure reads:

    python ../shared/eval/score_crops.py ../shared/data/crops/k853.csv .work/scores/own.jsonl --split test
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agent.seams import LABELS
from agent.vision.classifier import MaskClassifier, decide_one
from agent.vision.model import ClassifierManifest, load_manifest
from agent.vision.runtime import CpuRuntime
from tools.quantize.looks import face_at, summary, two_way_interval
from tools.train.data import Faces, load_faces

SIZES_PX = (16.0, 24.0, 32.0, 48.0)


def predict(
    classifier: MaskClassifier, faces: Faces, rows: NDArray[np.int64], size_px: float | None, *, tight: bool, path: Path
) -> NDArray[np.float32]:
    """Write one verdict a line and give the probabilities, (n, 3), columns in the order of LABELS."""
    lines, probs = [], []
    for row in rows:
        picture, box = face_at(faces, int(row), size_px, tight=tight)
        look = classifier.look(picture, [box])[0]
        probs.append(look.probs)
        verdict = decide_one(look, classifier.manifest.abstain)
        p = {name: round(value, 6) for name, value in zip(LABELS, look.probs, strict=True)}
        lines.append(json.dumps({"id": str(faces.id[row]), "p": p, "label": verdict.label, "reason": verdict.reason}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return np.array(probs, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a model of models/, or the path of its manifest")
    parser.add_argument("--split", default="test")
    parser.add_argument("--only", default="", help="sources, comma-separated; default: all")
    parser.add_argument("--tight", action="store_true", help="leave nothing but the box of each picture")
    parser.add_argument("--out", type=Path, default=Path(".work/scores"))
    chosen = parser.parse_args()
    manifest, content = load_manifest(chosen.model, ClassifierManifest)
    classifier = MaskClassifier(manifest, CpuRuntime(content, manifest.net, where=chosen.model))
    faces = load_faces()
    rows = faces.rows(split=chosen.split, only=[name for name in chosen.only.split(",") if name])
    found: dict[str, dict[str, dict[str, float]]] = {}
    for size in track((None, *SIZES_PX), description="looking", console=Console(stderr=True), transient=True):
        key = "own" if size is None else f"{size:.0f}"
        probs = predict(classifier, faces, rows, size, tight=chosen.tight, path=chosen.out / f"{key}.jsonl")
        label, source = faces.label[rows], faces.source[rows]
        parts = {"all": np.ones(len(rows), bool)} | {str(one): source == one for one in np.unique(source)}
        for name, where in parts.items():
            low, high = two_way_interval(probs[where], label[where])
            block = summary(probs[where], label[where]) | {"two_way_low": low, "two_way_high": high}
            found.setdefault(key, {})[name] = block
    (chosen.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    table = Table("source", "n", "own size", "95 %", *(f"{size:.0f} px" for size in SIZES_PX))
    for name, own in found["own"].items():
        cells = [f"{block[name]['two_way']:.1f} / {block[name]['strict']:.1f}" for block in found.values()]
        table.add_row(name, str(own["n"]), cells[0], f"{own['two_way_low']}-{own['two_way_high']}", *cells[1:])
    console = Console(width=120)
    console.print(table)
    console.print(
        "per cent, balanced over labels: the likelier of mask and no_mask (95 % interval) / the likeliest of all"
    )


if __name__ == "__main__":
    main()
