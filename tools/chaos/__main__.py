"""`python -m tools.chaos [--seconds N | --smoke | --prove] [--only NAME,...] [--seed N] [--out DIR]`: one table."""

import argparse
import logging
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from tools.chaos.disk import keep_mounts_to_ourselves
from tools.chaos.faults.mutants import MUTANTS
from tools.chaos.leftovers import Leftovers
from tools.chaos.plan import FAULTS
from tools.chaos.rig import World
from tools.chaos.rows import Row, markdown, save, terminal
from tools.chaos.run import HOUR_S, SMOKE_PATIENCE_S, SMOKE_SPEED, Run, hour_budget, smoke_budget

_WORK = Path(".work/chaos")


def main(words: Sequence[str]) -> int:
    """Run the suite. 0: nothing lost, nothing uncounted (--prove: every mutant's losses found); 1: not; 130: Ctrl-C."""
    args = _parse(words)
    logging.basicConfig(level=logging.WARNING)
    console = Console(stderr=not sys.stdout.isatty())
    faults = [fault for fault in (MUTANTS if args.prove else FAULTS) if not args.only or fault.name in args.only]
    is_short = args.smoke or args.prove
    if is_short:
        faults = [fault for fault in faults if fault.smoke]
    folder = args.out.absolute()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    seed = args.seed if args.seed is not None else secrets.randbelow(2**32)
    console.print(f"seed {seed}, {len(faults)} faults, writing to {args.out}")

    def tell(row: Row) -> None:
        verdict = row.verdict
        what = row.not_run or (
            f"{row.injected} times, {verdict.decided} events, {len(verdict.lost)} lost, "
            f"{len(verdict.uncounted)} uncounted {row.note}"
        )
        console.print(f"{row.seconds:6.0f} s  {row.fault}: {what}", highlight=False, markup=False)

    keep_mounts_to_ourselves()
    with Leftovers(_WORK / "left") as leftovers:
        world = World(
            folder=leftovers.fresh(folder / "rigs"),
            leftovers=leftovers,
            stop=stop,
            seed=seed,
            speed=SMOKE_SPEED if is_short else 1.0,
            patience_s=SMOKE_PATIENCE_S if is_short else 1e9,
        )
        run = Run(world, faults, folder, tell=tell)
        report = run.run(smoke_budget if is_short else hour_budget(args.seconds))
    save(report, folder)
    if sys.stdout.isatty():
        console.print(terminal(report))
    else:
        print(markdown(report))
    if stop.is_set():
        return 130
    if args.prove:
        return 0 if all(row.verdict.lost for row in report.rows) else 1
    return 0 if all(row.is_kept for row in report.rows) else 1


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.chaos", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=HOUR_S, help="about how long the run takes (3600)")
    parser.add_argument("--smoke", action="store_true", help="every fault a few times, within three minutes")
    parser.add_argument("--prove", action="store_true", help="make the product careless, and see the losses found")
    names = [fault.name for fault in (*FAULTS, *MUTANTS)]
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=[], metavar="NAME,...", help=f"of {', '.join(names)}"
    )
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--out", type=Path, default=_WORK / "run", metavar="DIR")
    args = parser.parse_args(words)
    unknown = [name for name in args.only if name not in names]
    if unknown:
        parser.error(f"--only {unknown[0]}: the faults are {', '.join(names)}")
    return args


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
