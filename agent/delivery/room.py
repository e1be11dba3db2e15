"""Room on the disk: how far the outbox may grow, and a reserve for the day when somebody else has filled the disk.

A full disk takes not even a delete: that needs room in the log, and what is in the log needs room in the file. So a
reserve lies beside the file, and is given up when the disk is full. From then on the file stays as large as it is: new
events take the place of acknowledged ones or, while the broker is away, of the oldest, which a `gap` names. With room
again the reserve comes first, then the file may grow.
"""

import contextlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Literal

from agent.delivery import schema
from agent.errors import StorageError

_log = logging.getLogger(__name__)

# What may have to be written before the first row is gone: the file grows by the pages that wait in its log (its 32 and
# the 45 of a transaction of 500 events, and as many again, since commits go on while the log cannot be emptied), then
# the log by the 85 of a transaction that stores 500 events and deletes as many. That is 1.0 MB; of 60 ways to fill an
# ext4 the worst needed 0.24 MB (tests/integration/test_delivery_full.py).
RESERVE_BYTES = 1 << 20
_ROOM_AT_START_BYTES = 2 * RESERVE_BYTES
_ROOM_AGAIN_BYTES = 4 * RESERVE_BYTES  # three stay free, or the next event would meet a full disk again
_PAGES_MIN = 128  # 1,500 events; a smaller file may grow to this within the reserve


class Room:
    """How much the outbox may take of its disk. Only `settle` raises, sqlite3.Error, when the file cannot be read."""

    def __init__(self, file: Path, *, quota_pages: int) -> None:
        self._file = file
        self._reserve = file.with_name("outbox.reserve")
        self._quota_pages = quota_pages
        self.pages_max = quota_pages
        """The file's bound for now."""
        self.trouble = ""
        """What somebody has to mend though events are still stored, or an empty string."""

    @property
    def why(self) -> Literal["quota", "disk"]:
        """Why events that the bound leaves no room for are given up."""
        return "disk" if self.trouble else "quota"

    def settle(self, db: sqlite3.Connection) -> None:
        """See to the reserve at the start; on a disk that has no room for it the file may not grow either."""
        if not self._is_held and not self._make(_ROOM_AT_START_BYTES):
            self._hold(db)

    def look(self, db: sqlite3.Connection) -> None:
        """Let the file grow again, if it was held, as soon as the reserve can be made again."""
        if self.trouble and self._make(_ROOM_AGAIN_BYTES):
            _log.info("outbox.disk_full.over")
            self.trouble = ""
            self.pages_max = self._quota_pages
            with contextlib.suppress(sqlite3.Error):  # closed: the file that comes after it takes the bound from here
                schema.bound(db, pages_max=self.pages_max)

    def release(self) -> bool:
        """Give up the reserve, and the file that lies here only for a look. False when neither was there."""
        released = False
        damaged = self._file.with_name("outbox.damaged.db")
        for file in (self._reserve, damaged, damaged.with_name(damaged.name + "-wal")):
            with contextlib.suppress(OSError):
                file.unlink()
                released = True
        if released:
            with contextlib.suppress(OSError):
                folder = os.open(self._file.parent, os.O_RDONLY)
                try:
                    os.fsync(folder)  # the room is there when the journal has been written
                finally:
                    os.close(folder)
        return released

    def is_made(self, db: sqlite3.Connection) -> bool:
        """Make room on a full disk, and hold the file at its size. False when that is done already, or no help."""
        if self._free_bytes() >= _ROOM_AGAIN_BYTES:
            return False  # the file has met its own bound
        if not self.release() and self.trouble:
            return False
        with contextlib.suppress(sqlite3.Error):  # then the log grows until it can be emptied
            schema.checkpoint(db)
        try:
            self._hold(db)
        except sqlite3.Error:
            return False
        return True

    def _hold(self, db: sqlite3.Connection) -> None:
        self.pages_max = min(self._quota_pages, max(schema.all_pages(db), _PAGES_MIN))
        schema.bound(db, pages_max=self.pages_max)
        what = f"the disk is full: events have {self.pages_max * schema.PAGE_BYTES / 1e6:.1f} MB, the oldest go first"
        self.trouble = str(StorageError(what, where=str(self._file), remedy="make room on it"))
        _log.warning("outbox.disk_full why=%r", self.trouble)

    @property
    def _is_held(self) -> bool:
        try:
            return self._reserve.stat().st_blocks * 512 >= RESERVE_BYTES
        except OSError:
            return False

    def _make(self, needed_bytes: int) -> bool:
        if self._free_bytes() < needed_bytes:
            return False
        try:
            reserve = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                os.posix_fallocate(reserve, 0, RESERVE_BYTES)
                os.fsync(reserve)
            finally:
                os.close(reserve)
        except OSError:
            self.release()
            return False
        return True

    def _free_bytes(self) -> int:
        try:
            disk = os.statvfs(self._file.parent)
        except OSError:
            return 0
        return disk.f_bavail * disk.f_frsize
