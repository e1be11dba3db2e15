"""Small disks for tests, really mounted: one in memory, and an ext4 on a loop device whose power can be cut."""

import contextlib
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

_EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_NEVER_LATER = "lazy_itable_init=0,lazy_journal_init=0"  # nothing is written that nobody asked for


def sync(folder: Path) -> None:
    """Write what is on its way to a disk, to this one alone: others are being measured."""
    subprocess.run(["sync", "--file-system", folder], check=True)


class Disk:
    """A mounted disk."""

    def __init__(self, at: Path) -> None:
        self.at = at

    @property
    def free_bytes(self) -> int:
        left = os.statvfs(self.at)
        return left.f_bavail * left.f_frsize

    def fill(self, *, leave_bytes: int = 0) -> Path:
        """Put somebody else's file on it, that leaves so many bytes; gives the file."""
        sync(self.at)  # what ext4 frees counts as free once its journal is written
        file = self.at / "somebody-else"
        with file.open("ab") as filler, contextlib.suppress(OSError):
            while self.free_bytes > leave_bytes:
                more = min(1_000_000, self.free_bytes - leave_bytes)
                os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, more)
        return file

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.at], check=True)


class Ext4(Disk):
    """An ext4 of 4 kB blocks in a file of its own."""

    def __init__(self, at: Path, image: Path) -> None:
        super().__init__(at)
        self._image = image

    def mount(self) -> None:
        if subprocess.run(["mount", "-o", "loop", self._image, self.at], check=False, capture_output=True).returncode:
            pytest.skip("needs mount(8) with a loop device")

    @property
    def written_bytes(self) -> int:
        """What its device has been written since the mount, with all that is on its way."""
        sync(self.at)
        return int((self._device / "stat").read_text().split()[6]) * 512

    @property
    def _device(self) -> Path:
        source = subprocess.run(["findmnt", "-no", "SOURCE", self.at], check=True, capture_output=True, text=True)
        return Path("/sys/block") / Path(source.stdout.strip()).name

    def cut_power(self) -> None:
        """Let nothing reach the device any more: what was not synced is lost, also from ext4's own journal.

        Whoever uses it meets errors until `power_on`.
        """
        folder = os.open(self.at, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def power_on(self) -> None:
        """Mount what the device holds.

        A copy of it: a process that has meanwhile made a mount namespace of its own holds the old mount with its power
        cut, and a mount of the same device would be given that one.
        """
        _give_back(self.at)
        copy = self._image.with_name(self._image.name + "+")
        subprocess.run(["cp", "--sparse=always", self._image, copy], check=True)
        self._image.unlink()
        self._image = copy
        self.mount()


@contextlib.contextmanager
def in_memory(folder: Path, *, megabytes: float) -> Iterator[Disk]:
    """Mount a tmpfs of a size; skips where that is not allowed."""
    _need_root()
    at = folder / "disk"
    at.mkdir()
    size = f"size={int(megabytes * 1024)}k"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", at], check=False).returncode:
        pytest.skip("needs mount(8) with tmpfs")
    try:
        yield Disk(at)
    finally:
        _give_back(at)


@contextlib.contextmanager
def ext4(folder: Path, *, megabytes: int) -> Iterator[Ext4]:
    """Make and mount an ext4; skips where that is not allowed."""
    _need_root()
    image, at = folder / "image", folder / "card"
    at.mkdir()
    with image.open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-m", "0", "-E", _NEVER_LATER, "-F", image], check=True)
    disk = Ext4(at, image)
    disk.mount()
    try:
        yield disk
    finally:
        _give_back(at)


def _give_back(at: Path) -> None:
    subprocess.run(["umount", "--lazy", at], check=True)  # a test that failed has files open


def _need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a disk")
