"""Who walks where in the generated scene, and the truth about it: a plan in which nobody's face is ever hidden."""

import math
from collections.abc import Iterator
from random import Random

import msgspec

from agent.clock import NS_PER_S
from agent.seams import Box, Label

HORIZON = 0.38  # of the frame's height: the camera is at eye level, so all eyes are near this line
_STEP_HZ = 1.8
_SIZE_STEP = 1.03  # figures are scaled to steps of 3 %
_TRIES = 400
_CHECK_EVERY_S = 0.1
_AT_ONCE = 4


class Walker(msgspec.Struct, frozen=True, kw_only=True):
    """One person's way through the scene, and what is true of it.

    first_ns, last_ns: the scene's time of the first and last frame in which half of the face or more is in view.
    """

    label: Label
    look: int
    start_s: float
    walk_s: float
    from_x: float
    to_x: float
    turns: bool
    from_px: float
    to_px: float
    aspect: float
    phase: float
    frame_width: int
    frame_height: int
    first_ns: int = -1
    last_ns: int = -1

    def face_at(self, at_s: float) -> Box | None:
        """Give the face's box, which may reach out of the frame, or None while the person is not on the way."""
        part = (at_s - self.start_s) / self.walk_s
        if not 0 <= part <= 1:
            return None
        eased = part - 0.1 * math.sin(2 * math.pi * part) * (-1 if not self.turns else 0)
        along = 1 - abs(1 - 2 * part) ** 1.6 if self.turns else eased
        size = self.from_px * (self.to_px / self.from_px) ** along
        size = _SIZE_STEP ** round(math.log(size, _SIZE_STEP))
        step = math.sin(math.pi * _STEP_HZ * at_s + self.phase)
        x = self.from_x + (self.to_x - self.from_x) * along + 0.03 * size * step
        y = HORIZON * self.frame_height + 0.04 * size * abs(step) + 0.08 * size * math.sin(self.phase)
        half_width, half_height = size / math.sqrt(self.aspect) / 2, size * math.sqrt(self.aspect) / 2
        return Box(x - half_width, y - 0.75 * half_height, x + half_width, y + 1.25 * half_height)

    def box_at(self, at_ns: int) -> Box | None:
        """Give the true face box at an instant of the scene, or None when less than half of it is in view."""
        box = self.face_at(at_ns / NS_PER_S)
        return box if box is not None and self._in_view(box) else None

    def _in_view(self, box: Box) -> bool:
        inside = min(box.x1, self.frame_width) - max(box.x0, 0)
        return inside >= box.width / 2


def plan(
    *, width: int, height: int, fps: float, persons: int, duration_s: float, seed: int, aspects: list[float]
) -> tuple[Walker, ...]:
    """Give the walkers of a scene, by start. aspects: face height / width of each look; labels alternate.

    Each walks into view and out of it, 7 to 9 s long where room and duration_s allow; at most four at once. Whoever
    does not fit in without hiding a face, or being hidden, stays at home: fewer than `persons` may come.
    """
    random = Random(seed)
    walkers: list[Walker] = []
    for number in range(persons):
        for attempt in range(_TRIES):
            walker = _draw(random, number, persons, width, height, duration_s, aspects, attempt / _TRIES)
            if _fits(walker, walkers):
                walkers.append(walker)
                break
    return tuple(sorted((_timed(walker, fps) for walker in walkers), key=lambda walker: walker.start_s))


def _draw(
    random: Random,
    number: int,
    persons: int,
    width: int,
    height: int,
    duration_s: float,
    aspects: list[float],
    late: float,
) -> Walker:
    walk_s = min(random.uniform(7, 9) - 3 * late, 0.8 * duration_s)
    latest_s = duration_s - walk_s - 0.2
    slot_s = latest_s * number / max(1, persons - 1)
    start_s = min(max(0.2, slot_s + random.uniform(-1, 1) * (0.5 + 6 * late)), max(0.2, latest_s))
    biggest = min(120.0, 0.25 * height) * (1 - 0.6 * late)
    near_px = math.exp(random.uniform(math.log(0.45 * biggest), math.log(biggest)))
    far_px = max(20.0, near_px * random.uniform(0.35, 0.8))
    from_px, to_px = (far_px, near_px) if random.random() < 0.7 else (near_px, far_px)
    turns = random.random() < 0.5
    side = random.choice((-1, 1))

    def outside(size_px: float) -> float:
        return width / 2 + side * (width / 2 + 2.2 * size_px)

    to_x = width / 2 + side * random.uniform(-0.1, 0.38) * width if turns else width - outside(to_px)
    look = number % len(aspects)
    return Walker(
        label="mask" if number % 2 == 0 else "no_mask",
        look=look,
        start_s=start_s,
        walk_s=walk_s,
        from_x=outside(from_px),
        to_x=to_x,
        turns=turns,
        from_px=from_px,
        to_px=to_px,
        aspect=aspects[look],
        phase=random.uniform(0, 2 * math.pi),
        frame_width=width,
        frame_height=height,
    )


def _fits(walker: Walker, others: list[Walker]) -> bool:
    for at_s in _instants(walker):
        face = walker.face_at(at_s)
        faces = [other for other in (one.face_at(at_s) for one in others) if other is not None]
        if face is None or len(faces) >= _AT_ONCE or any(_hides(face, other) or _hides(other, face) for other in faces):
            return False
    return True


def _instants(walker: Walker) -> Iterator[float]:
    for number in range(int(walker.walk_s / _CHECK_EVERY_S)):
        yield walker.start_s + number * _CHECK_EVERY_S


def _hides(near: Box, far: Box) -> bool:
    """Tell whether the nearer person's head or shoulders come near the other's face."""
    if near.height < far.height:
        return False
    size, middle = near.size_px, near.centre[0]
    gap = abs(far.centre[0] - middle) - far.width * 0.75
    shoulders = far.y1 > near.y1 - 0.1 * size and gap < 2.0 * size
    return gap < 0.95 * size or shoulders


def _timed(walker: Walker, fps: float) -> Walker:
    first = math.ceil(walker.start_s * fps)
    instants = [
        round(index * NS_PER_S / fps) for index in range(first, int((walker.start_s + walker.walk_s) * fps) + 1)
    ]
    seen = [at_ns for at_ns in instants if walker.box_at(at_ns) is not None]
    return msgspec.structs.replace(walker, first_ns=seen[0], last_ns=seen[-1]) if seen else walker
