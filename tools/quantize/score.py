"""Let an int8 classifier look at labelled crops, at their own size and smaller, and say how often it is right.

    python -m tools.quantize.score mask-64 --split test

Prints a table and writes .work/scores/<px>.jsonl, the predictions in the form that ../shared/eval/score_crops.py reads:

    python ../shared/eval/score_crops.py ../shared/data/crops/k853.csv .work/scores/own.jsonl --split test
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agent.seams import LABELS
from agent.vision.model import ClassifierManifest, load_manifest
from agent.vision.runtime import CpuRuntime
from tools.quantize.looks import answers, look_at, softmax, summary
from tools.train.data import Faces, load_faces

SIZES_PX = (16.0, 24.0, 32.0, 48.0)


def write_predictions(path: Path, ids: NDArray[np.str_], probs: NDArray[np.float32], confidence: float) -> None:
    lines = []
    for name, row in zip(ids, probs, strict=True):
        label = LABELS[int(row.argmax())] if row.max() >= confidence else "unsure"
        p = {key: round(float(value), 6) for key, value in zip(LABELS, row, strict=True)}
        lines.append(json.dumps({"id": str(name), "p": p, "label": label}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def score(
    name: str, faces: Faces, rows: NDArray[np.int64], sizes_px: Sequence[float], folder: Path
) -> dict[str, dict[str, dict[str, float]]]:
    """Give, for "own" and every size, the summary of all rows and of each source; writes the predictions."""
    manifest, content = load_manifest(name, ClassifierManifest)
    runtime = CpuRuntime(content, manifest.net, where=name)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for size in track((None, *sizes_px), description="looking", console=Console(stderr=True), transient=True):
        seen = look_at(faces, rows, size, manifest.crop_scale)
        logits = answers(runtime, manifest.net, seen.pictures)
        probs = softmax(logits / np.float32(manifest.temperature))
        key = "own" if size is None else f"{size:.0f}"
        write_predictions(folder / f"{key}.jsonl", seen.id, probs, manifest.abstain.confidence)
        source = faces.source[rows]
        found[key] = {"all": summary(probs, seen, np.ones(len(rows), bool))}
        found[key] |= {str(one): summary(probs, seen, source == one) for one in np.unique(source)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="a model of models/, or the path of its manifest")
    parser.add_argument("--split", default="test")
    parser.add_argument("--only", default="", help="sources, comma-separated; default: all")
    parser.add_argument("--out", type=Path, default=Path(".work/scores"))
    chosen = parser.parse_args()
    faces = load_faces()
    rows = faces.rows(split=chosen.split, only=[name for name in chosen.only.split(",") if name])
    found = score(chosen.model, faces, rows, SIZES_PX, chosen.out)
    (chosen.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    table = Table("source", "n", *(f"{key} px" if key != "own" else "own size" for key in found))
    for source, own in found["own"].items():
        cells = [f"{block[source]['two_way']:.1f} / {block[source]['strict']:.1f}" for block in found.values()]
        table.add_row(source, str(own["n"]), *cells)
    console = Console()
    console.print(table)
    console.print("per cent, balanced over labels: likelier of mask and no_mask / likeliest of all three")


if __name__ == "__main__":
    main()
