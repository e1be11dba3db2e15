"""The three threads' stories, with scripted cameras, pipelines and deliveries: each test is a list of messages."""

import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from agent.clock import NS_PER_S
from agent.delivery.handover import HandOver, HandOverFull
from agent.errors import InputError, NotPermittedError, UnavailableError
from agent.events.state import Command
from agent.events.types import CameraBack, Event
from agent.seams import End, Frame, Silence, Stop
from agent.service.inbox import Commanded, Inbox, Over
from agent.service.pace import Pace
from agent.service.reports import CameraReport
from agent.service.slot import FrameSlot
from agent.service.threads import Capture, Deliver, Watch, capture, deliver, watch
from agent.service.watchdog import Stage
from tests.unit.service_clock import TestClock

_PIXELS = np.zeros((2, 2, 3), np.uint8)


def frame(index: int, at_ns: int = 0) -> Frame:
    return Frame(pixels=_PIXELS, captured_ns=at_ns, index=index)


class ScriptedCamera:
    """Gives what the script says, then stops the capture thread. absent: how often opening it fails first."""

    def __init__(self, script: Sequence[Frame | Silence | End], *, live: bool, absent: int = 0) -> None:
        self.live = live
        self.opened = self.closed = 0
        self.stopping = threading.Event()
        self._script: Iterator[Frame | Silence | End] = iter(script)
        self._absent = absent

    def __enter__(self) -> Self:
        if self._absent:
            self._absent -= 1
            raise UnavailableError("no such device", where="camera", remedy="plug it in")
        self.opened += 1
        return self

    def __exit__(self, *error: object) -> None:
        self.closed += 1

    def read(self, timeout_s: float) -> Frame | Silence | End:
        message = next(self._script, None)
        if message is None:
            self.stopping.set()
            return Silence(since_ns=0, why="script over")
        return message

    def describe(self) -> str:
        return "script"


class Recorded:
    """A slot that keeps all it gets, refusing the first `refusals` times."""

    def __init__(self, refusals: int = 0) -> None:
        self.got: list[Any] = []
        self._refusals = refusals

    def put(self, message: Any, timeout_s: float) -> bool:
        if self._refusals:
            self._refusals -= 1
            return False
        self.got.append(message)
        return True

    def end(self, reason: str) -> None:
        self.got.append(Stop(reason=reason))


def run_capture(camera: ScriptedCamera, clock: TestClock, slot: Recorded) -> tuple[Inbox, CameraReport, Stage]:
    inbox, report, stage = Inbox(), CameraReport(clock), Stage("camera", 60, clock)
    work = Capture(
        camera=camera,
        slot=slot,  # type: ignore[arg-type]
        pace=None if camera.live else Pace(clock),
        stage=stage,
        report=report,
        clock=clock,
        stopping=camera.stopping,
        read_timeout_s=2.0,
    )
    capture(work, inbox)
    return inbox, report, stage


def test_a_live_cameras_frames_go_on_as_they_come() -> None:
    slot = Recorded()
    camera = ScriptedCamera([frame(0, 5), frame(1, 9)], live=True)
    _, report, stage = run_capture(camera, TestClock(), slot)
    assert slot.got[:2] == [frame(0, 5), frame(1, 9)]
    assert (camera.opened, camera.closed) == (1, 1)
    assert report.frames == 2
    assert stage.beats >= 2


def test_an_absent_camera_is_told_and_read_all_the_same_for_it_opens_itself() -> None:
    slot = Recorded()
    camera = ScriptedCamera([frame(0)], live=True, absent=1)
    run_capture(camera, TestClock(), slot)
    assert slot.got[:2] == [Silence(since_ns=0, why="no such device"), frame(0)]
    assert camera.closed == 1


def test_a_camera_that_may_not_be_used_ends_the_thread() -> None:
    class Forbidden(ScriptedCamera):
        def __enter__(self) -> Self:
            raise NotPermittedError("no", where="camera", remedy="join group video")

    with pytest.raises(NotPermittedError):
        run_capture(Forbidden([], live=True), TestClock(), Recorded())


def test_a_lost_camera_is_told_and_its_return_too() -> None:
    slot = Recorded()
    lost = Silence(since_ns=0, why="unplugged")
    _, report, _ = run_capture(ScriptedCamera([frame(0), lost, frame(1)], live=True), TestClock(), slot)
    assert slot.got[:3] == [frame(0), lost, frame(1)]
    assert (report.state, report.why) == ("lost", "script over")


def test_a_medium_is_paced_and_its_end_is_told_after_its_last_frame() -> None:
    clock = TestClock(now_ns=100 * NS_PER_S)
    slot = Recorded(refusals=3)
    camera = ScriptedCamera([frame(0, 0), frame(1, NS_PER_S), End()], live=False)
    inbox, _, _ = run_capture(camera, clock, slot)
    assert slot.got == [
        frame(0, 100 * NS_PER_S),
        frame(1, 101 * NS_PER_S),
        Stop(reason="end of the medium"),
    ]
    assert clock.now_ns() == 101 * NS_PER_S
    assert inbox.take(0) == Over(damage=None)
    assert camera.opened == 0  # whoever made it has opened it


def test_the_damage_of_a_medium_is_told() -> None:
    damage = InputError("ends after 3 of 9 frames", where="x.mp4", remedy="copy it again")
    inbox, _, _ = run_capture(ScriptedCamera([End(damage=damage)], live=False), TestClock(), Recorded())
    assert inbox.take(0) == Over(damage=damage)


def test_a_stop_ends_the_wait_for_a_frame_that_is_not_due_yet() -> None:
    clock = TestClock()
    camera = ScriptedCamera([frame(0, 0), frame(1, 3600 * NS_PER_S)], live=False)
    slept = clock.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        if clock.now_ns() > NS_PER_S:
            camera.stopping.set()

    clock.sleep = sleep  # type: ignore[method-assign]
    slot = Recorded()
    run_capture(camera, clock, slot)
    assert slot.got == [frame(0, 0)]


def test_frames_are_coming_for_a_second_after_the_last() -> None:
    clock = TestClock()
    report = CameraReport(clock)
    assert not report.coming()
    report.frame()
    clock.sleep(0.9)
    assert report.coming()
    clock.sleep(0.2)
    assert not report.coming()


def event(number: int) -> Event:
    return Event(at_ns=number, data=CameraBack(reason="black", blind_s=0))


class ScriptedPipeline:
    """Gives one numbered event a call, and keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def step(self, given: Frame) -> list[Event]:
        return self._note("step", given.index)

    def idle(self, now_ns: int) -> list[Event]:
        return self._note("idle", now_ns)

    def finish(self, now_ns: int, reason: str) -> list[Event]:
        return self._note(reason, now_ns)

    def _note(self, name: str, fact: Any) -> list[Event]:
        self.calls.append((name, fact))
        return [event(len(self.calls))]


def run_watch(slot: FrameSlot, clock: TestClock, *, live: bool, hand_over: HandOver) -> tuple[ScriptedPipeline, Stage]:
    pipeline, stage = ScriptedPipeline(), Stage("vision", 30, clock)
    work = Watch(
        slot=slot,
        pipeline=pipeline,  # type: ignore[arg-type]
        hand_over=hand_over,
        stage=stage,
        clock=clock,
        live=live,
    )
    watch(work, silence_s=0)
    return pipeline, stage


class Script(FrameSlot):
    """A slot whose messages are given."""

    def __init__(self, *messages: Frame | Silence | Stop) -> None:
        self._messages = messages

    def messages(self, silence_s: float) -> Iterator[Frame | Silence | Stop]:
        yield from self._messages


def test_each_message_becomes_events_in_order_and_a_beat() -> None:
    hand_over = HandOver()
    quiet = Silence(since_ns=0, why="x")
    slot = Script(frame(0, 3), quiet, frame(1, 9), Stop(reason="SIGTERM"))
    pipeline, stage = run_watch(slot, TestClock(50), live=True, hand_over=hand_over)
    assert pipeline.calls == [("step", 0), ("idle", 50), ("step", 1), ("stop", 50)]
    assert hand_over.take() == [event(number) for number in (1, 2, 3, 4)]
    assert stage.beats == 4


def test_a_pause_in_reading_a_medium_is_no_news_and_its_story_ends_with_its_last_frame() -> None:
    quiet = Silence(since_ns=0, why="x")
    slot = Script(frame(0, 3), quiet, Stop(reason="end of the medium"))
    pipeline, _ = run_watch(slot, TestClock(50), live=False, hand_over=HandOver())
    assert pipeline.calls == [("step", 0), ("gone", 3)]


def test_a_full_hand_over_ends_the_thread() -> None:
    with pytest.raises(HandOverFull):
        run_watch(Script(frame(0), frame(1)), TestClock(), live=True, hand_over=HandOver(capacity=1))


class ScriptedDelivery:
    """Gives the requests it is given, then stops the thread."""

    def __init__(self, stopping: threading.Event, requests: list[Any], *, delivered: bool = True) -> None:
        self.calls: list[Any] = []
        self.figures = SimpleNamespace(backlog=3)
        self._stopping = stopping
        self._requests = requests
        self._delivered = delivered

    def step(self, timeout_s: float) -> list[Any]:
        requests, self._requests = self._requests, []
        if not requests:
            self._stopping.set()
        return requests

    def replay(self, first: int) -> int:
        self.calls.append(("replay", first))
        return 7

    def renew(self, pem: str) -> str:
        self.calls.append(("renew", pem))
        return "kept"

    def reply(self, request: Any, *, ok: bool, message: str, result: dict[str, Any] | None = None) -> None:
        self.calls.append(("reply", ok, result or message))

    def drain(self, within_s: float) -> bool:
        self.calls.append(("drain", within_s))
        return self._delivered

    def close(self, reason: str) -> None:
        self.calls.append(("close", reason))


def run_deliver(*commands: Command, goodbye: str | None, delivered: bool = True) -> tuple[ScriptedDelivery, Inbox]:
    stopping, inbox = threading.Event(), Inbox()
    requests = [SimpleNamespace(command=command) for command in commands]
    delivery = ScriptedDelivery(stopping, requests, delivered=delivered)
    opened: Any = SimpleNamespace(delivery=delivery)
    stage = Stage("delivery", 60, TestClock())
    deliver(Deliver(make=lambda: opened, stage=stage, stopping=stopping, goodbye=lambda: goodbye), inbox)
    assert inbox.take(0) is opened
    assert stage.beats > 0
    return delivery, inbox


def test_replay_is_answered_where_the_outbox_is_and_other_commands_by_the_supervisor() -> None:
    delivery, inbox = run_deliver(Command(command="replay", first=5), Command(command="ping"), goodbye="SIGTERM")
    assert delivery.calls == [
        ("replay", 5),
        ("reply", True, {"first": 7}),
        ("drain", 5.0),
        ("close", "SIGTERM"),
    ]
    passed_on = inbox.take(0)
    assert isinstance(passed_on, Commanded)
    assert passed_on.request.command == Command(command="ping")
    assert inbox.take(0) is None


def test_a_certificate_is_kept_by_the_thread_that_connects() -> None:
    delivery, inbox = run_deliver(Command(command="renew", certificate="pem"), goodbye=None)
    assert delivery.calls[:2] == [("renew", "pem"), ("reply", True, "kept")]
    assert inbox.take(0) is None


def test_after_a_fault_what_is_there_is_delivered_but_nobody_says_goodbye() -> None:
    delivery, _ = run_deliver(goodbye=None)
    assert delivery.calls == [("drain", 5.0)]


def test_what_could_not_be_delivered_at_the_stop_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run_deliver(goodbye="x", delivered=False)
    assert "delivery.left backlog=3" in caplog.messages
