"""A board's messages as a subscriber gets them, made with the agent's own encoder."""

from typing import Any

import msgspec

from agent.events.envelope import Stored, encode
from agent.events.state import Status, Telemetry
from agent.events.types import PersonEnd, PersonNew, PersonUpdate
from agent.seams import Reason, Verdict

WALL_NS = 1_795_000_000 * 10**9
BOX = (0.1, 0.1, 0.2, 0.2)


class Board:
    """One device that says things, its sequence counted."""

    def __init__(self, site: str = "lobby", device: str = "cam-1", stream: str = "a" * 16) -> None:
        self.prefix = f"maskwatch/{site}/{device}/"
        self.source = f"/maskwatch/{site}/{device}"
        self.stream = stream
        self.sequence = 0

    def event(self, data: Any, *, at_s: float = 1.0, timed: bool = True) -> tuple[str, bytes]:
        self.sequence += 1
        wall_ns = WALL_NS + round(at_s * 1e9) if timed else None
        stored = Stored(
            stream=self.stream,
            sequence=self.sequence,
            type=data.TYPE,
            person=getattr(data, "person", None),
            boot_id="b" * 32,
            at_ns=round(at_s * 1e9),
            at_wall_ns=wall_ns,
            recorded_wall_ns=wall_ns,
            data=msgspec.json.encode(data),
        )
        return self.prefix + "events", encode(stored, source=self.source, historical=False)

    def status(self, state: str, session: int = 1, **more: Any) -> tuple[str, bytes]:
        status = Status(state=state, session=session, version="0.1.0", **more)  # type: ignore[arg-type]
        return self.prefix + "status", msgspec.json.encode(status)

    def telemetry(self, **changes: Any) -> tuple[str, bytes]:
        figures: dict[str, Any] = {
            "session": 1,
            "uptime_s": 10.0,
            "camera": "ok",
            "frames": 300,
            "frames_per_s": 29.5,
            "stages": {"motion": {"p50_ms": 0.3, "p99_ms": 0.5}, "detect": {"p50_ms": 4.25, "p99_ms": 6.0}},
            "faces": 12,
            "persons": 1,
            "glimpses": 0,
            "still_faces": 0,
            "backlog": 3,
            "events": 5,
            "acknowledged": 2,
            "accelerator": "cpu",
            "accelerator_why": "no Edge TPU",
            "accelerator_lost": 0,
            "memory_mb": 80.0,
            "disk_free_mb": 1000.0,
            "written_kb": 10,
        }
        return self.prefix + "telemetry", msgspec.json.encode(msgspec.convert(figures | changes, Telemetry))


def new(person: str = "1a2b3c4d-1", label: Verdict = "mask", *, reason: Reason | None = None) -> PersonNew:
    more: dict[str, Any] = {"reason": reason} if reason else {}
    return PersonNew(person=person, label=label, confidence=0.93, looks=5, seen_s=0.8, face_px=42.0, box=BOX, **more)


def update(person: str = "1a2b3c4d-1", label: Verdict = "no_mask", previous: Verdict = "mask") -> PersonUpdate:
    return PersonUpdate(
        person=person, label=label, confidence=0.81, looks=9, seen_s=2.0, face_px=44.0, box=BOX, previous=previous
    )


def end(person: str = "1a2b3c4d-1", label: Verdict = "mask") -> PersonEnd:
    return PersonEnd(
        person=person,
        label=label,
        confidence=0.9,
        looks=31,
        seen_s=6.0,
        face_px=44.0,
        box=BOX,
        duration_s=6.5,
        looks_by_label={"mask": 31},  # type: ignore[arg-type]
        reason="gone",
    )
