"""Who walks where in a generated street, decided before anything is drawn: the same for the same seed.

Persons move in metres before a pinhole camera, so speed, size and place in the picture belong together as they do in
a street: a face is 0.19 m wide and high (the side of the square of its area), people walk at 0.6 to 1.7 m/s, some run.
Nobody keeps away from anybody: who is nearer hides who is farther.
"""

import math
from dataclasses import dataclass

import numpy as np

from agent.seams import Label

FACE_M = 0.19
SIZES_PX = (12.0, 20.0, 32.0, 48.0, 80.0)  # the edges of the size classes; each gets as many persons
BASE_FPS = 30  # truth is known at these instants; slower cameras see some of them
SHAKE_MAX_PX = 8
_RUN_M_S = 2.0  # who is faster runs, and goes straight on
_SHARPER, _SOFTER, _LARGE_PX = 1.25, 0.75, 48.0  # a small face comes from a larger one, a large one may be enlarged
_AT_ONCE = 8  # persons in the picture, at most
_TRIES = 60
_AROUND_S = np.linspace(-0.6, 0.6, 9)
_TURN_S = 0.4  # from facing the camera to facing away
_STEP_HZ = 1.8
_OUTSIDE_FACES = 2.6  # half a body and some: so far beside the picture nothing of a person is in it


@dataclass(frozen=True, kw_only=True)
class View:
    """The camera: size of the picture, focal length and the line of the eye level's height, all in pixels."""

    width: int
    height: int
    focal_px: float
    horizon_px: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """A place on somebody's way: metres right of the camera's axis and before the camera, at a time of the scene."""

    at_s: float
    x_m: float
    z_m: float


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody and his way. look: which face of those at hand; turns: (from, to) in which he shows his back."""

    number: int
    look: int
    label: Label
    way: tuple[Step, ...]
    turns: tuple[tuple[float, float], ...]
    below_m: float
    """How far the face is below the camera."""
    tilt_deg: float
    phase: float
    flip: bool
    clothes: tuple[int, int, int]

    def place_at(self, at_s: float) -> tuple[float, float] | None:
        """Give x_m and z_m, or None before and after the way."""
        if not self.way[0].at_s <= at_s <= self.way[-1].at_s:
            return None
        times = [step.at_s for step in self.way]
        nearby = at_s + _AROUND_S  # nobody stops or turns round in an instant
        x_m = float(np.interp(nearby, times, [step.x_m for step in self.way]).mean())
        return x_m, float(np.interp(nearby, times, [step.z_m for step in self.way]).mean())

    def yaw_deg(self, at_s: float) -> float:
        """Give how far the head is turned from the camera: 0 towards it, 180 away."""
        most = 0.0
        for begin_s, end_s in self.turns:
            part = min((at_s - begin_s) / _TURN_S, (end_s - at_s) / _TURN_S)
            most = max(most, 180 * min(max(part, 0.0), 1.0))
        return most

    def sway_at(self, at_s: float) -> tuple[float, float]:
        """Give the metres right and down by which walking moves the head."""
        step = math.sin(math.pi * _STEP_HZ * at_s + self.phase)
        return 0.012 * step, 0.025 * abs(step)


@dataclass(frozen=True, kw_only=True)
class Poster:
    """A picture of a face on a wall: its centre and size in pixels of the unshaken picture."""

    look: int
    label: Label
    x: float
    y: float
    size_px: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One minute of one street. shakes: (from, to, pixels, Hz); lights: (from, gain), the first from 0."""

    number: int
    seed: int
    view: View
    duration_s: float
    persons: tuple[Person, ...]
    poster: Poster | None
    shakes: tuple[tuple[float, float, float, float], ...]
    lights: tuple[tuple[float, float], ...]

    def shake_at(self, at_s: float) -> tuple[int, int]:
        """Give by how many whole pixels the picture is off, right and down."""
        right = down = 0.0
        for begin_s, end_s, most_px, pace_hz in self.shakes:
            if begin_s <= at_s < end_s:
                right += most_px * math.sin(2 * math.pi * pace_hz * at_s)
                down += 0.7 * most_px * math.sin(2 * math.pi * 1.31 * pace_hz * at_s + 1)
        limit = SHAKE_MAX_PX
        return min(max(round(right), -limit), limit), min(max(round(down), -limit), limit)

    def light_at(self, at_s: float) -> float:
        """Give the factor on every pixel."""
        return [gain for begin_s, gain in self.lights if begin_s <= at_s][-1]

    def instants(self) -> range:
        """Give the numbers of all frames at BASE_FPS."""
        return range(round(self.duration_s * BASE_FPS))


class Deck:
    """Deals the faces at hand, each once before any comes again, and only those that are sharp enough for a size."""

    def __init__(self, labels: list[Label], own_px: list[float], rng: np.random.Generator) -> None:
        """own_px: how large the face is in its picture."""
        self._labels, self._own_px, self._rng = labels, own_px, rng
        self._left: list[int] = []

    def deal(self, label: Label, size_px: float) -> int:
        """Give a face of that label. Raises ValueError where none is large enough."""
        needed_px = min(_SHARPER * size_px, max(_LARGE_PX, _SOFTER * size_px))
        for again in (False, True):
            if again:
                self._left += [int(look) for look in self._rng.permutation(len(self._labels))]
            for place, look in enumerate(self._left):
                if self._labels[look] == label and self._own_px[look] >= needed_px:
                    return self._left.pop(place)
        raise ValueError(f"no face labelled {label} can be shown at {size_px:.0f} px; give more faces")


def make_scene(number: int, seed: int, size: tuple[int, int], deck: Deck, duration_s: float = 60.0) -> Scene:
    """Plan one scene. size: width and height of the picture."""
    rng = np.random.default_rng((seed, number))
    width, height = size
    view = View(
        width=width,
        height=height,
        focal_px=float(rng.uniform(450, 850)),
        horizon_px=height * float(rng.uniform(0.25, 0.4)),
    )
    camera_m = float(rng.uniform(0.0, 0.4))
    wanted = round(duration_s * rng.uniform(1.5, 4.5) / 8)
    persons: list[Person] = []
    for _ in range(wanted):
        bin_ = int(rng.integers(len(SIZES_PX) - 1))
        size_px = float(np.exp(rng.uniform(np.log(SIZES_PX[bin_]), np.log(SIZES_PX[bin_ + 1]))))
        for _ in range(_TRIES):
            way, turns = _draw_way(rng, view, size_px, duration_s)
            if way[-1].at_s < duration_s - 0.5 and _room_for(way, persons, view):
                persons.append(_draw_person(rng, len(persons), deck, size_px, way, turns, camera_m))
                break
    poster = _draw_poster(rng, view, deck) if rng.random() < 0.35 else None
    return Scene(
        number=number,
        seed=seed,
        view=view,
        duration_s=duration_s,
        persons=tuple(persons),
        poster=poster,
        shakes=_draw_shakes(rng, duration_s),
        lights=_draw_lights(rng, duration_s),
    )


def _draw_person(
    rng: np.random.Generator,
    number: int,
    deck: Deck,
    size_px: float,
    way: tuple[Step, ...],
    turns: tuple[tuple[float, float], ...],
    camera_m: float,
) -> Person:
    label = _draw_label(rng)
    return Person(
        number=number,
        look=deck.deal(label, size_px),
        label=label,
        way=way,
        turns=turns,
        below_m=camera_m + float(np.clip(rng.normal(0, 0.09), -0.2, 0.2)),
        tilt_deg=float(rng.normal(0, 4)),
        phase=float(rng.uniform(0, 2 * math.pi)),
        flip=bool(rng.random() < 0.5),
        clothes=_draw_clothes(rng),
    )


def _draw_clothes(rng: np.random.Generator) -> tuple[int, int, int]:
    """Draw a colour, most often not far from grey."""
    red, green, blue = rng.uniform(25, 200) + rng.normal(0, 28, 3)
    return int(min(max(red, 8), 235)), int(min(max(green, 8), 235)), int(min(max(blue, 8), 235))


def _draw_label(rng: np.random.Generator) -> Label:
    draw = rng.random()
    return "mask" if draw < 0.45 else "no_mask" if draw < 0.92 else "incorrect"


def _draw_way(
    rng: np.random.Generator, view: View, size_px: float, duration_s: float
) -> tuple[tuple[Step, ...], tuple[tuple[float, float], ...]]:
    """Draw a way from beside the picture to where the face is of that size, and out again; some come back later."""
    pace = float(rng.uniform(2.2, 3.0) if rng.random() < 0.06 else rng.uniform(0.6, 1.7))
    near_m = view.focal_px * FACE_M / size_px
    side = float(rng.choice((-1.0, 1.0)))
    rounds = 2 if rng.random() < 0.15 else 1
    stay_s = float(rng.uniform(0.5, 4)) if rng.random() < 0.35 else 0.0
    turn = rng.random()
    back_s = float(rng.uniform(0.8, 1.5)) if turn < 0.2 else float(rng.uniform(4.0, 6.0)) if turn < 0.3 else 0.0
    at_s, steps, turns = 0.0, list[Step](), list[tuple[float, float]]()
    for one in range(rounds):
        far_m = near_m * float(rng.uniform(1.0, 2.2))
        middle = near_m * float(rng.uniform(-0.35, 0.35)) * view.width / view.focal_px
        begin = (side * _beside_m(view, far_m), far_m) if one == 0 else (steps[-1].x_m, steps[-1].z_m)
        side = side if rng.random() < 0.25 and pace < _RUN_M_S else -side
        out_m = near_m * float(rng.uniform(0.9, 1.4))
        end = (side * _beside_m(view, out_m), out_m)
        steps.append(Step(at_s=at_s, x_m=begin[0], z_m=begin[1]))
        at_s += math.dist(begin, (middle, near_m)) / pace
        steps.append(Step(at_s=at_s, x_m=middle, z_m=near_m))
        if one == 0 and back_s:  # while he stands, or walks straight on
            before = not stay_s and rng.random() < 0.5
            begin_s = at_s + float(rng.uniform(0.2, 0.8)) - before * (back_s + 1)
            turns.append((begin_s, begin_s + back_s))
        if stay_s:
            at_s += stay_s
            steps.append(Step(at_s=at_s, x_m=middle, z_m=near_m))
        at_s += math.dist((middle, near_m), end) / pace
        steps.append(Step(at_s=at_s, x_m=end[0], z_m=end[1]))
        at_s += float(rng.uniform(3.0, 7.0))  # longer than the agent waits for anybody
    start_s = float(rng.uniform(0.3, max(0.4, duration_s - steps[-1].at_s - 0.6)))
    moved = tuple(Step(at_s=step.at_s + start_s, x_m=step.x_m, z_m=step.z_m) for step in steps)
    return moved, tuple((begin_s + start_s, end_s + start_s) for begin_s, end_s in turns)


def _beside_m(view: View, z_m: float) -> float:
    return (view.width / 2 + SHAKE_MAX_PX) * z_m / view.focal_px + _OUTSIDE_FACES * FACE_M


def _room_for(way: tuple[Step, ...], persons: list[Person], view: View) -> bool:
    """Tell whether never more than _AT_ONCE are in the picture."""
    for at_s in np.arange(way[0].at_s, way[-1].at_s, 0.25):
        present = 0
        for person in persons:
            place = person.place_at(float(at_s))
            present += place is not None and abs(place[0]) < _beside_m(view, place[1])
        if present >= _AT_ONCE:
            return False
    return True


def _draw_poster(rng: np.random.Generator, view: View, deck: Deck) -> Poster:
    size_px = float(rng.uniform(24, 56))
    label = _draw_label(rng)
    x, y = rng.uniform(0.12, 0.88) * view.width, rng.uniform(0.15, 0.3) * view.height
    return Poster(look=deck.deal(label, size_px), label=label, x=float(x), y=float(y), size_px=size_px)


def _draw_shakes(rng: np.random.Generator, duration_s: float) -> tuple[tuple[float, float, float, float], ...]:
    if rng.random() >= 0.35:
        return ()
    begins = rng.uniform(0, duration_s - 4, 4)
    return tuple(
        (float(at_s), float(at_s + rng.uniform(1, 4)), float(rng.uniform(1, 5)), float(rng.uniform(1.5, 5)))
        for at_s in begins
    )


def _draw_lights(rng: np.random.Generator, duration_s: float) -> tuple[tuple[float, float], ...]:
    """Draw a street that is evenly lit, or one in which the light goes on."""
    if rng.random() >= 0.35:
        return ((0.0, 1.0),)
    return (0.0, float(rng.uniform(0.35, 0.6))), (float(rng.uniform(0.15, 0.4)) * duration_s, 1.0)
