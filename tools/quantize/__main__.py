"""Make int8 models, their manifests and reports from float checkpoints.

    python -m tools.quantize                                     # every checkpoint of models/, as its manifest says
    python -m tools.quantize classifier models/mask-64.npz
    python -m tools.quantize detector models/face-320.npz --threshold 0.45
    python -m tools.quantize detector models/face-320.npz --threshold 0.45 --size 480x384 --name face-480

What is written into models/ gets its twin for the browser page too (tools/quantize/web.py).
Calibration draws from ../shared/data with a seed: the same data, seed and checkpoint give the same bytes.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent.errors import MaskwatchError, ModelError
from agent.vision.model import DetectorManifest, Manifest
from tools.quantize.web import write_twin

Kind = Literal["classifier", "detector"]
MODELS = Path("models")
SHARED_PICTURES = Path("../shared/data/pictures")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One model to make.

    threshold: the detector's, at which the agent accepts a face. size: its input's, width and height; None: as trained.
    """

    kind: Kind
    checkpoint: Path
    folder: Path
    name: str
    version: int
    seed: int
    threshold: float
    size: tuple[int, int] | None = None


def quantize(job: Job) -> dict[str, Any]:
    # Imported here: each brings the data and the net builders of its own kind, and TensorFlow takes seconds.
    if job.kind == "classifier":
        from tools.quantize.classifier import quantize_classifier
        from tools.train.data import load_faces

        return quantize_classifier(job.checkpoint, job.folder, job.name, job.version, load_faces(), job.seed)
    from tools.quantize.detector import quantize_detector
    from tools.train.pictures import load_pictures

    pictures, _ = load_pictures(SHARED_PICTURES, Path(".work/pictures"))
    return quantize_detector(
        job.checkpoint, job.folder, job.name, job.version, pictures, job.seed, job.threshold, job.size
    )


def shipped(folder: Path, seed: int) -> list[Job]:
    """Give a job for every manifest, with its own numbers.

    Of what one checkpoint is drawn at other sizes the manifests are `face-480.json` beside `face-320.npz`: the same
    name up to the dash, and no checkpoint of their own.
    """
    jobs = []
    paths = [(path, checkpoint) for checkpoint in sorted(folder.glob("*.npz")) for path in described(checkpoint)]
    for path, checkpoint in paths:
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError) as error:
            raise ModelError(
                f"no manifest to go by: {error}", where=str(path), remedy="name kind and checkpoint to make a first one"
            ) from error
        kind: Kind = "detector" if isinstance(manifest, DetectorManifest) else "classifier"
        threshold = manifest.score_threshold if isinstance(manifest, DetectorManifest) else 0.0
        _, height, width, _ = manifest.net.input.shape
        jobs.append(
            Job(
                kind=kind,
                checkpoint=checkpoint,
                folder=folder,
                name=manifest.name,
                version=manifest.version,
                seed=seed,
                threshold=threshold,
                size=(width, height) if kind == "detector" else None,
            )
        )
    return jobs


def described(checkpoint: Path) -> list[Path]:
    """Give the manifests of the models that are made of a checkpoint; the first has its name."""
    family = checkpoint.stem.rpartition("-")[0]
    others = sorted(checkpoint.parent.glob(f"{family}-*.json")) if family else []
    return [checkpoint.with_suffix(".json"), *(path for path in others if not path.with_suffix(".npz").exists())]


def input_size(text: str) -> tuple[int, int]:
    """Read "480x384". Raises ValueError, which argparse tells."""
    width, height = text.split("x")
    return int(width), int(height)


def one_job(chosen: argparse.Namespace) -> Job:
    return Job(
        kind=chosen.kind,
        checkpoint=chosen.checkpoint,
        folder=chosen.models,
        name=chosen.name or chosen.checkpoint.stem,
        version=chosen.version,
        seed=chosen.seed,
        threshold=chosen.threshold,
        size=chosen.size,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.quantize", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", nargs="?", choices=["classifier", "detector"])
    parser.add_argument("checkpoint", nargs="?", type=Path)
    parser.add_argument("--name", help="of the model; default: the checkpoint's")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder to write into")
    parser.add_argument("--version", type=int, default=1, help="the model's own version, counted up by whoever ships")
    parser.add_argument("--seed", type=int, default=1, help="of the calibration")
    parser.add_argument("--threshold", type=float, default=0.5, help="detector: the score that the agent accepts")
    parser.add_argument("--size", type=input_size, help="detector: the input, as 480x384; default: as it was trained")
    chosen = parser.parse_args(arguments)
    if chosen.kind and chosen.checkpoint is None:
        parser.error(f"{chosen.kind}: name the float checkpoint, a .npz of tools/train")
    try:
        for job in [one_job(chosen)] if chosen.kind else shipped(chosen.models, chosen.seed):
            report = quantize(job)
            if job.folder == MODELS:
                write_twin(MODELS / f"{job.name}.tflite")
            told = {key: value for key, value in report.items() if key not in ("training", "label_changed", "curves")}
            print(json.dumps(told, indent=1))
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return ModelError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
