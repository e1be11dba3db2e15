"""What the address bar may ask for: each value checked against its type before anything is done with it. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Annotated, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from agent.seams import Verdict
from tools.fleet.page.health import Level
from tools.fleet.page.periods import By

Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
Sort = Literal["state", "name", "site", "heard", "queue", "temperature", "certificate"]
_YEARS = range(1971, 2200)


class BadFilterError(ValueError):
    """What the address bar asks for makes no sense; the text says which part."""


class Cursor(msgspec.Struct, frozen=True):
    """A place in the list of events: everything before it, newest first."""

    at_ms: int
    device: str
    stream: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.at_ms}.{self.device}.{self.stream}.{self.sequence}"


_CURSOR = re.compile(r"(-?[0-9]{1,18})\.([A-Za-z0-9_-]{1,64})\.([0-9a-z]{1,32})\.([0-9]{1,12})")


class Filters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that any page can be asked for; a page leaves alone what does not concern it.

    since, until: days for charts, minutes for events, in the page's time zone.
    """

    site: Name | None = None
    device: Name | None = None
    label: Verdict | None = None
    type: Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,40}\Z")] | None = None
    state: Level | Literal["problem"] | None = None
    q: Annotated[str, Meta(max_length=64)] | None = None
    sort: Sort = "state"
    page: Annotated[int, Meta(ge=1, le=10_000)] = 1
    by: By = "day"
    since: Annotated[str, Meta(max_length=19)] | None = None
    until: Annotated[str, Meta(max_length=19)] | None = None
    before: Annotated[str, Meta(max_length=140)] | None = None

    @property
    def cursor(self) -> Cursor | None:
        """Raises BadFilterError."""
        if self.before is None:
            return None
        found = _CURSOR.fullmatch(self.before)
        if found is None:
            raise BadFilterError(f"before: {self.before!r} is no place in the list")
        at_ms, device, stream, sequence = found.groups()
        return Cursor(int(at_ms), device, stream, int(sequence))

    @property
    def until_day(self) -> date | None:
        """Raises BadFilterError."""
        return None if self.until is None else _moment(self.until, "until").date()

    def since_ms(self, zone: ZoneInfo) -> int | None:
        """Raises BadFilterError."""
        return None if self.since is None else _ms(_moment(self.since, "since"), zone)

    def until_ms(self, zone: ZoneInfo) -> int | None:
        """Give the end of what is asked for: the one of a day if a day is given. Raises BadFilterError."""
        if self.until is None:
            return None
        moment = _moment(self.until, "until")
        if len(self.until) <= len("2026-11-21"):
            moment = moment.replace(hour=23, minute=59, second=59, microsecond=999_000)
        return _ms(moment, zone) + 1


def parse(pairs: Iterable[tuple[str, str]]) -> Filters:
    """Read the address bar. Raises BadFilterError."""
    told = {name: value for name, value in pairs if value}  # a form sends its empty fields along
    try:
        return msgspec.convert(told, Filters, strict=False)
    except msgspec.ValidationError as error:
        raise BadFilterError(str(error).replace("`$.", "`")) from error


def address(path: str, filters: Filters, **changes: object) -> str:
    """Give the address of a page with these filters, some changed; what is as by default is left out."""
    told: Mapping[str, object] = msgspec.structs.asdict(filters) | changes
    defaults = msgspec.structs.asdict(Filters())
    found = {name: str(value) for name, value in told.items() if value != defaults[name] and value is not None}
    return f"{path}?{urlencode(found)}" if found else path


def _moment(text: str, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadFilterError(f"{name}: {text!r} is no time like 2026-11-21 or 2026-11-21T10:30") from error
    if moment.tzinfo is not None or moment.year not in _YEARS:
        raise BadFilterError(f"{name}: {text!r} is no time of the page's zone")
    return moment


def _ms(moment: datetime, zone: ZoneInfo) -> int:
    return round(moment.replace(tzinfo=zone).timestamp() * 1000)
