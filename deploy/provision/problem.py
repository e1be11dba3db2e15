"""What the world does wrong on a board: one line each (what, where, what to do) and an exit code of sysexits.h.

Our own mistakes stay ordinary exceptions and end with a traceback and 1.
"""

import difflib
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """How the command ends; the numbers are those of the agent's commands, and 75 for what is to be done first."""

    DONE = 0
    SOMETHING_TO_DO = 2  # --check
    USAGE = 2
    DAMAGED = 65
    UNAVAILABLE = 69
    STORAGE = 74
    LATER = 75
    NOT_PERMITTED = 77
    UNFIT = 78


class Problem(Exception):
    """A foreseen failure. `str()` gives the line for the terminal: `where: what; remedy`."""

    def __init__(self, what: str, *, where: str, remedy: str, code: Exit) -> None:
        super().__init__(what, where, remedy, code)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.code = code

    def __str__(self) -> str:
        return " ".join(f"{self.where}: {self.what}; {self.remedy}".split())


def nearest(name: str, choices: Iterable[str]) -> str:
    """Give ` (did you mean 'x'?)` for the choice most like `name`, or an empty string when none is near."""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""
