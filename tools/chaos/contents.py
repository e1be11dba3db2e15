"""What makes two events the same event, for the ledger and for the store: all that the envelope carries of it."""

import hashlib
from typing import Any

import msgspec

from agent.clock import NS_PER_MS
from agent.events.types import Event


def digest_of(kind: str, person: str | None, at_ms: int, data: Any) -> str:
    """Give 24 hexadecimal digits of an event's contents. data: its JSON as plain values; the order of keys is free."""
    facts = msgspec.json.encode([kind, person or "", at_ms, data], order="deterministic")
    return hashlib.blake2b(facts, digest_size=12).hexdigest()


def digest_of_event(event: Event) -> str:
    """Give the digest of an event before it is stored."""
    data = msgspec.json.decode(msgspec.json.encode(event.data))
    return digest_of(event.type, event.person, event.at_ns // NS_PER_MS, data)


class Envelope(msgspec.Struct):
    """What the checker reads of an envelope that the collector has stored; its own reading, not the product's."""

    type: str
    monoms: str
    data: Any
    subject: str = ""


def digest_of_payload(payload: bytes | str) -> tuple[str, Envelope]:
    """Give the digest of a stored event, with its envelope. Raises msgspec.DecodeError."""
    envelope = msgspec.json.decode(payload, type=Envelope)
    return digest_of(envelope.type, envelope.subject, int(envelope.monoms), envelope.data), envelope
