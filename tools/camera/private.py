"""Folders and files that hold pictures of people: for their owner alone, and never half there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import InputError, MaskwatchError, NotPermittedError, StorageError, UsageError


@contextmanager
def for_owner_only() -> Iterator[None]:
    """Let whatever is made meanwhile be 0600 or 0700, by whatever library it is written."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def told(path: Path, remedy: str = "name another place") -> Iterator[None]:
    """Turn what the file system says into the family of errors.

    path: named where the system names none. remedy: for what is not there.
    """
    try:
        yield
    except MaskwatchError:
        raise
    except PermissionError as error:
        where = str(error.filename or path)
        raise NotPermittedError(
            "no permission", where=where, remedy="name another folder, or run as its owner"
        ) from error
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        where = str(error.filename or path)
        raise InputError(error.strerror or "not there", where=where, remedy=remedy) from error
    except OSError as error:
        raise StorageError(error.strerror or "I/O error", where=str(path), remedy="see to the disk") from error


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give a place to fill that becomes `folder` at the end; nothing stays if that end is not reached.

    Git takes nothing of it. Raises UsageError if the folder, or the rest of a run that was killed, is there.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    for path, what in ((folder, "is there already"), (partial, "holds what a run that was killed has left")):
        if os.path.lexists(path):
            raise UsageError(what, where=str(path), remedy="delete it, or name another folder")
    partial.mkdir(parents=True)
    try:
        (partial / ".gitignore").write_text("*\n")
        yield partial
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def replace(path: Path, content: bytes) -> None:
    """Put a whole new file in place of an old one."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
