"""`maskwatch run` as a process: how it starts, what it survives, how it ends."""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest

from agent.cli.main import main
from agent.events.envelope import decode
from agent.events.state import Command, Reply
from agent.events.types import AgentStart, AgentStop, CameraBlind, PersonEnd, PersonNew
from tests.integration.agent_process import ROOT, AgentProcess, sped_up
from tests.integration.test_daemon_replay import write_clip
from tests.real import Mosquitto, Subscriber, free_port

PREFIX = "maskwatch/test/board/"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def data_of(subscriber: Subscriber) -> list[Any]:
    return [decode(payload).data for payload in subscriber.payloads(PREFIX + "events")]


def wait_for(subscriber: Subscriber, kind: type) -> Any:
    """Wait for an event of a kind; give the first of them."""
    subscriber.wait_for(lambda: any(isinstance(data, kind) for data in data_of(subscriber)))
    return next(data for data in data_of(subscriber) if isinstance(data, kind))


def test_sigterm_ends_the_open_persons_publishes_and_says_goodbye(broker: Mosquitto, tmp_path: Path) -> None:
    with Subscriber(broker) as subscriber, AgentProcess(tmp_path / "home", url=broker.url, first=sped_up(6)) as agent:
        wait_for(subscriber, PersonNew)
        assert agent.terminate() == 0
        agent.wait_for("STOPPING=1")
        assert wait_for(subscriber, AgentStop).reason == "SIGTERM"
        subscriber.wait_for(lambda: b'"offline"' in subscriber.payloads(PREFIX + "status")[-1])
        found = data_of(subscriber)
    news = {data.person for data in found if isinstance(data, PersonNew)}
    ends = {data.person: data.reason for data in found if isinstance(data, PersonEnd)}
    assert set(ends) == news
    assert "stop" in ends.values()
    assert isinstance(found[0], AgentStart)
    assert isinstance(found[-1], AgentStop)
    assert found[0].classifier_sha256 == found[-1].classifier_sha256 != found[0].detector_sha256
    status = subscriber.payloads(PREFIX + "status")[-1]
    assert b'"reason":"SIGTERM"' in status


def test_neither_a_missing_broker_nor_a_missing_camera_ends_it(tmp_path: Path) -> None:
    settings = ["camera.source=v4l2:/dev/video99", "camera.blind_after_s=5"]
    environ = {"WATCHDOG_USEC": "30000000"}
    url = f"mqtt://127.0.0.1:{free_port()}"
    with AgentProcess(tmp_path / "home", url=url, first=sped_up(8), settings=settings, environ=environ) as agent:
        agent.wait_for("READY=1")
        line = agent.wait_for("STATUS=camera lost: ")
        assert "broker away: " in line
        for _ in range(5):  # a second each, at eight times the speed: twice what a stage may take
            agent.wait_for("WATCHDOG=1")
        assert agent.terminate() == 0
        log = agent.log.read_text()
    assert "camera.lost source=v4l2:/dev/video99" in log
    assert "hung" not in log
    assert len(log.splitlines()) < 40, log


def test_what_was_stored_without_a_broker_arrives_after_the_next_start(broker: Mosquitto, tmp_path: Path) -> None:
    home, lost = tmp_path / "home", ["camera.source=v4l2:/dev/video99", "camera.blind_after_s=5"]
    with AgentProcess(home, url=f"mqtt://127.0.0.1:{free_port()}", first=sped_up(60), settings=lost) as agent:
        while not re.search(r" ([2-9]|\d\d+) events waiting", agent.wait_for("STATUS=camera lost")):
            pass  # agent.start, camera.blind and, on a busy machine, counts already
        assert agent.terminate() == 0
    with Subscriber(broker) as subscriber, AgentProcess(home, url=broker.url) as agent:
        subscriber.wait_for(lambda: [type(data) for data in data_of(subscriber)].count(AgentStart) == 2)
        assert agent.terminate() == 0
    found = data_of(subscriber)
    assert [type(data) for data in found[:2]] == [AgentStart, CameraBlind]
    assert found[1].reason == "no_frames"
    second = [data for data in found if isinstance(data, AgentStart)][1]
    assert second.previous_stop == "clean"


_FAULT = """
import agent.pipeline
honest = agent.pipeline.Pipeline.step
def step(self, frame):
    if self.stats.persons:
        raise RuntimeError("a fault of ours")
    return honest(self, frame)
agent.pipeline.Pipeline.step = step
"""


def test_a_fault_of_ours_ends_the_process_with_a_traceback_and_no_goodbye(broker: Mosquitto, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Subscriber(broker) as subscriber:
        with AgentProcess(home, url=broker.url, first=sped_up(6) + _FAULT) as agent:
            assert agent.process.wait(60) == 1
            log = agent.log.read_text()
        assert "RuntimeError: a fault of ours" in log
        assert "agent.fault thread=vision" in log
        person = wait_for(subscriber, PersonNew).person
        with AgentProcess(home, url=broker.url) as agent:
            ended = wait_for(subscriber, PersonEnd)
            assert agent.terminate() == 0
    assert (ended.person, ended.reason) == (person, "restart")
    starts = [data for data in data_of(subscriber) if isinstance(data, AgentStart)]
    assert [start.previous_stop for start in starts] == ["none", "unclean"]


def ask(subscriber: Subscriber, command: Command) -> Reply:
    """Send a command and give its answer."""
    before = len(subscriber.payloads(PREFIX + "reply"))
    subscriber.send(PREFIX + "command", msgspec.json.encode(command))
    subscriber.wait_for(lambda: len(subscriber.payloads(PREFIX + "reply")) > before)
    return msgspec.json.decode(subscriber.payloads(PREFIX + "reply")[before], type=Reply)


def test_commands_are_answered_and_restart_ends_with_the_code_for_it(broker: Mosquitto, tmp_path: Path) -> None:
    settings = ["camera.loop=true"]
    with Subscriber(broker) as subscriber, AgentProcess(tmp_path / "home", url=broker.url, settings=settings) as agent:
        wait_for(subscriber, AgentStart)
        pong = ask(subscriber, Command(command="ping", id="a1"))
        assert (pong.command, pong.id, pong.ok) == ("ping", "a1", True)
        assert ask(subscriber, Command(command="self-test")).ok
        found = ask(subscriber, Command(command="diag"))
        assert found.ok
        assert found.result["camera"] in ("starting", "ok")
        assert found.result["hung"] == ""
        assert not ask(subscriber, Command(command="renew")).ok
        replayed = ask(subscriber, Command(command="replay", first=1))
        assert replayed.ok
        assert ask(subscriber, Command(command="restart")).ok
        assert agent.process.wait(30) == 75
        assert wait_for(subscriber, AgentStop).reason == "command restart"


def run(*settings: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    words = [word for setting in settings for word in ("--set", setting)]
    return subprocess.run(
        [sys.executable, "-m", "agent", "run", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | (environ or {}),
    )


def test_a_truncated_clip_is_watched_to_its_end_and_then_an_error(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.avi")
    content = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    url = f"mqtt://127.0.0.1:{free_port()}"
    settings = [f"camera.source={tmp_path}/cut.avi"]
    with AgentProcess(tmp_path / "home", url=url, first=sped_up(6), settings=settings) as agent:
        agent.wait_for("READY=1")
        assert agent.process.wait(60) == 65
        assert "cut.avi: ends after" in agent.log.read_text()


def test_two_agents_do_not_share_an_outbox(broker: Mosquitto, tmp_path: Path) -> None:
    with AgentProcess(tmp_path / "home", url=broker.url, settings=["camera.loop=true"]) as agent:
        agent.wait_for("READY=1")
        ended = run("camera.source=scene", f"mqtt.url={broker.url}", f"outbox.directory={agent.outbox}")
    assert ended.returncode == 74
    assert "another process uses this outbox" in ended.stderr


@pytest.fixture
def undisturbed() -> Iterator[None]:
    """Put back what a process sets for itself: handlers of signals and of the log."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    root = logging.getLogger("agent")
    handlers, level, propagate = root.handlers[:], root.level, root.propagate
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
    root.handlers[:], root.propagate = handlers, propagate
    root.setLevel(level)


@pytest.mark.usefixtures("undisturbed")
def test_the_command_runs_to_the_end_of_a_folder_of_pictures(broker: Mosquitto, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((60, 80, 3), np.uint8))
    settings = [
        f"camera.source={tmp_path}",
        f"outbox.directory={tmp_path / 'outbox'}",
        f"mqtt.url={broker.url}",
        "device.site=test",
        "device.id=board",
    ]
    with Subscriber(broker) as subscriber:
        assert main(["run", *(word for setting in settings for word in ("--set", setting))]) == 0
        assert wait_for(subscriber, AgentStop).reason == "end of the medium"
