"""The envelope of an event on the wire: CloudEvents 1.0 in JSON, structured mode.

Source: CloudEvents 1.0.2, JSON event format, and the registered extensions `sequence` (a string that sorts as text)
and `recordedtime`. CloudEvents' Integer has 32 bits, so milliseconds since boot travel as a string.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agent.clock import NS_PER_MS, NS_PER_S
from agent.events.types import TYPES, EventData, StreamId

CONTENT_TYPE = "application/cloudevents+json"
MESSAGE_BYTES_MAX = 4096
HISTORICAL_AFTER_NS = 60 * NS_PER_S

D = TypeVar("D")
Timestamp = Annotated[
    str, Meta(max_length=30, pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", description="RFC 3339, UTC")
]


class Envelope(msgspec.Struct, Generic[D], frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event as subscribers get it."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(max_length=48, description="<stream>.<sequence>: the key to remove duplicates by")]
    source: Annotated[str, Meta(max_length=150, pattern="^/maskwatch/", description="/maskwatch/<site>/<device>")]
    type: Annotated[str, Meta(max_length=40)]
    time: Annotated[Timestamp, Meta(description="when it happened; absent without a trusted clock")] | UnsetType = UNSET
    recordedtime: (
        Annotated[Timestamp, Meta(description="when it was stored; absent without a trusted clock")] | UnsetType
    ) = UNSET
    subject: Annotated[str, Meta(max_length=32, description="the person it is about")] | UnsetType = UNSET
    datacontenttype: Literal["application/json"]
    dataschema: Annotated[str, Meta(max_length=80, pattern="^urn:maskwatch:")]
    sequence: Annotated[
        str, Meta(max_length=12, pattern="^[0-9]{12}$", description="1, 2, 3 ... in each stream, without holes")
    ]
    stream: StreamId
    bootid: Annotated[str, Meta(max_length=32, pattern="^[0-9a-f]*$")]
    monoms: Annotated[str, Meta(max_length=20, pattern="^[0-9]+$", description="milliseconds since boot")]
    timeok: Annotated[bool, Meta(description="the clock was trusted when this was stored")]
    historical: Annotated[bool, Meta(description="published more than 60 s after it happened")]
    data: D


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the outbox keeps it: all of the envelope that is not the same for each event of a device.

    at_ns: when it happened, on the machine's monotonic clock of boot `boot_id`. at_wall_ns, recorded_wall_ns:
    nanoseconds since 1970, None while the clock was not trusted. data: the JSON of the event's data.
    """

    stream: str
    sequence: int
    type: str
    person: str | None
    boot_id: str
    at_ns: int
    at_wall_ns: int | None
    recorded_wall_ns: int | None
    data: bytes


def encode(stored: Stored, *, source: str, historical: bool) -> bytes:
    """Give the event's message: JSON, UTF-8, at most MESSAGE_BYTES_MAX bytes (the types' bounds see to that)."""
    return msgspec.json.encode(
        Envelope(
            specversion="1.0",
            datacontenttype="application/json",
            id=f"{stored.stream}.{stored.sequence}",
            source=source,
            type=stored.type,
            time=UNSET if stored.at_wall_ns is None else timestamp(stored.at_wall_ns),
            recordedtime=UNSET if stored.recorded_wall_ns is None else timestamp(stored.recorded_wall_ns),
            subject=UNSET if stored.person is None else stored.person,
            dataschema=schema_name(stored.type),
            sequence=f"{stored.sequence:012d}",
            stream=stored.stream,
            bootid=stored.boot_id,
            monoms=str(stored.at_ns // NS_PER_MS),
            timeok=stored.recorded_wall_ns is not None,
            historical=historical,
            data=msgspec.Raw(stored.data),
        )
    )


def decode(message: bytes) -> Envelope[EventData]:
    """Read and validate a message, its data by its type.

    Raises msgspec.ValidationError (or its parent DecodeError for broken JSON) naming the place.
    """
    kind = msgspec.json.decode(message, type=_Typed).type
    if kind not in TYPES:
        raise msgspec.ValidationError(f"unknown event type {kind!r} - at `$.type`")
    shape: Any = Envelope
    envelope: Envelope[EventData] = msgspec.json.decode(message, type=shape[TYPES[kind]])
    return envelope


def is_historical(stored: Stored, *, boot_id: str, now_ns: int, wall_ns: int | None) -> bool:
    """Tell whether an event that is published now is history.

    Within one boot the monotonic clock decides; after a reboot two trusted wall times do; without them it is history,
    since nobody can tell how long the board was off. So it is where it seems to come from the future: one of the two
    clocks was wrong. wall_ns: None while the clock is not trusted.
    """
    if stored.boot_id == boot_id:
        return now_ns - stored.at_ns > HISTORICAL_AFTER_NS
    if stored.at_wall_ns is None or wall_ns is None:
        return True
    return not 0 <= wall_ns - stored.at_wall_ns <= HISTORICAL_AFTER_NS


def schema_name(event_type: str) -> str:
    """Name the schema of an event type's data: `urn:maskwatch:schema:person.new:v1`."""
    name, version = event_type.removeprefix("maskwatch.").rsplit(".", 1)
    return f"urn:maskwatch:schema:{name}:{version}"


def timestamp(wall_ns: int) -> str:
    """Write nanoseconds since 1970 as RFC 3339 in UTC with milliseconds."""
    seconds, rest_ns = divmod(wall_ns, NS_PER_S)
    day = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{day:%Y-%m-%dT%H:%M:%S}.{rest_ns // NS_PER_MS:03d}Z"


class _Typed(msgspec.Struct):
    type: str
