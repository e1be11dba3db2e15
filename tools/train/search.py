"""Train many plans of the net alike, without the same sources, and put what they cost beside what they say of those.

    python -m tools.train.search --jobs 2                   # PLANS, 1,500 steps each: half an hour of one core
    python -m tools.train.search --table                    # models/reports/search.json as docs/experiments.md has it

Each net sees the same views in the same order. The sources left out are of streets, and of hands before bare faces.
"""

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tools.train.graph import multiply_adds, parameter_count
from tools.train.nets import SHIPPED, mask_net

LEFT_OUT = "k853,adi920,macwin,fer_hands"
STREETS = ("k853", "adi920", "macwin")
STEPS = 1500
OUT = Path(".work/search")
REPORT = Path("models/reports/search.json")
PLANS = {
    "shipped": SHIPPED,
    "version 1": "c16s2 d24 d48s2 r48 d96s2 r96k5 r96k5 d144s2 r144",
    "kernel 5 at 8x8": "c16s2 c32s2 r32 c64s2 r64k5 r64k5 d160s2 r160 r160",
    "narrow": "c12s2 c24s2 r24 c48s2 r48 r48 d128s2 r128 r128",
    "shallow": "c16s2 c32s2 c64s2 r64 d176s2 r176",
    "deep at 4x4": "c16s2 c32s2 c64s2 r64 d160s2 r160 r160 r160 r160",
    "wide at 4x4": "c16s2 c32s2 c64s2 r64 d224s2 r224 r224",
    "full at 4x4": "c16s2 c32s2 c64s2 r64 c128s2 r128 r128",
    "stride 4 first": "c32k5s4 r32 r32 c64s2 r64k5 r64k5 r64 d192s2 r192 r192",
    "plain": "c16s2 c32s2 c64s2 c96s2",
}


def cost(plan: str) -> dict[str, int]:
    graph = mask_net("any", plan)
    return {"parameters": parameter_count(graph), "multiply_adds": multiply_adds(graph)}


def train_plan(name: str, threads: int) -> dict[str, Any]:
    """Train one plan in a process of its own; gives its line of the report."""
    slug = f"search-{name.replace(' ', '-')}"
    command = [sys.executable, "-m", "tools.train.classifier", "--name", slug, "--plan", PLANS[name]]
    command += ["--out", str(OUT / f"{slug}.npz"), "--leave-out", LEFT_OUT, "--steps", str(STEPS)]
    subprocess.run([*command, "--threads", str(threads)], check=True, stdout=subprocess.DEVNULL)
    measured = json.loads((Path(".work/train") / slug / "metrics.json").read_text())
    own, gray, wide = (measured[f"left_out_{way}"] for way in ("own", "gray", "wide"))

    def mean(found: dict[str, Any]) -> float:
        return round(float(sum(found[source]["two_way"] for source in STREETS)) / len(STREETS), 2)

    line: dict[str, Any] = {"name": name, "plan": PLANS[name]} | cost(PLANS[name])
    line |= {"own": mean(own), "gray": mean(gray), "wide": mean(wide)}
    return line | {"hands_called_mask": own["fer_hands"]["no_mask_called_mask"]}


def table(lines: list[dict[str, Any]]) -> str:
    """Give the report as Markdown."""
    head = "| net | plan | parameters | multiply-adds, M | own size | gray | box 1.5x | hands called mask |"
    rows = [
        f"| {one['name']} | `{one['plan']}` | {one['parameters']:,} | {one['multiply_adds'] / 1e6:.2f} "
        f"| {one['own']:.1f} | {one['gray']:.1f} | {one['wide']:.1f} | {one['hands_called_mask']:.1f} |"
        for one in lines
    ]
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *rows])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="of one training")
    parser.add_argument("--table", action="store_true", help="print the last report as Markdown and train nothing")
    chosen = parser.parse_args(arguments)
    if not chosen.table:
        with ThreadPoolExecutor(chosen.jobs) as crew:
            lines = list(crew.map(lambda name: train_plan(name, chosen.threads), PLANS))
        REPORT.write_text(json.dumps({"left_out": LEFT_OUT, "steps": STEPS, "nets": lines}, indent=1) + "\n")
    print(table(json.loads(REPORT.read_text())["nets"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
