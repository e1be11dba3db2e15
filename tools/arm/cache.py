"""What is made once and kept between runs: roots, wheels, an emulator."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from agent.errors import UnavailableError


def kept(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """Give the folder of that name, made anew where there is none or its recipe was another.

    recipe: what it was made from, as text. make: fills an empty folder; one that it leaves half-made is not kept.
    """
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskwatch" / "arm" / name
    stamp = place.with_name(f"{name}.stamp")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two runs side by side one makes it, the other waits
        if place.is_dir() and stamp.exists() and stamp.read_text() == recipe:
            return place
        stamp.unlink(missing_ok=True)
        partial = place.with_name(f"{name}.partial")
        for old in (partial, place):
            if old.exists():
                shutil.rmtree(old)
        partial.mkdir()
        make(partial)
        partial.rename(place)
        stamp.write_text(recipe)
    return place


def run(
    arguments: Sequence[str | Path], *, within_s: float, remedy: str, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program to its end and give what it printed.

    environment: added to ours. Raises UnavailableError with its last line where it fails, is missing or does not end.
    """
    where = Path(arguments[0]).name
    try:
        done = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
            env={**os.environ, **(environment or {})},
        )
    except FileNotFoundError as error:
        raise UnavailableError("is not installed", where=where, remedy=remedy) from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"no end within {within_s:.0f} s", where=where, remedy=remedy) from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["said nothing"]
        raise UnavailableError(f"ended with {done.returncode}: {last[0]}", where=where, remedy=remedy)
    return done.stdout
