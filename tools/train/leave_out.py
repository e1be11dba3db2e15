"""Train the recipe without some sources: what it then says of them is what to expect elsewhere.

    python -m tools.train.leave_out --jobs 3                      # a net for each of GROUPS, hours of one core
    python -m tools.train.leave_out --only k853 macwin,mafa -- --steps 3000

Writes .work/left-out/<sources>.npz; one that is there is left as it is. What follows -- goes to tools.train.classifier.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Two at a time take half the trainings, and what is measured is harder than leaving out one: no pair takes a label, the
# street, or both sources of hands before the mouth away.
GROUPS = ("k853", "adi920,kagglecovid", "kaggle12k,fer_hands", "macwin,concordia_b", "webportrait,mafa", "concordia_a")
OUT = Path(".work/left-out")


def train_without(group: str, out: Path, options: list[str]) -> int:
    """Train in a process of its own, its words in a file beside the checkpoint; gives the exit status."""
    name = group.replace(",", "-")
    checkpoint = out / f"{name}.npz"
    if checkpoint.exists():
        return 0
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tools.train.classifier", "--leave-out", group, "--name", f"without-{name}"]
    with (out / f"{name}.txt").open("w") as told:
        done = subprocess.run([*command, "--out", str(checkpoint), *options], stdout=told, stderr=told, check=False)
    print(f"{group}: {'done' if done.returncode == 0 else f'failed, see {told.name}'}", flush=True)
    return done.returncode


def main(arguments: list[str] | None = None) -> int:
    own, options = (sys.argv[1:] if arguments is None else arguments), []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=GROUPS, help="a net for each; sources of one net with commas")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args(own)
    with ThreadPoolExecutor(chosen.jobs) as crew:
        return max(crew.map(lambda group: train_without(group, chosen.out, options), chosen.only))


if __name__ == "__main__":
    sys.exit(main())
