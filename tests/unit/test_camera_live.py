"""Live cameras: what is lost is told as silence and comes back by itself, with pauses that grow and are random."""

import logging
from random import Random

import numpy as np
import pytest

from agent.camera.live import PAUSE_MOST_S, STALL_S, STEADY_S, LiveCamera, Shot
from agent.clock import NS_PER_S
from agent.errors import UnavailableError
from agent.seams import Frame, Silence
from tests.unit.service_clock import TestClock


class ScriptedDevice:
    """Does what the script says: for an opening `ok` or `no`, for a grab `frame`, `none` (waits) or `lost`."""

    where = "scripted"

    def __init__(self, clock: TestClock, script: str, *, lores: bool = False) -> None:
        self._clock = clock
        self._script = iter(script.split())
        self._lores = lores
        self.opened = 0
        self.closed = 0

    def open(self) -> None:
        self.opened += 1
        if next(self._script) == "no":
            raise UnavailableError("nobody there", where=self.where, remedy="wait")

    def grab(self, timeout_s: float) -> Shot | None:
        match next(self._script):
            case "frame":
                self._clock.sleep(0.1)
                pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
                return Shot(
                    pixels=pixels, captured_ns=self._clock.now_ns(), lores=pixels[:1, :1] if self._lores else None
                )
            case "none":
                self._clock.sleep(timeout_s)
                return None
            case "lost":
                raise UnavailableError("pulled out", where=self.where, remedy="wait")
            case other:
                raise AssertionError(f"the script has {other!r} for a grab")

    def close(self) -> None:
        self.closed += 1

    def describe(self) -> str:
        return "a script"


def _camera(script: str, **options: int) -> tuple[LiveCamera, ScriptedDevice, TestClock]:
    clock = TestClock(5 * NS_PER_S)
    device = ScriptedDevice(clock, script)
    return LiveCamera(device, clock, Random(1), **options), device, clock


def _read_until_frame(camera: LiveCamera, timeout_s: float = 1.0) -> tuple[Frame, list[Silence]]:
    silences: list[Silence] = []
    while True:
        got = camera.read(timeout_s)
        if isinstance(got, Frame):
            return got, silences
        assert isinstance(got, Silence)
        silences.append(got)


def test_frames_are_numbered_and_stamped_by_the_device() -> None:
    camera, device, _ = _camera("ok frame frame frame")
    with camera:
        frames = [camera.read(1) for _ in range(3)]
    assert [(frame.index, frame.captured_ns, frame.scene) for frame in frames if isinstance(frame, Frame)] == [
        (0, 5_100_000_000, 0),
        (1, 5_200_000_000, 0),
        (2, 5_300_000_000, 0),
    ]
    assert camera.live
    assert camera.describe() == "a script"
    assert device.closed == 1


def test_the_picture_and_its_smaller_view_are_turned() -> None:
    clock = TestClock()
    with LiveCamera(ScriptedDevice(clock, "ok frame", lores=True), clock, Random(1), rotate_deg=90) as camera:
        frame = camera.read(1)
    assert isinstance(frame, Frame)
    assert frame.pixels.shape == (3, 2, 3)
    assert frame.lores is not None
    assert frame.lores.shape == (1, 1, 3)


def test_an_absent_camera_is_refused_once_and_then_tried_until_it_is_there() -> None:
    camera, device, clock = _camera("no no no ok frame")
    with pytest.raises(UnavailableError, match="nobody there"):
        camera.__enter__()
    frame, silences = _read_until_frame(camera)
    assert frame.index == 0
    assert {silence.why for silence in silences} == {"nobody there"}
    assert {silence.since_ns for silence in silences} == {5 * NS_PER_S}
    assert device.opened == 4
    assert clock.now_ns() > 5 * NS_PER_S


def test_a_lost_camera_is_silence_with_the_reason_and_comes_back() -> None:
    camera, device, _ = _camera("ok frame lost ok frame")
    with camera:
        first = camera.read(1)
        assert isinstance(first, Frame)
        lost = camera.read(1)
        assert lost == Silence(since_ns=first.captured_ns, why="pulled out")
        frame, _ = _read_until_frame(camera)
    assert frame.index == 1
    assert device.opened == 2


def test_no_frame_in_time_is_silence_and_too_long_a_silence_opens_the_camera_again() -> None:
    script = "ok frame " + "none " * int(STALL_S) + "ok frame"
    camera, device, _ = _camera(script)
    with camera:
        assert isinstance(camera.read(1), Frame)
        silences = [camera.read(1) for _ in range(int(STALL_S))]
        assert all(isinstance(silence, Silence) for silence in silences)
        assert device.opened == 1
        frame, _ = _read_until_frame(camera)
    assert frame.index == 1
    assert device.opened == 2


def test_a_read_never_waits_longer_than_its_timeout_while_the_camera_is_away() -> None:
    camera, _, clock = _camera("ok frame " + "lost no no no no no no no ok frame")
    with camera:
        camera.read(1)
        while True:
            before_ns = clock.now_ns()
            got = camera.read(0.25)
            assert clock.now_ns() - before_ns <= 0.25 * NS_PER_S + 0.1 * NS_PER_S
            if isinstance(got, Frame):
                break


def test_pauses_are_random_and_their_bound_doubles_up_to_a_limit() -> None:
    class Longest(Random):
        def uniform(self, a: float, b: float) -> float:
            assert a == 0
            bounds.append(b)
            return b

    bounds: list[float] = []
    clock = TestClock()
    device = ScriptedDevice(clock, "no " * 1100 + "ok frame")
    camera = LiveCamera(device, clock, Longest())
    with pytest.raises(UnavailableError):
        camera.__enter__()
    _read_until_frame(camera, timeout_s=60)
    assert bounds[:7] == [1, 2, 4, 8, 16, PAUSE_MOST_S, PAUSE_MOST_S]
    assert set(bounds[6:]) == {PAUSE_MOST_S}


@pytest.mark.parametrize(("frames", "bound"), [(1, 2.0), (int(STEADY_S * 10) + 1, 1.0)])
def test_a_camera_that_drops_at_once_keeps_its_long_pause_and_a_steady_one_does_not(frames: int, bound: float) -> None:
    class Told(Random):
        def uniform(self, a: float, b: float) -> float:
            bounds.append(b)
            return b

    bounds: list[float] = []
    clock = TestClock()
    camera = LiveCamera(ScriptedDevice(clock, "no ok " + "frame " * frames + "lost"), clock, Told())
    with pytest.raises(UnavailableError):
        camera.__enter__()
    _read_until_frame(camera)
    for _ in range(frames - 1):
        camera.read(1)
    assert isinstance(camera.read(1), Silence)
    assert bounds == [1.0, bound]


def test_losing_and_coming_back_are_each_said_once(caplog: pytest.LogCaptureFixture) -> None:
    camera, _, _ = _camera("ok frame lost no no no ok frame frame")
    with caplog.at_level(logging.INFO), camera:
        _read_until_frame(camera)
        _read_until_frame(camera)
        _read_until_frame(camera)
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "camera.lost source=scripted why=pulled out"
    assert lines[1].startswith("camera.back source=scripted after_s=")
    assert len(lines) == 2
