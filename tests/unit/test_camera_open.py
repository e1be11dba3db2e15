"""From a source's name to a camera, and what is said about names that mean none."""

from pathlib import Path

import pytest

from agent.camera import open_camera
from agent.camera.clip import ClipCamera
from agent.camera.live import LiveCamera
from agent.camera.opencv import without_secrets
from agent.camera.pictures import PicturesCamera
from agent.camera.scene import SceneCamera
from agent.errors import ConfigError, InputError, NotPermittedError, UnavailableError
from agent.seams import Camera
from agent.settings import CameraSettings
from tests.unit.service_clock import TestClock


def _open(source: str, **settings: object) -> Camera:
    return open_camera(CameraSettings(source=source, **settings), TestClock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "kind", "shown"),
    [
        ("picamera2", LiveCamera, "picamera2:0"),
        ("picamera2:1", LiveCamera, "picamera2:1"),
        ("v4l2:/dev/video7", LiveCamera, "v4l2:/dev/video7"),
        ("rtsp://user:secret@camera.example:8554/live?token=secret", LiveCamera, "rtsp://camera.example:8554/live"),
        ("http://[::1]:8080/s", LiveCamera, "http://[::1]:8080/s"),
        ("https://camera.example/", LiveCamera, "https://camera.example/"),
        ("scene", SceneCamera, "generated scene, 6 persons, 640x480, 15 frames/s"),
        ("nowhere/clip.mp4", ClipCamera, "nowhere/clip.mp4"),
        ("nowhere/picture.JPG", PicturesCamera, "nowhere/picture.JPG, 0 pictures"),
    ],
)
def test_each_kind_of_source_has_its_camera(source: str, kind: type, shown: str) -> None:
    camera = _open(source)
    assert isinstance(camera, kind)
    assert camera.live == (kind is LiveCamera)
    assert camera.describe() == shown


def test_settings_reach_the_camera(tmp_path: Path) -> None:
    camera = _open("scene", width=320, height=240, fps=5.0)
    assert camera.describe() == "generated scene, 6 persons, 320x240, 5 frames/s"
    assert isinstance(_open(str(tmp_path)), PicturesCamera)


def test_a_file_or_folder_with_the_name_of_a_kind_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes").mkdir()
    assert isinstance(_open("scenes"), PicturesCamera)
    assert isinstance(_open("./scene"), ClipCamera)


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("picamera", "did you mean 'picamera2'?"),
        ("picamera2:front", "as it stands"),
        ("v4l:/dev/video0", "did you mean 'v4l2'?"),
        ("v4l2", "as it stands"),
        ("v4l2:0", "as it stands"),
        ("scen", "did you mean 'scene'?"),
        ("rstp://camera.example/live", "did you mean 'rtsp'?"),
        ("gopher://camera.example/live", "no camera source"),
        ("rtsp://", "as it stands"),
        ("rtsp://user:secret@camera.example:port/", "as it stands"),
        ("http://[::1/", "as it stands"),
        ("http:", "as it stands"),
    ],
)
def test_a_name_that_means_no_source_is_a_configuration_error_with_the_nearest_right_one(
    source: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _open(source)
    assert hint in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["scene.mp4", "videos", "a\0b", "x" * 5000, "c:lip.mp4"])
def test_what_is_no_kind_is_a_path_and_a_missing_one_is_an_input_error(source: str) -> None:
    camera = _open(source)
    with pytest.raises(InputError):
        camera.__enter__()


def test_an_absent_v4l2_device_is_unavailable() -> None:
    with pytest.raises(UnavailableError) as caught, _open("v4l2:/dev/video-absent"):
        pass
    assert str(caught.value).startswith("v4l2:/dev/video-absent: no such file or directory; ")


def test_a_file_that_is_no_v4l2_device_is_unavailable(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "video0").write_text("not a device")
    with pytest.raises(UnavailableError, match="no camera, or in use"), _open(f"v4l2:{tmp_path}/video0"):
        pass
    assert capfd.readouterr() == ("", "")


def test_a_v4l2_device_that_this_user_may_not_use_is_not_permitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("agent.camera.opencv.os.open", refuse)
    with pytest.raises(NotPermittedError, match="group video"), _open("v4l2:/dev/video0"):
        pass


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://a:b@host/p", "rtsp://host/p"),
        ("http://a@host:81/p?user=a&pwd=b#c", "http://host:81/p"),
        ("rtsp://a:b@c@host/p", "rtsp://host/p"),
    ],
)
def test_a_shown_url_has_no_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown
