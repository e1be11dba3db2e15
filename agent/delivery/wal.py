"""SQLite's log seen from outside, for what SQLite itself cannot tell: whether all of it is still there.

SQLite takes a log that is missing, cut off or damaged for one that ends earlier, and silently goes on from an older
state. The same sequences would then be given to other events. What speaks against a log after an unclean stop:

- it is missing, or shorter than it was known to be: the file itself says how long (`state.log_bytes`), since the log
  never shrinks while it is in use, and is removed only by an orderly close;
- its header is not SQLite's;
- behind the frame where its chain of checksums breaks there is a commit that another frame follows. SQLite goes on
  only behind a commit that is on the disk, so that one is lost. (A break with nothing such behind it is what a power
  cut in the middle of a commit leaves.)
- a slot behind the end of the chain holds neither a frame of this round, nor of an earlier one, nor our filler.

What is left: damage to nothing but pages of the very last commit looks like a commit that a power cut interrupted.

Source: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

HEADER_BYTES = 32
FRAME_BYTES = 24 + 4096
_FILLER = b"m"  # neither 0 nor 255, which is what a card gives for blocks that it has lost
_MAGIC = 0x377F0682  # the lowest bit: checksums of big-endian words
_FORMAT = 3007000
_ROUNDS_MAX = 1 << 16  # a frame left over from so many rounds ago is still believed


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a log was found to be before SQLite opened it. flaw: in words, or empty. flaw_end: bytes up to its end."""

    size: int
    flaw: str = ""
    flaw_end: int = 0

    def doubt(self, known_bytes: int) -> str:
        """Tell what speaks against a log that was so long at least; an empty string when nothing does.

        Beyond the known length a power cut may leave anything: that much was never said to be on the disk.
        """
        if self.size < known_bytes:
            return "the log is cut off" if self.size else "the log is missing"
        return self.flaw if self.flaw_end <= known_bytes else ""


def log_of(file: Path) -> Path:
    """Give the log's path."""
    return file.with_name(file.name + "-wal")


def size(file: Path) -> int:
    """Give the length of a file's log, bytes; 0 when there is none."""
    try:
        return log_of(file).stat().st_size
    except FileNotFoundError:
        return 0


def fill(file: Path, to_bytes: int) -> None:
    """Bring the log to a length, durably; what is written behind its end means nothing to SQLite. Raises OSError.

    A log that has its length does not change it any more, and ext4 writes its journal only for a sync after which a
    length is another one (measured: 32 kB an event, then 8 kB).
    """
    with log_of(file).open("ab") as log:
        missing = to_bytes - log.tell()
        if missing > 0:
            log.write(_FILLER * missing)
            log.flush()
            os.fsync(log.fileno())


def inspect(file: Path) -> Finding:
    """Look at a log, before SQLite opens it and repairs what it finds. Raises OSError."""
    try:
        content = memoryview(log_of(file).read_bytes())
    except FileNotFoundError:
        return Finding(size=0)
    if len(content) < HEADER_BYTES or content[:HEADER_BYTES] == _FILLER * HEADER_BYTES:
        return Finding(size=len(content))
    chain = _Chain.of(content)
    if chain is None:
        return Finding(size=len(content), flaw="the log is damaged at its start")
    broken = chain.walk()
    if chain.goes_on_behind(broken):
        return Finding(size=len(content), flaw="the log is damaged in the middle")
    strange = chain.strange_from(broken)
    if strange is not None:
        return Finding(size=len(content), flaw="the log is damaged at its end", flaw_end=chain.offset(strange + 1))
    return Finding(size=len(content))


class _Frame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame as it lies in its slot. commit: the last one of a transaction. start: what its checksum covers."""

    is_ours: bool
    round: int
    commit: bool
    start: memoryview
    page: memoryview
    checksum: tuple[int, int]


class _Chain(msgspec.Struct, frozen=True, kw_only=True):
    """A log with a sound header."""

    content: memoryview
    words: str
    """The byte order of a checksum's words, for struct."""
    salts: tuple[int, int]
    checksum: tuple[int, int]

    @classmethod
    def of(cls, content: memoryview) -> "_Chain | None":
        magic, version, _page, _round, salt, salt2, *checksum = struct.unpack(">8I", content[:HEADER_BYTES])
        words = ">" if magic & 1 else "<"
        if (magic & ~1, version) != (_MAGIC, _FORMAT) or [*_sum(content[:24], words, (0, 0))] != checksum:
            return None
        return cls(content=content, words=words, salts=(salt, salt2), checksum=(checksum[0], checksum[1]))

    @property
    def slots(self) -> int:
        return (len(self.content) - HEADER_BYTES) // FRAME_BYTES

    def offset(self, slot: int) -> int:
        """Give where a slot begins."""
        return HEADER_BYTES + slot * FRAME_BYTES

    def frame(self, slot: int) -> _Frame:
        """Read what lies in a slot."""
        content = self.content[self.offset(slot) : self.offset(slot + 1)]
        _page, pages, salt, salt2, first, second = struct.unpack(">6I", content[:24])
        return _Frame(
            is_ours=(salt, salt2) == self.salts,
            round=salt,
            commit=pages > 0,
            start=content[:8],
            page=content[24:],
            checksum=(first, second),
        )

    def continues(self, frame: _Frame, before: tuple[int, int]) -> bool:
        """Tell whether a frame is what was written behind the one with that checksum."""
        middle = _sum(frame.start, self.words, before)
        return frame.is_ours and _sum(frame.page, self.words, middle) == frame.checksum

    def walk(self) -> int:
        """Give the first slot whose frame does not continue the chain."""
        checksum = self.checksum
        for slot, frame in self._frames(0):
            if not self.continues(frame, checksum):
                return slot
            checksum = frame.checksum
        return self.slots

    def goes_on_behind(self, slot: int) -> bool:
        """Tell whether there is a commit in a slot or behind it that another frame follows."""
        commit: _Frame | None = None
        for _, frame in self._frames(slot):
            if commit is not None and self.continues(frame, commit.checksum):
                return True
            commit = frame if frame.is_ours and frame.commit else None
        return False

    def strange_from(self, slot: int) -> int | None:
        """Give the first slot from one on that holds what no writing leaves; None when there is none."""
        filler = int.from_bytes(_FILLER * 4, "big")
        for at, frame in self._frames(slot):
            rounds = (self.salts[0] - frame.round) % (1 << 32)  # the first salt counts the rounds
            if rounds >= _ROUNDS_MAX and frame.round != filler:
                return at
        return None

    def _frames(self, first: int) -> Iterator[tuple[int, _Frame]]:
        return ((slot, self.frame(slot)) for slot in range(first, self.slots))


def _sum(data: memoryview, words: str, start: tuple[int, int]) -> tuple[int, int]:
    """Give SQLite's checksum of data that follows what `start` is the checksum of."""
    first, second = start
    for one, other in struct.iter_unpack(f"{words}2I", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
