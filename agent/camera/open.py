"""From a source's name to the camera behind it."""

from pathlib import Path

from agent.camera.clip import ClipCamera
from agent.camera.pictures import PICTURE_SUFFIXES, PicturesCamera
from agent.camera.scene import SceneCamera
from agent.clock import Clock
from agent.seams import Camera
from agent.settings import CameraSettings


def open_camera(settings: CameraSettings, clock: Clock) -> Camera:
    """Choose the camera that `settings.source` names. It is opened when it is entered."""
    source = settings.source
    if source == "scene":
        return SceneCamera(
            width=settings.width,
            height=settings.height,
            fps=settings.fps,
            rotate_deg=settings.rotate,
            loop=settings.loop,
        )
    path = Path(source)
    if path.is_dir() or path.name.lower().endswith(PICTURE_SUFFIXES):
        return PicturesCamera(path, fps=settings.fps, rotate_deg=settings.rotate, loop=settings.loop)
    return ClipCamera(path, fps=settings.fps, rotate_deg=settings.rotate, loop=settings.loop)
