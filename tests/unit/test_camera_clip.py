"""Clips: every frame in the clip's own time, and an end that tells damage from completion."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.camera.clip import ClipCamera
from agent.clock import NS_PER_S
from agent.errors import InputError, NotPermittedError
from agent.seams import End, Frame
from tests.shared import shared

FRAMES = 40
FPS = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A motion-JPEG clip whose n-th frame is of grey level 20 + 5 n on the left, dark red on the right."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for number in range(FRAMES):
        bgr = np.full((48, 64, 3), 20 + 5 * number, np.uint8)
        bgr[:, 32:] = (0, 0, 160)
        writer.write(bgr)
    writer.release()
    return path


def _read_all(camera: ClipCamera, limit: int = 1000) -> tuple[list[Frame], object]:
    frames: list[Frame] = []
    while len(frames) < limit:
        got = camera.read(0)
        if not isinstance(got, Frame):
            return frames, got
        frames.append(got)
    return frames, None


def test_every_frame_comes_once_in_rgb_and_in_the_clips_own_time(clip: Path) -> None:
    with ClipCamera(clip, fps=25) as camera:
        assert camera.describe() == f"{clip}, 64x48, 10 frames/s"
        frames, end = _read_all(camera)
    assert end == End()
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert [frame.captured_ns for frame in frames] == [number * NS_PER_S // FPS for number in range(FRAMES)]
    assert [abs(int(frame.pixels[24, 10, 1]) - 20 - 5 * n) < 5 for n, frame in enumerate(frames)] == [True] * FRAMES
    assert frames[0].pixels[24, 60, 0] > 140  # red is the first channel
    assert frames[0].pixels[24, 60, 2] < 20


def test_a_loop_is_a_new_scene_and_time_goes_on_increasing(clip: Path) -> None:
    with ClipCamera(clip, fps=25, loop=True) as camera:
        frames, _ = _read_all(camera, limit=2 * FRAMES + 5)
    assert [frame.scene for frame in frames] == [0] * FRAMES + [1] * FRAMES + [2] * 5
    assert [frame.captured_ns for frame in frames] == [n * NS_PER_S // FPS for n in range(2 * FRAMES + 5)]
    assert np.array_equal(frames[0].pixels, frames[FRAMES].pixels)


@pytest.mark.parametrize("left", [0, 100, 8000])
def test_a_clip_that_is_cut_short_between_two_rounds_ends_with_damage(clip: Path, tmp_path: Path, left: int) -> None:
    copy = tmp_path / "copy.avi"
    copy.write_bytes(clip.read_bytes())
    with ClipCamera(copy, fps=25, loop=True) as camera:
        _read_all(camera, limit=FRAMES)
        copy.write_bytes(clip.read_bytes()[:left])
        got = camera.read(0)
        while isinstance(got, Frame):
            got = camera.read(0)
    assert isinstance(got, End)
    assert isinstance(got.damage, InputError)


@pytest.mark.parametrize("rotate_deg", [0, 90, 180, 270])
def test_rotation_is_clockwise(clip: Path, rotate_deg: int) -> None:
    with ClipCamera(clip, fps=25) as plain, ClipCamera(clip, fps=25, rotate_deg=rotate_deg) as turned:
        first, second = plain.read(0), turned.read(0)
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert np.array_equal(second.pixels, np.rot90(first.pixels, k=-rotate_deg // 90))


def test_a_truncated_clip_gives_its_frames_and_then_the_damage(clip: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.avi"
    data = clip.read_bytes()
    short.write_bytes(data[: len(data) * 6 // 10])
    with ClipCamera(short, fps=25) as camera:
        frames, end = _read_all(camera)
        again = camera.read(0)
    assert 15 < len(frames) < 30
    assert isinstance(end, End)
    assert isinstance(end.damage, InputError)
    assert f"ends after {len(frames)} of 40 frames" in str(end.damage)
    assert isinstance(again, End)


def test_a_clip_that_does_not_know_its_times_is_timed_by_its_rate(clip: Path) -> None:
    class NoTimestamps:
        def __init__(self, capture: cv2.VideoCapture) -> None:
            self._capture = capture

        def read(self) -> object:
            return self._capture.read()

        def get(self, key: int) -> float:
            return 0.0 if key == cv2.CAP_PROP_POS_MSEC else self._capture.get(key)

        def release(self) -> None:
            self._capture.release()

    with ClipCamera(clip, fps=25) as camera:
        camera._capture = NoTimestamps(camera._capture)
        frames, _ = _read_all(camera)
    assert [frame.captured_ns for frame in frames] == [number * NS_PER_S // FPS for number in range(FRAMES)]


def test_a_text_file_an_empty_file_and_a_missing_one_are_input_errors(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("these are no pictures\n" * 100)
    (tmp_path / "empty.mp4").touch()
    for name, what in (("text.mp4", "damaged"), ("empty.mp4", "empty"), ("text.mp", "did you mean 'text.mp4'")):
        with pytest.raises(InputError) as caught, ClipCamera(tmp_path / name, fps=25):
            pass
        assert what in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_name_that_no_file_can_have_is_an_input_error() -> None:
    for name in ("a\0b.mp4", "x" * 5000):
        with pytest.raises(InputError), ClipCamera(Path(name), fps=25):
            pass


def test_a_clip_that_may_not_be_read_is_not_permitted(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(NotPermittedError, match="may not read"), ClipCamera(clip, fps=25):
        pass


def test_a_camera_that_was_never_entered_can_be_described_and_closed(clip: Path) -> None:
    camera = ClipCamera(clip, fps=25)
    assert camera.describe() == str(clip)
    camera.__exit__(None, None, None)


def test_neither_opencv_nor_ffmpeg_writes_a_line_about_bad_clips(clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    (tmp_path / "short.avi").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.mp4").write_text("these are no pictures\n" * 100)
    script = (
        "import sys; from pathlib import Path\n"
        "from agent.camera.clip import ClipCamera; from agent.errors import InputError\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        with ClipCamera(Path(name), fps=25) as camera:\n"
        "            while hasattr(camera.read(0), 'pixels'): pass\n"
        "    except InputError: pass\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENCV")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "short.avi"), str(tmp_path / "text.mp4"), str(clip)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "count", "fps"), [("station.mp4", 248, 25), ("one_by_one.mp4", 200, 10), ("hallway_walk.mp4", 35, 12)]
)
def test_h264_clips_give_the_frames_that_their_readme_counts(name: str, count: int, fps: int) -> None:
    with ClipCamera(shared(f"data/video/{name}"), fps=1) as camera:
        frames, end = _read_all(camera)
    assert end == End()
    assert len(frames) == count
    assert [round(frame.captured_ns * fps / NS_PER_S, 3) for frame in frames] == list(range(count))
