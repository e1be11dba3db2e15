"""Follows faces from frame to frame: which face of now is which face of before.

The life of a track, all of it in time and none of it in frames:
  born       a face that belongs to nobody; one look of the detector can be wrong, so this is nobody yet
  confirmed  found a second time, and it has moved since, or is plainly a face: what only rests and is hardly like a
             face is fruit, a sign, a fold
  lost       not found, moved on by its velocity for a moment; found again near where it is believed: the same track.
             Or found elsewhere and then again, and the new way goes on from the old one: the same track too
  dead       not seen for forget_after_s (born ones sooner)
  silenced   without any movement for SILENT_AFTER_S: a poster or a screen. It is shown with its still_s
             so that the pipeline can leave it out, outlives being missed, and comes back to life by moving. One that
             dies without ever having moved leaves its stillness to the next one there, so that a poster that is found
             only now and then is silenced too.
Faces and tracks are matched all at once at the least total cost (Kuhn, Munkres), so the order of the boxes does not
count; agent.vision.ways says who can be whom and at what price.
"""

import math
from collections.abc import Sequence

from agent.clock import NS_PER_S
from agent.seams import Box, Face, Track
from agent.vision.assignment import assign
from agent.vision.followed import SILENT_AFTER_S, Followed
from agent.vision.ways import GROWTH, REACH_STILL, costs, joins

__all__ = ["SILENT_AFTER_S", "TRACKS_MAX", "Tracker"]

TRACKS_MAX = 32  # a frame of 640x480 holds no more people whose faces are worth a decision
_SILENT_FORGET_NS = 600 * NS_PER_S  # a poster that somebody stands in front of is still that poster
_RESTED_MAX = 16  # places where a face that never moved was lost, the latest ones
_CONFIRM_NS = 3 * NS_PER_S // 2  # a born track waits this long for its second sighting
_SAME_PART = 0.6  # of the smaller of two boxes within the larger one: one face found twice


class Tracker:
    """Follows the faces of one camera; ids count from 1 in each instance and are never used twice."""

    def __init__(self, *, forget_after_s: float) -> None:
        self._forget_ns = round(forget_after_s * NS_PER_S)
        self._followed: list[Followed] = []
        self._rested: list[Followed] = []  # dead
        self._next_id = 1

    @property
    def alive(self) -> bool:
        """Tell whether anybody is followed or may come back any moment; posters are nobody."""
        return any(not track.silenced() for track in self._followed)

    @property
    def still_faces(self) -> int:
        """Count the silenced tracks."""
        return sum(track.silenced() for track in self._followed)

    def reset(self) -> None:
        """Forget everybody; ids go on."""
        self._followed.clear()
        self._rested.clear()

    def update(self, faces: Sequence[Face], now_ns: int, bounds: Box) -> list[Track]:
        """Take the faces that the detector found in the frame of now_ns; give all tracks, by id.

        A face that is not sure begins no track and is not `seen`; it keeps one alive that was sure a moment ago (Zhang
        et al. 2022, ByteTrack). bounds: the part of the frame in which faces are searched. Who has walked out of it
        does not come back as the next one who walks in.
        """
        self._bury(now_ns)
        known = _once(faces)
        for track in self._followed:
            track.seen = False
        fresh = self._continue(self._followed, [face for face in known if face.sure], now_ns, bounds, weak=False)
        lost = [
            track
            for track in self._followed
            if track.again and not track.seen and now_ns - track.sure_ns < self._forget_ns
        ]
        self._continue(lost, [face for face in known if not face.sure], now_ns, bounds, weak=True)
        self._join(bounds)
        for face in fresh[: TRACKS_MAX - len(self._followed)]:
            self._followed.append(self._born(face, now_ns))
        return self._shown(now_ns)

    def coast(self, now_ns: int) -> list[Track]:
        """Give all tracks where they are believed to be in a frame that the detector did not see."""
        for track in self._followed:
            track.seen = False
        return self._shown(now_ns)

    def _continue(
        self, tracks: list[Followed], found: list[Face], now_ns: int, bounds: Box, *, weak: bool
    ) -> list[Face]:
        """Give each of these tracks its face among those found; give back the faces of nobody."""
        boxes = [face.box for face in found]
        matched = assign([costs(track, boxes, now_ns, bounds, weak=weak) for track in tracks])
        for track, column in zip(tracks, matched, strict=True):
            if column is not None:
                track.take(found[column], now_ns)
        return [face for index, face in enumerate(found) if index not in matched]

    def _join(self, bounds: Box) -> None:
        """Give who was just found for the second time back to whom he was before, if he goes on from there."""
        for anew in [track for track in self._followed if track.seen and track.sightings == 2]:
            prices = [
                (price, lost.id, lost)
                for lost in self._followed
                if lost.again and not lost.seen and (price := joins(lost, anew, bounds)) is not None
            ]
            if prices:
                _, _, lost = min(prices, key=lambda one: one[:2])
                lost.go_on_as(anew)
                self._followed.remove(anew)

    def _shown(self, now_ns: int) -> list[Track]:
        return [
            Track(
                id=track.id,
                box=track.believed(now_ns),
                seen=track.seen,
                first_seen_ns=track.first_ns,
                last_seen_ns=track.last_ns,
                still_s=track.still_s(),
                confirmed=track.somebody,
            )
            for track in self._followed
        ]

    def _born(self, face: Face, now_ns: int) -> Followed:
        track = Followed.born(self._next_id, face, now_ns)
        self._next_id += 1
        for before in self._rested:
            near = math.dist(before.anchor, face.box.centre) < REACH_STILL * face.box.size_px
            if near and abs(math.log(before.size_px / face.box.size_px)) < GROWTH:
                track.rests_where(before)
                self._rested.remove(before)
                break
        return track

    def _bury(self, now_ns: int) -> None:
        """Take away the dead, and remember the places of those that never moved."""
        dead = [track for track in self._followed if self._dead(track, now_ns)]
        self._followed = [track for track in self._followed if track not in dead]
        rested = [track for track in [*self._rested, *dead] if track.rested()]
        self._rested = [track for track in rested if now_ns - track.last_ns < _SILENT_FORGET_NS][-_RESTED_MAX:]

    def _dead(self, track: Followed, now_ns: int) -> bool:
        missed_ns = now_ns - track.last_ns
        if track.silenced():
            return missed_ns >= _SILENT_FORGET_NS
        return missed_ns >= (self._forget_ns if track.again else min(self._forget_ns, _CONFIRM_NS))


def _once(faces: Sequence[Face]) -> list[Face]:
    """Give the faces without those found twice, the surest first; nothing depends on the order that they came in."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: (-face.score, face.box)):
        if face.box.area > 0 and not any(_same(face.box, other.box) for other in kept):
            kept.append(face)
    return kept


def _same(one: Box, other: Box) -> bool:
    """Tell whether two boxes found in one frame are one face."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return width > 0 and height > 0 and width * height > _SAME_PART * min(one.area, other.area)
