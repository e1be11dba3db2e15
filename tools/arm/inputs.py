"""What boards are shown: frames and faces of the generated scene, made from two portraits in the public domain."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from agent.camera import SceneCamera
from agent.clock import NS_PER_S
from agent.seams import Frame
from agent.settings import CameraSettings

RATES = (15, 30, 90)  # frames/s: the shipped default, and what the goals ask of faster boards
PEOPLE = 4
_SEED, _PERSONS, _SCENE_S = 5, 12, 25.0  # of the first dozen seeds the one with four in view for longest, 2.4 s
_WARM_S, _COUNTED_S = 2.0, 2.0
_IDLE_S = 6.0
_LOOKED_AT = 30
_JPEG_QUALITY = 90


class Clip(msgspec.Struct, frozen=True):
    """Frames in NAME.npy, (n, h, w, 3) uint8 RGB, at a rate a second. warm: so many before counting starts."""

    name: str
    rate: int
    at_ns: list[int]
    warm: int


class Inputs(msgspec.Struct, frozen=True):
    """Everything in one folder: clips, and faces as (frame of the clip `faces`, box). whole: all of the scene."""

    whole: Clip
    people: dict[int, Clip]
    idle: Clip
    faces: list[tuple[int, tuple[float, float, float, float]]]


def make(folder: Path) -> Inputs:
    """Write the inputs and `inputs.json`, which names them. Raises InputError where the portraits are not installed."""
    rate = round(CameraSettings().fps)
    whole = _write(folder, "whole", _scene(rate), rate, (0, 0, round(_SCENE_S * rate)))
    inputs = Inputs(
        whole=whole, people={rate: _people(folder, rate) for rate in RATES}, idle=_idle(folder), faces=_faces(folder)
    )
    (folder / "inputs.json").write_bytes(msgspec.json.encode(inputs))
    return inputs


def crowded(camera: SceneCamera, fps: float) -> tuple[int, int]:
    """Give the longest run of frames (from, to) in which exactly PEOPLE faces are in view."""
    times = [round(number * NS_PER_S / fps) for number in range(round(_SCENE_S * fps))]
    here = [sum(walker.box_at(at_ns) is not None for walker in camera.truth) == PEOPLE for at_ns in times]
    edges = [number for number, (before, now) in enumerate(pairwise([False, *here, False])) if before != now]
    return max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])


def _scene(fps: float) -> SceneCamera:
    return SceneCamera(persons=_PERSONS, duration_s=_SCENE_S, fps=fps, seed=_SEED)


def _people(folder: Path, rate: int) -> Clip:
    camera = _scene(rate)
    first, last = crowded(camera, rate)
    counted = round(_COUNTED_S * rate)
    assert last - first >= counted, f"four people are in view for {last - first} frames only, of {counted}"
    return _write(folder, f"people-{rate}", camera, rate, (first - round(_WARM_S * rate), first, first + counted))


def _idle(folder: Path) -> Clip:
    rate = round(CameraSettings().fps)
    camera = SceneCamera(persons=0, duration_s=_WARM_S + _IDLE_S, fps=rate, seed=_SEED)
    return _write(folder, "idle", camera, rate, (0, round(_WARM_S * rate), round((_WARM_S + _IDLE_S) * rate)))


def _write(folder: Path, name: str, camera: SceneCamera, rate: int, span: tuple[int, int, int]) -> Clip:
    """Write the frames of a span: first, first counted, end."""
    first, counted, last = span
    frames = [frame for frame in _frames(camera) if first <= frame.index < last]
    _save(folder, name, frames)
    return Clip(name=name, rate=rate, at_ns=[frame.captured_ns for frame in frames], warm=counted - first)


def _faces(folder: Path) -> list[tuple[int, tuple[float, float, float, float]]]:
    """Choose frames all over the scene, and all true faces in them; one frame as a JPEG too."""
    rate = CameraSettings().fps
    camera = _scene(rate)
    busy = [
        (frame, boxes)
        for frame in _frames(camera)
        if (boxes := [box for walker in camera.truth if (box := walker.box_at(frame.captured_ns)) is not None])
    ]
    chosen = busy[:: max(1, len(busy) // _LOOKED_AT)][:_LOOKED_AT]
    _save(folder, "faces", [frame for frame, _ in chosen])
    fullest: Any = max(chosen, key=lambda entry: len(entry[1]))[0].pixels
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    cv2.imwrite(str(folder / "frame.jpg"), cv2.cvtColor(fullest, cv2.COLOR_RGB2BGR), quality)
    return [(number, (box.x0, box.y0, box.x1, box.y1)) for number, (_, boxes) in enumerate(chosen) for box in boxes]


def _frames(camera: SceneCamera) -> Iterator[Frame]:
    with camera:
        while isinstance(frame := camera.read(0), Frame):
            yield frame


def _save(folder: Path, name: str, frames: list[Frame]) -> None:
    np.save(folder / f"{name}.npy", np.stack([frame.pixels for frame in frames]))


def read(folder: Path) -> Inputs:
    """Read what `make` wrote."""
    return msgspec.convert(json.loads((folder / "inputs.json").read_text()), Inputs, strict=False)
