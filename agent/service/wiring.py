"""Makes the parts of one run and joins them; nothing runs yet when it is done."""

import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec

from agent import __version__
from agent.camera import open_camera
from agent.clock import Clock
from agent.config import Loaded
from agent.delivery.delivery import Delivery, Figures
from agent.delivery.handover import HandOver
from agent.delivery.mqtt import MqttLink
from agent.delivery.outbox import Outbox
from agent.delivery.renewal import Renewal
from agent.delivery.topics import Identity
from agent.pipeline import Pipeline
from agent.seams import Camera
from agent.service.commands import Commands
from agent.service.inbox import Inbox, Opened
from agent.service.reports import CameraReport, Reporter
from agent.service.slot import FrameSlot
from agent.service.watchdog import Progress
from agent.vision.nets import load_classifier, load_detector

Spawn = Callable[[Callable[[], None]], None]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What comes from outside and differs between two runs of one clip: a test gives its own, and replays."""

    clock: Clock
    new_id: Callable[[], str]
    boot_id: str
    environ: Mapping[str, str]


class DeliveryBox:
    """Where the delivery thread puts its Delivery when the outbox is open; empty before."""

    def __init__(self) -> None:
        self.delivery: Delivery | None = None

    def figures(self) -> Figures:
        return Figures() if self.delivery is None else self.delivery.figures


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run consists of."""

    camera: Camera
    slot: FrameSlot
    pipeline: Pipeline
    hand_over: HandOver
    inbox: Inbox
    progress: Progress
    camera_report: CameraReport
    reporter: Reporter
    commands: Commands
    box: DeliveryBox
    make_delivery: Callable[[], Opened]
    classifier_sha256: str
    detector_sha256: str


def make_parts(loaded: Loaded, world: World, inbox: Inbox, spawn: Spawn, stack: ExitStack, *, bound_s: float) -> Parts:
    """Load and prove the models, open a medium, read the broker's files, join everything.

    spawn: runs a task in a thread of its own. stack: what has to be closed at the end goes there. bound_s: a stage that
    has not moved for longer hangs.
    Raises MaskwatchError for what is foreseen to fail.
    """
    settings, clock = loaded.settings, world.clock
    detector = load_detector(settings.vision.detector, settings.vision.accelerator, clock)
    stack.callback(detector.close)
    classifier = load_classifier(settings.vision.classifier, settings.vision.accelerator)
    stack.callback(classifier.close)
    camera = open_camera(settings.camera, clock)
    if not camera.live:
        stack.enter_context(camera)  # a file that is not there is an error of the start; a camera may still come
    pipeline = Pipeline(
        detector=detector.net,
        classifier=classifier.net,
        settings=settings,
        run_id=world.new_id(),
        live=camera.live,
        now_ns=clock.now_ns,
    )
    box, progress, camera_report = DeliveryBox(), Progress(clock, bound_s), CameraReport(clock)
    reporter = Reporter(
        settings=settings,
        pipeline=pipeline,
        camera=camera_report,
        figures=box.figures,
        progress=progress,
        clock=clock,
        detector=detector,
    )
    hand_over = HandOver()
    link = MqttLink(settings.mqtt, client_id=settings.device.id, spawn=spawn, environ=world.environ)

    def make_delivery() -> Opened:
        outbox = Outbox.open(
            Path(settings.outbox.directory),
            clock=clock,
            new_id=world.new_id,
            boot_id=world.boot_id,
            quota_mb=settings.outbox.quota_mb,
        )
        box.delivery = Delivery(
            identity=Identity(site=settings.device.site, device=settings.device.id, version=__version__),
            mqtt=settings.mqtt,
            report=settings.report,
            hand_over=hand_over,
            outbox=outbox,
            link=link,
            renewal=Renewal(settings.mqtt, world.environ, clock),
            clock=clock,
            rng=random.Random(world.new_id()),
            telemetry=reporter.periodic,
            frames_coming=camera_report.coming,
        )
        return Opened(
            delivery=box.delivery,
            stream=outbox.stream,
            previous_stop=outbox.previous_stop,
            open_persons=outbox.open_persons(),
        )

    return Parts(
        camera=camera,
        slot=FrameSlot(clock, every_frame=not camera.live),
        pipeline=pipeline,
        hand_over=hand_over,
        inbox=inbox,
        progress=progress,
        camera_report=camera_report,
        reporter=reporter,
        commands=Commands(
            vision=settings.vision,
            inbox=inbox,
            telemetry=reporter.since_start,
            diagnosis=reporter.diagnosis,
        ),
        box=box,
        make_delivery=make_delivery,
        classifier_sha256=classifier.net.manifest.net.sha256,
        detector_sha256=detector.net.manifest.net.sha256,
    )
