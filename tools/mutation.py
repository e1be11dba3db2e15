"""`python -m tools.mutation [MODULE ...]`: change the outbox in one place at a time and list what no test notices.

Works on a copy below .work/mutation with mutmut (extra `mutation`) and the outbox's fast tests; properties run on fewer
examples there. What survives is judged in docs/mutation.md.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_COPY = Path(".work/mutation/outbox")
_MODULES = ("outbox", "rows", "quota", "recovery", "room", "schema", "wal")
_TESTS = (
    "tests/unit/test_delivery_outbox.py",
    "tests/unit/test_delivery_quota.py",
    "tests/unit/test_delivery_room.py",
    "tests/unit/test_delivery_schema.py",
    "tests/unit/test_delivery_wal.py",
    "tests/property/test_outbox.py",
    "tests/property/test_outbox_log.py",
)
_EXAMPLES = 12  # of each property


def main() -> int:
    """Copy, run, print the survivors with their changes. Returns mutmut's exit code when it fails, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"only these: {', '.join(_MODULES)}")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    args = parser.parse_args()
    unknown = [name for name in args.modules if name not in _MODULES]
    if unknown:
        parser.error(f"no module {unknown[0]!r}; there are {', '.join(_MODULES)}")
    _copy(args.modules or _MODULES)
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        environ = {**os.environ, "TMPDIR": scratch}
        with (_COPY / "log").open("wb") as log:
            command = [mutmut, "run", "--max-children", str(args.jobs)]
            done = subprocess.run(command, cwd=_COPY, env=environ, stdout=log, stderr=log, check=False)
        for mounted in [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if scratch in line]:
            subprocess.run(["umount", "--lazy", mounted], check=False)  # of tests that were killed
        if done.returncode:
            print(f"mutmut ended with {done.returncode}; {_COPY / 'log'} tells why", file=sys.stderr)
            return done.returncode
        found = subprocess.run([mutmut, "results"], cwd=_COPY, capture_output=True, text=True, check=True).stdout
        for line in found.splitlines():
            name, _, verdict = line.strip().partition(": ")
            shown = subprocess.run([mutmut, "show", name], cwd=_COPY, capture_output=True, text=True, check=True).stdout
            changes = [row for row in shown.splitlines() if row[:1] in "+-" and row[:3] not in ("+++", "---")]
            if len({change[1:].lower() for change in changes}) > 1:  # else of the letter case of SQL alone
                print(f"{name}: {verdict}", *changes, sep="\n    ")
    return 0


def _copy(modules: Sequence[str]) -> None:
    shutil.rmtree(_COPY, ignore_errors=True)
    for folder in ("agent", "models", "tests"):
        shutil.copytree(folder, _COPY / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for test in _TESTS:
        text = (_COPY / test).read_text()
        (_COPY / test).write_text(re.sub(r"max_examples=\d+", f"max_examples={_EXAMPLES}", text))
    lines = ["[mutmut]", "source_paths=agent", "only_mutate=", *(f"    agent/delivery/{name}.py" for name in modules)]
    lines += ["pytest_add_cli_args_test_selection=", *(f"    {test}" for test in _TESTS)]
    lines += ["pytest_add_cli_args=", "    -q", "    -x", "    -p", "    no:cacheprovider", "also_copy=models"]
    (_COPY / "setup.cfg").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
