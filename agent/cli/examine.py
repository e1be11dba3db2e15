"""What `inspect` does with one file: read it, ask the nets, give findings, and draw them where that is wanted."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from agent.camera import open_camera, read_picture
from agent.cli.annotate import ClipWriter, Mark, save_picture
from agent.cli.findings import Finding, PictureFinding, crop_finding, face_finding, person_finding
from agent.cli.inputs import Input, place
from agent.cli.story import Portraits, face_name
from agent.clock import Clock
from agent.events.types import Event
from agent.pipeline import InView, Pipeline
from agent.seams import Box, End, Frame, Pixels
from agent.settings import Settings
from agent.vision.classifier import MaskClassifier, decide_one
from agent.vision.detector import FaceDetector
from agent.vision.relevance import is_relevant
from agent.vision.tiles import find_closely

_READ_TIMEOUT_S = 30.0  # a clip on a slow disk or share; a medium does not stall


class Examiner:
    """The nets and settings, applied to files. annotate: the folder for drawn copies, or None."""

    def __init__(
        self,
        settings: Settings,
        *,
        detector: FaceDetector | None,
        classifier: MaskClassifier,
        clock: Clock,
        closer: Sequence[FaceDetector] = (),
        single_pass: bool = False,
        annotate: Path | None = None,
        portraits: Portraits | None = None,
    ) -> None:
        """detector: None where every picture is a face already. closer: the same at other input sizes, for pictures.

        portraits: gets small pictures of those found.
        """
        self._settings = settings
        self._detector = detector
        self._closer = closer
        self._classifier = classifier
        self._clock = clock
        self._single_pass = single_pass
        self._annotate = annotate
        self._portraits = portraits
        self._placed: set[Path] = set()
        self._clips = 0

    def findings(self, item: Input) -> Iterator[Finding]:
        """Give what there is to say about one file.

        Raises InputError or NotPermittedError if it cannot be read to its end; what was found by then has been given.
        """
        if self._detector is None:
            yield self._crop(item)
        elif item.is_picture:
            yield self._picture(item, self._detector)
        else:
            yield from self._clip(item, self._detector)

    def _crop(self, item: Input) -> Finding:
        pixels = read_picture(item.path)
        height, width = pixels.shape[:2]
        whole = Box(0, 0, width, height)
        (look,) = self._classifier.look(pixels, [whole])
        decision = decide_one(look, self._classifier.manifest.abstain)
        self._portray(item.path, 0, pixels, whole)
        self._draw(item, pixels, [Mark(box=whole, label=decision.label, confidence=decision.confidence)])
        return crop_finding(str(item.path), look, decision)

    def _picture(self, item: Input, detector: FaceDetector) -> Finding:
        pixels = read_picture(item.path)
        height, width = pixels.shape[:2]
        floor = detector.manifest.report_floor
        found = (
            detector.find(pixels, floor)
            if self._single_pass
            else find_closely([detector, *self._closer], pixels, floor)
        )
        looks = self._classifier.look(pixels, [face.box for face in found])
        faces = []
        marks = []
        for number, (face, look) in enumerate(zip(found, looks, strict=True)):
            decision = decide_one(look, self._classifier.manifest.abstain)
            relevant = is_relevant(face, self._settings.vision, width, height)
            accepted = relevant and face.score >= detector.manifest.score_threshold
            faces.append(face_finding(face, look, decision, accepted=accepted))
            if accepted:
                self._portray(item.path, number, pixels, face.box)
                marks.append(Mark(box=face.box, label=decision.label, confidence=decision.confidence))
        self._draw(item, pixels, marks)
        return PictureFinding(path=str(item.path), width=width, height=height, faces=faces)

    def _portray(self, path: Path, number: int, pixels: Pixels, box: Box) -> None:
        if self._portraits is not None:
            self._portraits.offer(str(path), face_name(number), pixels, box, worth=0.0)

    def _draw(self, item: Input, pixels: Pixels, marks: list[Mark]) -> None:
        if self._annotate is not None:
            suffix = None if item.is_picture else ".png"  # a crop may be called anything
            save_picture(place(self._annotate, item, self._placed, suffix), pixels, marks)

    def _clip(self, item: Input, detector: FaceDetector) -> Iterator[Finding]:
        self._clips += 1
        name = str(item.path)
        source = msgspec.structs.replace(self._settings.camera, source=str(item.path.absolute()), loop=False, rotate=0)
        target = place(self._annotate, item, self._placed, ".mp4") if self._annotate else None
        pipeline = Pipeline(
            detector=detector,
            classifier=self._classifier,
            settings=self._settings,
            run_id=f"clip{self._clips}",
            live=False,
            now_ns=self._clock.now_ns,
        )
        index = last_ns = 0
        with open_camera(source, self._clock) as camera, ClipWriter(target) as writer:
            while not isinstance(message := camera.read(_READ_TIMEOUT_S), End):
                assert isinstance(message, Frame), "a medium is never silent"
                index, last_ns = message.index, message.captured_ns
                yield from _about_persons(name, pipeline.step(message), index)
                views = pipeline.in_view()
                if self._portraits is not None:
                    _portray_all(self._portraits, name, message.pixels, views)
                writer.add(message, [_mark(view) for view in views if not view.silenced])
        yield from _about_persons(name, pipeline.finish(last_ns, "gone"), index)
        if message.damage is not None:
            raise message.damage


def _about_persons(path: str, events: Iterable[Event], frame: int) -> Iterator[Finding]:
    """Give the findings of those events that are about somebody."""
    for event in events:
        finding = person_finding(path, event, frame)
        if finding is not None:
            yield finding


def _portray_all(portraits: Portraits, path: str, pixels: Pixels, views: Sequence[InView]) -> None:
    for view in views:
        if view.person is not None and view.look is not None:
            portraits.offer(path, view.person, pixels, view.track.box, worth=view.look.face_px * view.look.sharpness)


def _mark(view: InView) -> Mark:
    note = "" if view.person is None else "#" + view.person.rsplit("-", 1)[1]
    if view.decision is None:
        return Mark(box=view.track.box, note=note)
    return Mark(box=view.track.box, label=view.decision.label, confidence=view.decision.confidence, note=note)
