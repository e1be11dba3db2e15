"""`python -m tools.bench [--full] [--json PATH] [GROUP ...]`: every budget, measured, as a table and as JSON."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.bench.group import GROUPS
from tools.bench.machine import Machine, describe
from tools.bench.rows import Row, Verdict

_LIMIT_S, _LIMIT_FULL_S = 240.0, 3600.0
_STYLES: dict[Verdict, str] = {"kept": "green", "missed": "bold red", "not measured": "dim", "no budget": ""}

# What no machine without the board can measure, and how it will be.
_ELSEWHERE = (
    Row(
        name="Edge TPU: labels beside the CPU's",
        unit="points",
        budget=0.5,
        note="needs an Edge TPU: `maskwatch bench` on a board that has one",
    ),
    *(
        Row(
            name=f"{board}, people in view",
            unit="frames/s",
            budget=budget,
            at_least=True,
            note="not measured here: docs/boards.md has what instruction counts under emulation imply",
        )
        for board, budget in (("Raspberry Pi Zero 2 W", 15), ("Raspberry Pi 4", 30), ("Raspberry Pi 5", 90))
    ),
)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is written: the machine, the rows, and each row's verdict by name."""

    machine: Machine
    seconds: float
    rows: list[Row]
    verdicts: dict[str, Verdict]


def main() -> int:
    """Measure, print, write. Returns 1 when a budget is missed, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description="Measure the budgets of the product.")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"only these: {', '.join(GROUPS)}")
    parser.add_argument("--full", action="store_true", help="100,000 frames and 10 idle minutes: most of an hour")
    parser.add_argument("--json", type=Path, help="write here (docs/bench.json when everything is measured)")
    args = parser.parse_args()
    unknown = [name for name in args.groups if name not in GROUPS]
    if unknown:
        parser.error(f"no group {unknown[0]!r}; there are {', '.join(GROUPS)}")
    console, start = Console(), time.monotonic()
    machine = describe()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="maskwatch-bench-", dir="/var/tmp") as folder:  # on a disk, not in memory
        for name in args.groups or GROUPS:
            with console.status(f"measuring {name}"):
                rows += run_group(name, Path(folder), full=args.full)
    if not args.groups:
        rows += _ELSEWHERE
    console.print(table(machine, rows))
    for row in rows:
        if row.note:
            console.print(Text.assemble((f"{row.name}: ", "bold"), row.note), soft_wrap=True)
    report = Report(
        machine=machine,
        seconds=round(time.monotonic() - start, 1),
        rows=rows,
        verdicts={row.name: row.verdict for row in rows},
    )
    path = args.json or (None if args.groups else Path("docs/bench.json"))
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return int(any(row.verdict == "missed" for row in rows))


def run_group(name: str, folder: Path, *, full: bool) -> list[Row]:
    """Measure one group in a process of its own; one that fails is a row that says why."""
    command = [sys.executable, "-m", "tools.bench.group", name, str(folder), *(["--full"] if full else [])]
    limit_s = _LIMIT_FULL_S if full else _LIMIT_S
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return [_failed(name, f"took more than {limit_s:.0f} s")]
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return [_failed(name, said[-1] if said else f"ended with {done.returncode}")]
    return msgspec.json.decode(done.stdout, type=list[Row])


def _failed(name: str, why: str) -> Row:
    return Row(name=f"group {name}", unit="", budget=None, note=why)


def table(machine: Machine, rows: list[Row]) -> Table:
    """Lay the rows out: measured, budget, verdict."""
    head = f"{machine.cpu}, {machine.cores} cores, Python {machine.python}, load {machine.load:g} at the start"
    result = Table(title="maskwatch: budgets", caption=head, title_justify="left", caption_justify="left")
    result.add_column("what", overflow="fold")
    for name in ("measured", "budget"):
        result.add_column(name, justify="right", no_wrap=True)
    result.add_column("verdict", no_wrap=True)
    for row in rows:
        sign = ">=" if row.at_least else "<="
        measured = "-" if row.measured is None else f"{number(row.measured)} {row.unit}"
        budget = "-" if row.budget is None else f"{sign} {number(row.budget)} {row.unit}"
        result.add_row(row.name, measured, budget, Text(row.verdict, style=_STYLES[row.verdict]))
    return result


def number(value: float) -> str:
    """Give three significant digits, whole numbers whole."""
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
