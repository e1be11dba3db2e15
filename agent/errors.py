"""The one family of errors for what the world does wrong: each says what, where and what to do, in one line.

A class is an exit code of product contract (sysexits.h numbers); `agent.cli` prints the line and ends with the code.
Our own mistakes stay ordinary exceptions and end with code 1 and a traceback.
"""

import difflib
from collections.abc import Iterable


class MaskwatchError(Exception):
    """A foreseen failure. `str()` gives the line for the terminal: `where: what; remedy`."""

    exit_code = 1

    def __init__(self, what: str, *, where: str, remedy: str) -> None:
        super().__init__(what, where, remedy)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        line = f"{self.where}: {self.what}; {self.remedy}"
        return " ".join(line.split())  # an inner message may hold line breaks; the promise is one line


class UsageError(MaskwatchError):
    """An unknown command or option, or a missing argument."""

    exit_code = 2


class InputError(MaskwatchError):
    """A picture, clip or folder that is missing, unreadable, empty or damaged."""

    exit_code = 65


class ModelError(MaskwatchError):
    """A model or manifest that is missing, damaged, or not what its manifest says."""

    exit_code = 65


class UnavailableError(MaskwatchError):
    """A camera, broker or other service that does not answer or refuses us now; `run` retries, `check` reports."""

    exit_code = 69


class StorageError(MaskwatchError):
    """A disk that is full, read-only or broken."""

    exit_code = 74


class NotPermittedError(MaskwatchError):
    """A file, folder or device that this user may not use."""

    exit_code = 77


class ConfigError(MaskwatchError):
    """A key, type or value that the configuration does not take, or a file that it names and that is missing."""

    exit_code = 78


def nearest(name: str, choices: Iterable[str]) -> str:
    """Give ` (did you mean 'x'?)` for the choice most like `name`, or an empty string when none is near."""
    found = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" (did you mean {found[0]!r}?)" if found else ""
