"""What `inspect` says of a picture, a crop or a person in a clip: the JSON lines of its contract, and a table's rows.

Boxes are pixels of the input picture. `accepted` is the agent's own verdict on a face; a table shows only those.
"""

from typing import Any

import msgspec
from rich.text import Text

from agent.cli.lines import REASONS
from agent.cli.terminal import STYLES, WORDS, duration, tail
from agent.clock import NS_PER_S
from agent.events.types import Event, PersonEnd, PersonNew, PersonUpdate
from agent.seams import Decision, Face, Look, Reason, Verdict

_REST_WIDTH = 56  # what stands right of the path at most
_PATH_WIDTH = (20, 60)


class Probabilities(msgspec.Struct, frozen=True, kw_only=True):
    """They sum to 1."""

    mask: float
    no_mask: float
    incorrect: float


class FaceFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One face in a picture."""

    box: tuple[float, float, float, float]
    score: float
    accepted: bool
    label: Verdict
    confidence: float
    p: Probabilities
    reason: Reason | None


class PictureFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One picture."""

    path: str
    width: int
    height: int
    faces: list[FaceFinding]


class CropFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One picture that is a face."""

    path: str
    label: Verdict
    confidence: float
    p: Probabilities
    reason: Reason | None


class PersonFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One event about a person in a clip. frame: from 0; t: seconds of the clip."""

    path: str
    event: str
    frame: int
    t: float
    data: PersonNew | PersonUpdate | PersonEnd


Finding = PictureFinding | CropFinding | PersonFinding


def face_finding(face: Face, look: Look, decision: Decision, *, accepted: bool) -> FaceFinding:
    """Put a face, the look at it and what follows from that together."""
    return FaceFinding(
        box=(round(face.box.x0, 2), round(face.box.y0, 2), round(face.box.x1, 2), round(face.box.y1, 2)),
        score=round(face.score, 6),
        accepted=accepted,
        label=decision.label,
        confidence=round(decision.confidence, 6),
        p=_probabilities(look),
        reason=decision.reason,
    )


def crop_finding(path: str, look: Look, decision: Decision) -> CropFinding:
    """Give the line of a picture that is one face."""
    return CropFinding(
        path=path,
        label=decision.label,
        confidence=round(decision.confidence, 6),
        p=_probabilities(look),
        reason=decision.reason,
    )


def person_finding(path: str, event: Event, frame: int) -> PersonFinding | None:
    """Give the line of an event of a clip; None for what is about nobody."""
    data = event.data
    if not isinstance(data, PersonNew | PersonUpdate | PersonEnd):
        return None
    name = data.TYPE.split(".")[2]
    return PersonFinding(path=path, event=name, frame=frame, t=round(event.at_ns / NS_PER_S, 3), data=data)


def to_json(finding: Finding) -> str:
    """Write a line of the contract."""
    if isinstance(finding, PersonFinding):
        flat: dict[str, Any] = msgspec.to_builtins(finding)
        flat |= flat.pop("data")
        return msgspec.json.encode(flat).decode()
    return msgspec.json.encode(finding).decode()


def to_rows(finding: Finding, *, width: int) -> list[Text]:
    """Write a table's rows of `width` columns for people: accepted faces only."""
    path = _path(finding.path, min(max(width - _REST_WIDTH, _PATH_WIDTH[0]), _PATH_WIDTH[1]))
    match finding:
        case PictureFinding(faces=faces):
            rows = [
                path.copy().append(_said(face.label, face.confidence, face.reason)).append(_where(face.box))
                for face in faces
                if face.accepted
            ]
            return rows or [path.append("no face", STYLES["pale"])]
        case CropFinding():
            return [path.append(_said(finding.label, finding.confidence, finding.reason))]
        case PersonFinding(data=data):
            line = path.append(f"{duration(finding.t):>11}  {finding.event:<7}", STYLES["pale"])
            reason = None if isinstance(data, PersonEnd) else data.reason or None
            return [line.append(_said(data.label, data.confidence, reason)).append(f"  {data.face_px:3.0f} px")]


def _probabilities(look: Look) -> Probabilities:
    mask, no_mask = (round(value, 6) for value in look.probs[:2])
    return Probabilities(mask=mask, no_mask=no_mask, incorrect=round(max(0.0, 1 - mask - no_mask), 6))


def _path(path: str, width: int) -> Text:
    return Text(tail(path, width).ljust(width) + "  ")


def _said(label: Verdict, confidence: float, reason: Reason | None) -> Text:
    said = Text(f"{WORDS[label]:<12} {confidence:4.0%}", STYLES[label])
    return said.append(f"  {REASONS[reason]}", STYLES["pale"]) if reason else said


def _where(box: tuple[float, float, float, float]) -> Text:
    x0, y0, x1, y1 = box
    size = max(0.0, (x1 - x0) * (y1 - y0)) ** 0.5
    return Text(f"  {size:3.0f} px at {x0:.0f},{y0:.0f}", STYLES["pale"])
