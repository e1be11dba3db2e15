"""What `inspect` found, for a report: faces of pictures, and persons of clips from first to last sighting."""

import cv2
import msgspec

from agent.cli.findings import CropFinding, Finding, PersonFinding, PictureFinding
from agent.events.types import PersonEnd, PersonNew
from agent.seams import Box, Pixels, Reason, Verdict

_CROP_PX = 96
_MARGIN = 0.2  # of the face's side, on each side: enough to see what is worn
_JPEG_QUALITY = 80


class Seen(msgspec.Struct, kw_only=True):
    """A face in a picture, or a person in a clip. face_px: None where the picture is the face."""

    path: str
    name: str
    label: Verdict
    confidence: float
    reason: Reason | None
    face_px: float | None
    looks: int = 1
    begin_s: float | None = None
    """First sighting in seconds of the clip; None in a picture."""
    end_s: float | None = None
    turns: list[tuple[float, Verdict]] = []
    """When a label was decided, and which: the first, then each change."""


class Story:
    """Takes findings one by one. seen: in the order of the first word about each."""

    def __init__(self) -> None:
        self.files: dict[str, None] = {}  # a set that keeps the order
        self.seen: list[Seen] = []
        self.unread: list[str] = []
        self._persons: dict[tuple[str, str], Seen] = {}

    def add(self, finding: Finding) -> None:
        """Take what was said of a picture, a crop or a person; faces that the agent would not count are left out."""
        self.files[finding.path] = None
        match finding:
            case PictureFinding(path=path, faces=faces):
                self.seen += [
                    Seen(
                        path=path,
                        name=face_name(number),
                        label=face.label,
                        confidence=face.confidence,
                        reason=face.reason,
                        face_px=Box(*face.box).size_px,
                    )
                    for number, face in enumerate(faces)
                    if face.accepted
                ]
            case CropFinding():
                self.seen.append(
                    Seen(
                        path=finding.path,
                        name=face_name(0),
                        label=finding.label,
                        confidence=finding.confidence,
                        reason=finding.reason,
                        face_px=None,
                    )
                )
            case PersonFinding():
                self._person(finding)

    def _person(self, finding: PersonFinding) -> None:
        data = finding.data
        person = self._persons.get((finding.path, data.person))
        if person is None:
            begin_s = max(0.0, finding.t - data.seen_s)
            person = Seen(
                path=finding.path,
                name=data.person,
                label=data.label,
                confidence=data.confidence,
                reason=None,
                face_px=data.face_px,
                begin_s=begin_s,
                turns=[],
            )
            self._persons[finding.path, data.person] = person
            self.seen.append(person)
        person.label, person.confidence = data.label, data.confidence
        person.face_px, person.looks = data.face_px, data.looks
        assert person.begin_s is not None
        if isinstance(data, PersonEnd):
            person.end_s = person.begin_s + data.duration_s
            return
        person.reason = data.reason or None
        person.end_s = finding.t
        if isinstance(data, PersonNew) or person.turns[-1][1] != data.label:
            person.turns.append((finding.t, data.label))


def face_name(number: int) -> str:
    """Name a face of a picture by its place in the findings."""
    return f"face-{number + 1}"


class Portraits:
    """Small pictures of faces, one for each: of a person in a clip the best look. In memory, for the report alone."""

    def __init__(self) -> None:
        self._best: dict[tuple[str, str], tuple[float, bytes]] = {}

    def offer(self, path: str, name: str, pixels: Pixels, box: Box, *, worth: float) -> None:
        """Keep this look if it is worth more than the one kept. pixels: (h, w, 3) uint8 RGB, the whole picture."""
        kept = self._best.get((path, name))
        if kept is None or kept[0] < worth:
            self._best[path, name] = worth, _cut(pixels, box)

    def jpeg(self, path: str, name: str) -> bytes | None:
        """Give the picture kept of somebody."""
        kept = self._best.get((path, name))
        return None if kept is None else kept[1]


def _cut(pixels: Pixels, box: Box) -> bytes:
    height, width = pixels.shape[:2]
    margin = _MARGIN * max(box.width, box.height)
    x0, y0 = max(0, round(box.x0 - margin)), max(0, round(box.y0 - margin))
    x1, y1 = min(width, max(x0 + 1, round(box.x1 + margin))), min(height, max(y0 + 1, round(box.y1 + margin)))
    cut = pixels[y0:y1, x0:x1]
    scale = _CROP_PX / max(cut.shape[:2])
    size = max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale))
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    _, data = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes()
