"""Make an int8 model, its manifest and its report from a float checkpoint.

    python -m tools.quantize classifier models/mask-64.npz
    python -m tools.quantize detector models/face-320.npz --threshold 0.45

Calibration draws from ../shared/data with a seed: the same data, seed and checkpoint give the same bytes.
"""

import argparse
import json
import sys
from pathlib import Path

from agent.errors import MaskwatchError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.quantize", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=["classifier", "detector"])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--name", help="of the model; default: the checkpoint's")
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder to write into")
    parser.add_argument("--version", type=int, default=1, help="the model's own version, counted up by whoever ships")
    parser.add_argument("--seed", type=int, default=1, help="of the calibration")
    parser.add_argument("--threshold", type=float, default=0.5, help="detector: the score that the agent accepts")
    chosen = parser.parse_args(arguments)
    name = chosen.name or chosen.checkpoint.stem
    try:
        # Imported here: each brings the data and the net builders of its own kind, and TensorFlow takes seconds.
        if chosen.kind == "classifier":
            from tools.quantize.classifier import quantize_classifier
            from tools.train.data import load_faces

            report = quantize_classifier(
                chosen.checkpoint, chosen.models, name, chosen.version, load_faces(), chosen.seed
            )
        else:
            from tools.quantize.detector import quantize_detector
            from tools.train.pictures import load_pictures

            pictures, _ = load_pictures(Path("../shared/data/pictures"), Path(".work/pictures"))
            report = quantize_detector(
                chosen.checkpoint, chosen.models, name, chosen.version, pictures, chosen.seed, chosen.threshold
            )
    except (MaskwatchError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return getattr(error, "exit_code", 65)
    print(
        json.dumps({key: value for key, value in report.items() if key not in ("training", "label_changed")}, indent=1)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
