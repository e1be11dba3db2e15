"""Spans of time that a chart has bars for: hours, days, weeks of a time zone. Pure."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

By = Literal["hour", "day", "week"]
BARS: dict[By, int] = {"hour": 48, "day": 30, "week": 26}
_STEP: dict[By, timedelta] = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}
_HOUR_MS = 3_600_000


class Period(msgspec.Struct, frozen=True):
    """Bars from edge to edge. edges_ms: one more than there are bars, milliseconds since 1970, rising."""

    by: By
    edges_ms: tuple[int, ...]

    @property
    def first_ms(self) -> int:
        return self.edges_ms[0]

    @property
    def end_ms(self) -> int:
        return self.edges_ms[-1]


def period(by: By, *, now: datetime, until: date | None, zone: ZoneInfo) -> Period:
    """Give the last bars up to now, or up to the end of a day.

    An edge of a day or a week is midnight in the zone, to the hour below: counts are by hours of UTC, which in a zone
    of half an hour's offset begin half an hour off.
    """
    here = now.astimezone(zone)
    last = here.date() if until is None else until
    match by:
        case "hour":
            if until is None:
                end = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
            else:
                end = _midnight(last + timedelta(days=1), zone)
            edges = [end - number * _STEP[by] for number in range(BARS[by], -1, -1)]
        case "day" | "week":
            begin = last if by == "day" else last - timedelta(days=last.weekday())
            edges = [_midnight(begin - (number - 1) * _STEP[by], zone) for number in range(BARS[by], -1, -1)]
    return Period(by, tuple(int(edge.timestamp()) * 1000 // _HOUR_MS * _HOUR_MS for edge in edges))


def shift(by: By, *, now: datetime, until: date | None, zone: ZoneInfo, pages: int) -> date | None:
    """Give the `until` of the chart so many pages later; None for the one that ends now."""
    today = now.astimezone(zone).date()
    moved = (until or today) + pages * BARS[by] * _STEP[by]
    return None if moved >= today else moved


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
