"""Follows faces from frame to frame: which face of now is which face of before.

The life of a track, all of it in time and none of it in frames:
  born       a face that belongs to nobody; one look of the detector can be wrong, so this is nobody yet
  confirmed  found a second time
  lost       not found, moved on by its velocity for a moment; found again near where it is believed: the same track
  dead       not seen for forget_after_s (born ones sooner)
  silenced   confirmed and without any movement for SILENT_AFTER_S: a poster or a screen. It is shown with its still_s
             so that the pipeline can leave it out, outlives being missed, and comes back to life by moving. One that
             dies without ever having moved leaves its stillness to the next one there, so that a poster that is found
             only now and then is silenced too.
Faces and tracks are matched all at once at the least total cost (Kuhn, Munkres), so the order of the boxes does not
count; the cost is the distance from the believed place in sizes of the face, and the difference in size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agent.clock import NS_PER_S
from agent.seams import Box, Face, Track
from agent.vision.assignment import assign

TRACKS_MAX = 32  # a frame of 640x480 holds no more people whose faces are worth a decision
SILENT_AFTER_S = 30.0  # nobody's head rests this exactly for half a minute
_SILENT_FORGET_NS = 600 * NS_PER_S  # a poster that somebody stands in front of is still that poster
_RESTED_MAX = 16  # places where a face that never moved was lost, the latest ones
_CONFIRM_NS = 3 * NS_PER_S // 2  # a born track waits this long for its second sighting
# Lengths are in sizes of the face: a face is 0.2 m wide, so who passes a camera at 1.5 m/s makes 7.5 sizes a second.
_NEW_REACH, _NEW_PACE, _NEW_REACH_MAX = 0.7, 8.0, 4.5  # how far from its only sighting a born track may be found
_REACH, _PACE = 0.9, 0.8  # how far beside the way from where it was to where it would be by now
_REACH_SILENT = 0.35  # a poster stays where it is: whoever is found further off is somebody else
_AHEAD_WEIGHT = 0.2  # on that way the far end is likelier: most people go on
_VELOCITY_S = 0.2  # time constant of the velocity's filter
_GROWTH = 0.5  # of ln(size) between two sightings, and that much more a second; two levels of the net differ by 0.4
_WEAK_REACH, _WEAK_S = 0.6, 0.5  # a face below the threshold counts only here, for who was found so recently
_SAME_PART = 0.6  # of the smaller of two boxes within the larger one: one face found twice
_CUT_TIMES = 2.0  # ... times that while the frame's edge cuts the face
_SIZE_WEIGHT = 1.7  # of ln(size)
_LOST_WEIGHT = 0.15  # a second: who was seen just now comes before who has been away
_COAST_S = 0.4  # a lost face is shown going on for about this long
_EDGE_PX = 3.0
_STILL_SIZES = 0.12  # how far from where it was a still face's smoothed place may be
_STILL_SMOOTH_S = 1.0


@dataclass(slots=True, eq=False)
class _State:
    """One track: places in pixels, velocity in pixels a second."""

    id: int
    box: Box
    first_ns: int
    last_ns: int
    sure_ns: int
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

    def rested(self) -> bool:
        """Tell whether it has never moved."""
        return self.confirmed and self.still_since_ns <= self.first_ns

    def believed(self, now_ns: int) -> Box:
        """Give the box at now_ns: moved on at a velocity that fades."""
        elapsed_s = (now_ns - self.last_ns) / NS_PER_S
        if elapsed_s <= 0:
            return self.box
        reach_s = _COAST_S * (1 - math.exp(-elapsed_s / _COAST_S))
        dx, dy = self.velocity[0] * reach_s, self.velocity[1] * reach_s
        return Box(self.box.x0 + dx, self.box.y0 + dy, self.box.x1 + dx, self.box.y1 + dy)

    def ahead(self, now_ns: int) -> tuple[float, float]:
        """Give where the centre is at now_ns if the face has gone straight on."""
        (x, y), elapsed_s = self.box.centre, (now_ns - self.last_ns) / NS_PER_S
        return x + self.velocity[0] * elapsed_s, y + self.velocity[1] * elapsed_s

    def left(self, bounds: Box, now_ns: int) -> bool:
        """Tell whether by now the face has walked out of the bounds."""
        if self.silenced():
            return False
        (x, y), margin = self.ahead(now_ns), self.size_px / 2
        return not (bounds.x0 - margin <= x <= bounds.x1 + margin and bounds.y0 - margin <= y <= bounds.y1 + margin)


class Tracker:
    """Follows the faces of one camera; ids count from 1 in each instance and are never used twice."""

    def __init__(self, *, forget_after_s: float) -> None:
        self._forget_ns = round(forget_after_s * NS_PER_S)
        self._states: list[_State] = []
        self._rested: list[_State] = []  # dead
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
        self._rested.clear()

    def update(self, faces: Sequence[Face], now_ns: int, bounds: Box) -> list[Track]:
        """Take the faces that the detector found in the frame of now_ns; give all tracks, by id.

        A face that is not sure begins no track and is not `seen`; it keeps one alive that was sure a moment ago (Zhang
        et al. 2022, ByteTrack). bounds: the part of the frame in which faces are searched. Who has walked out of it
        does not come back as the next one who walks in.
        """
        self._bury(now_ns)
        known = _once(faces)
        certain = [face.box for face in known if face.sure]
        fresh = self._continue(self._states, certain, now_ns, bounds, weak=False)
        lost = [
            state
            for state in self._states
            if state.confirmed and not state.seen and now_ns - state.sure_ns < self._forget_ns
        ]
        self._continue(lost, [face.box for face in known if not face.sure], now_ns, bounds, weak=True)
        for box in fresh[: TRACKS_MAX - len(self._states)]:
            self._states.append(self._born(box, now_ns))
        return self._shown(now_ns)

    def coast(self, now_ns: int) -> list[Track]:
        """Give all tracks where they are believed to be in a frame that the detector did not see."""
        for state in self._states:
            state.seen = False
        return self._shown(now_ns)

    def _continue(self, states: list[_State], found: list[Box], now_ns: int, bounds: Box, *, weak: bool) -> list[Box]:
        """Give each of these tracks its face among those found; give back the faces of nobody."""
        matched = assign(
            [{} if state.left(bounds, now_ns) else _costs(state, found, now_ns, bounds, weak=weak) for state in states]
        )
        for state, column in zip(states, matched, strict=True):
            state.seen = column is not None and not weak
            if column is not None:
                _take(state, found[column], now_ns)
                state.sure_ns = state.sure_ns if weak else now_ns
        return [box for index, box in enumerate(found) if index not in matched]

    def _shown(self, now_ns: int) -> list[Track]:
        return [
            Track(
                id=state.id,
                box=state.believed(now_ns),
                seen=state.seen,
                first_seen_ns=state.first_ns,
                last_seen_ns=state.last_ns,
                still_s=state.still_s(),
                confirmed=state.confirmed,
            )
            for state in self._states
        ]

    def _born(self, box: Box, now_ns: int) -> _State:
        state = _State(
            id=self._next_id,
            box=box,
            first_ns=now_ns,
            last_ns=now_ns,
            sure_ns=now_ns,
            place=box.centre,
            anchor=box.centre,
            still_since_ns=now_ns,
            size_px=box.size_px,
        )
        self._next_id += 1
        for before in self._rested:
            near = math.dist(before.anchor, box.centre) < _REACH_SILENT * box.size_px
            if near and abs(math.log(before.size_px / box.size_px)) < _GROWTH:
                state.anchor, state.still_since_ns = before.anchor, now_ns - (before.last_ns - before.still_since_ns)
                self._rested.remove(before)
                break
        return state

    def _bury(self, now_ns: int) -> None:
        """Take away the dead, and remember the places of those that never moved."""
        dead = [state for state in self._states if self._dead(state, now_ns)]
        self._states = [state for state in self._states if state not in dead]
        rested = [state for state in [*self._rested, *dead] if state.rested()]
        self._rested = [state for state in rested if now_ns - state.last_ns < _SILENT_FORGET_NS][-_RESTED_MAX:]

    def _dead(self, state: _State, now_ns: int) -> bool:
        missed_ns = now_ns - state.last_ns
        if state.silenced():
            return missed_ns >= _SILENT_FORGET_NS
        return missed_ns >= (self._forget_ns if state.confirmed else min(self._forget_ns, _CONFIRM_NS))


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
    state.box, state.last_ns = box, now_ns
    state.size_px = math.sqrt(state.size_px * box.size_px)  # of boxes that jump between two levels, the middle
    state.sightings += 1
    if math.dist(state.place, state.anchor) > _STILL_SIZES * state.size_px:
        if state.silenced():
            state.first_ns = now_ns  # somebody after all, from now on
        state.anchor, state.still_since_ns = state.place, now_ns


def _costs(state: _State, found: Sequence[Box], now_ns: int, bounds: Box, *, weak: bool) -> dict[int, float]:
    """Give the price of calling a face that track, for each face that it can be."""
    elapsed_s = (now_ns - state.last_ns) / NS_PER_S
    log_size, growth_max = math.log(state.size_px), _GROWTH * (1 + elapsed_s)
    start, end, reach = state.box.centre, state.ahead(now_ns), _REACH + _PACE * elapsed_s
    if state.silenced():
        end, reach = start, _REACH_SILENT
    elif not state.confirmed:
        end, reach = start, min(_NEW_REACH + _NEW_PACE * elapsed_s, _NEW_REACH_MAX)
    elif weak:
        if elapsed_s > _WEAK_S:
            return {}
        reach = _WEAK_REACH
    costs: dict[int, float] = {}
    for index, box in enumerate(found):
        size_px = max(box.size_px, state.size_px)
        beside = _distance(box.centre, start, end) / size_px
        if beside > reach:
            continue
        growth = abs(math.log(box.size_px) - log_size)
        if growth <= growth_max * (_CUT_TIMES if _cut(state.box, bounds) or _cut(box, bounds) else 1):
            ahead = math.dist(box.centre, end) / size_px
            costs[index] = beside + _AHEAD_WEIGHT * ahead + _SIZE_WEIGHT * growth + _LOST_WEIGHT * elapsed_s
    return costs


def _once(faces: Sequence[Face]) -> list[Face]:
    """Give the faces without those found twice, the surest first; nothing depends on the order that they came in."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: (-face.score, face.box)):
        if face.box.area > 0 and not any(_same(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _cut(box: Box, bounds: Box) -> bool:
    """Tell whether a box touches the edge of where faces are searched."""
    return (
        box.x0 <= bounds.x0 + _EDGE_PX
        or box.y0 <= bounds.y0 + _EDGE_PX
        or box.x1 >= bounds.x1 - _EDGE_PX
        or box.y1 >= bounds.y1 - _EDGE_PX
    )


def _same(one: Box, other: Box) -> bool:
    """Tell whether two boxes found in one frame are one face."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 0 and height > 0 and width * height > _SAME_PART * min(one.area, other.area)


def _distance(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """Give the distance of a point from the straight way between two others."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    squared = dx * dx + dy * dy
    part = 0.0 if squared == 0 else ((point[0] - start[0]) * dx + (point[1] - start[1]) * dy) / squared
    part = min(max(part, 0.0), 1.0)
    return math.hypot(point[0] - start[0] - part * dx, point[1] - start[1] - part * dy)
