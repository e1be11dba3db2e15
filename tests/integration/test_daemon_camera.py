"""Cameras that are slow, or stall, and a hang that nobody watches for: the real process goes on."""

from pathlib import Path

import pytest

from tests.integration.agent_process import SHIM_CAMERA, AgentProcess, sped_up, switched
from tests.real import free_port, wait_for


@pytest.fixture
def switches(tmp_path: Path) -> Path:
    folder = tmp_path / "switches"
    folder.mkdir()
    return folder


def agent_of(tmp_path: Path, switches: Path, **more: str) -> AgentProcess:
    url = f"mqtt://127.0.0.1:{free_port()}"
    environ = switched(switches) | more
    return AgentProcess(tmp_path / "home", url=url, first=sped_up(4), settings=[SHIM_CAMERA], environ=environ)


def test_a_slow_camera_lives_and_a_stalled_one_is_opened_again(tmp_path: Path, switches: Path) -> None:
    (switches / "slow").touch()  # a frame in four of the agent's seconds
    with agent_of(tmp_path, switches, WATCHDOG_USEC="30000000") as agent:
        agent.wait_for("STATUS=watching")
        for _ in range(6):  # a second each, at four times the speed: more than a stage may take
            agent.wait_for("WATCHDOG=1")
        (switches / "slow").unlink()
        (switches / "stalled").touch()
        wait_for(lambda: "camera.back source=v4l2:/dev/shim" in agent.log.read_text(), what="the recovery")
        assert agent.terminate() == 0
        log = agent.log.read_text()
    assert "camera.lost source=v4l2:/dev/shim why=no frame for " in log
    assert "hung" not in log


def test_a_hang_that_nobody_watches_for_is_told_once_with_every_stack(tmp_path: Path, switches: Path) -> None:
    with agent_of(tmp_path, switches) as agent:
        agent.wait_for("READY=1")
        (switches / "vision").touch()
        wait_for(lambda: "in _supervise" in agent.log.read_text(), what="the stacks")
        (switches / "vision").unlink()
        wait_for(lambda: "watchdog.hung.recovered" in agent.log.read_text(), what="the recovery")
        assert agent.terminate() == 0
        log = agent.log.read_text()
    assert "in watch" in log
    assert log.count("in _supervise") == 1
