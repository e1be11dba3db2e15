"""Follows faces from frame to frame: which face of now is which face of before.

The life of a track, all of it in time and none of it in frames:
  born       a face that belongs to nobody; not shown yet, one look of the detector can be wrong
  confirmed  found a second time; from here on it is shown, seen or believed
  lost       not found, moved on by its velocity for a moment; found again near where it is believed: the same track
  dead       lost for forget_after_s (born ones sooner)
  silenced   confirmed and without any movement for SILENT_AFTER_S: a poster or a screen. It is shown with its still_s
             so that the pipeline can leave it out, outlives being missed, and comes back to life by moving.
Faces and tracks are matched all at once at the least total cost (Kuhn, Munkres), so the order of the boxes does not
count; the cost is the distance from the believed place in sizes of the face, and the difference in size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.clock import NS_PER_S
from agent.seams import Box, Face, Track

TRACKS_MAX = 32  # a frame of 640x480 holds no more people whose faces are worth a decision
SILENT_AFTER_S = 30.0  # nobody's head rests this exactly for half a minute
_SILENT_FORGET_NS = 600 * NS_PER_S  # a poster that somebody stands in front of is still that poster
_CONFIRM_NS = NS_PER_S  # a born track waits this long for its second sighting
_STRIDE_SIZES = 8.0  # sizes of a face a second: who walks past a camera at 1.5 m/s (a face is 0.2 m)
_SURE_SIZES = 3.0  # the same once its velocity is known: what a change of mind adds
_REACH_SIZES = 0.7  # how far from the believed place at once: the detector's jitter, a nod
_REACH_SIZES_MAX = 4.5
_REACH_SILENT = 0.35  # a poster stays where it is: whoever is found further off is somebody else
_COAST_S = 0.4  # a lost face keeps its velocity for about this long
_VELOCITY_S = 0.15  # time constant of the velocity's filter
_GROWTH = 0.45  # of ln(size) between two sightings, and that much more a second
_SIZE_WEIGHT = 0.5
_LOST_WEIGHT = 0.15  # a second: who was seen just now comes before who has been away
_STILL_SIZES = 0.12  # how far from where it was a still face's smoothed place may be
_STILL_SMOOTH_S = 1.0


@dataclass(slots=True)
class _State:
    """One track: places in pixels, velocity in pixels a second."""

    id: int
    box: Box
    first_ns: int
    last_ns: int
    place: tuple[float, float] = (0.0, 0.0)  # smoothed, for stillness
    anchor: tuple[float, float] = (0.0, 0.0)
    still_since_ns: int = 0
    velocity: tuple[float, float] = (0.0, 0.0)
    sightings: int = 1
    seen: bool = True
    size_px: float = 1.0

    @property
    def confirmed(self) -> bool:
        return self.sightings > 1

    def still_s(self) -> float:
        return (self.last_ns - self.still_since_ns) / NS_PER_S

    def silenced(self) -> bool:
        return self.still_s() >= SILENT_AFTER_S

    def believed(self, now_ns: int) -> Box:
        """Give the box at now_ns: moved on at a velocity that fades."""
        elapsed_s = (now_ns - self.last_ns) / NS_PER_S
        if elapsed_s <= 0:
            return self.box
        reach_s = _COAST_S * (1 - math.exp(-elapsed_s / _COAST_S))
        dx, dy = self.velocity[0] * reach_s, self.velocity[1] * reach_s
        return Box(self.box.x0 + dx, self.box.y0 + dy, self.box.x1 + dx, self.box.y1 + dy)

    def reach_sizes(self, now_ns: int) -> float:
        """Give how far from the believed place this face may be found, in sizes of itself."""
        if self.silenced():
            return _REACH_SILENT
        elapsed_s = (now_ns - self.last_ns) / NS_PER_S
        pace = _SURE_SIZES if self.confirmed else _STRIDE_SIZES
        return min(_REACH_SIZES_MAX, _REACH_SIZES + pace * elapsed_s)


class Tracker:
    """Follows the faces of one camera; ids count from 1 in each instance and are never used twice."""

    def __init__(self, *, forget_after_s: float) -> None:
        self._forget_ns = round(forget_after_s * NS_PER_S)
        self._states: list[_State] = []
        self._next_id = 1

    @property
    def alive(self) -> bool:
        """Tell whether anybody is followed or may come back any moment; posters are nobody."""
        return any(not state.silenced() for state in self._states)

    @property
    def still_faces(self) -> int:
        """Count the silenced tracks."""
        return sum(state.silenced() for state in self._states)

    def reset(self) -> None:
        """Forget everybody; ids go on."""
        self._states.clear()

    def update(self, faces: Sequence[Face], now_ns: int) -> list[Track]:
        """Take the faces that the detector found in the frame of now_ns; give all confirmed tracks, by id."""
        found = sorted(faces, key=lambda face: (*face.box, face.score))  # nothing may depend on their order
        costs = [[_cost(state, face.box, now_ns) for face in found] for state in self._states]
        matched = assign(costs, len(found))
        for state, column in zip(self._states, matched, strict=True):
            if column is None:
                state.seen = False
            else:
                _take(state, found[column].box, now_ns)
        taken = {column for column in matched if column is not None}
        self._states = [state for state in self._states if not self._dead(state, now_ns)]
        fresh = [face for column, face in enumerate(found) if column not in taken]
        for face in sorted(fresh, key=lambda face: -face.box.area)[: TRACKS_MAX - len(self._states)]:
            self._states.append(_born(self._next_id, face.box, now_ns))
            self._next_id += 1
        return self._shown(now_ns)

    def coast(self, now_ns: int) -> list[Track]:
        """Give all confirmed tracks where they are believed to be in a frame that the detector did not see."""
        for state in self._states:
            state.seen = False
        return self._shown(now_ns)

    def _shown(self, now_ns: int) -> list[Track]:
        return [
            Track(
                id=state.id,
                box=state.box if state.seen else state.believed(now_ns),
                seen=state.seen,
                first_seen_ns=state.first_ns,
                last_seen_ns=state.last_ns,
                still_s=state.still_s(),
            )
            for state in self._states
            if state.confirmed
        ]

    def _dead(self, state: _State, now_ns: int) -> bool:
        if state.seen:
            return False
        missed_ns = now_ns - state.last_ns
        if state.silenced():
            return missed_ns >= _SILENT_FORGET_NS
        return missed_ns >= (self._forget_ns if state.confirmed else min(self._forget_ns, _CONFIRM_NS))


def _born(track_id: int, box: Box, now_ns: int) -> _State:
    return _State(
        id=track_id,
        box=box,
        first_ns=now_ns,
        last_ns=now_ns,
        place=box.centre,
        anchor=box.centre,
        still_since_ns=now_ns,
        size_px=box.size_px,
    )


def _take(state: _State, box: Box, now_ns: int) -> None:
    """Move a track to where its face was found."""
    elapsed_s = max((now_ns - state.last_ns) / NS_PER_S, 1e-3)
    (x, y), (old_x, old_y) = box.centre, state.box.centre
    gain = 1.0 if not state.confirmed else 1 - math.exp(-elapsed_s / _VELOCITY_S)
    vx, vy = state.velocity
    state.velocity = (
        vx + gain * ((x - old_x) / elapsed_s - vx),
        vy + gain * ((y - old_y) / elapsed_s - vy),
    )
    smooth = 1 - math.exp(-elapsed_s / _STILL_SMOOTH_S)
    state.place = (state.place[0] + smooth * (x - state.place[0]), state.place[1] + smooth * (y - state.place[1]))
    state.box, state.size_px, state.last_ns, state.seen = box, box.size_px, now_ns, True
    state.sightings += 1
    if math.dist(state.place, state.anchor) > _STILL_SIZES * state.size_px:
        state.anchor, state.still_since_ns = state.place, now_ns


def _cost(state: _State, box: Box, now_ns: int) -> float:
    """Give the price of calling this face that track; infinite where it cannot be."""
    size_px = box.size_px
    if size_px <= 0 or state.size_px <= 0:
        return math.inf
    elapsed_s = (now_ns - state.last_ns) / NS_PER_S
    growth = abs(math.log(size_px / state.size_px)) / (_GROWTH * (1 + elapsed_s))
    away = math.dist(box.centre, state.believed(now_ns).centre) / max(size_px, state.size_px)
    reach = state.reach_sizes(now_ns)
    if growth > 1 or away > reach:
        return math.inf
    return away + _SIZE_WEIGHT * growth + _LOST_WEIGHT * elapsed_s


def assign(costs: Sequence[Sequence[float]], columns: int) -> list[int | None]:
    """Match rows with columns: as many pairs as possible at the least total cost, none at an infinite one.

    costs: one row a track, `columns` numbers each. Returns the column of each row, or None.
    """
    rows = len(costs)
    matched: list[int | None] = [None] * rows
    if not rows or not columns:
        return matched
    # Leaving a row alone costs more than any set of pairs, so it happens only where no pair is possible.
    alone = 1.0 + sum(cost for row in costs for cost in row if cost < math.inf)
    padded = [[min(cost, 2 * alone) for cost in row] + [alone] * rows for row in costs]
    for row, column in enumerate(_shortest_paths(padded)):
        if column < columns and costs[row][column] < math.inf:
            matched[row] = column
    return matched


def _shortest_paths(costs: list[list[float]]) -> list[int]:
    """Give the column of each row at the least total cost; at least as many columns as rows.

    Source: shortest augmenting paths with potentials, Jonker and Volgenant 1987 (indices from 1, column 0 is a root).
    """
    rows, columns = len(costs), len(costs[0])
    row_price, column_price = [0.0] * (rows + 1), [0.0] * (columns + 1)
    owner, came_from = [0] * (columns + 1), [0] * (columns + 1)
    for row in range(1, rows + 1):
        owner[0] = row
        column = 0
        least, done = [math.inf] * (columns + 1), [False] * (columns + 1)
        while owner[column]:
            done[column] = True
            here, step, nearest = owner[column], math.inf, 0
            for other in range(1, columns + 1):
                if done[other]:
                    continue
                price = costs[here - 1][other - 1] - row_price[here] - column_price[other]
                if price < least[other]:
                    least[other], came_from[other] = price, column
                if least[other] < step:
                    step, nearest = least[other], other
            for other in range(columns + 1):
                if done[other]:
                    row_price[owner[other]] += step
                    column_price[other] -= step
                else:
                    least[other] -= step
            column = nearest
        while column:
            owner[column], column = owner[came_from[column]], came_from[column]
    result = [0] * rows
    for column in range(1, columns + 1):
        if owner[column]:
            result[owner[column] - 1] = column - 1
    return result
