"""The agent's frame loop in this process: camera, pipeline and outbox, as fast as they can."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.camera.clip import ClipCamera
from agent.clock import SystemClock, boot_id, new_id
from agent.delivery.outbox import Outbox
from agent.pipeline import Pipeline
from agent.seams import Classifier, Detector, Frame
from agent.settings import OutboxSettings, Settings
from agent.vision.nets import load_classifier, load_detector


def shipped_nets() -> tuple[Detector, Classifier]:
    """Load both nets on the CPU: an accelerator has rows of its own."""
    vision = Settings().vision
    return load_detector(vision.detector, "cpu").net, load_classifier(vision.classifier, "cpu").net


def make_pipeline(detector: Detector, classifier: Classifier) -> Pipeline:
    """Make a pipeline with the shipped defaults."""
    return Pipeline(detector=detector, classifier=classifier, settings=Settings(), run_id=new_id())


@contextmanager
def open_outbox(folder: Path) -> Iterator[Outbox]:
    """Open an outbox of its own under `folder`."""
    directory = folder / f"outbox-{new_id()}"
    quota_mb = OutboxSettings().quota_mb
    outbox = Outbox.open(directory, clock=SystemClock(), new_id=new_id, boot_id=boot_id(), quota_mb=quota_mb)
    try:
        yield outbox
    finally:
        outbox.close(clean=True)


class Pass:
    """One run over a clip. seconds: all of it, decoding and storing included; frame_ms: of the last 5,000 frames."""

    def __init__(
        self,
        clip: Path,
        pipeline: Pipeline,
        outbox: Outbox,
        *,
        loop: bool = False,
        frames: int = 0,
        until: Callable[[], bool] = lambda: False,
    ) -> None:
        """frames: stop after so many; 0 is the whole clip. until: asked after each frame."""
        self.frame_ms: deque[float] = deque(maxlen=5000)  # a longer list would be the growth that is measured
        self.frames = 0
        self.events = 0
        start = time.perf_counter()
        with ClipCamera(clip, fps=1.0, loop=loop) as camera:
            last = time.perf_counter()
            while (not frames or self.frames < frames) and isinstance(frame := camera.read(0), Frame):
                events = pipeline.step(frame)
                if events:
                    outbox.append(events)
                    self.events += len(events)
                now = time.perf_counter()
                self.frame_ms.append((now - last) * 1000)
                last = now
                self.frames += 1
                if until():
                    break
        self.seconds = time.perf_counter() - start

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds
