"""Stand-ins for the nets, told beforehand what to find: for tests of what happens behind them."""

from collections.abc import Callable, Sequence

import numpy as np

from agent.seams import Box, Face, Frame, Look, Pixels

MS = 1_000_000
S = 1000 * MS
MASK = (0.96, 0.03, 0.01)
NO_MASK = (0.03, 0.96, 0.01)
TORN = (0.5, 0.48, 0.02)


def box(x: float, y: float, size: float = 40.0) -> Box:
    """Give the square box of this size round a centre."""
    return Box(x - size / 2, y - size / 2, x + size / 2, y + size / 2)


def face(x: float, y: float, size: float = 40.0) -> Face:
    return Face(box=box(x, y, size), score=0.9)


def look(probs: tuple[float, float, float] = MASK, **changes: object) -> Look:
    fields: dict[str, object] = {"probs": probs, "sharpness": 300.0, "brightness": 120.0, "face_px": 40.0, **changes}
    return Look(**fields)  # type: ignore[arg-type]


def frame(
    now_ns: int, *, index: int = 0, scene: int = 0, grey: int | None = None, side: tuple[int, int] = (480, 640)
) -> Frame:
    """Give a frame of a still, structured scene, or of one grey. side: height, width."""
    if grey is None:
        rows, columns = np.mgrid[: side[0], : side[1]]
        picture = (((rows // 40 + columns // 40) % 2) * 120 + 60).astype(np.uint8)
    else:
        picture = np.full(side, grey, np.uint8)
    return Frame(pixels=np.repeat(picture[:, :, None], 3, axis=2), captured_ns=now_ns, index=index, scene=scene)


class ScriptedDetector:
    """Finds what `script` says of the n-th search, from 0."""

    def __init__(self, script: Callable[[int], Sequence[Face]]) -> None:
        self._script = script
        self.searches = 0

    @property
    def input_size(self) -> tuple[int, int]:
        """As large as the frames, so that none is looked at twice."""
        return 640, 480

    def find(self, pixels: Pixels) -> list[Face]:
        self.searches += 1
        return list(self._script(self.searches - 1))


class ScriptedClassifier:
    """Gives every face the look that `script` says for its box."""

    def __init__(self, script: Callable[[Box], Look] = lambda _: look()) -> None:
        self._script = script
        self.looks = 0

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> list[Look]:
        self.looks += len(boxes)
        return [self._script(box) for box in boxes]
