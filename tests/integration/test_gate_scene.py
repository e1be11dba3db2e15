"""The gates with the shipped nets on generated scenes: whoever is told with every gate open is told as shipped."""

import math
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
import pytest

from agent.camera.scene import SceneCamera
from agent.clock import NS_PER_S
from agent.seams import Camera, Classifier, Detector, End, Frame, Silence
from tools.bench.agent import shipped_nets
from tools.bench.clips.findings import differences, examine, tales
from tools.bench.clips.truth import Clip, Person, Point
from tools.bench.clips.watch import OPEN, SHIPPED, watch

pytest.importorskip("skimage", reason="the scene's portraits come with the demo extra")

NOISE_LEVELS = 1.6
STEP_S = 0.2
Nets = tuple[Detector, Classifier]


@pytest.fixture(scope="module")
def nets() -> Nets:
    return shipped_nets()


def truth_of(scene: SceneCamera, seconds: float, pause: tuple[float, float] = (math.inf, 0.0)) -> Clip:
    """Write down who walks where; pause: from when on, and how long, everybody stands still."""
    from_s, lasts_s = pause
    people = []
    for number, walker in enumerate(scene.truth):
        path = []
        for at_s in np.arange(0.0, seconds, STEP_S).tolist():
            own_s = at_s if at_s < from_s else max(from_s, at_s - lasts_s)
            box = walker.box_at(round(own_s * NS_PER_S))
            if box is not None:
                path.append(Point(at_s, *box.centre, box.size_px, 1.0))
        if len(path) > 1:
            people.append(Person(who=f"{number}", label=walker.label, path=path))
    return Clip(seconds=seconds, person=people)


class Pausing:
    """A scene in which everybody stands still for a while; the sensor's noise goes on."""

    live = False

    def __init__(self, scene: SceneCamera, *, fps: float, from_s: float, lasts_s: float) -> None:
        self._scene = scene
        self._fps = fps
        self._pause = range(round(from_s * fps), round((from_s + lasts_s) * fps))
        self._index = 0
        self._last: Frame | None = None
        random = np.random.default_rng(3)
        self._noise = [np.rint(random.normal(0, NOISE_LEVELS, (480, 640, 3))).astype(np.int16) for _ in range(4)]

    def __enter__(self) -> Self:
        self._scene.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scene.__exit__(kind, error, trace)

    def describe(self) -> str:
        return self._scene.describe()

    def read(self, timeout_s: float) -> Frame | Silence | End:
        if self._index in self._pause and self._last is not None:
            noise = self._noise[self._index % len(self._noise)]
            pixels = np.clip(self._last.pixels + noise, 0, 255).astype(np.uint8)
            frame = msgspec.structs.replace(self._last, pixels=pixels)
        else:
            message = self._scene.read(timeout_s)
            if not isinstance(message, Frame):
                return message
            self._last = frame = message
        frame = msgspec.structs.replace(frame, index=self._index, captured_ns=round(self._index * NS_PER_S / self._fps))
        self._index += 1
        return frame


def moving(seed: int, fps: float) -> tuple[Camera, Clip]:
    scene = SceneCamera(fps=fps, persons=4, duration_s=14.0, seed=seed)
    return scene, truth_of(scene, 14.0)


def pausing(seed: int, fps: float) -> tuple[Camera, Clip]:
    scene = SceneCamera(fps=fps, persons=2, duration_s=9.0, seed=seed)
    from_s, lasts_s = 3.0, 22.0  # after 15 s or so who stands belongs to the scene, and nothing moves
    return Pausing(scene, fps=fps, from_s=from_s, lasts_s=lasts_s), truth_of(scene, 9.0 + lasts_s, (from_s, lasts_s))


@pytest.mark.parametrize("scenes", [moving, pausing])
@pytest.mark.parametrize(("seed", "fps"), [(11, 10.0), (23, 5.0)])
def test_the_gates_lose_nobody_and_change_no_label(nets: Nets, scenes: object, seed: int, fps: float) -> None:
    assert callable(scenes)
    camera, clip = scenes(seed, fps)
    shipped = watch(camera, SHIPPED.pipeline(*nets))
    assert clip.person
    assert [one.who for one in examine(clip, shipped).persons if one.counts and not one.once] == []
    for name, gates in OPEN.items():
        camera, _ = scenes(seed, fps)
        other = watch(camera, gates.pipeline(*nets))
        assert other.detections >= shipped.detections
        assert differences(tales(clip, shipped), tales(clip, other)) == [], name
