"""The types that cross a wall between rooms: frames, faces, tracks, looks and decisions.

Boxes are x0, y0, x1, y1 in pixels of the full frame, x1 and y1 exclusive. Instants are integer nanoseconds of one
monotonic timeline per camera: the machine's own for a live camera, the medium's for a file, a folder or a scene.
"""

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import MaskwatchError

Pixels = NDArray[np.uint8]
Label = Literal["mask", "no_mask", "incorrect"]
LABELS: tuple[Label, ...] = ("mask", "no_mask", "incorrect")
Verdict = Literal["mask", "no_mask", "incorrect", "unsure"]
Reason = Literal["too_small", "blurred", "dark", "undecided"]


class Box(NamedTuple):
    """A rectangle in pixels of the full frame; x1 and y1 are exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return max(0.0, self.x1 - self.x0) * max(0.0, self.y1 - self.y0)

    @property
    def size_px(self) -> float:
        """The side of the square of equal area: what "a face of 24 px" means everywhere here."""
        return math.sqrt(self.area)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One picture.

    pixels: (h, w, 3) uint8 RGB. lores: the same view, smaller, where the camera makes one in hardware.
    scene: counts cuts; when it changes, nobody of the scene before is still there (a loop, the next picture).
    """

    pixels: Pixels
    captured_ns: int
    index: int
    scene: int = 0
    lores: Pixels | None = None


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """No frame came in time. since_ns: the last one's instant on the machine's clock; why: for the journal."""

    since_ns: int
    why: str


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The medium is over; `damage` tells what was wrong when it ended too early, and is None otherwise."""

    damage: MaskwatchError | None = None


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody asked the consumer of frames to finish."""

    reason: str


class Camera(Protocol):
    """A source of frames, opened by entering it as a context manager."""

    live: bool
    """Frames come at their own pace, the newest counts; otherwise each frame counts and waits to be read."""

    def __enter__(self) -> Self:
        """Open. Raises UnavailableError, InputError or NotPermittedError, one line each."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; never raises for a device that has gone."""

    def read(self, timeout_s: float) -> Frame | Silence | End:
        """Give the next frame, or say that there is none yet, or none any more. A lost live camera is Silence."""

    def describe(self) -> str:
        """Say in a few words what is read: kind, address without credentials, size, rate."""


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """A face found in one frame. score: 0..1, the detector's own.

    sure: the score is high enough for a face by itself; otherwise it only tells that somebody followed is still there.
    """

    box: Box
    score: float
    sure: bool = True


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """A face followed over frames, as of one frame.

    seen: found by the detector in this very frame (otherwise box is where it is believed to be).
    last_seen_ns: when the detector last found it. still_s: for how long it has not moved at all.
    confirmed: found more than once; what was found once may have been nobody.
    """

    id: int
    box: Box
    seen: bool
    first_seen_ns: int
    last_seen_ns: int
    still_s: float = 0.0
    confirmed: bool = True


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the classifier saw in one face of one frame.

    probs: mask, no_mask, incorrect; they sum to 1. sharpness and brightness: of the crop, see vision.crop.
    reason: why this look alone cannot be trusted, or None.
    """

    probs: tuple[float, float, float]
    sharpness: float
    brightness: float
    face_px: float
    reason: Reason | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What is believed of a face or a person. confidence: probability of the label; reason: only with unsure."""

    label: Verdict
    confidence: float
    reason: Reason | None = None


class Detector(Protocol):
    """Finds faces. input_size: width and height of the picture that it looks at; larger ones are shrunk to that."""

    @property
    def input_size(self) -> tuple[int, int]: ...

    def find(self, pixels: Pixels) -> list[Face]:
        """Give the faces in (h, w, 3) uint8 RGB, best first, those of the manifest's follow_threshold among them."""


class Classifier(Protocol):
    """Looks at faces."""

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> list[Look]:
        """Give one look a box, in the order of the boxes."""
