"""What a batch changes in the counts of hours. Pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from tools.fleet.collector.messages import Event

_HOUR_MS = 3_600_000
NEVER_HOUR = -1  # of events that nobody can date

HourKey = tuple[str, str, str, int]
"""Site (empty: all of them), type, label (empty: none), hours since 1970."""


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """An event that has been given another time."""

    site: str
    type: str
    label: str | None
    before_ms: int | None
    after_ms: int


def hour_of(happened_ms: int | None) -> int:
    """Give the hour that a time falls into; NEVER_HOUR for none, and for one that no clock has shown."""
    return NEVER_HOUR if happened_ms is None or happened_ms < 0 else happened_ms // _HOUR_MS


def count_hours(fresh: Iterable[Event], moved: Iterable[Moved]) -> dict[HourKey, int]:
    """Give what new events, and those that got another time, change in the counts; in order, without zeros."""
    changes: Counter[HourKey] = Counter()
    for event in fresh:
        _count(changes, event.site, event.type, event.label, event.time_ms, 1)
    for one in moved:
        _count(changes, one.site, one.type, one.label, one.before_ms, -1)
        _count(changes, one.site, one.type, one.label, one.after_ms, 1)
    return {key: changes[key] for key in sorted(changes) if changes[key]}


def _count(
    changes: Counter[HourKey], site: str, kind: str, label: str | None, happened_ms: int | None, number: int
) -> None:
    for place in (site, ""):
        changes[place, kind, label or "", hour_of(happened_ms)] += number
