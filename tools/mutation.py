"""`python -m tools.mutation outbox|pump`: change the code in one place at a time and list what no test notices.

Works on a copy below .work/mutation with mutmut (extra `mutation`) and the target's fast tests; properties run on fewer
examples there. What survives is judged in docs/mutation.md.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

_EXAMPLES = 12  # of each property


class Target(msgspec.Struct, frozen=True):
    """Modules to change and the test files that are to notice."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


TARGETS = {
    "outbox": Target(
        modules=tuple(
            f"agent/delivery/{name}.py" for name in ("outbox", "rows", "quota", "recovery", "room", "schema", "wal")
        ),
        tests=(
            "tests/unit/test_delivery_outbox.py",
            "tests/unit/test_delivery_room.py",
            "tests/unit/test_delivery_schema.py",
            "tests/property/test_outbox.py",
            "tests/property/test_outbox_log.py",
        ),
    ),
    "pump": Target(
        modules=("agent/delivery/publisher.py",),
        tests=("tests/unit/test_delivery_pump.py", "tests/property/test_pump.py"),
    ),
}


def main() -> int:
    """Copy, run, print the survivors with their changes. Returns mutmut's exit code when it fails, else 0."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("modules", nargs="*", help="only these of its modules, like outbox or wal")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    args = parser.parse_args()
    target = TARGETS[args.target]
    chosen = tuple(module for module in target.modules if not args.modules or Path(module).stem in args.modules)
    copy = _copy(Path(".work/mutation") / args.target, target, chosen)
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        environ = {**os.environ, "TMPDIR": scratch}
        with (copy / "log").open("wb") as log:
            command = [mutmut, "run", "--max-children", str(args.jobs)]
            done = subprocess.run(command, cwd=copy, env=environ, stdout=log, stderr=log, check=False)
        if done.returncode:
            print(f"mutmut ended with {done.returncode}; {copy / 'log'} tells why", file=sys.stderr)
            return done.returncode
        found = subprocess.run([mutmut, "results"], cwd=copy, capture_output=True, text=True, check=True).stdout
        for line in found.splitlines():
            name, _, verdict = line.strip().partition(": ")
            shown = subprocess.run([mutmut, "show", name], cwd=copy, capture_output=True, text=True, check=True).stdout
            changes = [row for row in shown.splitlines() if row[:1] in "+-" and row[:3] not in ("+++", "---")]
            if len({change[1:].lower() for change in changes}) > 1:  # else of the letter case of SQL alone
                print(f"{name}: {verdict}", *changes, sep="\n    ")
    return 0


def _copy(copy: Path, target: Target, modules: tuple[str, ...]) -> Path:
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for folder in ("agent", "models", "tests"):
        shutil.copytree(folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "shared"))
    for test in target.tests:
        text = (copy / test).read_text()
        (copy / test).write_text(re.sub(r"max_examples=\d+", f"max_examples={_EXAMPLES}", text))
    lines = ["[mutmut]", "source_paths=", "    agent", "only_mutate=", *(f"    {module}" for module in modules)]
    lines += ["pytest_add_cli_args_test_selection=", *(f"    {test}" for test in target.tests)]
    lines += ["pytest_add_cli_args=", "    -q", "    -x", "    -p", "    no:cacheprovider", "also_copy=", "    models"]
    (copy / "setup.cfg").write_text("\n".join(lines) + "\n")
    return copy


if __name__ == "__main__":
    sys.exit(main())
