"""The same clip, the same ids, the same clock: the same messages, byte for byte."""

from pathlib import Path

import cv2

from agent.camera import SceneCamera
from agent.config import load
from agent.events.envelope import decode
from agent.events.types import AgentStop, PersonEnd, PersonNew
from agent.seams import End, Frame
from agent.service.daemon import Daemon
from agent.service.wiring import World
from tests.delivery_parts import ids
from tests.real import Mosquitto, Subscriber
from tests.unit.service_clock import TestClock

EVENTS = "maskwatch/test/board/events"


def write_clip(file: Path) -> None:
    """Write ten seconds of scene, in which two persons come and go."""
    fps = 15.0
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), fps, (640, 480))
    with SceneCamera(fps=fps, persons=2, duration_s=10.0) as scene:
        while not isinstance(message := scene.read(1.0), End):
            assert isinstance(message, Frame)
            writer.write(cv2.cvtColor(message.pixels, cv2.COLOR_RGB2BGR))
    writer.release()


def replay(clip: Path, outbox: Path, broker: Mosquitto, *, seed: str = "abcdef") -> list[bytes]:
    """Let an agent watch the clip; give its events as they arrive."""
    settings = [
        f"mqtt.url={broker.url}",
        f"outbox.directory={outbox}",
        f"camera.source={clip}",
        "device.site=test",
        "device.id=board",
    ]
    world = World(clock=TestClock(), new_id=ids(seed), boot_id="0" * 32, environ={})
    empty = outbox.with_suffix(".toml")
    empty.touch()
    with Subscriber(broker, name=outbox.name) as subscriber:
        daemon = Daemon(load(empty, {}, settings), world)
        assert daemon.run() == 0

        def stopped() -> bool:
            payloads = subscriber.payloads(EVENTS)
            return bool(payloads) and isinstance(decode(payloads[-1]).data, AgentStop)

        subscriber.wait_for(stopped)
        return subscriber.payloads(EVENTS)


def test_a_clip_replays_byte_for_byte(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    write_clip(clip)
    with Mosquitto(tmp_path / "broker") as broker:
        first = replay(clip, tmp_path / "first", broker)
        # The configuration's digest is of the whole configuration, the outbox's place included: it stays the same.
        (tmp_path / "first").rename(tmp_path / "kept")
        second = replay(clip, tmp_path / "first", broker)
        (tmp_path / "first").rename(tmp_path / "kept too")
        other = replay(clip, tmp_path / "first", broker, seed="fedcba")
    kinds = [type(decode(payload).data) for payload in first]
    assert kinds.count(PersonNew) == kinds.count(PersonEnd) == 2
    assert first == second
    assert first != other
