"""`python -m tools.bench.clips`: the agent's own pipeline before real clips whose persons were marked by eye.

    python -m tools.bench.clips --out docs/clips.json --page docs/clips.md
    python -m tools.bench.clips station arcade

Each clip is watched as `maskwatch inspect` does it, then with the gates open, then three times for its speed.
Needs ../shared/data/video, which shows real people: nothing of it but numbers is written.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import cv2
import msgspec

from agent.errors import InputError
from agent.seams import Classifier, Detector, Frame
from agent.settings import Settings
from agent.vision.model import ClassifierManifest, DetectorManifest, load_manifest
from tools.bench.agent import Pass, make_pipeline, open_outbox, shipped_nets
from tools.bench.clips.findings import differences, examine, tales
from tools.bench.clips.page import ClipFigures, Report, aims, opened, tables, write_page
from tools.bench.clips.truth import TRUTH, Clip, load_truth
from tools.bench.clips.watch import OPEN, SHIPPED, open_clip, watch
from tools.bench.machine import take_one_core
from tools.bench.street.plan import BASE_FPS

SHARED = Path("../shared/data/video")
_PASSES = 3
_LENGTH_S = 0.2


def main() -> int:
    """Watch, judge, print, write. Returns 65 where a clip is missing or damaged, else 0."""
    truth = load_truth()
    parser = argparse.ArgumentParser(prog="python -m tools.bench.clips", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clips", nargs="*", metavar="CLIP", help=f"only these: {', '.join(truth)}")
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--page", type=Path, help="and as tables into this page, between its marks")
    args = parser.parse_args()
    unknown = [name for name in args.clips if name not in truth]
    if unknown:
        parser.error(f"no clip {unknown[0]!r}; there are {', '.join(truth)}")
    for path in (args.out, args.page):
        if path is not None and not path.parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}; make it first")
    cv2.setNumThreads(1)
    take_one_core()
    try:
        report = report_of(args.clips or list(truth), truth)
        print(tables(report), end="")
        if args.out is not None:
            args.out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        if args.page is not None:
            write_page(args.page, tables(report))
    except InputError as error:
        print(error, file=sys.stderr)
        return InputError.exit_code
    return 0


def report_of(names: list[str], truth: dict[str, Clip]) -> Report:
    """Watch these clips with the shipped nets. Raises InputError for one that is missing or damaged."""
    missing = [name for name in names if not (SHARED / f"{name}.mp4").is_file()]
    if missing:
        raise InputError(
            "missing", where=str(SHARED / f"{missing[0]}.mp4"), remedy="put ../shared beside this checkout"
        )
    nets, vision = shipped_nets(), Settings().vision
    clips = [figures_of(name, SHARED / f"{name}.mp4", truth[name], nets) for name in names]
    return Report(
        command=f"python -m tools.bench.clips {' '.join(names) if len(names) < len(truth) else ''}".strip(),
        detector_sha256=load_manifest(vision.detector, DetectorManifest)[0].net.sha256,
        classifier_sha256=load_manifest(vision.classifier, ClassifierManifest)[0].net.sha256,
        aims=aims(clips),
        clips=clips,
    )


def figures_of(name: str, path: Path, clip: Clip, nets: tuple[Detector, Classifier]) -> ClipFigures:
    """Give everything about one clip. Raises InputError if it is not the one that was marked."""
    shipped = watch(open_clip(path), SHIPPED.pipeline(*nets))
    lasts_s = (shipped.frames[-1] + 1) / BASE_FPS
    if abs(lasts_s - clip.seconds) > _LENGTH_S:
        raise InputError(
            f"lasts {lasts_s:.1f} s, and {clip.seconds:.1f} s were marked",
            where=str(path),
            remedy=f"mark it in {TRUTH}",
        )
    verdicts, told = examine(clip, shipped), tales(clip, shipped)
    others = {}
    for gate, gates in OPEN.items():
        other = watch(open_clip(path), gates.pipeline(*nets))
        stories = tales(clip, other)
        others[gate] = opened(told, stories, differences(told, stories), other.detections)
    with open_clip(path) as camera:
        first = camera.read(0)
        assert isinstance(first, Frame)
        height, width = first.pixels.shape[:2]
    return ClipFigures(
        name=name,
        size=f"{width}x{height}",
        fps=round(len(shipped.frames) / clip.seconds, 1),
        frames=len(shipped.frames),
        frames_per_s=round(speed(path, nets), 1),
        detections=shipped.detections,
        persons=verdicts.persons,
        nobody=verdicts.nobody,
        opened=others,
    )


def speed(path: Path, nets: tuple[Detector, Classifier]) -> float:
    """Give the frames a second of the whole agent, decoding and commits included: the median of some passes."""
    with (
        tempfile.TemporaryDirectory(prefix="maskwatch-clips-", dir="/var/tmp") as folder,  # on a disk, not in memory
        open_outbox(Path(folder)) as outbox,
    ):
        return statistics.median(Pass(path, make_pipeline(*nets), outbox).frames_per_s for _ in range(_PASSES))


if __name__ == "__main__":
    sys.exit(main())
