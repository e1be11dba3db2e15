"""The pump: what to send next. Pure: it is told the time and what happened, and never touches disk or network."""

import random
from enum import IntEnum
from typing import Literal

import msgspec


class PubackCode(IntEnum):
    """MQTT 5.0 section 3.4.2.1: the answers to a QoS 1 publish."""

    SUCCESS = 0
    NO_MATCHING_SUBSCRIBERS = 16
    UNSPECIFIED = 128
    IMPLEMENTATION_SPECIFIC = 131
    NOT_AUTHORISED = 135
    TOPIC_NAME_INVALID = 144
    PACKET_IDENTIFIER_IN_USE = 145
    QUOTA_EXCEEDED = 151
    PAYLOAD_FORMAT_INVALID = 153


class Send(msgspec.Struct, frozen=True, kw_only=True):
    """Publish the next rows after a sequence, at most `count`, telling `sent` of each."""

    after: int
    count: int


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing to send; ask again when something happens or, unless None, at this instant."""

    until_ns: int | None


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """The connection is dead though it looks alive: drop it and connect anew."""

    why: str


class Pump:
    """Sends one stream strictly by sequence, at most a window at a time."""

    def __init__(self, *, ack_mode: Literal["puback", "collector"], acknowledged: int, rng: random.Random) -> None:
        raise NotImplementedError

    def next(self, now_ns: int, *, newest: int, room: int, frames_coming: bool) -> Send | Wait | Rebuild:
        raise NotImplementedError
