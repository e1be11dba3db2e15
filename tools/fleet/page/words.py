"""What an event says, in a sentence; what a number is, with its unit. Pure.

All of it may have come from a network: nothing here is markup, and the templates escape it.
"""

import unicodedata
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from agent.events.types import (
    TYPES,
    AgentStart,
    AgentStop,
    CameraBack,
    CameraBlind,
    Counts,
    EventData,
    Gap,
    LabelCounts,
    OutboxReset,
    PersonEnd,
    PersonNew,
    PersonUpdate,
)
from agent.seams import Verdict
from tools.fleet.page.health import spell_ms

LABELS: dict[Verdict, str] = {
    "no_mask": "no mask",
    "incorrect": "worn wrongly",
    "unsure": "unsure",
    "mask": "mask",
}
"""In the order in which bars are stacked, from the ground up: what an operator looks for stands on it."""

GAP_WHYS = {
    "quota": "there was no room for them in the device's outbox",
    "disk": "the device's disk failed",
    "collector": "they had been acknowledged, got lost behind that, and the device has them no more",
}
BLIND_WHYS = {
    "no_frames": "no pictures come",
    "black": "the picture is black",
    "flat": "the picture is flat",
    "frozen": "the picture is frozen",
    "covered": "it is covered",
    "moved": "it was moved",
}


class _Envelope(msgspec.Struct, frozen=True):
    data: msgspec.Raw = msgspec.Raw(b"null")


def sentence(kind: str, payload: str) -> str:
    """Say what an event says; its type's name where this release does not know it."""
    data = _data(kind, payload)
    match data:
        case PersonNew():
            told = f"{data.confidence:.0%} after {data.looks} looks" if not data.reason else f"{data.reason}"
            return f"A person: {LABELS[data.label]} ({told})"
        case PersonUpdate():
            return f"A person: {LABELS[data.label]}, not {LABELS[data.previous]} ({data.confidence:.0%})"
        case PersonEnd():
            ends = {"gone": "A person has gone", "stop": "The agent stopped", "restart": "The agent had died"}
            return f"{ends[data.reason]}: {LABELS[data.label]}, seen for {data.duration_s:.0f} s"
        case Counts():
            blind = f", blind for {data.blind_s:.0f} s" if data.blind_s else ""
            return f"In {data.span_s:.0f} s: {_counts(data.ended)}; watched for {data.watched_s:.0f} s{blind}"
        case AgentStart():
            died = " after it had died" if data.previous_stop == "unclean" else ""
            return f"Started{died}, version {data.version}" + (f" ({data.reason})" if data.reason else "")
        case AgentStop():
            return f"Stopped, version {data.version}" + (f" ({data.reason})" if data.reason else "")
        case CameraBlind():
            return f"The camera is blind: {BLIND_WHYS[data.reason]}, for {data.since_s:.0f} s already"
        case CameraBack():
            return f"The camera sees again, blind for {data.blind_s:.0f} s ({BLIND_WHYS[data.reason]})"
        case Gap():
            return f"{named(data.first, data.last)} given up: {GAP_WHYS[data.why]}"
        case OutboxReset():
            return (
                f"The outbox was set aside and a new stream begun: {data.why or 'it could not be read'}; "
                f"{data.saved} events saved from it, the last that was seen in it is number {data.last_sequence}"
            )
    return kind.removeprefix("maskwatch.")


def named(first: int, last: int) -> str:
    """Name a run of sequences."""
    if first == last:
        return f"Event {first}"
    return f"{last - first + 1} events, {first} to {last},"


def clean(text: str) -> str:
    """Give text without what a person cannot see or what turns the direction of the rest."""
    return "".join("�" if unicodedata.category(one) in ("Cc", "Cf", "Co", "Cs", "Cn") else one for one in text)


def ago(at_ms: int | None, now_ms: int) -> str:
    return "never" if at_ms is None else f"{spell_ms(now_ms - at_ms)} ago"


def clock(at_ms: int, zone: ZoneInfo, *, seconds: bool = True) -> str:
    """Write a time in a zone; what no calendar has as its number."""
    try:
        at = datetime.fromtimestamp(at_ms / 1000, tz=UTC).astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
    return f"{at:%Y-%m-%d %H:%M:%S}" if seconds else f"{at:%Y-%m-%d %H:%M}"


def _counts(counts: LabelCounts) -> str:
    found = [f"{number} {LABELS[label]}" for label in LABELS if (number := getattr(counts, label))]
    return ", ".join(found) or "nobody"


def _data(kind: str, payload: str) -> EventData | None:
    known = TYPES.get(kind)
    if known is None:
        return None
    try:
        data: EventData = msgspec.json.decode(msgspec.json.decode(payload, type=_Envelope).data, type=known)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
    return data
