"""What the other topics carry: status, telemetry, commands with their replies, the collector's acknowledgement."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agent.events.types import Count, Seconds, StreamId, Text

CameraState = Literal["starting", "ok", "blind", "lost"]


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Retained on `status`: is the board there, and is it well. Readers ignore an `offline` of an older session."""

    state: Literal["online", "offline"]
    session: Annotated[int, Meta(ge=1, description="number of the connection; the will carries that of its birth")]
    version: Text
    camera: CameraState | UnsetType = UNSET
    reason: Annotated[Text, Meta(description="why offline, or what is wrong while online")] | UnsetType = UNSET
    backlog: Annotated[Count, Meta(description="events stored and not yet acknowledged")] | UnsetType = UNSET
    stream: Annotated[StreamId, Meta(description="the one that is sent now")] | UnsetType = UNSET
    acknowledged: Annotated[Count, Meta(description="up to this sequence nothing will be sent again")] | UnsetType = (
        UNSET
    )
    insecure: (
        Annotated[bool, Meta(description="true when the broker's certificate is not verified; absent otherwise")]
        | UnsetType
    ) = UNSET
    time: Annotated[str, Meta(max_length=30, description="absent without a trusted clock")] | UnsetType = UNSET


class StageTimes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Milliseconds of one stage since the last telemetry."""

    p50_ms: Seconds
    p99_ms: Seconds


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """On `telemetry`, every report.telemetry_every_s: how the board is doing. Absent: the board cannot tell."""

    session: Annotated[int, Meta(ge=1)]
    uptime_s: Seconds
    camera: CameraState
    frames: Annotated[Count, Meta(description="since start")]
    frames_per_s: Seconds
    stages: Annotated[
        dict[Annotated[str, Meta(max_length=20)], StageTimes],
        Meta(max_length=10, description="motion, detect, track, classify, decide"),
    ]
    faces: Annotated[Count, Meta(description="faces found since start")]
    persons: Annotated[Count, Meta(description="persons present")]
    glimpses: Annotated[Count, Meta(description="tracks too short for a decision, since start")]
    still_faces: Annotated[Count, Meta(description="faces that never move (posters, screens), silenced now")]
    backlog: Count
    events: Annotated[Count, Meta(description="stored since start")]
    acknowledged: Annotated[Count, Meta(description="since start")]
    accelerator: Literal["cpu", "edgetpu"]
    accelerator_why: Text
    accelerator_lost: Annotated[Count, Meta(description="how often the Edge TPU was in use and then lost, since start")]
    memory_mb: Seconds
    disk_free_mb: Seconds
    written_kb: Annotated[Count, Meta(description="written by this process since start")]
    temperature_c: Annotated[float, Meta(ge=-100, le=200)] | UnsetType = UNSET
    throttled: Annotated[bool, Meta(description="the board has slowed itself down or lacks voltage")] | UnsetType = (
        UNSET
    )
    certificate_days: (
        Annotated[float, Meta(ge=-100_000, le=100_000, description="until the device certificate expires")] | UnsetType
    ) = UNSET
    time: Annotated[str, Meta(max_length=30)] | UnsetType = UNSET


CommandName = Literal["ping", "diag", "self-test", "restart", "renew", "replay"]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A request on `command`. On MQTT 5 correlation data and response topic take the place of id and reply_to."""

    command: CommandName
    id: Annotated[str, Meta(max_length=64)] = ""
    reply_to: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    first: Annotated[int, Meta(ge=1, description="replay: from this sequence on")] | UnsetType = UNSET
    certificate: Annotated[str, Meta(max_length=3000, description="renew: the new certificate, PEM")] | UnsetType = (
        UNSET
    )


ReplyValue = Annotated[str, Meta(max_length=300)] | bool | int | float | None


class Reply(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer on `reply`."""

    command: Annotated[str, Meta(max_length=20)]
    id: Annotated[str, Meta(max_length=64)] = ""
    ok: bool
    message: Annotated[str, Meta(max_length=200)] = ""
    result: Annotated[dict[Annotated[str, Meta(max_length=40)], ReplyValue], Meta(max_length=40)] = {}


class Ack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """On `ack`, from the collector: everything of the stream up to hwm is in its database.

    Said after each commit with events of the device, moved or not, and when the device comes online: a device that
    hears nothing sends a window at a time.
    """

    stream: StreamId
    hwm: Annotated[int, Meta(ge=0)]
