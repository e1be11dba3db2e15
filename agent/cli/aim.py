"""`maskwatch check --aim`: words about what the camera sees while somebody mounts it. No picture, no file."""

import sys
from collections import deque
from typing import TextIO

import msgspec
import numpy as np

from agent.camera import open_camera
from agent.cli.promise import Promise
from agent.clock import NS_PER_S, Clock
from agent.errors import MaskwatchError
from agent.pipeline import InView, Pipeline
from agent.seams import End, Frame, Look, Silence
from agent.settings import Settings
from agent.vision.model import Abstain
from agent.vision.nets import load_classifier, load_detector

_READ_S = 2.0
_SAY_EVERY_NS = NS_PER_S // 2
_REMEMBER_NS = 5 * NS_PER_S  # what a verdict is made of: long enough for a person to walk past
_LOOKS_MAX = 200
_SMALLEST_PX = 8  # faces that the agent would not follow are seen here, for they say which way to move


class Aim:
    """Collects looks at faces and says in one line how the position is."""

    def __init__(self, abstain: Abstain, promise: Promise, *, min_face_px: int) -> None:
        self._abstain = abstain
        self._promise = promise
        self._min_face_px = min_face_px
        self._looks: deque[tuple[int, Look]] = deque(maxlen=_LOOKS_MAX)
        self._seen = 0
        self._light = 0.0
        self._blind: str | None = None

    def take(self, frame: Frame, views: list[InView], blind: str | None) -> None:
        """Take one frame's worth."""
        self._light = float(np.mean(frame.pixels[::8, ::8]))
        self._blind = blind
        self._seen = len(views)
        self._looks += [(frame.captured_ns, view.look) for view in views if view.look is not None]
        while self._looks and frame.captured_ns - self._looks[0][0] > _REMEMBER_NS:
            self._looks.popleft()

    def line(self) -> str:
        """Say what is seen, what the model promises for it, and what to do."""
        if self._blind is not None:
            return f"BLIND ({self._blind}): the camera sees nothing that can be judged"
        if not self._looks:
            return f"light {self._light:3.0f}/255 · no face yet: let somebody walk through the picture"
        looks = [look for _, look in self._looks]
        sizes = [look.face_px for look in looks]
        size, sharpness, brightness = (
            float(np.median(values))
            for values in (sizes, [look.sharpness for look in looks], [look.brightness for look in looks])
        )
        promised = self._promise.at(size)
        facts = [
            f"{self._seen} in sight",
            f"faces {min(sizes):.0f} to {max(sizes):.0f} px, mostly {size:.0f}",
            f"light {brightness:.0f}/255",
            f"sharpness {sharpness:.0f}",
        ]
        if promised is not None:
            facts.append(f"measured at this size: {promised:.1f} % right")
        return f"{self._verdict(size, sharpness, brightness)} · {' · '.join(facts)}"

    def _verdict(self, size: float, sharpness: float, brightness: float) -> str:
        smallest = max(self._min_face_px, self._abstain.face_px)
        if size < smallest:
            return f"TOO SMALL: faces need {smallest:.0f} px; move closer, zoom, or take a wider picture"
        if brightness < self._abstain.brightness:
            return "TOO DARK: more light on the faces, not behind them"
        if sharpness < self._abstain.sharpness:
            return "BLURRED: focus the lens, clean it, or give more light"
        return "GOOD"


def aim(settings: Settings, clock: Clock, out: TextIO = sys.stdout) -> int:
    """Say twice a second how the camera's position is, until Ctrl-C or the end of a clip. Returns the exit code.

    Raises MaskwatchError if models or camera cannot be used.
    """
    vision = settings.vision
    detector = load_detector(vision.detector, vision.accelerator)
    classifier = load_classifier(vision.classifier, vision.accelerator)
    manifest = classifier.net.manifest
    judge = Aim(manifest.abstain, Promise.of(manifest.name), min_face_px=vision.min_face_px)
    closer = msgspec.structs.replace(settings, vision=msgspec.structs.replace(vision, min_face_px=_SMALLEST_PX))
    damage: MaskwatchError | None = None
    try:
        with open_camera(settings.camera, clock) as camera:
            pipeline = Pipeline(
                detector=detector.net,
                classifier=classifier.net,
                settings=closer,
                run_id="aim",
                live=camera.live,
                now_ns=clock.now_ns,
            )
            said_ns: int | None = None
            while not isinstance(message := camera.read(_READ_S), End):
                if isinstance(message, Silence):
                    _say(out, f"NO PICTURE: {message.why}")
                    continue
                pipeline.step(message)
                judge.take(message, pipeline.in_view(), pipeline.stats.blind)
                if said_ns is None or message.captured_ns - said_ns >= _SAY_EVERY_NS:
                    said_ns = message.captured_ns
                    _say(out, judge.line())
            damage = message.damage
    except KeyboardInterrupt:  # the way to end it
        pass
    finally:
        detector.close()
        classifier.close()
    if out.isatty():
        print(file=out)
    if damage is not None:
        raise damage
    return 0


def _say(out: TextIO, line: str) -> None:
    """Write over the line before on a terminal, below it elsewhere."""
    out.write(f"\r\x1b[K{line}" if out.isatty() else f"{line}\n")
    out.flush()
