"""What every store does with a batch, in one transaction; agent.errors says what may go wrong.

Rules for whoever edits this:
- Who changes a device's rows holds the device's row locked from the first statement to the commit, devices in order.
  So instances that store one device's events do it one after the other, each sees all that the one before committed,
  and a mark that leaves `commit` says only what is on the disk.
- The mark of a stream is as far as it can be after every commit. That is why a batch that does not touch the sequence
  after it need not look (tools.fleet.collector.marks).
- An event is never changed once stored, but for `happened_ms` of one whose device had no trusted clock.
- `hours` counts the rows of `events`, exactly, in the transaction that changes them. Its rows belong to no device, so
  they are locked last and in order: instances wait for each other there for as long as a commit takes, and never in a
  ring. `states` is written first, in order, for the same reason.
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from agent.errors import UsageError
from tools.fleet.collector import marks
from tools.fleet.collector.hours import HourKey, Moved, count_hours
from tools.fleet.collector.messages import Birth, Event, Message, Rejected, Sight, same

REJECTED_MAX = 1000  # of the messages that are none of ours, the newest are kept
CONFLICTS_MAX = 10_000
LINKS_KEPT_MS = 7 * 86_400_000  # an instance that has not been there for so long is forgotten

Key = tuple[str, str, int]
StreamKey = tuple[str, str]


def parse_url(url: str) -> Path | str:
    """Give the file that a store's URL names, or the URL of a PostgreSQL server. Raises UsageError."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
        return Path(parts.path)
    if parts.scheme in ("postgresql", "postgres"):
        return url
    raise UsageError(
        f"{url!r} is no database", where="--store", remedy="use sqlite:///path/events.db or postgresql://host/name"
    )


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a device's stream up to hwm is in the database, or named by a gap."""

    device: str
    site: str
    stream: str
    hwm: int


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Sequences that will not come. why: the gap's own event says it, or the device counts them as done."""

    device: str
    stream: str
    first: int
    last: int
    why: Literal["given up", "acknowledged"]


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a batch. lost: what devices hold no more and is not here. marks: of each stream in it."""

    stored: int = 0
    duplicates: int = 0
    conflicts: Sequence[Event] = ()
    lost: Sequence[Gap] = ()
    marks: Sequence[Mark] = ()


class Stream(msgspec.Struct, frozen=True):
    """A stream's row. top: the highest sequence stored."""

    hwm: int = 0
    top: int = 0


class Device(msgspec.Struct, frozen=True):
    """A device's row. stream: the one it sent last. undated: it has sent events without wall time."""

    stream: str | None
    undated: bool


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds since a boot within which new events lie. dated: they have wall time, to date others by."""

    device: str
    boot: str
    first_ms: int
    last_ms: int
    dated: bool


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What the database holds. behind: streams that wait for a sequence while later ones are stored."""

    devices: int
    streams: int
    behind: int


class Store(ABC):
    """A database of events. Public methods raise UnavailableError, StorageError or NotPermittedError, one line each."""

    def commit(self, messages: Sequence[Message], *, now_ms: int) -> Committed:
        """Store a batch, durably. When it raises, nothing of it may count as stored; it can be repeated."""
        if not messages:
            return Committed()
        events = [message for message in messages if isinstance(message, Event)]
        births = [message for message in messages if isinstance(message, Birth)]
        rejected = [message for message in messages if isinstance(message, Rejected)]
        sights = newest(message for message in messages if isinstance(message, Sight))
        with self._transaction():
            if sights:
                self._see(sights, now_ms)
            committed = self._store(events, births, now_ms) if events or births else Committed()
            if rejected:
                self._reject(rejected, now_ms)
        return committed

    @abstractmethod
    def attest(self, instance: str, *, connected: bool, now_ms: int) -> None:
        """Note whether the broker lets an instance read: without one that does, no state is news."""

    @abstractmethod
    def figures(self) -> Figures:
        """Count what there is."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database."""

    def _store(self, events: Sequence[Event], births: Sequence[Birth], now_ms: int) -> Committed:
        sites = {birth.device: birth.site for birth in births} | {event.device: event.site for event in events}
        newest = {event.device: event.stream for event in events}
        devices = self._lock([(device, sites[device], newest.get(device)) for device in sorted(sites)], now_ms)
        first: dict[Key, Event] = {}
        for event in events:
            first.setdefault(event.key, event)
        new = self._insert(list(first.values()), now_ms)
        conflicts = self._conflicts(
            [event for event in events if first[event.key] is not event or event.key not in new]
        )
        if conflicts:
            self._note_conflicts(conflicts, now_ms)
        fresh = [event for key, event in first.items() if key in new]
        gaps = [
            Gap(device=event.device, stream=event.stream, first=event.gap[0], last=event.gap[1], why="given up")
            for event in fresh
            if event.gap
        ]
        self._add_gaps(gaps, now_ms)  # before marks move: on their way they look into the database
        keys = {(event.device, event.stream) for event in events}
        keys |= {(birth.device, stream) for birth in births if (stream := birth.stream or devices[birth.device].stream)}
        before = self._streams(sorted(keys))
        after = self._advance(before, fresh, gaps)
        lost = _lost(births, after)
        if lost:
            self._add_gaps(lost, now_ms)
            after = self._advance(after, (), lost)
        self._write_streams({key: stream for key, stream in after.items() if stream != before.get(key)})
        moved = self._date(fresh, {device for device, row in devices.items() if row.undated})
        if changes := count_hours(fresh, moved):
            self._add_hours(changes)
        return Committed(
            stored=len(fresh),
            duplicates=len(events) - len(fresh) - len(conflicts),
            conflicts=conflicts,
            lost=lost,
            marks=[Mark(device=key[0], site=sites[key[0]], stream=key[1], hwm=after[key].hwm) for key in sorted(keys)],
        )

    def _conflicts(self, doubled: Sequence[Event]) -> list[Event]:
        """Give those whose contents are not what is stored under their key."""
        if not doubled:
            return []
        stored = self._payloads(sorted({event.key for event in doubled}))
        return [event for event in doubled if not same(event.payload, stored[event.key])]

    def _advance(
        self, before: Mapping[StreamKey, Stream], events: Iterable[Event], gaps: Iterable[Gap]
    ) -> dict[StreamKey, Stream]:
        """Give the streams' rows with what a batch has brought."""
        there: dict[StreamKey, set[int]] = defaultdict(set)
        named: dict[StreamKey, list[tuple[int, int]]] = defaultdict(list)
        for event in events:
            there[event.device, event.stream].add(event.sequence)
        for gap in gaps:
            named[gap.device, gap.stream].append((gap.first, gap.last))
        after = {}
        for key, stream in before.items():
            top = max(there[key], default=0)
            hwm = marks.advance_in_store(
                stream.hwm,
                there=there[key],
                gaps=named[key],
                top=max(top, stream.top),
                stored_gaps=partial(self._gaps_beyond, key),
                stored_after=partial(self._sequences_after, key),
            )
            after[key] = Stream(hwm=hwm, top=max(top, stream.top))
        return after

    def _date(self, fresh: Sequence[Event], undated: set[str]) -> Sequence[Moved]:
        """Give wall time to events of devices that had none, by the nearest event of the same boot that has it."""
        strange = {event.device for event in fresh if event.time_ms is None}
        if strange - undated:
            self._mark_undated(sorted(strange - undated))
        spans: dict[tuple[str, str, bool], list[int]] = defaultdict(list)
        for event in fresh:
            if event.device in strange or event.device in undated:
                spans[event.device, event.boot, event.time_ms is not None].append(event.mono_ms)
        if not spans:
            return ()
        return self._date_spans(
            [
                Span(device=device, boot=boot, first_ms=min(mono_ms), last_ms=max(mono_ms), dated=dated)
                for (device, boot, dated), mono_ms in spans.items()
            ]
        )

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[None]:
        """All of it, durably, or nothing; the database's errors leave it as ours."""

    @abstractmethod
    def _lock(self, devices: Sequence[tuple[str, str, str | None]], now_ms: int) -> dict[str, Device]:
        """Make or refresh the rows of devices (device, site, stream or None), lock them in this order, give them."""

    @abstractmethod
    def _insert(self, events: Sequence[Event], now_ms: int) -> set[Key]:
        """Insert events of different keys; give the keys that were not there before."""

    @abstractmethod
    def _payloads(self, keys: Sequence[Key]) -> dict[Key, str]:
        """Give the payloads stored under keys."""

    @abstractmethod
    def _streams(self, keys: Sequence[StreamKey]) -> dict[StreamKey, Stream]:
        """Give a row for every key, zeros for a stream that is new."""

    @abstractmethod
    def _sequences_after(self, key: StreamKey, after: int) -> Sequence[int]:
        """Give the first marks.CHUNK stored sequences after one, in order."""

    @abstractmethod
    def _gaps_beyond(self, key: StreamKey, mark: int) -> Sequence[tuple[int, int]]:
        """Give the stored gaps whose last sequence is beyond a mark."""

    @abstractmethod
    def _write_streams(self, streams: Mapping[StreamKey, Stream]) -> None:
        """Insert or update streams' rows."""

    @abstractmethod
    def _add_gaps(self, gaps: Sequence[Gap], now_ms: int) -> None:
        """Insert gaps; one that is there already changes nothing."""

    @abstractmethod
    def _mark_undated(self, devices: Sequence[str]) -> None:
        """Note that devices have sent events without wall time."""

    @abstractmethod
    def _date_spans(self, spans: Sequence[Span]) -> Sequence[Moved]:
        """Date the events without wall time in the spans; around a dated one also those up to its dated neighbours.

        Gives those whose time has changed.
        """

    @abstractmethod
    def _add_hours(self, changes: Mapping[HourKey, int]) -> None:
        """Add to the counts of hours, in the order given; it is the last that a transaction locks of the events."""

    @abstractmethod
    def _see(self, sights: Sequence[Sight], now_ms: int) -> None:
        """Keep how devices are, at most one sight of a kind and device; an older connection's goodbye is no news."""

    @abstractmethod
    def _note_conflicts(self, events: Sequence[Event], now_ms: int) -> None:
        """Keep events that contradict what is stored under their key, the newest CONFLICTS_MAX of all."""

    @abstractmethod
    def _reject(self, rejected: Sequence[Rejected], now_ms: int) -> None:
        """Keep messages that are none of ours, the newest REJECTED_MAX of all."""


def newest(sights: Iterable[Sight]) -> list[Sight]:
    """Give the sights that count: of each device the last of a kind, but no goodbye of an older connection."""
    found: dict[tuple[str, str], Sight] = {}
    for sight in sights:
        known = found.get((sight.kind, sight.device))
        if known is None or sight.online or sight.session >= known.session:
            found[sight.kind, sight.device] = sight
    return [found[key] for key in sorted(found)]


def _lost(births: Sequence[Birth], streams: Mapping[StreamKey, Stream]) -> list[Gap]:
    """Give what devices count as done beyond the marks: they hold it no more and will not send it again."""
    done: dict[StreamKey, int] = defaultdict(int)
    for birth in births:
        if birth.stream is not None:
            done[birth.device, birth.stream] = max(done[birth.device, birth.stream], birth.acknowledged)
    return [
        Gap(device=device, stream=stream, first=streams[device, stream].hwm + 1, last=last, why="acknowledged")
        for (device, stream), last in done.items()
        if last > streams[device, stream].hwm
    ]
