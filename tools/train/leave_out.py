"""Train the recipe once for each source, without it: what it then says of that source is what to expect elsewhere.

    python -m tools.train.leave_out --jobs 3                 # every source of SOURCES, hours of one core
    python -m tools.train.leave_out --only k853 macwin -- --steps 3000

Writes .work/left-out/<source>.npz; one that is there is left as it is. What follows -- goes to tools.train.classifier.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Large enough to be judged by, with both labels; and the two that hold what is no mask before the mouth.
SOURCES = ("k853", "adi920", "macwin", "kaggle12k", "webportrait", "concordia_a", "concordia_b", "kagglecovid")
HANDS = ("fer_hands", "mafa")
OUT = Path(".work/left-out")


def train_without(source: str, out: Path, options: list[str]) -> int:
    """Train in a process of its own, its words in a file beside the checkpoint; gives the exit status."""
    checkpoint = out / f"{source}.npz"
    if checkpoint.exists():
        return 0
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tools.train.classifier", "--leave-out", source, "--name", f"without-{source}"]
    with (out / f"{source}.txt").open("w") as told:
        done = subprocess.run([*command, "--out", str(checkpoint), *options], stdout=told, stderr=told, check=False)
    print(f"{source}: {'done' if done.returncode == 0 else f'failed, see {told.name}'}", flush=True)
    return done.returncode


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[*HANDS, *SOURCES], help="sources, one net without each")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--out", type=Path, default=OUT)
    own, options = (arguments if arguments is not None else sys.argv[1:]), []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    chosen = parser.parse_args(own)
    with ThreadPoolExecutor(chosen.jobs) as crew:
        return max(crew.map(lambda source: train_without(source, chosen.out, options), chosen.only))


if __name__ == "__main__":
    sys.exit(main())
