"""Faces out of clips: the agent's own pipeline finds and follows them, its classifier proposes what they are."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import msgspec

from agent.camera import open_camera
from agent.clock import NS_PER_S, SystemClock
from agent.pipeline import Pipeline
from agent.seams import Box, End, Frame, Pixels
from agent.settings import Settings
from agent.vision.classifier import MaskClassifier
from agent.vision.crop import crop, quality
from agent.vision.detector import FaceDetector
from tools.camera.album import Crop
from tools.camera.varied import Look, Varied

CONTEXT = 1.5  # side of what is cut out / longer side of the box: as far as the training moves and enlarges boxes
_LOSSLESS = 101  # above 100 WebP loses nothing
_READ_TIMEOUT_S = 30.0


class Cut(NamedTuple):
    """What is kept of one look: (h, w, 3) uint8 RGB, the box in its pixels, and where it was."""

    pixels: Pixels
    box: Box
    t_s: float


class Person(NamedTuple):
    """Who was followed through one clip. number: by first sight; the number of one who turned out a poster is free."""

    number: int
    cuts: list[Cut]


def cut_out(pixels: Pixels, box: Box) -> tuple[Pixels, Box]:
    """Give a face with what is round it, and its box in the pixels of that.

    pixels: the whole frame, (h, w, 3) uint8 RGB. `vision.crop` gives the same of the result as of the frame, to the
    byte, for this box and any scale up to CONTEXT. For that the box lies on quarters of a pixel, which a table holds
    exactly, and the cut begins at an even pixel, because Python rounds halves to even.
    """
    height, width = pixels.shape[:2]
    face = Box(*(round(edge * 4) / 4 for edge in box))
    centre_x, centre_y = face.centre
    half = max(face.width, face.height) * CONTEXT / 2 + 1
    x0, x1 = _span(centre_x, half, width)
    y0, y1 = _span(centre_y, half, height)
    return pixels[y0:y1, x0:x1].copy(), Box(face.x0 - x0, face.y0 - y0, face.x1 - x0, face.y1 - y0)


def _span(centre: float, half: float, limit: int) -> tuple[int, int]:
    """Give first and last of the whole pixels round a centre, inside the frame, the first of them even."""
    first = min(max(0, math.floor(centre - half)), limit - 1) // 2 * 2
    return first, min(limit, max(first + 1, math.ceil(centre + half)))


def follow(
    path: Path,
    settings: Settings,
    detector: FaceDetector,
    classifier: MaskClassifier,
    *,
    most: int,
    numbers: Iterator[int],
    done: Callable[[], None],
) -> Iterator[Person]:
    """Give each person of a clip as soon as they have gone; nobody for a face that never moves.

    most: looks a person. numbers: for persons. done: called after each frame.
    Raises InputError or NotPermittedError if the clip cannot be read to its end; who was in it until then has been
    given.
    """
    clock = SystemClock()
    source = msgspec.structs.replace(settings.camera, source=str(path.absolute()), loop=False)
    pipeline = Pipeline(detector=detector, classifier=classifier, settings=settings, run_id="cut", now_ns=clock.now_ns)
    scale, size_px = classifier.manifest.crop_scale, classifier.manifest.net.input.shape[1]
    present: dict[int, tuple[int, Varied[Cut]]] = {}  # by track
    with open_camera(source, clock) as camera:
        while not isinstance(message := camera.read(_READ_TIMEOUT_S), End):
            assert isinstance(message, Frame), "a medium is never silent"
            pipeline.step(message)
            views = pipeline.in_view()
            for gone in sorted(present.keys() - {view.track.id for view in views}):
                yield _person(present.pop(gone), most)
            for view in views:
                if view.silenced:
                    present.pop(view.track.id, None)  # a poster, or a coat on its hook
                elif view.track.seen:
                    if view.track.id not in present:
                        present[view.track.id] = next(numbers), Varied()
                    _keep(present[view.track.id][1], view.track.box, message, scale, size_px)
            done()
    for track in sorted(present):
        yield _person(present[track], most)
    if message.damage is not None:
        raise message.damage


def _keep(varied: Varied[Cut], face: Box, frame: Frame, scale: float, size_px: int) -> None:
    if varied.is_due(frame.captured_ns):
        pixels, box = cut_out(frame.pixels, face)
        sharpness = quality(crop(pixels, box, scale, size_px)).sharpness
        kept = Cut(pixels, box, frame.captured_ns / NS_PER_S)
        varied.add(Look(at_ns=frame.captured_ns, face_px=box.size_px, sharpness=sharpness, kept=kept))


def _person(followed: tuple[int, Varied[Cut]], most: int) -> Person:
    number, varied = followed
    return Person(number, [look.kept for look in varied.choose(most)])


def make_token(clips: Sequence[Path], settings: Settings, models: Sequence[str], most: int) -> str:
    """Give eight digits that are others for other clips, settings, models or numbers of looks. Raises OSError."""
    digest = hashlib.sha256(repr((settings.vision, settings.camera.rotate, list(models), most)).encode())
    for path in clips:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:8]


def save_person(folder: Path, token: str, clip: int, person: Person, classifier: MaskClassifier) -> list[Crop]:
    """Write the looks at a person into `folder`, one file each, and ask the classifier about each."""
    crops = []
    for number, cut in enumerate(person.cuts, 1):
        (look,) = classifier.look(cut.pixels, [cut.box])
        name = f"{token}_{person.number:04d}_{number:02d}"
        bgr = cv2.cvtColor(cut.pixels, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS])
        (folder / f"{name}.webp").write_bytes(data.tobytes())
        crops.append(
            Crop(
                id=name,
                person=f"p{person.number:04d}",
                clip=clip,
                t_s=round(cut.t_s, 2),
                box=(*cut.box,),
                native_px=round(cut.box.size_px, 1),
                probs=look.probs,
                reason=look.reason,
            )
        )
    return crops
