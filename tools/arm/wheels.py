"""The board's wheels: chosen on this machine by the lock for another Python, installed by that Python's own pip."""

import re
import sys
from pathlib import Path

from packaging.requirements import Requirement

from tools.arm.cache import kept, run
from tools.arm.emulator import Board

_LOCK = Path(__file__).parents[2] / "requirements" / "board.txt"
_PIP = "pip==25.3 --hash=sha256:9655943313a94722b7774661c21049070f6bbb0a1516bf02f7c8d5d9201514cd"
# Each must be named: pip expands none of them. Both releases have a libc that takes the newest (2.36 and 2.41).
_PLATFORMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_27", "manylinux_2_28")
_REMEDY = "the Python package index must be reachable"
_DOWNLOAD_S, _INSTALL_S = 300.0, 600.0


def locked(lock: str, python: str) -> str:
    """Give the lines of a lock that are for a board with that Python (`3.13`), without markers, with their hashes.

    pip judges markers by the Python that it runs in, whatever --python-version says, so it is not asked to.
    """
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_version": f"{python}.0",
        "platform_machine": "aarch64",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    lines = []
    for block in re.split(r"\n(?=\S)", lock):
        requirement = Requirement(block.split("\n")[0].rstrip(" \\"))
        if requirement.marker is None or requirement.marker.evaluate(environment):
            hashes = re.findall(r"--hash=\S+", block)
            lines.append(f"{requirement.name}{requirement.specifier} {' '.join(hashes)}\n")
    return "".join(lines)


def downloaded(python: str) -> Path:
    """Give a folder with the wheels for aarch64 and that Python, pip's own, and `lock.txt`, which names the former."""
    lock = locked(_LOCK.read_text(), python)

    def make(folder: Path) -> None:
        (folder / "lock.txt").write_text(lock)
        (folder / "pip.txt").write_text(f"{_PIP}\n")
        short = python.replace(".", "")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        command += ["--require-hashes", "--implementation", "cp", "--python-version", short, "--platform", "any"]
        command += [word for abi in (f"cp{short}", "abi3", "none") for word in ("--abi", abi)]
        command += [word for name in _PLATFORMS for word in ("--platform", f"{name}_aarch64")]
        for name in ("lock.txt", "pip.txt"):
            wanted = ["-r", str(folder / name), "-d", str(folder)]
            run([*command, *wanted], within_s=_DOWNLOAD_S, remedy=_REMEDY)

    return kept(f"wheels-{python}", f"{_PIP}\n{lock}", make)


def installed(board: Board) -> Path:
    """Give a folder with the board's packages, put there by the board's own pip, offline, each hash checked."""
    wheels = downloaded(board.python)
    lock = (wheels / "lock.txt").read_text()
    pip = next(wheels.glob("pip-*.whl"))

    def make(folder: Path) -> None:
        words = [f"{pip}/pip", "install", "-q", "--root-user-action=ignore", "--no-index", "--no-compile"]
        words += ["--find-links", str(wheels), "--require-hashes", "--target", str(folder), "-r", f"{wheels}/lock.txt"]
        board.run(words, within_s=_INSTALL_S)

    return kept(f"site-{board.suite}-{board.python}", f"{board.suite}\n{lock}", make)


def versions(site: Path) -> dict[str, str]:
    """Give what is installed there, by name."""
    names = sorted(path.name.removesuffix(".dist-info") for path in site.glob("*.dist-info"))
    return {name: number for name, _, number in (entry.rpartition("-") for entry in names)}
