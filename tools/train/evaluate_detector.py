"""Measure detectors on labelled pictures: recall by size and label at a labelled precision of 0.90 and 0.80.

    python -m tools.train.evaluate_detector --report    # all of it: report, page and plot; five minutes on one core
    python -m tools.train.evaluate_detector --split val --models models/face-320.json --no-float --no-cascades

Every input size that lies beside the first model is measured in one pass, all together as `maskwatch inspect` uses them
(closely), the float net of the checkpoint likewise, and on the test split OpenCV's cascades. Predictions are written as
../shared/eval/score_pictures.py reads them, a file for each way and source, far below the working threshold. Run it
with the tools extra: the float net needs TensorFlow.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agent.seams import Box, Face
from agent.vision.detector import FaceDetector
from agent.vision.model import other_sizes
from tools.bench.machine import Machine, describe, take_one_core
from tools.bench.rows import NS_PER_MS
from tools.train.contestants import CASCADES, Find, cascade, closely, float_detector, int8_detector, once
from tools.train.graph import Graph, load_checkpoint, multiply_adds, redrawn
from tools.train.pictures import Picture, load_pictures
from tools.train.recall import Recall, join, match, recall_at, threshold_at

GROUPS = {
    "masked": ("k853", "adi920"),
    "wider": ("wider",),
    "wider_more": ("wider_more",),
    "wider_events": ("wider_events",),
    "mafa": ("mafa",),
    "macwin": ("macwin",),
    "k210cam": ("k210cam",),
    "street": ("street",),
    "background": ("background",),
}
"""Pictures of like sources are counted together; those without counted faces count in `everything` only."""
EVERYTHING = "everything"
BESIDE_CASCADES = ("masked", "wider")
PRECISIONS = (0.90, 0.80)
SPLITS = ("test", "val")
TIMED_SIDE_PX, TIMED_PICTURES, TIMED_TURNS = 640, 20, 3


@dataclass(frozen=True, kw_only=True)
class Way:
    """One detector in one way of use. numbers: `int8`, `float` or `cascade`; inputs: of the nets that look."""

    name: str
    numbers: str
    find: Find
    inputs: tuple[tuple[int, int], ...] = ()

    @property
    def slug(self) -> str:
        return f"{self.name} {self.numbers}".replace(",", "").replace(" ", "-")


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What a way found. name, numbers, inputs: as in Way.

    million_multiply_adds: of one pass; None where that is not known or varies with the picture.
    ms: one core, the median over pictures of TIMED_SIDE_PX, of each the best of TIMED_TURNS.
    recall: by split, group and precision (`0.90`).
    """

    name: str
    numbers: str
    inputs: tuple[tuple[int, int], ...]
    million_multiply_adds: float | None
    ms: float
    recall: dict[str, dict[str, dict[str, Recall]]]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is written. data: the digest of the pictures; sha256: of the int8 models, by name."""

    data: str
    machine: Machine
    pictures: dict[str, int]
    sha256: dict[str, str]
    measured: list[Measured]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.train.evaluate_detector", description=(__doc__ or "")[:109])
    parser.add_argument("--model", default="face-320", help="a name in models/ or a manifest's path")
    parser.add_argument("--float", type=Path, default=Path("models/face-320.npz"), help="its float checkpoint")
    parser.add_argument(
        "--split", choices=(*SPLITS, "train"), action="append", help="may be given again; default: test, val"
    )
    parser.add_argument("--group", choices=GROUPS, action="append", help="may be given again; default: all")
    parser.add_argument("--no-float", action="store_true", help="without the float net, and so without TensorFlow")
    parser.add_argument("--no-cascades", action="store_true", help="without OpenCV's cascades")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pictures"))
    parser.add_argument("--cache", type=Path, default=Path(".work/pictures"))
    parser.add_argument("--out", type=Path, default=Path(".work/detector/predictions"), help="for the predictions")
    parser.add_argument("--report", action="store_true", help="write models/reports/detector.json, its page and plot")
    options = parser.parse_args(words)
    machine = describe()
    take_one_core()
    cv2.setNumThreads(1)
    console = Console(width=None if sys.stdout.isatty() else 160)
    first = int8_detector(options.model)
    nets = [first, *(int8_detector(name) for name in other_sizes(options.model, first.manifest))]
    nets.sort(key=lambda net: net.input_size)
    ways = our_ways(nets, first, "int8")
    if not options.no_float:
        exact = {net.manifest.name: float_detector(options.float, net.manifest) for net in nets}
        ways += our_ways(list(exact.values()), exact[first.manifest.name], "float")
    if not options.no_cascades:
        ways += [Way(name=name, numbers="cascade", find=cascade(name)) for name in CASCADES]
    pictures, digest = load_pictures(options.data, options.cache)
    groups = {name: GROUPS[name] for name in options.group or GROUPS}
    splits = {split: [p for p in pictures if p.split == split] for split in options.split or SPLITS}
    report = Report(
        data=digest,
        machine=machine,
        pictures={split: len(of(groups, chosen)) for split, chosen in splits.items()},
        sha256={net.manifest.name: net.manifest.net.sha256 for net in nets},
        measured=measure(
            ways, splits, groups, options.out / digest, load_checkpoint(options.float).graph, to_time(pictures), console
        ),
    )
    for split in splits:
        console.print(table(report, split))
    if options.report:
        from tools.train.recall_page import write_report  # brings matplotlib

        write_report(report)


def our_ways(nets: Sequence[FaceDetector], first: FaceDetector, numbers: str) -> list[Way]:
    """Give each net alone in one pass, and all of them together as `inspect` looks with them. first: the configured."""
    alone = [
        Way(name=f"{net.manifest.name}, one pass", numbers=numbers, find=once(net), inputs=(net.input_size,))
        for net in nets
    ]
    others = [net for net in nets if net is not first]
    together = Way(
        name="closely",
        numbers=numbers,
        find=closely([first, *others]),
        inputs=tuple(net.input_size for net in nets),
    )
    return [*alone, together]


def measure(
    ways: Sequence[Way],
    splits: Mapping[str, Sequence[Picture]],
    groups: Mapping[str, Sequence[str]],
    out: Path,
    graph: Graph,
    timed: Sequence[Picture],
    console: Console,
) -> list[Measured]:
    """Let every way find the faces of every split. out: for the predictions; graph: of our net, to be counted."""
    measured = []
    for way, ms in zip(ways, times_ms(ways, timed), strict=True):
        recall = {}
        for split, pictures in splits.items():
            if way.numbers == "cascade":
                beside = {name: sources for name, sources in groups.items() if name in BESIDE_CASCADES}
                counted = beside if split == "test" else {}
            else:
                counted = dict(groups)
            chosen = of(counted, pictures)
            if chosen:
                recall[split] = by_group(chosen, predict(way, chosen, out / f"{way.slug}-{split}", console), counted)
        drawn = [redrawn(graph, *size) for size in way.inputs]
        measured.append(
            Measured(
                name=way.name,
                numbers=way.numbers,
                inputs=way.inputs,
                million_multiply_adds=round(multiply_adds(drawn[0]) / 1e6, 1) if len(drawn) == 1 else None,
                ms=round(ms, 2),
                recall=recall,
            )
        )
    return measured


def of(groups: Mapping[str, Sequence[str]], pictures: Sequence[Picture]) -> list[Picture]:
    """Give the pictures of the sources of these groups."""
    sources = {source for group in groups.values() for source in group}
    return [picture for picture in pictures if picture.source in sources]


def to_time(pictures: Sequence[Picture]) -> list[Picture]:
    """Give test pictures of the size that times are told for."""
    fitting = [p for p in pictures if p.split == "test" and max(p.pixels.shape[:2]) == TIMED_SIDE_PX]
    return fitting[:TIMED_PICTURES]


def times_ms(ways: Sequence[Way], pictures: Sequence[Picture]) -> list[float]:
    """Time all ways in turns, picture by picture: what else the machine does meets all of them alike."""
    best = np.full((len(ways), len(pictures)), np.inf)
    for _ in range(TIMED_TURNS):
        for at, picture in enumerate(pictures):
            pixels = np.array(picture.pixels)  # from the disk first
            for index, way in enumerate(ways):
                start_ns = time.perf_counter_ns()
                way.find(pixels)
                best[index, at] = min(best[index, at], (time.perf_counter_ns() - start_ns) / NS_PER_MS)
    return [float(ms) for ms in np.median(best, 1)]


def predict(way: Way, pictures: Sequence[Picture], folder: Path, console: Console) -> list[list[Face]]:
    """Find faces in every picture and write them down, a file a source, as score_pictures.py reads them.

    A cascade never changes, and takes a minute for what we take a second for: what it found before is read again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = read_predictions(folder) if way.numbers == "cascade" else {}
    steps = track(pictures, folder.name, console=console, transient=True, disable=not console.is_terminal)
    found = [known[p.name] if p.name in known else way.find(p.pixels) for p in steps]
    lines: dict[str, list[str]] = {}
    for picture, faces in zip(pictures, found, strict=True):
        listed = [{"box": [round(side, 2) for side in face.box], "score": face.score} for face in faces]
        lines.setdefault(picture.source, []).append(json.dumps({"picture": picture.name, "faces": listed}) + "\n")
    for source, told in lines.items():
        (folder / f"{source}.jsonl").write_text("".join(told))
    return found


def read_predictions(folder: Path) -> dict[str, list[Face]]:
    """Give what was written down of every picture before, by its name."""
    lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return {
        line["picture"]: [Face(box=Box(*face["box"]), score=face["score"]) for face in line["faces"]] for line in lines
    }


def by_group(
    pictures: Sequence[Picture], faces: Sequence[Sequence[Face]], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Recall]]:
    """Give the recall of each group that has counted faces at each precision, and that of all pictures together."""
    found = [match(picture, them) for picture, them in zip(pictures, faces, strict=True)]
    parts = {
        name: [one for one, picture in zip(found, pictures, strict=True) if picture.source in sources]
        for name, sources in groups.items()
    }
    counted = {
        name: part for name, part in (parts | {EVERYTHING: found}).items() if any(len(one.sizes) for one in part)
    }
    return {
        name: {f"{precision:.2f}": recall_at(part, threshold_at(join(part), precision)) for precision in PRECISIONS}
        for name, part in counted.items()
    }


def table(report: Report, split: str) -> Table:
    """Lay out the recall of all sizes at the first precision."""
    groups = list(dict.fromkeys(group for one in report.measured for group in one.recall.get(split, {})))
    shown = Table(title=f"{split}: recall % at precision {PRECISIONS[0]:.2f}", title_justify="left")
    for column in ("", "numbers", "ms", *groups):
        shown.add_column(column, justify="right" if column not in ("", "numbers") else "left")
    for one in report.measured:
        recall = one.recall.get(split, {})
        cells = [f"{recall[group]['0.90'].all.recall['all']}" if group in recall else "" for group in groups]
        shown.add_row(one.name, one.numbers, f"{one.ms:.1f}", *cells)
    return shown


if __name__ == "__main__":
    main()
