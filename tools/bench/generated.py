"""The clips of the bench, made from the generated scene: the same on every machine, up to the codec."""

from pathlib import Path
from typing import Any

import cv2

from agent.camera import SceneCamera
from agent.clock import NS_PER_S
from agent.seams import Frame

CLIP_S = 25.0
FPS = 15.0
PERSONS = 10  # as many as fit in; up to four at once


def people(folder: Path) -> Path:
    """Write the clip with people, 640x480, from the moment on at which the first face is in view."""
    scene = SceneCamera(persons=PERSONS, duration_s=CLIP_S, fps=FPS)
    return _write(scene, folder / "people.mp4", skip_ns=min(walker.first_ns for walker in scene.truth) + NS_PER_S)


def still(folder: Path) -> Path:
    """Write the clip of the empty room: nothing but noise moves."""
    return _write(SceneCamera(persons=0, duration_s=CLIP_S, fps=FPS), folder / "still.mp4", skip_ns=0)


def _write(scene: SceneCamera, path: Path, *, skip_ns: int) -> Path:
    if path.exists():
        return path
    part = path.with_suffix(".part.mp4")
    writer: Any = None
    with scene:
        while isinstance(frame := scene.read(0), Frame):
            if frame.captured_ns < skip_ns:
                continue
            if writer is None:
                height, width = frame.pixels.shape[:2]
                writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height))
            writer.write(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR))
    writer.release()
    return part.rename(path)
