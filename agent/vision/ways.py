"""Which face can be whom: what a person can have done since he was last found, and what it costs to believe it.

Lengths are in sizes of the face: a face is 0.2 m wide, so who passes a camera at 1.5 m/s makes 7.5 sizes a second.
"""

import math
from collections.abc import Sequence

from agent.clock import NS_PER_S
from agent.seams import Box
from agent.vision.followed import Followed

GROWTH = 0.5  # of ln(size) between two sightings, and that much more a second; two levels of the net differ by 0.4
_NEW_REACH, _NEW_PACE, _NEW_REACH_MAX = 0.7, 8.0, 4.5  # how far from its only sighting a new track may be found
_REACH, _PACE = 0.9, 0.8  # how far beside the way from where it could have stopped to where it would be by now
_BRAKE = 20.0  # sizes a second squared, 4 m/s2: nobody stops or turns round in an instant
REACH_STILL = 0.35  # a poster stays where it is: whoever is found further off is somebody else
_AHEAD_WEIGHT = 0.2  # on that way the far end is likelier: most people go on
_WEAK_REACH, _WEAK_S = 0.6, 0.5  # a face below the threshold counts only here, for who was found so recently
_CUT_TIMES = 2.0  # as much growth while the frame's edge cuts the smaller of two boxes
_SIZE_WEIGHT = 1.7  # of ln(size)
_LOST_WEIGHT = 0.15  # a second: who was seen just now comes before who has been away
_EDGE_PX = 3.0
_AWAY_S, _ENTRY = 0.4, 0.5  # who has been away for longer does not turn up this near the frame's edge: that is another
_JOIN_REACH, _JOIN_PACE = 0.7, 1.0  # how far from where a way that became another may have led, and that a second
_JOIN_GROWTH = 0.6  # of the growth that is allowed to who is found at once
_OUT_S = 0.7  # who would have left the frame by then has left it


def costs(track: Followed, found: Sequence[Box], now_ns: int, bounds: Box, *, weak: bool) -> dict[int, float]:
    """Give the price of calling a face that track, for each face that it can be.

    bounds: of where faces are searched. weak: these faces are below the detector's threshold.
    """
    elapsed_s = (now_ns - track.last_ns) / NS_PER_S
    if track.left(bounds, elapsed_s) or (weak and elapsed_s > _WEAK_S):
        return {}
    start, end, reach = _way(track, elapsed_s)
    if weak:
        reach = _WEAK_REACH
    possible: dict[int, float] = {}
    for index, box in enumerate(found):
        size_px = max(box.size_px, track.size_px)
        beside = _distance(box.centre, start, end) / size_px
        growth = math.log(box.size_px / track.size_px)
        if beside > reach or not _grows(track, box, growth, GROWTH * (1 + elapsed_s), bounds):
            continue
        if track.again and elapsed_s > _AWAY_S and _comes_in(track, box, bounds):
            continue
        ahead = math.dist(box.centre, end) / size_px
        possible[index] = beside + _AHEAD_WEIGHT * ahead + _SIZE_WEIGHT * abs(growth) + _LOST_WEIGHT * elapsed_s
    return possible


def joins(lost: Followed, anew: Followed, bounds: Box) -> float | None:
    """Give the price of calling somebody lost the one who was found anew and then again, or None if he cannot be.

    While he was hidden or turned away he may have begun to walk, or turned: by the mean of the two velocities he has
    to have come from the one place to the other.
    """
    elapsed_s = (anew.first_ns - lost.last_ns) / NS_PER_S
    if elapsed_s <= 0 or lost.silenced() or lost.left(bounds, min(elapsed_s, _OUT_S)) or _enters(anew.birth, bounds):
        return None
    size_px = math.sqrt(lost.size_px * anew.size_px)
    growth = abs(math.log(anew.birth.size_px / lost.size_px))
    x, y = (
        place + (before + after) / 2 * elapsed_s
        for place, before, after in zip(lost.box.centre, lost.velocity, anew.velocity, strict=True)
    )
    off = math.dist((x, y), anew.birth.centre) / size_px
    if off > _JOIN_REACH + _JOIN_PACE * elapsed_s or growth > _JOIN_GROWTH * GROWTH * (1 + elapsed_s):
        return None
    return off + growth


def _way(track: Followed, elapsed_s: float) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Give the way on which a face is now: from where, to where, and how far beside it."""
    place = track.box.centre
    if track.silenced():
        return place, place, REACH_STILL
    if not track.again:
        return place, place, min(_NEW_REACH + _NEW_PACE * elapsed_s, _NEW_REACH_MAX)
    end = track.ahead(elapsed_s)
    way_px = math.dist(place, end)
    part = 0.0 if way_px == 0 else max(0.0, 1 - _BRAKE * track.size_px * elapsed_s**2 / 2 / way_px)
    start = place[0] + part * (end[0] - place[0]), place[1] + part * (end[1] - place[1])
    return start, end, _REACH + _PACE * elapsed_s


def _grows(track: Followed, box: Box, growth: float, limit: float, bounds: Box) -> bool:
    """Tell whether a face can have grown so much; one that the frame's edge cuts is larger than its box."""
    cut = track.box if growth > 0 else box
    return abs(growth) <= limit * (_CUT_TIMES if _beside_edge(cut, bounds, _EDGE_PX) else 1)


def _comes_in(track: Followed, box: Box, bounds: Box) -> bool:
    """Tell whether a face is just entering the frame, and not where this track was."""
    return _enters(box, bounds) and not _enters(track.box, bounds)


def _enters(box: Box, bounds: Box) -> bool:
    return _beside_edge(box, bounds, _ENTRY * box.size_px)


def _beside_edge(box: Box, bounds: Box, margin_px: float) -> bool:
    """Tell whether a box is this near to the edge of where faces are searched."""
    return (
        box.x0 <= bounds.x0 + margin_px
        or box.y0 <= bounds.y0 + margin_px
        or box.x1 >= bounds.x1 - margin_px
        or box.y1 >= bounds.y1 - margin_px
    )


def _distance(point: tuple[float, float], start: tuple[float, float], end: tuple[float, float]) -> float:
    """Give the distance of a point from the straight way between two others."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    squared = dx * dx + dy * dy
    part = 0.0 if squared == 0 else ((point[0] - start[0]) * dx + (point[1] - start[1]) * dy) / squared
    part = min(max(part, 0.0), 1.0)
    return math.hypot(point[0] - start[0] - part * dx, point[1] - start[1] - part * dy)
