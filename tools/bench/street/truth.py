"""What is true of a generated street at an instant: whose face is where, and how much of it can be seen."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.seams import Box, Label
from tools.bench.street.plan import BASE_FPS, FACE_M, Person, Scene, View

CLEAR_S = 1.0  # who can be seen clearly for this long is to be reported
_SHOWN_MIN = 0.7  # part of the face that is neither hidden nor cut off, for it to be seen clearly
_YAW_MAX_DEG = 35.0
_GLIMPSED_MIN = 0.3
_GRID = np.linspace(-0.8, 0.8, 5)
# The head that is drawn, in widths and heights of the face from its centre: to the side, up, down.
HEAD = (0.64, 0.72, 0.7)
# The right half of a body, in widths from the middle and heights from the top of the face.
_BODY = ((0.32, 0.9), (0.34, 1.2), (0.95, 1.36), (1.2, 1.65), (1.28, 3.6), (1.1, 4.5), (0.85, 4.8), (0.7, 8.2))


@dataclass(frozen=True, kw_only=True)
class Head:
    """Somebody's head at an instant. box: of the face, or where it would be; may reach out of the picture."""

    person: int
    box: Box
    z_m: float
    yaw_deg: float
    tilt_deg: float


@dataclass(frozen=True, kw_only=True)
class Sight:
    """A head and how much of its face can be seen: shown, 0..1, neither hidden nor cut off."""

    head: Head
    shown: float

    @property
    def facing(self) -> bool:
        return self.head.yaw_deg < _YAW_MAX_DEG

    @property
    def clear(self) -> bool:
        """Tell whether a human would say: there is a face."""
        return self.facing and self.shown >= _SHOWN_MIN

    @property
    def glimpsed(self) -> bool:
        """Tell whether enough is shown that a detector may find it."""
        return self.facing and self.shown >= _GLIMPSED_MIN


@dataclass(frozen=True, kw_only=True)
class Presence:
    """One time that somebody was to be seen, without a break longer than the agent waits.

    size_px: he was seen clearly for CLEAR_S at this size and above; None when not that long at any size.
    after_s: the break since the presence before; infinite for the first.
    """

    person: int
    label: Label
    begin_s: float
    end_s: float
    clear_s: float
    size_px: float | None
    after_s: float


def head_at(person: Person, view: View, aspect: float, shake: tuple[int, int], at_s: float) -> Head | None:
    """Give somebody's head, or None while he is not on his way. aspect: height / width of his face."""
    place = person.place_at(at_s)
    if place is None:
        return None
    (x_m, z_m), (right_m, down_m) = place, person.sway_at(at_s)
    scale = view.focal_px / z_m
    x = view.width / 2 + (x_m + right_m) * scale + shake[0]
    y = view.horizon_px + (person.below_m + down_m) * scale + shake[1]
    width, height = FACE_M * scale / math.sqrt(aspect), FACE_M * scale * math.sqrt(aspect)
    box = Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Head(person=person.number, box=box, z_m=z_m, yaw_deg=person.yaw_deg(at_s), tilt_deg=person.tilt_deg)


def body_of(box: Box) -> NDArray[np.float32]:
    """Give the corners of the body under a face, (n, 2) x, y: neck to feet on the right, and back on the left."""
    (x, _), width, height = box.centre, box.width, box.height
    half = np.array(_BODY) * (width, height)
    mirrored = (half * (-1, 1))[::-1]
    corners: NDArray[np.float32] = (np.concatenate([half, mirrored]) + np.array([x, box.y0])).astype(np.float32)
    return corners


def sights_at(scene: Scene, aspects: Sequence[float], frame: int) -> list[Sight]:
    """Give everybody in the picture in a frame at BASE_FPS, the farthest first. aspects: by look."""
    at_s = frame / BASE_FPS
    shake = scene.shake_at(at_s)
    found = (head_at(person, scene.view, aspects[person.look], shake, at_s) for person in scene.persons)
    heads = [head for head in found if head is not None and _in_picture(head.box, scene.view)]
    heads.sort(key=lambda head: (-head.z_m, head.person))
    return [
        Sight(head=head, shown=_shown(head.box, heads[place + 1 :], scene.view)) for place, head in enumerate(heads)
    ]


def _in_picture(box: Box, view: View) -> bool:
    """Tell whether anything of the body can be in the picture."""
    return -1.5 * box.width < box.centre[0] < view.width + 1.5 * box.width


def _shown(box: Box, nearer: Sequence[Head], view: View) -> float:
    """Give the part of the face's oval that is in the picture and that nobody nearer hides."""
    (x, y), half_width, half_height = box.centre, box.width / 2, box.height / 2
    across, down = np.meshgrid(_GRID, _GRID)
    oval = across**2 + down**2 <= 0.9
    points_x, points_y = x + across[oval] * half_width, y + down[oval] * half_height
    seen = (points_x >= 0) & (points_x < view.width) & (points_y >= 0) & (points_y < view.height)
    for other in nearer:
        seen &= ~covers(other.box, points_x, points_y)
    return float(seen.mean())


def covers(box: Box, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which points the head or the body of somebody hides."""
    side, up, down = HEAD
    (middle_x, middle_y), width, height = box.centre, box.width, box.height
    above = np.where(y < middle_y, up * height, down * height)
    head = ((x - middle_x) / (side * width)) ** 2 + ((y - middle_y) / above) ** 2 <= 1
    corners = body_of(box)[: len(_BODY)]
    reach = np.interp(y, corners[:, 1], corners[:, 0] - middle_x, left=-1.0)
    covered: NDArray[np.bool_] = head | ((np.abs(x - middle_x) <= reach) & (y >= corners[0, 1]))
    return covered


def presences(scene: Scene, timeline: Sequence[Sequence[Sight]], break_s: float) -> list[Presence]:
    """Give who was there when. timeline: sights_at of every frame; break_s: who is away for longer comes anew."""
    seen: dict[int, list[tuple[float, Sight]]] = defaultdict(list)
    for frame, sights in enumerate(timeline):
        for sight in sights:
            if sight.glimpsed:
                seen[sight.head.person].append((frame / BASE_FPS, sight))
    found = []
    for number in sorted(seen):
        last_s, group = -math.inf, list[tuple[float, Sight]]()
        groups = [(math.inf, group)]
        for at_s, sight in seen[number]:
            if group and at_s - last_s > break_s:
                group = []
                groups.append((at_s - last_s, group))
            group.append((at_s, sight))
            last_s = at_s
        found += [_presence(scene.persons[number], one, after_s) for after_s, one in groups]
    return found


def _presence(person: Person, seen: Sequence[tuple[float, Sight]], after_s: float) -> Presence:
    sizes = sorted((sight.head.box.size_px for _, sight in seen if sight.clear), reverse=True)
    enough = math.ceil(CLEAR_S * BASE_FPS)
    return Presence(
        person=person.number,
        label=person.label,
        begin_s=seen[0][0],
        end_s=seen[-1][0],
        clear_s=len(sizes) / BASE_FPS,
        size_px=sizes[enough - 1] if len(sizes) >= enough else None,
        after_s=after_s,
    )
