"""The daemon's judgement: who may end the agent, what a stop waits for, and what it says then."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec
import pytest

from agent.clock import SystemClock, new_id
from agent.config import load
from agent.delivery.delivery import Delivery
from agent.delivery.outbox import Outbox
from agent.errors import NotPermittedError
from agent.events.types import AgentStop
from agent.pipeline import Pipeline
from agent.seams import End, Frame, Silence
from agent.service import daemon as supervision
from agent.service import wiring
from agent.service.daemon import Daemon
from agent.service.wiring import World
from tests.delivery_parts import ScriptedLink
from tests.scripted import frame

BOOT_ID = "cd" * 16


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "MqttLink", lambda *arguments, **options: ScriptedLink())


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Give an event on which a thread may hang until the test is over."""
    event = threading.Event()
    yield event
    event.set()


class TestCamera:
    """Live, still, and for ever."""

    __test__ = False
    live = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def describe(self) -> str:
        return "test camera"

    def read(self, timeout_s: float) -> Frame | Silence | End:
        threading.Event().wait(0.01)  # a sensor's pace
        return frame(SystemClock().now_ns())


def make_daemon(outbox: Path, camera: TestCamera, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    monkeypatch.setattr(wiring, "open_camera", lambda settings, clock: camera)
    outbox.mkdir(exist_ok=True)
    (outbox / "empty.toml").touch()
    loaded = load(outbox / "empty.toml", {}, [f"outbox.directory={outbox}", "device.id=board"])
    return Daemon(loaded, World(clock=SystemClock(), new_id=new_id, boot_id=BOOT_ID, environ={}))


def start(daemon: Daemon) -> tuple[threading.Thread, list[object]]:
    """Run a daemon in a thread; give that, and the list in which its exit code or error will be."""
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(daemon.run())
        except RuntimeError as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


def stop_reasons(outbox: Path) -> list[str]:
    """Give the reasons of the stops that a later start finds in the outbox, delivered or not."""
    with sqlite3.connect(outbox / "outbox.db") as db:
        rows = db.execute("SELECT data FROM events WHERE type = ?", (AgentStop.TYPE,)).fetchall()
    return [msgspec.json.decode(data, type=AgentStop).reason for (data,) in rows]


def test_a_stop_that_is_asked_before_the_start_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make_daemon(tmp_path, TestCamera(), monkeypatch)
    daemon.stop("early")
    assert daemon.run() == 0
    assert stop_reasons(tmp_path) == ["early"]


def test_a_camera_that_may_not_be_used_ends_the_agent_in_order_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Forbidden(TestCamera):
        def __enter__(self) -> Self:
            raise NotPermittedError("no right", where="/dev/video0", remedy="join group video")

    with caplog.at_level("INFO"):
        assert make_daemon(tmp_path, Forbidden(), monkeypatch).run() == 77
    assert "/dev/video0: no right; join group video" in caplog.messages
    assert stop_reasons(tmp_path) == ["camera may not be used"]


def test_a_vision_thread_that_hangs_cannot_hold_up_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, released: threading.Event
) -> None:
    entered = threading.Event()

    def hang(self: Pipeline, given: Frame) -> list[object]:
        entered.set()
        released.wait()
        return []

    monkeypatch.setattr(Pipeline, "step", hang)
    monkeypatch.setattr(supervision, "_VISION_STOP_S", 0.05)
    daemon = make_daemon(tmp_path, TestCamera(), monkeypatch)
    thread, ended = start(daemon)
    assert entered.wait(20)
    daemon.stop("SIGTERM")
    thread.join(20)
    assert ended == [1]
    assert "vision.hung at=stop" in caplog.messages


def test_a_delivery_thread_that_hangs_cannot_hold_up_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, released: threading.Event
) -> None:
    monkeypatch.setattr(Delivery, "drain", lambda self, within_s: released.wait())
    monkeypatch.setattr(supervision, "_DELIVERY_STOP_S", 0.05)
    daemon = make_daemon(tmp_path, TestCamera(), monkeypatch)
    daemon.stop("SIGTERM")
    assert daemon.run() == 1
    assert "delivery.hung at=stop" in caplog.messages


def test_a_fault_while_the_outbox_is_opened_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> Outbox:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(wiring.Outbox, "open", fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        make_daemon(tmp_path, TestCamera(), monkeypatch).run()


def test_a_live_camera_is_watched_until_somebody_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = threading.Event()
    honest = Pipeline.step

    def step(self: Pipeline, given: Frame) -> object:
        seen.set()
        return honest(self, given)

    monkeypatch.setattr(Pipeline, "step", step)
    daemon = make_daemon(tmp_path, TestCamera(), monkeypatch)
    thread, ended = start(daemon)
    assert seen.wait(20)
    daemon.stop("enough")
    thread.join(20)
    assert ended == [0]
    assert stop_reasons(tmp_path) == ["enough"]


def test_a_camera_that_hangs_is_left_behind_and_named_so(
    tmp_path: Path, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "_CAPTURE_STOP_S", 0.1)

    class Hanging(TestCamera):
        def read(self, timeout_s: float) -> Frame | Silence | End:
            daemon.stop("test over")
            released.wait()
            return super().read(timeout_s)

    monkeypatch.setattr(wiring, "open_camera", lambda *arguments: Hanging())
    loaded = load(None, {}, [f"outbox.directory={tmp_path}", "camera.source=scene"])
    daemon = Daemon(loaded, World(clock=SystemClock(), new_id=new_id, boot_id=BOOT_ID, environ={}))

    assert daemon.run() == 0

    assert [thread.name for thread in daemon.hanging] == ["capture"]
