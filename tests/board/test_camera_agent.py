"""The whole agent on the real picamera2: the generated scene, shown by a camera of libcamera, to a real broker."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.camera import SceneCamera
from agent.events.envelope import Envelope, decode
from agent.events.types import AgentStop, CameraBack, CameraBlind, EventData, PersonNew
from agent.seams import Frame, Pixels
from tests.board.camera_root import CameraRoot, VirtualCamera, write_pictures
from tests.real import Mosquitto, Subscriber

pytestmark = [pytest.mark.board, pytest.mark.timeout(600)]

FPS = 30.0
SHOWS = 4  # times that libcamera's virtual camera gives each picture
EVENTS = "maskwatch/test/board/events"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def pictures(scene: SceneCamera) -> Iterator[Pixels]:
    with scene:
        while isinstance(frame := scene.read(1), Frame):
            yield frame.pixels


def events_of(subscriber: Subscriber) -> list[Envelope[EventData]]:
    return [decode(payload) for payload in subscriber.payloads(EVENTS)]


def wait_for(subscriber: Subscriber, kind: type, *, times: int = 1) -> None:
    subscriber.wait_for(lambda: sum(isinstance(event.data, kind) for event in events_of(subscriber)) >= times, 60)


def test_it_tells_who_passes_survives_a_silent_camera_and_stops_in_order(broker: Mosquitto, tmp_path: Path) -> None:
    scene = SceneCamera(fps=FPS / SHOWS)
    root = CameraRoot(
        tmp_path / "root", VirtualCamera("room", sizes=((640, 480), (320, 240)), pictures="/srv/test/room/")
    )
    write_pictures(root.work / "room", list(pictures(scene)))
    settings = {
        "camera.source": "picamera2",
        "camera.fps": FPS,
        "camera.blind_after_s": 2,
        "device.site": "test",
        "device.id": "board",
        "mqtt.url": broker.url,
        "outbox.directory": "/srv/test/outbox",
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    environment = {"TEST_CAMERA_FPS": str(FPS), "TEST_CAMERA_STALL": "/srv/test/stalled"}
    log = tmp_path / "log"
    with Subscriber(broker) as subscriber, log.open("wb") as output:
        agent = subprocess.Popen(
            root.command(["-m", "agent", "run", *words], environment=environment), stdout=output, stderr=output
        )
        try:
            wait_for(subscriber, PersonNew, times=len(scene.truth))
            (root.work / "stalled").touch()
            wait_for(subscriber, CameraBlind)
            (root.work / "stalled").unlink()
            wait_for(subscriber, CameraBack)
            os.kill(agent.pid, signal.SIGTERM)
            assert agent.wait(30) == 0, log.read_text()
            wait_for(subscriber, AgentStop)
        finally:
            agent.kill()
            agent.wait(30)
    told = [event.data.label for event in events_of(subscriber) if isinstance(event.data, PersonNew)]
    assert told[: len(scene.truth)] == [walker.label for walker in scene.truth], log.read_text()
    blind = next(event.data for event in events_of(subscriber) if isinstance(event.data, CameraBlind))
    assert blind.reason == "no_frames"
    assert "Traceback" not in log.read_text()
