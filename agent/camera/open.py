"""From a source's name to the camera behind it."""

from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from agent.camera.clip import ClipCamera
from agent.camera.live import Device, LiveCamera
from agent.camera.opencv import StreamDevice, V4l2Device
from agent.camera.paths import is_folder
from agent.camera.picamera2 import Picamera2Device
from agent.camera.pictures import PICTURE_SUFFIXES, PicturesCamera
from agent.camera.scene import SceneCamera
from agent.clock import Clock
from agent.errors import ConfigError, nearest
from agent.seams import Camera
from agent.settings import CameraSettings

_STREAMS = ("rtsp", "rtsps", "http", "https")
_KINDS = ("picamera2", "v4l2", "scene", *_STREAMS)
_REMEDY = "use picamera2, v4l2:/dev/video0, rtsp://host/path, http://host/path, scene, or the path of a file or folder"


def open_camera(settings: CameraSettings, clock: Clock, random: Random | None = None) -> Camera:
    """Choose the camera that `settings.source` names. It is opened when it is entered.

    random: for the pauses between attempts to reach a lost camera; a new one when not given.
    Raises ConfigError for a kind of source that there is not; whatever is no kind is taken for a path.
    """
    device = _device(settings, clock)
    if device is not None:
        return LiveCamera(device, clock, random or Random(), rotate_deg=settings.rotate)
    if settings.source == "scene":
        return SceneCamera(
            width=settings.width,
            height=settings.height,
            fps=settings.fps,
            rotate_deg=settings.rotate,
            loop=settings.loop,
        )
    path = Path(settings.source)
    if is_folder(path) or path.name.lower().endswith(PICTURE_SUFFIXES):
        return PicturesCamera(path, fps=settings.fps, rotate_deg=settings.rotate, loop=settings.loop)
    return ClipCamera(path, fps=settings.fps, rotate_deg=settings.rotate, loop=settings.loop)


def _device(settings: CameraSettings, clock: Clock) -> Device | None:
    """Give the live device that the source names; None for a medium."""
    source = settings.source
    kind, colon, rest = source.partition(":")
    if kind == "picamera2" and (rest.isdecimal() or not colon):
        number = int(rest or 0)
        return Picamera2Device(number, clock, width=settings.width, height=settings.height, fps=settings.fps)
    if kind == "v4l2" and rest.startswith("/"):
        return V4l2Device(rest, clock, width=settings.width, height=settings.height, fps=settings.fps)
    if kind in _STREAMS and rest.startswith("//") and _names_host(source):
        return StreamDevice(source, clock)
    mistyped = source != "scene" and "/" not in kind and "." not in kind and not _exists(source)
    if mistyped and (rest.startswith("//") or kind in _KINDS or nearest(kind, _KINDS)):
        # What follows the kind may hold a password.
        raise ConfigError(
            f"{kind}{colon} is no camera source{nearest(kind, _KINDS) if kind not in _KINDS else ' as it stands'}",
            where="camera.source",
            remedy=_REMEDY,
        )
    return None


def _names_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it is what checks it
    except ValueError:
        return False
    return bool(parts.hostname)


def _exists(source: str) -> bool:
    try:
        return Path(source).exists()
    except OSError:
        return False
