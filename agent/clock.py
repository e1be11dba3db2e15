"""The one place that reads clocks and makes ids; everything else is told.

Two clocks, never mixed: `now_ns` orders events and measures ages (it never jumps and counts through a suspend),
`wall_ns` is a label for people, given only while `trusted()` says that something sets it.
"""

import ctypes
import os
import secrets
import time
from pathlib import Path
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

# No board of ours was made before this release: an earlier wall clock is the one it booted with. 2026-11-01 UTC.
_RELEASED_NS = 1_793_491_200 * NS_PER_S
_STA_UNSYNC = 0x0040  # linux/timex.h
_SYNCHRONIZED = Path("/run/systemd/timesync/synchronized")  # systemd-timesyncd.service(8)


class Clock(Protocol):
    """What time it is, in both senses, and how to wait."""

    def now_ns(self) -> int:
        """Give monotonic nanoseconds since boot, suspend included."""

    def wall_ns(self) -> int:
        """Give nanoseconds since 1970 UTC, right only while `trusted()`."""

    def trusted(self) -> bool:
        """Tell whether the wall clock is set by the network or a hardware clock that the network set."""

    def sleep(self, seconds: float) -> None:
        """Wait. Returns at once when `seconds` is not positive."""


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        return time.time_ns()

    def trusted(self) -> bool:
        """True when the kernel's clock is disciplined (adjtimex(2)) or timesyncd has set it once since boot."""
        if self.wall_ns() < _RELEASED_NS:
            return False
        return _SYNCHRONIZED.exists() or not _kernel_says_unsynchronized()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


def _kernel_says_unsynchronized() -> bool:
    timex = (ctypes.c_long * 64)()  # struct timex is 208 bytes; modes = 0 only reads
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    status = ctypes.c_int.from_buffer(timex, 5 * ctypes.sizeof(ctypes.c_long)).value
    return state < 0 or bool(status & _STA_UNSYNC)


def new_id() -> str:
    """Make a random id of 16 hexadecimal digits, for a stream or a run."""
    return secrets.token_hex(8)


def boot_id() -> str:
    """Give the kernel's id of this boot, 32 hexadecimal digits, or an id of this process where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    except OSError:
        return f"{os.getpid():032x}"
