"""What became of each event: the ledger of one device against the collector's rows of it. Pure.

decided     its append has returned (ledger.Stored): it is on the disk with its stream and sequence
delivered   a row of the store has its stream, its sequence and its contents; or, after an outbox.reset, its
            contents under the new stream
given up    not in the store, and named by a gap that is, whose count covers it
destroyed   not in the store, of a stream that an outbox.reset in the store says was set aside
lost        none of these
uncounted   whatever does not add up: a row with other contents than were decided (altered), or that nobody tried to
            store (invented), or stored twice in one stream (doubled); a hole in a stream's sequences that nothing
            names; a gap that counts fewer than are missing; a reset whose `saved` is not what came
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from agent.events.types import Gap, OutboxReset
from tools.chaos.ledger import Decided


class Arrived(msgspec.Struct, frozen=True):
    """A row of the collector's store. data: of a gap or a reset, else None."""

    stream: str
    sequence: int
    type: str
    digest: str
    data: Any = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """How many of each; lost and uncounted as sentences that name them."""

    decided: int = 0
    delivered: int = 0
    given_up: int = 0
    destroyed: int = 0
    repeated: int = 0
    """Delivered under two streams: told before a reset and, unacknowledged, saved by it."""
    lost: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})

    @property
    def is_clean(self) -> bool:
        return not self.lost and not self.uncounted


def judge(
    decided: Sequence[Decided],
    maybe: Collection[str],
    streams: Sequence[str],
    arrived: Iterable[Arrived],
    *,
    may_destroy: bool = False,
    may_give_up: bool = False,
) -> Verdict:
    """Judge a device when nothing is under way any more.

    maybe: digests whose append had begun when a process ended. streams: those the device has used, in their order.
    may_destroy: the disk was damaged, so that a reset excuses what is missing. may_give_up: it was full, or the quota
    reached, so that a gap does. With a sound disk neither is an excuse.
    """
    rows = list(arrived)
    store = {(row.stream, row.sequence): row for row in rows}
    gaps = _gaps(rows)
    resets = [(row, msgspec.convert(row.data, OutboxReset)) for row in rows if row.type == OutboxReset.TYPE]
    set_aside = _set_aside(resets, streams)
    elsewhere: dict[str, set[str]] = {}
    for row in rows:
        elsewhere.setdefault(row.digest, set()).add(row.stream)

    delivered = given_up = destroyed = repeated = 0
    lost: list[str] = []
    uncounted: list[str] = []
    for event in decided:
        found = store.get((event.stream, event.sequence))
        where = elsewhere.get(event.digest, set())
        if found is not None and found.digest == event.digest:
            delivered += 1
            repeated += len(where) > 1
        elif found is not None and not where:
            lost.append(f"{event.stream}.{event.sequence}, whose number another event has")
        elif where:
            delivered += 1
            repeated += len(where) > 1
            if event.stream in where:
                uncounted.append(f"moved: {event.stream}.{event.sequence} came under another number")
        elif may_give_up and _is_named(gaps.get(event.stream, ()), event.sequence):
            given_up += 1
        elif may_destroy and event.stream in set_aside:
            destroyed += 1
        else:
            lost.append(f"{event.stream}.{event.sequence}")
    known = {event.digest for event in decided} | set(maybe)
    decided_at = {(event.stream, event.sequence): event.digest for event in decided}
    uncounted += [
        f"altered: {row.stream}.{row.sequence} is not what was decided"
        for row in rows
        if decided_at.get((row.stream, row.sequence), row.digest) != row.digest
    ]
    uncounted += _invented(rows, known, decided_at)
    uncounted += _holes(store, gaps, set_aside, decided_at)
    uncounted += _miscounted_gaps(store, gaps)
    uncounted += _miscounted_resets(rows, resets, known, decided_at, set_aside, gaps)
    return Verdict(
        decided=len(decided),
        delivered=delivered,
        given_up=given_up,
        destroyed=destroyed,
        repeated=repeated,
        lost=tuple(lost),
        uncounted=tuple(uncounted),
    )


def _gaps(rows: Iterable[Arrived]) -> dict[str, list[Gap]]:
    gaps: dict[str, list[Gap]] = {}
    for row in rows:
        if row.type == Gap.TYPE:
            gaps.setdefault(row.stream, []).append(msgspec.convert(row.data, Gap))
    return gaps


def _set_aside(resets: Iterable[tuple[Arrived, OutboxReset]], streams: Sequence[str]) -> set[str]:
    """Give the streams that a reset has ended: it names the old one, or follows it when it could not read its name.

    A stream begins with its own reset; behind it come those that it has saved, the newest first: each is about the
    stream before the one that it began itself.
    """
    ended: set[str] = set()
    of_stream: Counter[str] = Counter()
    for row, reset in sorted(resets, key=lambda pair: (pair[0].stream, pair[0].sequence)):
        of_stream[row.stream] += 1
        if reset.old_stream:
            ended.add(reset.old_stream)
        elif row.stream in streams and (place := streams.index(row.stream) - of_stream[row.stream]) >= 0:
            ended.add(streams[place])
    return ended


def _is_named(gaps: Iterable[Gap], sequence: int) -> bool:
    return any(gap.first <= sequence <= gap.last for gap in gaps)


def _invented(
    rows: Iterable[Arrived], known: Collection[str], decided_at: Collection[tuple[str, int]]
) -> Iterable[str]:
    own = (Gap.TYPE, OutboxReset.TYPE)
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        seen[row.stream, row.digest] += 1
        if seen[row.stream, row.digest] > 1:
            yield f"doubled: {row.stream}.{row.sequence} has the contents of another"
        elif row.digest not in known and row.type not in own and (row.stream, row.sequence) not in decided_at:
            yield f"invented: {row.stream}.{row.sequence} was never to be stored"


def _holes(
    store: Mapping[tuple[str, int], Arrived],
    gaps: Mapping[str, Sequence[Gap]],
    set_aside: Collection[str],
    decided_at: Collection[tuple[str, int]],
) -> Iterable[str]:
    last: dict[str, int] = {}
    for stream, sequence in store:
        last[stream] = max(last.get(stream, 0), sequence)
    for stream, end in last.items():
        if stream in set_aside:
            continue  # its end is told by the reset; what was decided of it is judged event by event
        for sequence in range(1, end):
            here = (stream, sequence)
            if here not in store and here not in decided_at and not _is_named(gaps.get(stream, ()), sequence):
                yield f"hole: {stream}.{sequence} is missing and nothing names it"


def _miscounted_gaps(store: Mapping[tuple[str, int], Arrived], gaps: Mapping[str, Sequence[Gap]]) -> Iterable[str]:
    for stream, named in gaps.items():
        for gap in named:
            missing = sum((stream, sequence) not in store for sequence in range(gap.first, gap.last + 1))
            counted = sum(gap.by_type.values())
            if missing > counted:
                yield f"gap {stream}.{gap.first}-{gap.last} counts {counted} events, and {missing} are missing"


def _miscounted_resets(
    rows: Iterable[Arrived],
    resets: Iterable[tuple[Arrived, OutboxReset]],
    known: Collection[str],
    decided_at: Collection[tuple[str, int]],
    set_aside: Collection[str],
    gaps: Mapping[str, Sequence[Gap]],
) -> Iterable[str]:
    came: Counter[str] = Counter()
    for row in rows:
        if row.type == OutboxReset.TYPE:
            came[row.stream] += row.sequence > 1  # an earlier one, saved like any other event
        else:
            came[row.stream] += row.digest in known and (row.stream, row.sequence) not in decided_at
    for row, reset in resets:
        if row.sequence > 1:
            continue
        whole = row.stream not in set_aside and row.stream not in gaps  # else they may have gone the same way again
        if came[row.stream] > reset.saved or (whole and came[row.stream] < reset.saved):
            yield f"reset {row.stream} says that {reset.saved} events were saved, and {came[row.stream]} came"
