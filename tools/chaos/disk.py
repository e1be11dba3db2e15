"""Disks that faults may break: an ext4 in a file, a small tmpfs. Needs root."""

import ctypes
import fcntl
import os
import struct
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tools.chaos.leftovers import Leftovers
from tools.chaos.processes import CannotRunError, need, need_root

# linux fs/ext4: EXT4_IOC_SHUTDOWN, and its mode that does not flush the journal's log: what is not on the disk is gone.
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2
_CLONE_NEWNS = 0x00020000  # linux/sched.h
_UMOUNT_WITHIN_S = 20.0


def keep_mounts_to_ourselves() -> None:
    """Let nobody else see what this process mounts from now on; call it before there are threads.

    Else whoever begins a mount namespace of his own meanwhile (a container, a cluster's node) keeps a card mounted
    that we have long unmounted. Without root nothing changes, and nothing will be mounted either.
    """
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS) == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True)


class Card:
    """An ext4 on a loop device: may lose its power, or find an error and turn read-only as ext4 on cards does."""

    def __init__(self, leftovers: Leftovers, folder: Path, *, size_mb: int = 32) -> None:
        """Make and mount it. Raises CannotRunError."""
        need_root()
        need("mkfs.ext4", "e2fsprogs")
        self._copies = 0
        self.image, self.mount_point = folder / "card.image", folder / "card"
        self.mount_point.mkdir(parents=True)
        with self.image.open("wb") as file:
            file.truncate(size_mb * 1_000_000)
        _run("mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
        leftovers.mount(self.mount_point)
        self.mount()

    def mount(self, *options: str) -> None:
        _run("mount", "-o", ",".join(["loop", "errors=remount-ro", *options]), self.image, self.mount_point)

    def unmount(self) -> None:
        """Whoever wrote to it must be gone."""
        end = time.monotonic() + _UMOUNT_WITHIN_S
        while subprocess.run(["umount", self.mount_point], check=False, capture_output=True).returncode:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.mount_point} is still in use")
            time.sleep(0.05)

    def cut_power(self) -> None:
        """From this instant on nothing reaches the disk any more; what was not there is gone. Boot it with `boot`."""
        directory = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(directory)

    def boot(self) -> None:
        """Mount what is on the card; whoever wrote to it must be gone.

        A copy of it: a process with a mount namespace of its own, begun meanwhile (a cluster's node), keeps the old
        mount alive, and another mount of the same image would be given that one, without power for ever.
        """
        self.unmount()
        self._copy()
        self.mount()

    def break_down(self) -> None:
        """Let ext4 find an error: it turns read-only under whoever is writing. Mend it with `mend`."""
        self._error_trigger().write_text("1\n")

    def mend(self) -> None:
        """Check and mount it again, as a start of the board does; whoever wrote to it must be gone."""
        self.unmount()
        self._copy()
        done = subprocess.run(["e2fsck", "-p", "-f", self.image], check=False, capture_output=True, text=True)
        if done.returncode > 2:
            raise CannotRunError(f"e2fsck: {done.stdout} {done.stderr}")
        self.mount()

    def remove(self) -> None:
        self.unmount()
        self.image.unlink()

    def _copy(self) -> None:
        self._copies += 1
        copy = self.image.with_name(f"card.{self._copies}.image")
        _run("cp", "--sparse=always", self.image, copy)
        self.image.unlink()
        self.image = copy

    def _error_trigger(self) -> Path:
        found = subprocess.run(
            ["findmnt", "-no", "SOURCE", self.mount_point], check=True, capture_output=True, text=True
        ).stdout.strip()
        return Path("/sys/fs/ext4") / Path(found).name / "trigger_fs_error"


class SmallDisk:
    """A tmpfs of a few megabytes that can be filled to the last byte."""

    def __init__(self, leftovers: Leftovers, mount_point: Path, *, size_mb: int = 8) -> None:
        """Raises CannotRunError."""
        need_root()
        mount_point.mkdir(parents=True)
        self.mount_point = mount_point
        self._ballast = mount_point / "ballast"
        leftovers.mount(mount_point)
        _run("mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "chaos", mount_point)

    def fill(self) -> None:
        """Leave no byte free."""
        for block in (65_536, 4096, 1):
            with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
                while True:
                    file.write(b"\0" * block)

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise CannotRunError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
