"""Releases: one virtual environment each, built under its final name, used through the link `current`.

A release without its stamp is no release: it is removed and built from nothing. The stamp is written last, after
everything else is on the disk.
"""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .board import Board
from .bundle import Bundle
from .problem import Exit, Problem
from .step import Action, Call, Link, Step

OPT = "/opt/maskwatch"
RELEASES = f"{OPT}/releases"
CURRENT = f"{OPT}/current"
PROGRAM = "/usr/local/bin/maskwatch"
_STAMP = "complete"
_INSTALL_S = 3600.0  # a slow card
_TRIAL_S = 300.0


def running_version(board: Board) -> str:
    """Give the version that `current` leads to, or an empty string."""
    return (board.link_target(CURRENT) or "").rsplit("/", 1)[-1]


def is_complete(board: Board, version: str) -> bool:
    """Tell whether a release is whole and for the Python that is here now."""
    try:
        stamp = json.loads(board.read(f"{RELEASES}/{version}/{_STAMP}") or b"null")
    except ValueError:
        return False
    return isinstance(stamp, dict) and stamp.get("python") == board.python()


def release_step(board: Board, bundle: Bundle) -> Step:
    """Give the step that installs the bundle's release beside any other."""
    folder = f"{RELEASES}/{bundle.version}"

    def wrong() -> list[str]:
        return [] if is_complete(board, bundle.version) else [f"{folder} is not installed"]

    def actions() -> list[Action]:
        if is_complete(board, bundle.version):
            return []
        return [
            Call(
                plan=f"make {folder}, a virtual environment of the bundle's wheels, offline",
                past=f"installed {folder}",
                work=lambda: _install(board, bundle, folder),
            )
        ]

    return Step(name="release", wrong=wrong, actions=actions)


def current_step(board: Board, bundle: Bundle) -> Step:
    """Give the step that makes the bundle's release the one that runs."""
    links = [
        Link(path=CURRENT, target=f"releases/{bundle.version}"),
        Link(path=PROGRAM, target=f"{CURRENT}/bin/maskwatch"),
    ]

    def wrong() -> list[str]:
        if board.is_there(PROGRAM) and board.link_target(PROGRAM) is None:
            raise Problem("is not ours", where=PROGRAM, remedy="move it elsewhere", code=Exit.UNFIT)
        return [why for link in links if (why := link.needed(board))]

    return Step(
        name="current",
        wrong=wrong,
        actions=lambda: [link for link in links if link.needed(board)],
        restarts=True,
    )


def try_release(board: Board, version: str, config: bytes, where: str) -> None:
    """Ask a release, before anything is switched to it, whether it takes a configuration and has working models.

    where: the configuration's name in what is said. Raises Problem with the release's own line.
    """
    program = str(board.path(f"{RELEASES}/{version}/bin/maskwatch"))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.toml"
        file.write_bytes(config)
        read = board.ask(program, "config", "--config", str(file), timeout_s=_TRIAL_S)
        if read.code != 0:
            said = read.last_line.replace(str(file), where)
            raise Problem(f"release {version} says: {said}", where=where, remedy="correct it", code=Exit.UNFIT)
        # An accelerator serves one process, and the agent that runs may have it: the trial is the CPU's.
        words = ("check", "--config", str(file), "--set", "vision.accelerator=cpu", "--wait", "0")
        checked = board.ask(program, *words, timeout_s=_TRIAL_S)
    # Camera and connection are the running agent's; what the new release can tell without them is board and models.
    failed = [line for line in checked.err.splitlines() if line.startswith(("board", "models"))]
    if failed or not any(line.split()[:2] == ["models", "ok"] for line in checked.out.splitlines()):
        said = " ".join((failed or [checked.last_line])[0].split())
        remedy = "nothing was switched; make a bundle of a release that works here"
        raise Problem(f"does not work here: {said}", where=f"release {version}", remedy=remedy, code=Exit.UNAVAILABLE)


def other_releases(board: Board, keep: set[str]) -> list[str]:
    """List the releases that nobody goes back to."""
    return [name for name in board.names(RELEASES) if name not in keep]


def _install(board: Board, bundle: Bundle, folder: str) -> None:
    for above in (OPT, RELEASES):
        board.folder(above)
    board.remove_tree(folder)
    place = board.path(folder)
    manifest = bundle.manifest
    board.run(sys.executable, "-I", "-m", "venv", "--without-pip", "--system-site-packages", str(place))
    pip = [str(place / "bin/python"), str(bundle.wheels / manifest.pip / "pip"), "install", "--isolated", "--no-index"]
    pip += ["--no-cache-dir", "--disable-pip-version-check", "--no-warn-script-location", "--root-user-action=ignore"]
    locked = ["--ignore-installed", "--require-hashes", "-r", str(bundle.folder / "board.txt")]
    wheel = bundle.wheels / Path(manifest.wheel).name
    for what in (["--find-links", str(bundle.wheels), *locked], ["--no-deps", "--ignore-installed", str(wheel)]):
        done = board.run(*pip, *what, timeout_s=_INSTALL_S, may_fail=True)
        if done.code != 0:
            errors = [line for line in done.err.splitlines() if line.startswith("ERROR:")]
            said = errors[-1].removeprefix("ERROR: ") if errors else done.last_line
            is_full = "No space left" in done.err
            remedy = "make room, or use a larger card" if is_full else "make the bundle again for this board"
            code = Exit.STORAGE if is_full else Exit.UNAVAILABLE
            raise Problem(said, where=f"pip, release {bundle.version}", remedy=remedy, code=code)
    board.flush()
    stamp = {"version": bundle.version, "python": board.python(), "wheel": manifest.files[f"wheels/{wheel.name}"]}
    board.write(f"{folder}/{_STAMP}", json.dumps(stamp).encode() + b"\n")
