"""Raspberry Pi cameras, against a stand-in for picamera2: what no virtual camera does. tests/board has the real one."""

import os
import sys
from concurrent.futures import CancelledError
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from agent.camera import open_camera
from agent.camera.picamera2 import to_rgb
from agent.clock import NS_PER_S
from agent.errors import UnavailableError
from agent.seams import Frame, Silence
from agent.settings import CameraSettings
from tests.unit.service_clock import TestClock

RED = (200, 10, 20)


class StandInCamera:
    """The documented part of picamera2.Picamera2 that is used here; the class attributes say how it behaves."""

    main_format = "RGB888"
    main_size: tuple[int, int] | None = None  # None: as asked
    lores: bool = True
    controls = {"FrameDurationLimits": (1, 2, 3)}
    fails: dict[str, Exception] = {}
    answers: list[Any] = []  # what the next captures come to: "frame", "late" or an exception
    stamp_ns: int | None = None
    count = 2
    log: list[Any] = []

    @classmethod
    def global_camera_info(cls) -> list[dict[str, Any]]:
        return [{"Num": number} for number in range(cls.count)]

    def __init__(self, camera_num: int = 0) -> None:
        self.log.append(("open", camera_num))
        self._fail("pipe")
        reads, self.notifyme_w = os.pipe()
        self.notifymeread = os.fdopen(reads, "rb")
        self.is_open = False
        self._fail("open")
        self.is_open = True
        self._fail("modes")
        self.camera_controls = dict(self.controls)

    def _fail(self, step: str) -> None:
        if step in self.fails:
            raise self.fails[step]

    def create_video_configuration(self, **asked: Any) -> dict[str, Any]:
        self.log.append(("asked", asked))
        return asked

    def configure(self, config: dict[str, Any]) -> None:
        self._fail("configure")
        main = {"format": self.main_format, "size": self.main_size or config["main"]["size"], "stride": 0}
        lores = None
        if self.lores and "lores" in config:
            lores = {"format": "YUV420", "size": config["lores"]["size"], "stride": config["lores"]["size"][0] + 32}
        self._config = {"main": main, "lores": lores}

    def camera_configuration(self) -> dict[str, Any]:
        return self._config

    def start(self) -> None:
        self._fail("start")
        self.log.append("start")

    def capture_request(self, wait: bool) -> "StandInJob":
        assert wait is False
        self.log.append("job")
        return StandInJob(self)

    def cancel_all_and_flush(self) -> None:
        self.log.append("cancel")

    def close(self) -> None:
        self.log.append("close")
        self._fail("close")
        if self.is_open:
            self.is_open = False
            self.notifymeread.close()
            os.close(self.notifyme_w)


class StandInJob:
    def __init__(self, camera: StandInCamera) -> None:
        self._camera = camera

    def get_result(self, timeout: float) -> "StandInRequest":
        answer = self._camera.answers.pop(0) if self._camera.answers else "frame"
        if answer == "late":
            raise TimeoutError
        if isinstance(answer, BaseException):
            raise answer
        return StandInRequest(self._camera)


class StandInRequest:
    def __init__(self, camera: StandInCamera) -> None:
        self._camera = camera

    def make_array(self, name: str) -> np.ndarray[Any, Any]:
        stream = self._camera.camera_configuration()[name]
        return packed(stream["format"], stream["size"], stream["stride"])

    def get_metadata(self) -> dict[str, Any]:
        return {} if self._camera.stamp_ns is None else {"SensorTimestamp": self._camera.stamp_ns}

    def release(self) -> None:
        self._camera.log.append("release")


def packed(kind: str, size: tuple[int, int], stride: int = 0) -> np.ndarray[Any, Any]:
    """Give a RED picture as picamera2's make_array would, rows of YUV padded to `stride`."""
    width, height = size
    rgb = np.full((height, width, 3), RED, np.uint8)
    match kind:
        case "YUYV":
            padded = np.full((height, (stride or 2 * width) // 2, 3), RED, np.uint8)
            yuv: Any = cv2.cvtColor(padded, cv2.COLOR_RGB2YUV_YUYV)
            return np.asarray(yuv)
        case "RGB888":
            return rgb[..., ::-1].copy()
        case "BGR888" | "MJPEG":
            return rgb
        case "XRGB8888":
            return np.dstack([rgb[..., ::-1], np.full((height, width), 255, np.uint8)])
        case "XBGR8888":
            return np.dstack([rgb, np.full((height, width), 255, np.uint8)])
    padded = np.full((height, stride or width, 3), RED, np.uint8)
    i420: Any = cv2.cvtColor(padded, cv2.COLOR_RGB2YUV_I420)
    if kind == "YUV420":
        return np.asarray(i420)
    luma, u, v = i420[:height], i420[height : height * 5 // 4].ravel(), i420[height * 5 // 4 :].ravel()
    chroma = {"YVU420": np.concatenate([v, u]), "NV12": np.stack([u, v], 1), "NV21": np.stack([v, u], 1)}[kind]
    return np.vstack([luma, chroma.reshape(height // 2, -1)])


@pytest.fixture
def camera_class(monkeypatch: pytest.MonkeyPatch) -> type[StandInCamera]:
    """Install the stand-in as the module picamera2."""

    class Fresh(StandInCamera):
        fails: dict[str, Exception] = {}
        answers: list[Any] = []
        log: list[Any] = []

    module = ModuleType("picamera2")
    module.Picamera2 = Fresh  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return Fresh


def _camera(clock: TestClock, **settings: Any) -> Any:
    return open_camera(CameraSettings(source="picamera2:1", **settings), clock)


def test_frames_are_rgb_with_a_smaller_view_and_the_sensors_time(camera_class: type[StandInCamera]) -> None:
    clock = TestClock(100 * NS_PER_S)
    camera_class.stamp_ns = 99_950_000_000
    with _camera(clock) as camera:
        frame = camera.read(1)
        assert camera.describe() == "picamera2:1, 640x480 RGB888"
    assert isinstance(frame, Frame)
    assert frame.captured_ns == 99_950_000_000
    assert frame.pixels.shape == (480, 640, 3)
    assert tuple(frame.pixels[10, 10]) == RED
    assert frame.lores is not None
    assert frame.lores.shape == (240, 320, 3)
    assert np.abs(frame.lores.astype(int) - RED).max() < 8
    assert camera_class.log[0] == ("open", 1)
    asked = camera_class.log[1][1]
    assert asked["main"] == {"size": (640, 480), "format": "RGB888"}
    assert asked["lores"] == {"size": (320, 240), "format": "YUV420"}
    assert asked["controls"] == {"FrameRate": 15.0}
    assert camera_class.log[2:] == ["start", "job", "release", "close"]


@pytest.mark.parametrize("stamp_ns", [None, 0, 101 * NS_PER_S])
def test_a_sensor_time_that_cannot_be_true_is_replaced_by_the_clock(
    camera_class: type[StandInCamera], stamp_ns: int | None
) -> None:
    camera_class.stamp_ns = stamp_ns
    with _camera(TestClock(100 * NS_PER_S)) as camera:
        assert camera.read(1).captured_ns == 100 * NS_PER_S


def test_what_the_camera_gives_counts_and_not_what_was_asked(camera_class: type[StandInCamera]) -> None:
    camera_class.main_format, camera_class.main_size, camera_class.lores = "NV12", (320, 240), False
    camera_class.controls = {}
    with _camera(TestClock()) as camera:
        frame = camera.read(1)
    assert frame.pixels.shape == (240, 320, 3)
    assert np.abs(frame.pixels.astype(int) - RED).max() < 8
    assert frame.lores is None
    assert "controls" not in camera_class.log[1][1]


def test_a_small_picture_has_no_smaller_view(camera_class: type[StandInCamera]) -> None:
    with _camera(TestClock(), width=160, height=120) as camera:
        assert camera.read(1).lores is None


def test_a_late_frame_is_silence_and_still_comes_from_the_same_capture(camera_class: type[StandInCamera]) -> None:
    camera_class.answers = ["late", "late", "frame"]
    with _camera(TestClock()) as camera:
        assert [type(camera.read(1)) for _ in range(3)] == [Silence, Silence, Frame]
    assert camera_class.log.count("job") == 1


def test_a_stalled_camera_is_flushed_closed_and_opened_again(camera_class: type[StandInCamera]) -> None:
    clock = TestClock()
    camera_class.answers = ["late"]
    with _camera(clock) as camera:
        clock.sleep(6)
        assert camera.read(1) == Silence(since_ns=0, why="no frame for 6 s")
        assert camera_class.log[-2:] == ["cancel", "close"]
        got = camera.read(60)
    assert isinstance(got, Frame)


@pytest.mark.parametrize("error", [CancelledError(), RuntimeError("gone"), OSError("gone")])
def test_a_failed_capture_is_silence_and_another_opening(camera_class: type[StandInCamera], error: Exception) -> None:
    camera_class.answers = [error]
    camera_class.fails = {"close": OSError("gone")}
    with _camera(TestClock()) as camera:
        silence = camera.read(1)
        assert isinstance(silence, Silence)
        assert silence.why.startswith("capture failed")
        assert isinstance(camera.read(60), Frame)


@pytest.mark.parametrize("step", ["open", "configure", "start"])
def test_a_camera_that_cannot_be_had_is_unavailable_with_libcameras_reason(
    camera_class: type[StandInCamera], step: str
) -> None:
    error = RuntimeError("Camera __init__ sequence did not complete.")
    error.__cause__ = RuntimeError("Failed to initialize camera")
    error.__cause__.__cause__ = RuntimeError("Failed to acquire camera: Device or resource busy.")
    camera_class.fails = {step: error}
    with pytest.raises(UnavailableError) as caught, _camera(TestClock()):
        pass
    assert str(caught.value).startswith("picamera2:1: Failed to acquire camera: Device or resource busy; ")


def test_a_number_beyond_the_cameras_there_are_is_told_as_such(camera_class: type[StandInCamera]) -> None:
    camera_class.count = 1
    with pytest.raises(UnavailableError) as caught, _camera(TestClock()):
        pass
    assert str(caught.value).startswith("picamera2:1: there is no camera 1; libcamera lists 1; ")
    assert camera_class.log == []


@pytest.mark.parametrize("step", ["pipe", "open", "modes"])
@pytest.mark.parametrize("close", [None, KeyError(1), RuntimeError("Failed to release camera")])
def test_an_opening_that_fails_costs_no_file(
    camera_class: type[StandInCamera], step: str, close: Exception | None
) -> None:
    camera_class.fails = {step: RuntimeError("no")} | ({"close": close} if close else {})
    camera = _camera(TestClock())
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(UnavailableError), camera:
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert (step == "modes") == ("close" in camera_class.log)


def test_a_format_that_nobody_asked_for_and_we_cannot_read_is_unavailable(camera_class: type[StandInCamera]) -> None:
    camera_class.main_format = "SRGGB10"
    with pytest.raises(UnavailableError, match="SRGGB10"), _camera(TestClock()):
        pass
    assert camera_class.log[-1] == "close"


def test_a_board_without_picamera2_is_told_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(UnavailableError, match="apt install python3-picamera2"), _camera(TestClock()):
        pass


@pytest.mark.parametrize("kind", ["RGB888", "BGR888", "XRGB8888", "XBGR8888", "MJPEG"])
def test_packed_formats_become_rgb(kind: str) -> None:
    pixels = to_rgb(packed(kind, (16, 8)), kind, (16, 8))
    assert np.array_equal(pixels, np.full((8, 16, 3), RED, np.uint8))


@pytest.mark.parametrize(("kind", "channels"), [("RGB888", 3), ("XBGR8888", 4)])
def test_padded_rows_of_bytes_are_cut(kind: str, channels: int) -> None:
    flat = packed(kind, (16, 8)).reshape(8, 16 * channels)
    padded = np.hstack([flat, np.full((8, 20), 99, np.uint8)])
    assert np.array_equal(to_rgb(padded, kind, (16, 8)), np.full((8, 16, 3), RED, np.uint8))


@pytest.mark.parametrize("stride", [32, 64])
def test_the_usual_format_of_a_usb_camera_becomes_rgb_without_its_padding(stride: int) -> None:
    pixels = to_rgb(packed("YUYV", (16, 8), stride), "YUYV", (16, 8))
    assert pixels.shape == (8, 16, 3)
    assert np.abs(pixels.astype(int) - RED).max() < 8


@pytest.mark.parametrize("kind", ["YUV420", "YVU420", "NV12", "NV21"])
@pytest.mark.parametrize("stride", [16, 32])
def test_planar_formats_become_rgb_without_their_padding(kind: str, stride: int) -> None:
    pixels = to_rgb(packed(kind, (16, 8), stride), kind, (16, 8))
    assert pixels.shape == (8, 16, 3)
    assert np.abs(pixels.astype(int) - RED).max() < 8
