r"""What the shipped recipe is worth on sources that it never saw: measured, and when to believe it.

    python -m tools.train.classifier --leave-out k853 --out .work/left-out/k853.npz      # and so on, a net a source
    python -m tools.quantize.left_out                # quantise each, look, measure: minutes on one core
    python -m tools.quantize.left_out --kept         # the figures again from the kept looks: seconds
    python -m tools.quantize                         # the shipped manifest takes temperature and abstain band from it

Writes models/reports/NAME-left-out.json and its plots, the table between the markers of models/MODEL_CARD.md, and into
.work/left-out/int8/ the int8 nets with their manifests. By hand, from pictures on disk:

    python -m tools.quantize.left_out --export k853
    maskwatch inspect --crops --json --set vision.classifier=.work/left-out/int8/k853.json .work/left-out/crops/k853 |
        sed 's|"path":"[^"]*/\([^"/]*\)[.]png"|"id":"\1"|' > .work/left-out/k853.jsonl
    python ../shared/eval/score_crops.py ../shared/data/crops/k853.csv .work/left-out/k853.jsonl
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from rich.console import Console
from rich.progress import track

from agent.errors import MaskwatchError, ModelError
from agent.vision.model import ClassifierManifest, load_manifest
from tools.quantize.band import fit_band
from tools.quantize.conditions import show
from tools.quantize.describe import write_model
from tools.quantize.page import left_out_page, put_between
from tools.quantize.plots import plot_reliability, plot_risk, plot_sizes
from tools.quantize.report import report
from tools.quantize.unseen import LOOKS, Unseen, joined, look_at_source, nets_by_source, quantize_unseen, with_float
from tools.train.data import Faces, load_faces
from tools.train.graph import load_checkpoint

MARKS = ("<!-- left-out -->", "<!-- /left-out -->")
INT8, NETS = "int8", "nets.json"


def look(folder: Path, shipped: Path, faces: Faces, seed: int) -> None:
    """Quantise every net, look through it, and keep in the folder what was seen and by which net."""
    nets = nets_by_source(folder, shipped, faces)
    made = {
        path: quantize_unseen(path, folder / INT8, faces, seed)
        for path in track(sorted(set(nets.values())), "quantising", console=_console(), transient=True)
    }
    parts = []
    for source, path in track(nets.items(), "looking", console=_console(), transient=True):
        content = (folder / INT8 / made[path].net.file).read_bytes()
        parts.append(with_float(look_at_source(made[path], content, faces, source), path, faces))
    known = {source: _about(path, made[path]) for source, path in nets.items()}
    joined(parts).save(folder / LOOKS)
    (folder / NETS).write_text(json.dumps(known, indent=1) + "\n")


def export(source: str, folder: Path, faces: Faces) -> None:
    """Write every face of a source as the PNG that the condition "crop" is, named by its id.

    Raises ModelError if there is no such source.
    """
    rows = np.flatnonzero(faces.source == source)
    if not rows.size:
        known = ", ".join(np.unique(faces.source).tolist())
        raise ModelError("no source of this name", where=source, remedy=f"one of {known}")
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        if (shown := show(faces, int(row), "crop")) is not None:
            cv2.imwrite(str(folder / f"{faces.id[row]}.png"), shown.pixels[..., ::-1])


def _about(path: Path, manifest: ClassifierManifest) -> dict[str, Any]:
    settings = load_checkpoint(path).notes["settings"]
    return {
        "net": manifest.name,
        "checkpoint_sha256": _sha256(path),
        "int8_sha256": manifest.net.sha256,
        "trained_without": settings.get("leave_out", ""),
        "steps": settings.get("steps"),
    }


def tell(folder: Path, shipped: Path, models: Path) -> dict[str, Any]:
    """Fit and measure from the kept looks; write the report, its plots, the card's part and the nets' manifests."""
    seen, nets = Unseen.load(folder / LOOKS), json.loads((folder / NETS).read_text())
    band = fit_band(seen)
    found = {"name": shipped.stem, "checkpoint_sha256": _sha256(shipped)} | report(seen, band, nets)
    for name in sorted({net["net"] for net in nets.values()}):
        manifest, content = load_manifest(str(folder / INT8 / f"{name}.json"), ClassifierManifest)
        believed = msgspec.structs.replace(manifest, temperature=band.temperature, abstain=band.abstain)
        write_model(folder / INT8, believed, content)
    stem = models / "reports" / f"{shipped.stem}-left-out"
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    curves, of = found["curves"], "sources left out, each counting equally"
    plot_reliability(curves["reliability"], of, stem.with_name(f"{stem.name}-reliability.png"))
    plot_risk(curves["risk_at_coverage"], found["risk"]["stated"], of, stem.with_name(f"{stem.name}-risk.png"))
    plot_sizes(found["sources"], stem.with_name(f"{stem.name}-sizes.png"))
    page = left_out_page(found)
    stem.with_suffix(".md").write_text(page)
    card = models / "MODEL_CARD.md"
    if card.is_file():
        text = card.read_text()
        if all(mark in text for mark in MARKS):
            card.write_text(put_between(text, MARKS, page))
        else:
            print(f"{card}: no {' ... '.join(MARKS)} to put the tables between; they are in {stem}.md", file=sys.stderr)
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _console() -> Console:
    return Console(stderr=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.quantize.left_out", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path(".work/left-out"), help="of the float checkpoints")
    parser.add_argument("--shipped", type=Path, default=Path("models/mask-64.npz"), help="the net that this is for")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder to write into")
    parser.add_argument("--seed", type=int, default=1, help="of the calibration, as in tools.quantize")
    parser.add_argument("--kept", action="store_true", help="do not look again")
    parser.add_argument("--export", metavar="SOURCE", help="only write this source's tight crops, as pictures")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.export:
            export(chosen.export, chosen.folder / "crops" / chosen.export, load_faces())
            return 0
        if not chosen.kept:
            look(chosen.folder, chosen.shipped, load_faces(), chosen.seed)
        found = tell(chosen.folder, chosen.shipped, chosen.models)
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return ModelError.exit_code
    print(left_out_page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
