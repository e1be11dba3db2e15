"""What arrives, judged: an event to store, a device that came online, or a message that is none of ours.

Pure, and deliberately wider than the contract of the agent at hand: an event of a type that this release does not know
is stored all the same, or a board that was updated first could never empty its outbox.
"""

import re
from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agent.events.envelope import MESSAGE_BYTES_MAX
from agent.events.types import Gap, StreamId
from agent.seams import Verdict

_TOPIC = re.compile(r"maskwatch/([A-Za-z0-9_-]{1,64})/([A-Za-z0-9_-]{1,64})/(events|status|telemetry)")
_PERSON = "maskwatch.person."
_MONO_MS_MAX = 2**53  # 285,000 years since boot; more does not fit a database's integer
_REJECTED_BYTES_MAX = MESSAGE_BYTES_MAX  # of a message that is none of ours, what is kept to look at


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is stored.

    time_ms, recorded_ms: wall time in milliseconds since 1970 as the device said it, None without a trusted clock.
    mono_ms: milliseconds since the boot `boot`. payload: the message as it came. gap: first and last sequence that it
    says will never come. label: the verdict that an event about a person carries.
    """

    device: str
    stream: str
    sequence: int
    site: str
    type: str
    subject: str | None
    boot: str
    mono_ms: int
    time_ms: int | None
    recorded_ms: int | None
    payload: str
    gap: tuple[int, int] | None
    label: str | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.device, self.stream, self.sequence)


class Birth(msgspec.Struct, frozen=True, kw_only=True):
    """A device says that it is online. stream: the one it sends, all up to `acknowledged` of which is done for it."""

    device: str
    site: str
    stream: str | None
    acknowledged: int


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """How a device is, as its status or its telemetry says; only the newest of each is worth keeping.

    kind: which of the two. session: the number of its connection. online, camera, reason: of a status.
    payload: the message as it came.
    """

    device: str
    site: str
    kind: Literal["status", "telemetry"]
    session: int
    online: bool
    camera: str
    reason: str
    payload: str


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is no event of ours, cut to a size that can be kept."""

    topic: str
    why: str
    payload: bytes


Message = Event | Birth | Sight | Rejected


class _Wire(msgspec.Struct, frozen=True):
    """Of the envelope what the store has columns for; its other fields may be whatever they are."""

    specversion: Literal["1.0"]
    source: str
    type: Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,40}\Z")]
    sequence: Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z")]
    stream: StreamId
    bootid: Annotated[str, Meta(pattern=r"\A[0-9a-f]{0,32}\Z")]
    monoms: Annotated[str, Meta(pattern=r"\A[0-9]{1,20}\Z")]
    data: msgspec.Raw
    time: datetime | UnsetType = UNSET
    recordedtime: datetime | UnsetType = UNSET
    subject: Annotated[str, Meta(pattern=r"\A[\x20-\x7e]{1,64}\Z")] | UnsetType = UNSET


class _Online(msgspec.Struct, frozen=True):
    state: str
    stream: StreamId | UnsetType = UNSET
    acknowledged: Annotated[int, Meta(ge=0, lt=10**12)] = 0


class _Seen(msgspec.Struct, frozen=True):
    session: Annotated[int, Meta(ge=0, lt=2**53)] = 0
    state: Literal["online", "offline"] = "online"
    camera: Annotated[str, Meta(max_length=20)] = ""
    reason: Annotated[str, Meta(max_length=200)] = ""


class _Labelled(msgspec.Struct, frozen=True):
    label: Verdict


class _Named(msgspec.Struct, frozen=True):
    first: Annotated[int, Meta(ge=1)]
    last: int


_WIRE = msgspec.json.Decoder(_Wire)
_ONLINE = msgspec.json.Decoder(_Online)
_NAMED = msgspec.json.Decoder(_Named)
_SEEN = msgspec.json.Decoder(_Seen)
_LABELLED = msgspec.json.Decoder(_Labelled)


def read(topic: str, payload: bytes) -> Message | None:
    """Judge a message as to what is to be stored for good.

    None for one that says nothing to that end, like a device that goes offline, or telemetry: see `sight`.
    """
    found = _TOPIC.fullmatch(topic)
    if found is None:
        return _reject(topic, payload, "not a topic of ours")
    site, device, kind = found.groups()
    if kind == "telemetry":
        return None
    try:
        return _event(site, device, payload) if kind == "events" else _birth(site, device, payload)
    except msgspec.DecodeError as error:
        return _reject(topic, payload, str(error))
    except (ValueError, OverflowError) as error:  # bytes that are no UTF-8, a year that no calendar has
        return _reject(topic, payload, str(error))


def sight(topic: str, payload: bytes) -> Sight | None:
    """Read a status or telemetry as to how the device is; None when it is neither, or not readable."""
    found = _TOPIC.fullmatch(topic)
    if found is None or found[3] == "events" or not 0 < len(payload) <= MESSAGE_BYTES_MAX:
        return None
    try:
        seen, text = _SEEN.decode(payload), payload.decode()
    except (msgspec.DecodeError, ValueError):
        return None
    return Sight(
        device=found[2],
        site=found[1],
        kind="status" if found[3] == "status" else "telemetry",
        session=seen.session,
        online=seen.state == "online",
        camera=_plain(seen.camera),
        reason=_plain(seen.reason),
        payload=text,
    )


def same(one: str, other: str) -> bool:
    """Tell whether two messages under one key tell the same; `historical` says when it was sent, and may differ."""
    if one == other:
        return True
    try:
        first, second = (msgspec.json.decode(text) for text in (one, other))
    except msgspec.DecodeError:
        return False
    return isinstance(first, dict) and isinstance(second, dict) and _told(first) == _told(second)


def _told(envelope: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in envelope.items() if name != "historical"}


def _event(site: str, device: str, payload: bytes) -> Event:
    if len(payload) > MESSAGE_BYTES_MAX:
        raise ValueError(f"{len(payload)} bytes are more than {MESSAGE_BYTES_MAX}")
    wire = _WIRE.decode(payload)
    if wire.source != f"/maskwatch/{site}/{device}":
        raise ValueError(f"source {wire.source[:150]!r} is not whom the topic names")
    sequence, mono_ms = int(wire.sequence), int(wire.monoms)
    if sequence == 0:
        raise ValueError("sequences begin with 1")
    if mono_ms > _MONO_MS_MAX:
        raise ValueError(f"monoms {mono_ms} is no time since boot")
    return Event(
        device=device,
        stream=wire.stream,
        sequence=sequence,
        site=site,
        type=wire.type,
        subject=wire.subject or None,
        boot=wire.bootid,
        mono_ms=mono_ms,
        time_ms=_wall_ms(wire.time),
        recorded_ms=_wall_ms(wire.recordedtime),
        payload=payload.decode(),
        gap=_gap(bytes(wire.data), sequence) if wire.type == Gap.TYPE else None,
        label=_label(bytes(wire.data)) if wire.type.startswith(_PERSON) else None,
    )


def _birth(site: str, device: str, payload: bytes) -> Birth | None:
    if not payload:  # a retained status that somebody has removed
        return None
    online = _ONLINE.decode(payload)
    if online.state != "online":
        return None
    return Birth(device=device, site=site, stream=online.stream or None, acknowledged=online.acknowledged)


def _gap(data: bytes, sequence: int) -> tuple[int, int] | None:
    """Give what a gap names. One that names itself, the future or nothing is stored like any event, not believed."""
    try:
        named = _NAMED.decode(data)
    except msgspec.DecodeError:
        return None
    return (named.first, named.last) if named.first <= named.last < sequence else None


def _label(data: bytes) -> str | None:
    try:
        return _LABELLED.decode(data).label
    except msgspec.DecodeError:
        return None


def _plain(text: str) -> str:
    return text.replace("\0", "")  # PostgreSQL's text has no place for it


def _wall_ms(moment: datetime | UnsetType) -> int | None:
    if moment is UNSET:
        return None
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return round(moment.timestamp() * 1000)


def _reject(topic: str, payload: bytes, why: str) -> Rejected:
    plain = topic.encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
    return Rejected(topic=plain[:200], why=why.replace("\0", "\\0")[:200], payload=payload[:_REJECTED_BYTES_MAX])
