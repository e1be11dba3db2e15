"""Who is to be seen in a real clip, where and when: read from truth.toml, which says how it was marked.

Given in the words of the generated street (tools.bench.street.truth), so that one judge serves both: heads and how much
of their faces is shown, at the instants of BASE_FPS. A person is one presence, however often he turns away or is
hidden: real people are to be told once.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from agent.errors import InputError
from agent.seams import Box, Label
from tools.bench.street.plan import BASE_FPS
from tools.bench.street.truth import CLEAR_S, Head, Presence, Sight

TRUTH = Path(__file__).with_name("truth.toml")
AIM_PX = 20.0
"""Whose face is to be seen at this size for CLEAR_S counts."""
_ASPECT = 1.25  # height / width of a face
_AWAY_DEG = 180.0


class Point(msgspec.Struct, frozen=True, array_like=True):
    """A face at an instant: seconds, pixels, the side of the square of its area, and how much is shown from then on."""

    at_s: float
    x: float
    y: float
    size_px: float
    shown: float


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody in a clip. turned: only ever seen from behind, and then without a label."""

    who: str
    path: list[Point]
    label: Label | None = None
    turned: bool = False

    def __post_init__(self) -> None:
        if len(self.path) < 2 or any(one.at_s >= other.at_s for one, other in pairwise(self.path)):
            raise ValueError(f"{self.who}: a path has two points at least, in the order of their times")
        if (self.label is None) != self.turned:
            raise ValueError(f"{self.who}: who shows his face has a label, who is turned away has none")

    def at(self, at_s: float) -> Point | None:
        """Give where the face is: on a straight way between two points; None before the first and after the last."""
        for one, other in pairwise(self.path):
            if one.at_s <= at_s <= other.at_s:
                part = (at_s - one.at_s) / (other.at_s - one.at_s)
                x, y, size_px = (
                    first + part * (second - first)
                    for first, second in ((one.x, other.x), (one.y, other.y), (one.size_px, other.size_px))
                )
                return Point(at_s, x, y, size_px, one.shown)
        return None


class Clip(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One clip and everybody in it. seconds: how long it lasts."""

    seconds: float
    person: list[Person]


def load_truth(path: Path = TRUTH) -> dict[str, Clip]:
    """Read the truth, by the names of the clips. Raises InputError where the file is not as it says of itself."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=dict[str, Clip])
    except msgspec.DecodeError as error:
        raise InputError(str(error), where=str(path), remedy="mend the file") from error


def timeline(clip: Clip) -> list[list[Sight]]:
    """Give whose head is where at each instant of BASE_FPS, as many as the clip lasts and one more."""
    return [_sights(clip, frame / BASE_FPS) for frame in range(math.ceil(clip.seconds * BASE_FPS) + 1)]


def _sights(clip: Clip, at_s: float) -> list[Sight]:
    found = []
    for number, person in enumerate(clip.person):
        point = person.at(at_s)
        if point is not None:
            half_width, half_height = point.size_px / math.sqrt(_ASPECT) / 2, point.size_px * math.sqrt(_ASPECT) / 2
            box = Box(point.x - half_width, point.y - half_height, point.x + half_width, point.y + half_height)
            yaw_deg = _AWAY_DEG if person.turned else 0.0
            head = Head(person=number, box=box, z_m=1 / point.size_px, yaw_deg=yaw_deg, tilt_deg=0)
            found.append(Sight(head=head, shown=0.0 if person.turned else point.shown))
    return found


def presences(clip: Clip, seen: Sequence[Sequence[Sight]]) -> list[Presence]:
    """Give one presence for everybody who shows his face. seen: as `timeline` gives it."""
    glimpses: dict[int, list[tuple[float, Sight]]] = defaultdict(list)
    for frame, sights in enumerate(seen):
        for sight in sights:
            if sight.glimpsed:
                glimpses[sight.head.person].append((frame / BASE_FPS, sight))
    enough = math.ceil(CLEAR_S * BASE_FPS)
    found = []
    for number, person in enumerate(clip.person):
        if person.label is not None and (mine := glimpses[number]):
            sizes = sorted((sight.head.box.size_px for _, sight in mine if sight.clear), reverse=True)
            found.append(
                Presence(
                    person=number,
                    label=person.label,
                    begin_s=mine[0][0],
                    end_s=mine[-1][0],
                    clear_s=len(sizes) / BASE_FPS,
                    size_px=sizes[enough - 1] if len(sizes) >= enough else None,
                    after_s=math.inf,
                )
            )
    return found
