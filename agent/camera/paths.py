"""Paths that a user names: what is wrong with one, in one line, before a decoder gets to guess."""

import os
from pathlib import Path

from agent.errors import InputError, NotPermittedError, nearest


def check_readable(path: Path) -> None:
    """Make sure that a file or folder is there, may be read and is not empty.

    Raises InputError or NotPermittedError.
    """
    try:
        if path.is_dir():
            os.scandir(path).close()
            return
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except PermissionError as error:
        raise NotPermittedError(
            "this user may not read it", where=str(path), remedy="change its owner or mode, or run as another user"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(
            getattr(error, "strerror", None) or str(error), where=str(path), remedy="name a picture, clip or folder"
        ) from error
    if empty:
        raise InputError("the file is empty", where=str(path), remedy="copy it again")


def is_folder(path: Path) -> bool:
    """Tell whether it is a folder; what cannot be looked at is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _missing(path: Path) -> InputError:
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        beside = []
    return InputError(
        "no such file or folder" + nearest(path.name, beside), where=str(path), remedy="name one that exists"
    )
