"""One face that is followed: where it is, where it goes, whether it has ever moved, and whether that is somebody."""

import math
from dataclasses import dataclass

from agent.clock import NS_PER_S
from agent.seams import Box, Face

SILENT_AFTER_S = 30.0  # nobody's head rests this exactly for half a minute
# The detector's score is the overlap that it expects of its box, so this means the same of any net of ours. Nine in ten
# faces that pass are once as plain as this; of the fruit, signs and folds that it takes for faces one in six.
_PLAIN_SCORE = 0.7
_MOVED_SIZES = 0.2  # from where it was found first; boxes round what rests jump less, smoothed over a second
_VELOCITY_S = 0.2  # time constant of the velocity's filter
_COAST_S = 0.4  # a lost face is shown going on for about this long
_STILL_SIZES = 0.12  # how far from where it was a still face's smoothed place may be
_STILL_SMOOTH_S = 1.0


@dataclass(slots=True, eq=False)
class Followed:
    """A track: places in pixels, velocity in pixels a second. sure_ns: when it was last found surely."""

    id: int
    box: Box
    birth: Box
    score: float
    """The best so far."""
    first_ns: int
    last_ns: int
    sure_ns: int
    place: tuple[float, float]
    """Smoothed, for stillness."""
    anchor: tuple[float, float]
    still_since_ns: int
    size_px: float
    velocity: tuple[float, float] = (0.0, 0.0)
    sightings: int = 1
    seen: bool = True
    moved: bool = False
    somebody: bool = False
    """More than a find or two: found again, and by then it had moved or been plainly a face."""

    @classmethod
    def born(cls, number: int, face: Face, now_ns: int) -> "Followed":
        """Begin to follow a face that belongs to nobody."""
        box = face.box
        return cls(
            id=number,
            box=box,
            birth=box,
            score=face.score,
            first_ns=now_ns,
            last_ns=now_ns,
            sure_ns=now_ns,
            place=box.centre,
            anchor=box.centre,
            still_since_ns=now_ns,
            size_px=box.size_px,
        )

    @property
    def again(self) -> bool:
        """Tell whether it has been found more than once."""
        return self.sightings > 1

    def still_s(self) -> float:
        return (self.last_ns - self.still_since_ns) / NS_PER_S

    def silenced(self) -> bool:
        return self.still_s() >= SILENT_AFTER_S

    def rested(self) -> bool:
        """Tell whether it has always been still."""
        return self.again and self.still_since_ns <= self.first_ns

    def rests_where(self, before: "Followed") -> None:
        """Take over for how long another one has been still in the same place."""
        self.anchor, self.still_since_ns = before.anchor, self.last_ns - (before.last_ns - before.still_since_ns)

    def believed(self, now_ns: int) -> Box:
        """Give the box at now_ns: moved on at a velocity that fades."""
        elapsed_s = (now_ns - self.last_ns) / NS_PER_S
        if elapsed_s <= 0:
            return self.box
        reach_s = _COAST_S * (1 - math.exp(-elapsed_s / _COAST_S))
        dx, dy = self.velocity[0] * reach_s, self.velocity[1] * reach_s
        return Box(self.box.x0 + dx, self.box.y0 + dy, self.box.x1 + dx, self.box.y1 + dy)

    def ahead(self, elapsed_s: float) -> tuple[float, float]:
        """Give where the centre is so long after it was last found, if the face has gone straight on."""
        x, y = self.box.centre
        return x + self.velocity[0] * elapsed_s, y + self.velocity[1] * elapsed_s

    def left(self, bounds: Box, elapsed_s: float) -> bool:
        """Tell whether so long after it was last found the face has walked out of the bounds."""
        if self.silenced():
            return False
        (x, y), margin = self.ahead(elapsed_s), self.size_px / 2
        return not (bounds.x0 - margin <= x <= bounds.x1 + margin and bounds.y0 - margin <= y <= bounds.y1 + margin)

    def take(self, face: Face, now_ns: int) -> None:
        """Move to where its face was found."""
        box, elapsed_s = face.box, max((now_ns - self.last_ns) / NS_PER_S, 1e-3)
        (x, y), (old_x, old_y) = box.centre, self.box.centre
        gain = 1 - math.exp(-elapsed_s / _VELOCITY_S) if self.again else 1.0
        vx, vy = self.velocity
        self.velocity = (
            vx + gain * ((x - old_x) / elapsed_s - vx),
            vy + gain * ((y - old_y) / elapsed_s - vy),
        )
        smooth = 1 - math.exp(-elapsed_s / _STILL_SMOOTH_S)
        self.place = (self.place[0] + smooth * (x - self.place[0]), self.place[1] + smooth * (y - self.place[1]))
        self.box, self.last_ns, self.sightings = box, now_ns, self.sightings + 1
        self.size_px = math.sqrt(self.size_px * box.size_px)  # of boxes that jump between two levels, the middle
        self.score = max(self.score, face.score)
        self.seen = face.sure
        if face.sure:
            self.sure_ns = now_ns
        self._judge()
        if math.dist(self.place, self.anchor) > _STILL_SIZES * self.size_px:
            if self.silenced():
                self.first_ns = now_ns  # somebody after all, from now on
            self.anchor, self.still_since_ns = self.place, now_ns

    def go_on_as(self, later: "Followed") -> None:
        """Become what was followed as another since it was found anew."""
        self.box, self.place, self.anchor = later.box, later.place, later.place
        self.last_ns, self.sure_ns, self.still_since_ns = later.last_ns, later.sure_ns, later.last_ns
        self.velocity, self.size_px, self.seen = later.velocity, later.size_px, later.seen
        self.score, self.sightings = max(self.score, later.score), self.sightings + later.sightings
        self._judge()

    def _judge(self) -> None:
        """Tell, where it was just found, whether it has moved by now, and whether it is somebody."""
        self.moved |= math.dist(self.place, self.birth.centre) > _MOVED_SIZES * self.size_px
        self.somebody |= self.seen and (self.moved or self.score >= _PLAIN_SCORE)
