"""`python -m tools.bench.street`: a generated street before the agent's own pipeline, at several frame rates.

    python -m tools.bench.street --out docs/street.json             # 500 persons at 2, 5, 15 and 30 frames/s
    python -m tools.bench.street --persons 60 --rates 15 --look .work/street

Every frame is drawn once and shown to one pipeline for each rate; time is the frames' own. Needs ../shared/data.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np

from agent.errors import InputError
from agent.pipeline import Pipeline
from agent.seams import Classifier, Detector
from agent.settings import Settings
from agent.vision.model import ClassifierManifest, DetectorManifest, load_manifest
from agent.vision.nets import load_detector
from tools.bench.agent import shipped_nets
from tools.bench.street.figures import Rate, aims, sum_up, tables
from tools.bench.street.match import Findings, judge
from tools.bench.street.material import Material, load_material
from tools.bench.street.oracle import Oracle
from tools.bench.street.paint import Painter, poster_box
from tools.bench.street.plan import BASE_FPS, Deck, Scene, make_scene
from tools.bench.street.truth import presences, sights_at
from tools.bench.street.watch import Watcher

_RATES = (2, 5, 15, 30)
_SIZES = {"640x480": (640, 480), "1280x720": (1280, 720)}
_HALF_S = 0.5  # of the agent's patience: who is away for nearly as long may be told again


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is written. nets: `shipped`, those of the two sha256, or `the truth`."""

    command: str
    nets: str
    seed: int
    size: str
    scenes: int
    persons: int
    detector_sha256: str
    classifier_sha256: str
    aims: dict[str, bool]
    rates: list[Rate]


def main() -> int:
    """Draw, watch, judge, print, write. Returns 65 where the data is missing, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.street", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--persons", type=int, default=500, help="as many different persons at least")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rates", type=int, nargs="+", default=list(_RATES), help=f"each divides {BASE_FPS}")
    parser.add_argument("--size", choices=_SIZES, default="640x480")
    parser.add_argument("--detector", default=Settings().vision.detector, help="the shipped one at another input size")
    parser.add_argument("--true-nets", action="store_true", help="nets that know the truth: what following loses")
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    parser.add_argument("--look", type=Path, metavar="DIR", help="write some frames there; they show real people")
    args = parser.parse_args()
    if any(rate < 1 or BASE_FPS % rate for rate in args.rates) or args.persons < 1:
        parser.error(f"--persons is at least 1, and each of --rates divides {BASE_FPS}")
    if args.out is not None and not args.out.parent.is_dir():
        parser.error(f"{args.out}: there is no folder {args.out.parent}; make it first")
    cv2.setNumThreads(1)
    try:
        material = load_material(args.seed)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return InputError.exit_code
    scenes = plan_scenes(args.persons, args.seed, _SIZES[args.size], material)
    findings: dict[int, list[Findings]] = {rate: [] for rate in sorted(set(args.rates))}
    nets = None if args.true_nets else (load_detector(args.detector, "cpu").net, shipped_nets()[1])
    digests = (
        load_manifest(args.detector, DetectorManifest)[0].net.sha256,
        load_manifest(Settings().vision.classifier, ClassifierManifest)[0].net.sha256,
    )
    for done, scene in enumerate(scenes, start=1):
        found = watch_scene(scene, material, tuple(findings), nets=nets, look=args.look)
        for rate, one in found.items():
            findings[rate].append(one)
        report = report_of(args, scenes[:done], findings, digests)
        if args.out is not None:  # after every scene: whoever stops it has the figures up to here
            args.out.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        print(f"scene {done} of {len(scenes)}, {report.persons} persons", file=sys.stderr, flush=True)
    print(tables(report.rates))
    for aim, reached in report.aims.items():
        print(f"{'reached' if reached else 'MISSED '}  {aim}")
    return 0


def report_of(
    args: argparse.Namespace,
    scenes: Sequence[Scene],
    findings: dict[int, list[Findings]],
    digests: tuple[str, str],
) -> Report:
    """Sum up the findings of these scenes."""
    rates = [sum_up(rate, found) for rate, found in findings.items()]
    given = f"--persons {args.persons} --seed {args.seed} --rates {' '.join(map(str, findings))} --size {args.size}"
    given += f" --detector {args.detector}"
    return Report(
        command=f"python -m tools.bench.street {given}{' --true-nets' if args.true_nets else ''}",
        nets="the truth" if args.true_nets else "shipped",
        seed=args.seed,
        size=args.size,
        scenes=len(scenes),
        persons=sum(len(scene.persons) for scene in scenes),
        detector_sha256=digests[0],
        classifier_sha256=digests[1],
        aims=aims(rates),
        rates=rates,
    )


def plan_scenes(persons: int, seed: int, size: tuple[int, int], material: Material) -> list[Scene]:
    """Plan scenes until there are so many persons."""
    portraits = material.portraits
    rng = np.random.default_rng((seed, 3))
    deck = Deck([one.label for one in portraits], [one.face.size_px for one in portraits], rng)
    scenes: list[Scene] = []
    while sum(len(scene.persons) for scene in scenes) < persons:
        scenes.append(make_scene(len(scenes), seed, size, deck))
    return scenes


def watch_scene(
    scene: Scene,
    material: Material,
    rates: tuple[int, ...],
    *,
    nets: tuple[Detector, Classifier] | None = None,
    look: Path | None = None,
) -> dict[int, Findings]:
    """Draw one scene once, show it to a pipeline for each rate, and give the findings by rate.

    nets: None for those that know the truth. look: a folder for some of the frames.
    """
    settings = Settings()
    aspects = [portrait.aspect for portrait in material.portraits]
    timeline = [sights_at(scene, aspects, frame) for frame in scene.instants()]
    posters = [
        poster_box(scene.poster, aspects[scene.poster.look], scene.shake_at(frame / BASE_FPS)) if scene.poster else None
        for frame in scene.instants()
    ]
    there = presences(scene, timeline, settings.decision.forget_after_s - _HALF_S)
    backdrop = material.backdrops[scene.number % len(material.backdrops)]
    painter = Painter(scene, material.portraits, backdrop)
    oracle = Oracle(scene, timeline)
    detector, classifier = nets or (oracle, oracle)
    watchers = {
        rate: Watcher(
            Pipeline(detector=detector, classifier=classifier, settings=settings, run_id=f"street{scene.number}")
        )
        for rate in rates
    }
    for frame in scene.instants():
        due = [watcher for rate, watcher in watchers.items() if frame % (BASE_FPS // rate) == 0]
        if due:
            oracle.frame = frame
            pixels = painter.draw(frame, timeline[frame])
            for watcher in due:
                watcher.step(frame, pixels)
            if look is not None and frame % (10 * BASE_FPS) == 5 * BASE_FPS:
                look.mkdir(parents=True, exist_ok=True)
                picture = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
                cv2.imwrite(str(look / f"scene-{scene.number}-{frame // BASE_FPS}s.png"), picture)
    return {
        rate: judge(
            scene.number,
            there,
            timeline,
            posters,
            watcher.finish(),
            backdrop=backdrop.name,
            blind=watcher.blind,
        )
        for rate, watcher in watchers.items()
    }


if __name__ == "__main__":
    sys.exit(main())
