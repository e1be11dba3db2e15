"""What an installation weighs: the wheel, and everything that it brings."""

import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tools.bench.rows import Options, Row

_BUILD_LIMIT_S = 90.0
_BESIDE = ("pip", "setuptools")  # what a fresh venv holds already


def measure(options: Options) -> list[Row]:
    """Build the wheel, and add up the installed files of the agent's runtime dependencies."""
    return [_wheel(Path(options.folder)), _venv()]


def _wheel(folder: Path) -> Row:
    row = Row(name="our wheel, models included", unit="MB", budget=2)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return _with(row, note=f"pip wheel took more than {_BUILD_LIMIT_S:.0f} s")
    wheels = list(folder.glob("maskwatch-*.whl"))
    if done.returncode or not wheels:
        said = [line.strip() for line in done.stderr.splitlines() if "rror" in line]
        return _with(row, note=f"pip wheel failed: {said[0] if said else 'without a word'}")
    return _with(row, measured=wheels[0].stat().st_size / 1e6)


def _venv() -> Row:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    names = {*_closure(project["dependencies"]), *_BESIDE}
    sizes = {name: _size_mb(distribution(name)) for name in names}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:4]
    note = "installed files of the runtime dependencies, compiled modules included; "
    note += ", ".join(f"{name} {sizes[name]:.0f}" for name in largest)
    return Row(name="installed on a board", unit="MB", budget=350, measured=sum(sizes.values()), note=note)


def _closure(requirements: list[str]) -> set[str]:
    """Give the distributions that meet requirements, and all that those need here, without extras."""
    found: set[str] = set()
    left = list(requirements)
    while left:
        wanted = Requirement(left.pop())
        if wanted.name in found or (wanted.marker is not None and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(wanted.name)
        left += distribution(wanted.name).requires or []
    return found


def _size_mb(package: Distribution) -> float:
    files = (Path(str(package.locate_file(file))) for file in package.files or [])
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def _with(row: Row, *, measured: float | None = None, note: str = "") -> Row:
    return Row(name=row.name, unit=row.unit, budget=row.budget, measured=measured, note=note)
