"""What can be said about people and about ourselves: the data of each event type, its bounds included.

These types are the contract: JSON Schema and AsyncAPI are generated from them (agent.events.schema), subscribers rely
on them, and no field is wide enough for a picture. A breaking change is a new type with the next version at its end.
"""

from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from agent.seams import Reason, Verdict

Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
BoxNorm = Annotated[
    tuple[Fraction, Fraction, Fraction, Fraction], Meta(description="x0, y0, x1, y1 as parts of the frame, 0..1")
]
PersonId = Annotated[
    str, Meta(max_length=32, pattern="^[0-9a-z-]+$", description="unique for the device: run id, dash, number")
]
Text = Annotated[str, Meta(max_length=120)]
Digest = Annotated[str, Meta(max_length=64, pattern="^[0-9a-f]*$")]
StreamId = Annotated[str, Meta(max_length=32, pattern="^[0-9a-z]+$")]


class LabelCounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many of each verdict."""

    mask: Count = 0
    no_mask: Count = 0
    incorrect: Count = 0
    unsure: Count = 0


class _Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    person: PersonId
    label: Verdict
    confidence: Annotated[Probability, Meta(description="mean probability of the label over the looks that count")]
    looks: Annotated[Count, Meta(description="looks at the face that count so far")]
    seen_s: Annotated[Seconds, Meta(description="from the first to the last sighting")]
    face_px: Annotated[Seconds, Meta(description="median side of the face in pixels of the frame")]
    box: BoxNorm


class PersonNew(_Person, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """First decision about a person; `unsure` when there is none within decision.decide_within_s."""

    TYPE: ClassVar[str] = "maskwatch.person.new.v1"
    reason: Annotated[Reason, Meta(description="why unsure; absent otherwise")] | UnsetType = UNSET


class PersonUpdate(_Person, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The decision about a person has changed."""

    TYPE: ClassVar[str] = "maskwatch.person.update.v1"
    previous: Verdict
    reason: Annotated[Reason, Meta(description="why unsure; absent otherwise")] | UnsetType = UNSET


class PersonEnd(_Person, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person has gone, or we have."""

    TYPE: ClassVar[str] = "maskwatch.person.end.v1"
    duration_s: Annotated[Seconds, Meta(description="from the first sighting to the last")]
    looks_by_label: Annotated[LabelCounts, Meta(description="looks by their own likeliest label, unsure included")]
    reason: Annotated[
        Literal["gone", "stop", "restart"],
        Meta(description="unseen for decision.forget_after_s; agent stopped; agent had died with the person present"),
    ]


class Counts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was seen in a span of time; blind seconds are not watched seconds."""

    TYPE: ClassVar[str] = "maskwatch.counts.v1"
    span_s: Annotated[Seconds, Meta(description="the span that this event covers, up to its own time")]
    ended: Annotated[LabelCounts, Meta(description="persons whose story ended in the span, by their last label")]
    present: Annotated[Count, Meta(description="persons present now")]
    frames: Count
    watched_s: Seconds
    blind_s: Seconds


class _Agent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Text
    classifier_sha256: Digest
    detector_sha256: Digest
    config_digest: Annotated[Digest, Meta(description="sha256 of the effective configuration, first 16 digits")]
    reason: Text
    previous_stop: Annotated[
        Literal["clean", "unclean", "none"],
        Meta(description="how the run before ended; none: the first on this outbox"),
    ]


class AgentStart(_Agent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent has started watching."""

    TYPE: ClassVar[str] = "maskwatch.agent.start.v1"


class AgentStop(_Agent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The agent stops in order; a missing one before the next start means that it did not."""

    TYPE: ClassVar[str] = "maskwatch.agent.stop.v1"


BlindReason = Literal["no_frames", "black", "flat", "frozen", "covered", "moved"]


class CameraBlind(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For camera.blind_after_s nothing could be seen: from now on an empty scene means nothing."""

    TYPE: ClassVar[str] = "maskwatch.camera.blind.v1"
    reason: BlindReason
    since_s: Annotated[Seconds, Meta(description="for how long already when this was said")]


class CameraBack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The camera sees again."""

    TYPE: ClassVar[str] = "maskwatch.camera.back.v1"
    reason: BlindReason
    blind_s: Annotated[Seconds, Meta(description="seconds blind altogether")]


class Gap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events that were given up: every sequence from first to last that never arrived is one."""

    TYPE: ClassVar[str] = "maskwatch.gap.v1"
    first: Annotated[int, Meta(ge=1)]
    last: Annotated[int, Meta(ge=1)]
    by_type: Annotated[
        dict[Annotated[str, Meta(max_length=40)], Count],
        Meta(max_length=16, description="how many of each type were given up"),
    ]
    why: Annotated[
        Literal["quota", "disk", "collector"],
        Meta(
            description="no room; or the collector lost what it, or the broker, had acknowledged, and it is gone here"
        ),
    ]


class OutboxReset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outbox could not be read any more and was set aside: a new stream begins."""

    TYPE: ClassVar[str] = "maskwatch.outbox.reset.v1"
    old_stream: Annotated[str, Meta(max_length=32, description="empty when not even that could be read")]
    saved: Annotated[Count, Meta(description="events saved from it; they follow in the new stream, in their order")]
    last_sequence: Annotated[int, Meta(ge=0, description="the highest sequence seen in it; 0 when unknown")]
    why: Text


EventData = (
    PersonNew
    | PersonUpdate
    | PersonEnd
    | Counts
    | AgentStart
    | AgentStop
    | CameraBlind
    | CameraBack
    | Gap
    | OutboxReset
)

TYPES: dict[str, type[Any]] = {
    kind.TYPE: kind
    for kind in (
        PersonNew,
        PersonUpdate,
        PersonEnd,
        Counts,
        AgentStart,
        AgentStop,
        CameraBlind,
        CameraBack,
        Gap,
        OutboxReset,
    )
}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. at_ns: when, on the camera's timeline (agent.seams)."""

    at_ns: int
    data: EventData

    @property
    def type(self) -> str:
        return self.data.TYPE

    @property
    def person(self) -> str | None:
        """The person it is about, or None."""
        return self.data.person if isinstance(self.data, _Person) else None
