"""One process an outbox: whoever holds the lock file's lock is the one."""

import fcntl
import os
from pathlib import Path

from agent.delivery import schema


def take_lock(file: Path) -> int:
    """Make the outbox's directory, and let no second process in; gives the descriptor that holds the lock.

    Raises StorageError or NotPermittedError.
    """
    lock = file.with_name("outbox.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise schema.judge_os(error, file.parent) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if file.exists() and not os.access(file, os.R_OK | os.W_OK):
            raise PermissionError
    except BlockingIOError as error:
        os.close(descriptor)
        raise schema.in_use(file) from error
    except OSError as error:
        os.close(descriptor)
        raise schema.judge_os(error, file) from error
    return descriptor
