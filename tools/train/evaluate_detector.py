"""Measure an int8 detector through the agent's own code: recall by face size at a labelled precision of 0.90.

    python -m tools.train.evaluate_detector face-320 [--closely] [--split test] [--float models/face-320.npz]

Writes predictions of every source as JSON lines (`picture`, `faces`: `box`, `score`), far below the working threshold,
and the table as JSON beside them. A labelled face is found at IoU >= 0.4; a second box on the same face is false; a box
on an ignored or pseudo-labelled face, or of less than 8 px, counts neither way.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agent.seams import Face
from agent.vision.detector import FaceDetector
from agent.vision.model import DetectorManifest, Tensor, load_manifest
from agent.vision.nms import overlaps
from agent.vision.runtime import CpuRuntime
from agent.vision.tiles import find_closely
from tools.train.graph import load_checkpoint
from tools.train.pictures import Picture, load_pictures

GROUPS = {
    "masked": ("k853", "adi920"),
    "street": ("street",),
    "wider": ("wider",),
    "wider_more": ("wider_more",),
    "k210cam": ("k210cam",),
    "mafa": ("mafa",),
    "macwin": ("macwin",),
    "wider_events": ("wider_events",),
    "background": ("background",),
}
SIZES = {"<16": (0, 16), "16-24": (16, 24), "24-32": (24, 32), "32-64": (32, 64), ">64": (64, 1e9), "all": (0, 1e9)}
FACE_PX_MIN = 8.0
PRECISION = 0.90


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was found in pictures, and of which labelled faces.

    scores, right: (n,) every counted detection and whether it is a labelled face.
    sizes, found: (m,) every labelled face: its size in stored pixels, and the score of its detection, 0 without one.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    sizes: NDArray[np.float64]
    found: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Recall in per cent at `threshold`; faces is how many. interval: of 95 %, for faces of all sizes."""

    threshold: float
    faces: dict[str, int]
    recall: dict[str, float]
    interval: tuple[float, float]


class FloatRuntime:
    """The float net behind the int8 one's door: its answers in thousandths, so that the agent's decode takes them."""

    SCALE = 1e-3

    def __init__(self, checkpoint: Path) -> None:
        from tools.quantize.keras_net import build_keras  # brings TensorFlow: seconds to import, and for this only

        stored = load_checkpoint(checkpoint)
        self._net = build_keras(stored.graph, stored.weights)

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[Any]]:
        pixels = np.bitwise_xor(batch.view(np.uint8), 0x80).astype(np.float32) / np.float32(255)
        answers = zip(("scores", "boxes"), self._net(pixels), strict=True)
        return {name: np.round(np.asarray(values) / self.SCALE).astype(np.int32) for name, values in answers}

    def manifest(self, of: DetectorManifest) -> DetectorManifest:
        """Give the int8 net's manifest with the scales of these answers."""
        doors = {name: Tensor(shape=t.shape, scale=self.SCALE, zero_point=0) for name, t in of.net.outputs.items()}
        return msgspec.structs.replace(of, net=msgspec.structs.replace(of.net, outputs=doors))


def match(picture: Picture, faces: Sequence[Face]) -> Found:
    """Match detections with the labelled faces of a picture, best score first."""
    sizes = np.sqrt(np.prod(picture.boxes[:, 2:] - picture.boxes[:, :2], 1)).astype(float)
    counted = ~(picture.ignore | picture.pseudo | (sizes < FACE_PX_MIN))
    ranked = sorted(faces, key=lambda face: -face.score)
    boxes = np.array([face.box for face in ranked], np.float32).reshape(-1, 4)
    with_faces, with_others = overlaps(boxes, picture.boxes[counted]), overlaps(boxes, picture.boxes[~counted])
    found = np.zeros(int(counted.sum()))
    scores, right = [], []
    for index, face in enumerate(ranked):
        free = np.where(found == 0, with_faces[index], 0)
        hit = bool(len(free)) and free.max() >= 0.4
        if hit:
            found[int(free.argmax())] = face.score
        elif face.box.size_px < FACE_PX_MIN or (with_others[index] >= 0.3).any():
            continue
        scores.append(face.score)
        right.append(hit)
    return Found(scores=np.array(scores), right=np.array(right, bool), sizes=sizes[counted], found=found)


def join(parts: Sequence[Found]) -> Found:
    return Found(
        scores=np.concatenate([part.scores for part in parts]),
        right=np.concatenate([part.right for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        found=np.concatenate([part.found for part in parts]),
    )


def threshold_at(found: Found, precision: float) -> float:
    """Give the lowest score down to which this share of the detections is right, 1 if there is none."""
    order = np.argsort(-found.scores, kind="stable")
    scores, right = found.scores[order], np.cumsum(found.right[order])
    last = np.append(scores[1:] != scores[:-1], True)  # equal scores stand or fall together
    good = np.flatnonzero((right / np.arange(1, len(right) + 1) >= precision) & last[: len(right)])
    return float(scores[good[-1]]) if len(good) else 1.0


def recall_by_size(parts: Sequence[Found], threshold: float) -> Recall:
    """Give the share of labelled faces found at or above a score, by size. parts: one a picture."""
    found = join(parts)
    faces, recall = {}, {}
    for name, (low, high) in SIZES.items():
        here = (found.sizes >= low) & (found.sizes < high)
        if here.any():
            faces[name] = int(here.sum())
            recall[name] = round(100 * float((found.found[here] >= threshold).mean()), 1)
    return Recall(
        threshold=round(threshold, 3), faces=faces, recall=recall, interval=resampled_recall(parts, threshold)
    )


def resampled_recall(parts: Sequence[Found], threshold: float, draws: int = 1000) -> tuple[float, float]:
    """Give the 95 % interval of the recall by drawing pictures with replacement: faces of one picture fail together."""
    hits = np.array([(part.found >= threshold).sum() for part in parts])
    faces = np.array([len(part.sizes) for part in parts])
    drawn = np.random.default_rng(1).integers(len(parts), size=(draws, len(parts)))
    shares = 100 * hits[drawn].sum(1) / np.maximum(1, faces[drawn].sum(1))
    low, high = np.percentile(shares, (2.5, 97.5))
    return round(float(low), 1), round(float(high), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure an int8 detector: recall by size at precision 0.90.")
    parser.add_argument("model", help="a name in models/ or a manifest's path")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pictures"))
    parser.add_argument("--cache", type=Path, default=Path(".work/pictures"))
    parser.add_argument("--out", type=Path, default=Path(".work/detector/predictions"))
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--closely", action="store_true", help="whole picture and tiles; default: a single pass")
    parser.add_argument("--report", type=Path, help="add the table to this JSON report of tools.quantize")
    parser.add_argument("--float", type=Path, metavar="NPZ", help="measure this float checkpoint instead; slow")
    options = parser.parse_args()
    console = Console()
    manifest, content = load_manifest(options.model, DetectorManifest)
    if options.float:
        exact = FloatRuntime(options.float)
        detector = FaceDetector(exact.manifest(manifest), exact)
    else:
        detector = FaceDetector(manifest, CpuRuntime(content, manifest.net, where=manifest.name))
    pictures, digest = load_pictures(options.data, options.cache)
    options.out.mkdir(parents=True, exist_ok=True)
    results: dict[str, Recall] = {}
    everything: list[Found] = []
    for group, sources in GROUPS.items():
        chosen = [p for p in pictures if p.source in sources and p.split == options.split]
        if not chosen:
            continue
        predictions = predict(detector, chosen, closely=options.closely, console=console, what=group)
        for source in sources:
            write_predictions(options.out / f"{source}.jsonl", source, chosen, predictions)
        found = [match(picture, faces) for picture, faces in zip(chosen, predictions, strict=True)]
        everything += found
        if len(join(found).sizes):
            results[group] = recall_by_size(found, threshold_at(join(found), PRECISION))
    results["all, one threshold"] = recall_by_size(everything, threshold_at(join(everything), PRECISION))
    console.print(
        table(results, f"{manifest.name}, split {options.split}, {'tiles' if options.closely else 'one pass'}")
    )
    summary = {"data": digest, "split": options.split, "closely": options.closely, "precision": PRECISION}
    measured = summary | {"groups": {group: asdict(recall) for group, recall in results.items()}}
    (options.out / "recall.json").write_text(json.dumps(measured, indent=1) + "\n")
    if options.report:
        report = json.loads(options.report.read_text())
        way = f"{options.split}{' closely' if options.closely else ''}{' float' if options.float else ''}"
        report.setdefault("recall", {})[way] = measured
        options.report.write_text(json.dumps(report, indent=1) + "\n")


def predict(
    detector: FaceDetector, pictures: Sequence[Picture], *, closely: bool, console: Console, what: str
) -> list[list[Face]]:
    """Find faces in every picture, down to the manifest's report floor."""
    floor = detector.manifest.report_floor
    steps = track(pictures, what, console=console, transient=True, disable=not console.is_terminal)
    return [find_closely([detector], p.pixels, floor) if closely else detector.find(p.pixels, floor) for p in steps]


def write_predictions(
    path: Path, source: str, pictures: Sequence[Picture], predictions: Sequence[Sequence[Face]]
) -> None:
    with path.open("w") as out:
        for picture, faces in zip(pictures, predictions, strict=True):
            if picture.source == source:
                listed = [{"box": [round(side, 2) for side in face.box], "score": face.score} for face in faces]
                out.write(json.dumps({"picture": picture.name, "faces": listed}) + "\n")


def table(results: dict[str, Recall], title: str) -> Table:
    shown = Table(title=f"{title}: recall % at precision {PRECISION:.2f}")
    for column in ("pictures of", "score >=", *SIZES, "95 %"):
        shown.add_column(column, justify="left" if column == "pictures of" else "right")
    for group, recall in results.items():
        cells = [f"{recall.recall[size]} ({recall.faces[size]})" if size in recall.faces else "" for size in SIZES]
        shown.add_row(group, f"{recall.threshold:.3f}", *cells, "{}-{}".format(*recall.interval))
    return shown


if __name__ == "__main__":
    main()
