"""The three threads' stories: capture, watch, deliver. Each ends when it is told to, and beats with finished work only.

What these functions call can be replaced by scripted stand-ins; waiting for the camera, the slot and the hand-over is
theirs, starting threads and judging deaths is the daemon's.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from agent.clock import Clock
from agent.delivery.handover import HandOver
from agent.errors import UnavailableError
from agent.pipeline import Pipeline
from agent.seams import Camera, End, Frame, Silence, Stop
from agent.service.commands import renew, replay
from agent.service.inbox import Commanded, Inbox, Opened, Over
from agent.service.pace import Pace, wait_until
from agent.service.reports import CameraReport
from agent.service.slot import FrameSlot
from agent.service.watchdog import Stage

_log = logging.getLogger(__name__)

END_OF_MEDIUM = "end of the medium"
_SLOT_TRY_S = 0.2  # how late a stop may be noticed while vision is busy with the frame before
SILENCE_S = 0.5  # how long vision waits for a frame before it looks at the clock: persons are forgotten by then
DELIVERY_STEP_S = 1.0
PUBLISH_AT_STOP_S = 5.0


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """What the capture thread works with. pace: None for a live camera."""

    camera: Camera
    slot: FrameSlot
    pace: Pace | None
    stage: Stage
    report: CameraReport
    clock: Clock
    stopping: threading.Event
    read_timeout_s: float


def capture(work: Capture, inbox: Inbox) -> None:
    """The capture thread: frames into the slot until told to stop, or until the medium is over."""
    with ExitStack() as stack:
        if work.camera.live:
            stack.push(work.camera)
            _open(work)
        while not work.stopping.is_set():
            message = work.camera.read(work.read_timeout_s)
            work.stage.beat()
            match message:
                case Frame():
                    work.report.frame()
                    _hand_on(work, message)
                case Silence(why=why):
                    work.report.lost(why)
                    work.slot.put(message, 0)
                case End(damage=damage):
                    work.slot.end(END_OF_MEDIUM)
                    inbox.put(Over(damage=damage))
                    return


def _open(work: Capture) -> None:
    """Open a live camera. One that is absent is opened by its `read`, whenever it comes."""
    try:
        work.camera.__enter__()
        _log.info("camera.open source=%r", work.camera.describe())
    except UnavailableError as error:
        work.report.lost(error.what)
        work.slot.put(Silence(since_ns=work.clock.now_ns(), why=error.what), 0)


def _hand_on(work: Capture, frame: Frame) -> None:
    if work.pace is not None:
        frame = work.pace.rebase(frame)
        if not _wait(work, frame.captured_ns):
            return
    while not work.slot.put(frame, _SLOT_TRY_S):
        work.stage.beat()


def _wait(work: Capture, due_ns: int) -> bool:
    """Wait until an instant, beating meanwhile. Returns False when we are to stop."""

    def go_on() -> bool:
        work.stage.beat()
        return not work.stopping.is_set()

    return wait_until(due_ns, work.clock, go_on)


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """What the vision thread works with. live: silence of the camera is news about the scene, not about a file."""

    slot: FrameSlot
    pipeline: Pipeline
    hand_over: HandOver
    stage: Stage
    clock: Clock
    live: bool


def watch(work: Watch, *, silence_s: float = SILENCE_S) -> None:
    """The vision thread: newest frame in, events handed over, until told to stop.

    Storing and publishing are not here: the delivery thread owns the outbox and goes at its own pace.

    Raises:
        HandOverFull: delivery has stalled for minutes; the supervisor decides what that means.
    """
    last_ns = work.clock.now_ns()
    for message in work.slot.messages(silence_s):  # Frame | Silence | Stop: a wait always ends in a value
        match message:
            case Frame():
                work.hand_over.put(work.pipeline.step(message))
                last_ns = message.captured_ns
            case Silence():
                if work.live:
                    last_ns = work.clock.now_ns()
                    work.hand_over.put(work.pipeline.idle(last_ns))
            case Stop(reason=reason):
                now_ns = work.clock.now_ns() if work.live else last_ns  # a medium's story ends with its last frame
                work.hand_over.put(work.pipeline.finish(now_ns, "gone" if reason == END_OF_MEDIUM else "stop"))
                _log.info("vision.stop reason=%r", reason)
        work.stage.beat()


class Deliver(msgspec.Struct, frozen=True, kw_only=True):
    """What the delivery thread works with. make: opens the outbox, in this thread, for SQLite belongs to one thread."""

    make: Callable[[], Opened]
    stage: Stage
    stopping: threading.Event
    goodbye: Callable[[], str | None]
    """Gives the reason for the last status; None after a fault: then the will speaks, and the stop is no clean one."""


def deliver(work: Deliver, inbox: Inbox) -> None:
    """The delivery thread: stores and publishes until told to stop, then drains and says goodbye."""
    opened = work.make()
    inbox.put(opened)
    delivery = opened.delivery
    while not work.stopping.is_set():
        for request in delivery.step(DELIVERY_STEP_S):
            match request.command.command:  # the first two need what belongs to this thread
                case "replay":
                    replay(delivery, request)
                case "renew":
                    renew(delivery, request)
                case _:
                    inbox.put(Commanded(request=request))
        work.stage.beat()
    if not delivery.drain(PUBLISH_AT_STOP_S):
        _log.info("delivery.left backlog=%d", delivery.figures.backlog)
    reason = work.goodbye()
    if reason is not None:
        delivery.close(reason)
