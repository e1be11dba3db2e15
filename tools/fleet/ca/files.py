"""Files that are whole or not there, and what the file system says, in one line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import InputError, MaskwatchError, NotPermittedError, StorageError


def replace(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put a whole new file in place of an old one, on the disk before anybody sees it."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # or a power cut brings the old one back
    finally:
        os.close(folder)


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turn what the file system says into the family of errors."""
    try:
        yield
    except MaskwatchError:
        raise
    except PermissionError as error:
        where = str(error.filename or folder)
        raise NotPermittedError("no permission", where=where, remedy="run as the folder's owner") from error
    except (FileExistsError, NotADirectoryError, FileNotFoundError, IsADirectoryError) as error:
        where = str(error.filename or folder)
        raise InputError(error.strerror or "not there", where=where, remedy="name the authority's folder") from error
    except OSError as error:
        raise StorageError(error.strerror or "I/O error", where=str(folder), remedy="see to the disk") from error
