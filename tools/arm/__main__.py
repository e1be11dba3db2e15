"""`python -m tools.arm [--out DIR] [--jobs N | --page]`: emulate the boards, compare, count, write boards.json and .md.

A quarter of an hour on four cores, the first time with some minutes of fetching; nothing of it needs root.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from agent.errors import InputError, MaskwatchError, UnavailableError
from tools.arm.boards import estimates
from tools.arm.cache import kept, run
from tools.arm.comparing import compare
from tools.arm.counting import intervals, repeated, watched
from tools.arm.emulator import CPUS, PYTHONS, Board, board, emulator_version
from tools.arm.figures import Answered, Counted, Report, Watched
from tools.arm.guest import Answers
from tools.arm.inputs import Inputs, make
from tools.arm.page import page
from tools.arm.wheels import installed, versions
from tools.bench.machine import describe

_ROOT = Path(__file__).parents[2]
_TRAIN_PYTHON = _ROOT / ".venv-train" / "bin" / "python"
_WITHIN_S = 1800.0
_KERNELS = ("xnnpack", "builtin")
_SIZES = ("invoke face-256", "invoke face-320", "invoke face-480", "invoke face-640")
_WORKS = ("reference", "reference float", "detect", "classify", *_SIZES, "invoke mask-64", "jpeg")
_COMPARED = ("ai-edge-litert", "numpy", "opencv-python-headless")
_HERE = {"PYTHONPATH": str(_ROOT)}


def main(words: Sequence[str]) -> int:
    """Do all of it. Returns the exit code: 1 when an answer is beyond its tolerance or a label is another."""
    args = _parse(words)
    console = Console(stderr=True)
    figures, text = args.out / "boards.json", args.out / "boards.md"
    start = time.monotonic()
    try:
        if args.page:
            report = _counted_before(figures)
        else:
            with tempfile.TemporaryDirectory(prefix="maskwatch-arm-", dir="/var/tmp") as folder:
                report = _measure(Path(folder), args.jobs, console.print)
            report = msgspec.structs.replace(report, seconds=round(time.monotonic() - start))
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    report = msgspec.structs.replace(report, estimates=estimates(report.counted, report.watched))
    args.out.mkdir(parents=True, exist_ok=True)
    figures.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    text.write_text(page(report))
    console.print(f"wrote {figures} and {text}")
    return 0 if all(answered.is_kept for answered in report.answered) else 1


def _counted_before(path: Path) -> Report:
    """Read the figures without the estimates, which are made anew. Raises InputError where there are none."""
    try:
        written = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        return msgspec.convert({**written, "estimates": []}, Report)
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"holds no figures: {error}", where=str(path), remedy="count: leave --page out") from error


def _measure(folder: Path, jobs: int, tell: Callable[[str], None]) -> Report:
    machine = describe()
    references = _references()
    inputs = make(folder)
    ours = _answers_here(folder)
    boards = [board(suite, cpu) for suite, cpu in itertools.product(PYTHONS, CPUS)]
    sites = {one.suite: installed(one) for one in boards if one.cpu == "cortex-a76"}  # any core installs the same

    def asked(one: Board, kernels: str) -> Answered:
        out = folder / f"answers-{one.suite}-{one.cpu}-{kernels}.json"
        words = ["-m", "tools.arm.guest", "answers", str(folder), str(out), kernels]
        one.run(words, within_s=_WITHIN_S, site=sites[one.suite])
        theirs = msgspec.json.decode(out.read_bytes(), type=Answers)
        tell(f"{one.suite} {one.cpu} {kernels}: golden {theirs.golden}")
        return compare(ours, theirs, suite=one.suite, python=one.python, cpu=one.cpu, kernels=kernels)

    def counted(one: Board) -> tuple[list[Counted], list[Watched]]:
        out, lines = (folder / f"counts-{one.suite}-{one.cpu}.{kind}" for kind in ("json", "txt"))
        words = ["-m", "tools.arm.guest", "counts", str(folder), str(out), str(references)]
        one.run(words, within_s=_WITHIN_S, site=sites[one.suite], counts=lines)
        tell(f"{one.suite} {one.cpu}: counted")
        names = msgspec.json.decode(out.read_bytes(), type=list[str])
        return _figures(names, lines.read_text().splitlines(), inputs, one)

    pool = ThreadPoolExecutor(jobs)
    try:
        counts: list[Future[tuple[list[Counted], list[Watched]]]] = [pool.submit(counted, one) for one in boards]
        answers = [pool.submit(asked, one, kernels) for one, kernels in itertools.product(boards, _KERNELS)]
        works = [figure for future in counts for figure in future.result()[0]]
        clips = [figure for future in counts for figure in future.result()[1]]
        answered = [future.result() for future in answers]
    finally:
        pool.shutdown(cancel_futures=True)  # what has begun ends first: it writes into a folder that is removed next
    return Report(
        command="python -m tools.arm",
        machine=machine,
        seconds=0.0,
        emulator=emulator_version(),
        host_packages={name: version(name) for name in _COMPARED},
        packages={suite: versions(site) for suite, site in sites.items()},
        answered=answered,
        counted=works,
        watched=clips,
    )


def _figures(
    names: Sequence[str], lines: Sequence[str], inputs: Inputs, one: Board
) -> tuple[list[Counted], list[Watched]]:
    found = intervals(names, lines)
    works = [repeated(found, work, suite=one.suite, cpu=one.cpu) for work in _WORKS]
    clips = [watched(found, "idle", inputs.idle.rate, suite=one.suite, cpu=one.cpu)]
    clips += [watched(found, f"people {rate}", rate, suite=one.suite, cpu=one.cpu) for rate in inputs.people]
    return works, clips


def _answers_here(folder: Path) -> Answers:
    """Ask the nets on this machine, in a process like a board's."""
    out = folder / "answers-here.json"
    words = [sys.executable, "-m", "tools.arm.guest", "answers", str(folder), str(out), "xnnpack"]
    run(words, within_s=_WITHIN_S, remedy="make test shows whether the agent works here", environment=_HERE)
    return msgspec.json.decode(out.read_bytes(), type=Answers)


def _references() -> Path:
    """Give the folder with the nets whose times are published."""
    if not _TRAIN_PYTHON.exists():
        raise UnavailableError(
            "there is no TensorFlow to make the reference net with",
            where=str(_TRAIN_PYTHON),
            remedy="make .venv-train/.ready",
        )

    def make_nets(folder: Path) -> None:
        words = [str(_TRAIN_PYTHON), "-m", "tools.arm.reference", str(folder)]
        run(words, within_s=_WITHIN_S, remedy="make test-train shows what is wrong", environment=_HERE)

    return kept("references", (_ROOT / "tools/arm/reference.py").read_text(), make_nets)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.arm", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=_ROOT / "docs", metavar="DIR", help="for boards.json and boards.md")
    cores = max(1, (os.cpu_count() or 1) - 1)
    parser.add_argument("--jobs", type=int, default=cores, metavar="N", help=f"boards at once ({cores})")
    parser.add_argument("--page", action="store_true", help="count nothing: write DIR's page from DIR's counts anew")
    args = parser.parse_args(words)
    if args.jobs < 1:
        parser.error(f"--jobs {args.jobs}: at least 1")
    return args


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
