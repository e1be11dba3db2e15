"""A card of its own for what is measured, so that the bytes counted are those that reach the device.

The file system's own writing is among them: its journal costs more than a small commit, and whoever calls sync(2) on
the machine meanwhile adds to it. Who is not root gets a folder instead, and the bytes that this process sends to the
disk.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agent.clock import new_id
from tools.bench.machine import written_bytes

_CARD_BYTES = 256_000_000
_FORMAT = ("-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-F")

# As a board is provisioned. ext4 writes 12 kB of journal for an inode that has changed, at most once in so many
# seconds, and every write(2) changes one, whatever lazytime says (the inode's version counts it, since Linux 6.0).
PROVISIONED = "noatime,commit=60"


class Card(msgspec.Struct, frozen=True):
    """Where to write, what has been written so far (everything on its way included), and how that is counted."""

    folder: Path
    written_bytes: Callable[[], int]
    how: str


@contextmanager
def card(folder: Path, *, options: str = PROVISIONED) -> Iterator[Card]:
    """Give an empty ext4 with these mount options on a loop device, or the next best."""
    at = folder / f"card-{new_id()}"
    at.mkdir()
    image = at.with_suffix(".img")
    device = _mount(image, at, options)
    if device is None:
        how = (
            "what the process sends to the disk, without the file system's journal, which takes root and a loop device"
        )
        yield Card(at, written_bytes, how)
        return
    counters = Path("/sys/block") / device.name / "stat"

    def written() -> int:
        subprocess.run(["sync", "--file-system", at], check=True)
        return int(counters.read_text().split()[6]) * 512

    try:
        yield Card(at, written, f"at the block device, ext4's journal included, mounted {options}")
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)
        image.unlink()


def _mount(image: Path, at: Path, options: str) -> Path | None:
    """Give the device, or None where that is not allowed."""
    program = shutil.which("mkfs.ext4") or shutil.which("/usr/sbin/mkfs.ext4")
    if os.geteuid() != 0 or program is None:
        return None
    with image.open("wb") as file:
        file.truncate(_CARD_BYTES)
    subprocess.run([program, *_FORMAT, image], check=True)
    if subprocess.run(["mount", "-o", f"loop,{options}", image, at], check=False, capture_output=True).returncode:
        image.unlink()
        return None
    source = subprocess.run(["findmnt", "-no", "SOURCE", at], check=True, capture_output=True, text=True)
    return Path(source.stdout.strip())
