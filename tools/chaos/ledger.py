"""The ledger: which events were decided, kept where no fault of ours reaches.

A producer says what it does, one JSON line at a time, over a pipe to the controller; what it said before a SIGKILL or
a power cut is in the pipe and is read to its end. The controller keeps the lines in memory and in a file on a disk
that no fault touches. Lines of one append: `Trying` before, with the digests; `Stored` after it has returned. A kill
between the two leaves a group of which nobody knows: such events may be in the store, and need not be.
"""

import threading
from pathlib import Path
from typing import IO

import msgspec


class Begun(msgspec.Struct, frozen=True, kw_only=True, tag="begun"):
    """The outbox is open."""

    stream: str
    sequence: int
    previous_stop: str
    at_ns: int


class Handed(msgspec.Struct, frozen=True, kw_only=True, tag="handed"):
    """Events were put into the hand-over; nothing is promised for them yet. at_ns: CLOCK_BOOTTIME."""

    count: int
    at_ns: int


class Trying(msgspec.Struct, frozen=True, kw_only=True, tag="trying"):
    """These are about to be appended, in this order."""

    digests: list[str]


class Stored(msgspec.Struct, frozen=True, kw_only=True, tag="stored"):
    """The append of those last tried has returned: from here on each of them is decided, from `first` on."""

    stream: str
    first: int
    count: int
    at_ns: int


class Told(msgspec.Struct, frozen=True, kw_only=True, tag="told"):
    """How delivery is doing (agent.delivery.figures), and what the process itself uses."""

    stream: str
    sequence: int
    acknowledged: int
    backlog: int
    connected: bool
    trouble: str
    storage: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The process ends since it cannot work here."""

    why: str
    code: int


Line = Begun | Handed | Trying | Stored | Told | Failed
_decoder = msgspec.json.Decoder(Line)


class Decided(msgspec.Struct, frozen=True):
    """An event whose append has returned."""

    stream: str
    sequence: int
    digest: str


class Unstored(msgspec.Struct, frozen=True, kw_only=True):
    """What a process had in memory when it ended: the bound of what a kill can cost."""

    count: int
    age_s: float


class Account(msgspec.Struct, kw_only=True):
    """All that is known of one device, over all lives of its process."""

    decided: list[Decided] = []
    maybe: set[str] = set()
    """Digests of groups whose append had begun and has not said that it returned."""
    unstored: list[Unstored] = []
    streams: list[str] = []
    """In the order in which they were begun."""
    told: Told | None = None
    """The newest figures of the process that runs; None before the first."""
    failed: str = ""
    _trying: list[str] = []
    _handed: list[Handed] = []
    in_memory: int = 0
    """Events handed over and neither stored nor gone with their process."""

    @property
    def mark(self) -> tuple[str, int]:
        """The stream with its newest sequence decided, ("", 0) before the first."""
        return (self.decided[-1].stream, self.decided[-1].sequence) if self.decided else ("", 0)

    def take(self, line: Line) -> None:
        """Enter a line. The lines of a process come in its order."""
        match line:
            case Begun(stream=stream):
                self._note(stream)
                self.failed = ""
            case Handed(count=count):
                self._handed.append(line)
                self.in_memory += count
            case Trying(digests=digests):
                self._trying = digests
                self.maybe.update(digests)
            case Stored(stream=stream, first=first, count=count):
                self._note(stream)
                self.decided.extend(
                    Decided(stream, first + place, digest) for place, digest in enumerate(self._trying[:count])
                )
                self.maybe.difference_update(self._trying)
                self._trying = []
                self._settle(count)
            case Told():
                self._note(line.stream)
                self.told = line
            case Failed(why=why):
                self.failed = why

    def ended(self, now_ns: int) -> None:
        """Take note that the process is gone, with what it had in memory."""
        if self.in_memory:
            age_s = (now_ns - self._handed[0].at_ns) / 1e9
            self.unstored.append(Unstored(count=self.in_memory, age_s=age_s))
        self._handed, self.in_memory, self._trying, self.told = [], 0, [], None

    def _note(self, stream: str) -> None:
        if stream and stream not in self.streams:
            self.streams.append(stream)

    def _settle(self, count: int) -> None:
        self.in_memory -= count
        while count and self._handed:
            first = self._handed[0]
            if first.count > count:
                self._handed[0] = Handed(count=first.count - count, at_ns=first.at_ns)
                return
            count -= first.count
            del self._handed[0]


class Ledger:
    """The accounts of a rig's devices. Any thread may enter lines and read an account's figures."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._file = file.open("ab")
        self.accounts: dict[str, Account] = {}

    def account(self, device: str) -> Account:
        with self._lock:
            return self.accounts.setdefault(device, Account())

    def read(self, device: str, pipe: IO[bytes]) -> None:
        """Enter all that a process says until its pipe ends; a line cut short by a kill does not count."""
        account = self.account(device)
        for raw in pipe:
            if not raw.endswith(b"\n"):
                break
            line = _decoder.decode(raw)
            with self._lock:
                if not isinstance(line, Told | Handed):
                    self._file.write(device.encode() + b" " + raw)
                account.take(line)
        with self._lock:
            self._file.flush()

    def ended(self, device: str, now_ns: int) -> None:
        """Take note that a device's process is gone; call it after `read` has come to its end."""
        account = self.account(device)
        with self._lock:
            account.ended(now_ns)

    def marks(self) -> dict[str, tuple[str, int]]:
        """Give each device's newest decided event: stream and sequence."""
        with self._lock:
            return {device: account.mark for device, account in self.accounts.items() if account.decided}

    @property
    def decided(self) -> int:
        with self._lock:
            return sum(len(account.decided) for account in self.accounts.values())

    def close(self) -> None:
        self._file.close()


def write(line: Line) -> bytes:
    """Give a line as a producer says it."""
    return msgspec.json.encode(line) + b"\n"
