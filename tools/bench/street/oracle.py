"""Nets that know the truth: with them, what is still lost is lost by following and deciding."""

from collections.abc import Sequence

from agent.seams import LABELS, Box, Face, Look, Pixels
from tools.bench.street.match import overlap
from tools.bench.street.plan import Scene
from tools.bench.street.truth import Sight

_SURE = 0.98
_SHARP, _BRIGHT = 200.0, 120.0


class Oracle:
    """Detector and classifier of one scene, for the frame that it is told. Finds faces of which a third is shown."""

    def __init__(self, scene: Scene, timeline: Sequence[Sequence[Sight]]) -> None:
        self._scene, self._timeline = scene, timeline
        self.frame = 0

    @property
    def input_size(self) -> tuple[int, int]:
        """Give the frame's own size: nothing is shrunk, so there is no second look."""
        return self._scene.view.width, self._scene.view.height

    def find(self, pixels: Pixels) -> list[Face]:
        return [Face(box=sight.head.box, score=_SURE) for sight in self._timeline[self.frame] if sight.glimpsed]

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> list[Look]:
        return [self._look(box) for box in boxes]

    def _look(self, box: Box) -> Look:
        nearest = max(self._timeline[self.frame], key=lambda sight: overlap(box, sight.head.box))
        label = self._scene.persons[nearest.head.person].label
        rest = (1 - _SURE) / 2
        a, b, c = (_SURE if one == label else rest for one in LABELS)
        return Look(probs=(a, b, c), sharpness=_SHARP, brightness=_BRIGHT, face_px=box.size_px)
