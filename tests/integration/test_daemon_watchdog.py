"""What the supervisor of a real process does when one of its threads hangs."""

import signal
from pathlib import Path

import pytest

from tests.integration.agent_process import SHIM_CAMERA, AgentProcess, switched
from tests.real import free_port, wait_for

WATCHED = {"WATCHDOG_USEC": "3000000"}


@pytest.fixture
def switches(tmp_path: Path) -> Path:
    folder = tmp_path / "switches"
    folder.mkdir()
    return folder


def agent_of(tmp_path: Path, environ: dict[str, str]) -> AgentProcess:
    """An agent without a broker, whose threads can be hung."""
    url = f"mqtt://127.0.0.1:{free_port()}"
    return AgentProcess(tmp_path / "home", url=url, settings=[SHIM_CAMERA], environ=environ)


def wait_for_line(agent: AgentProcess, text: str) -> None:
    wait_for(lambda: text in agent.log.read_text(), what=text)


@pytest.mark.parametrize(
    ("stage", "where"), [("vision", "in watch"), ("delivery", "in deliver"), ("camera", "in capture")]
)
def test_a_thread_that_hangs_is_named_and_the_manager_asked_to_act_at_once(
    tmp_path: Path, switches: Path, stage: str, where: str
) -> None:
    with agent_of(tmp_path, WATCHED | switched(switches)) as agent:
        agent.wait_for("WATCHDOG=1")
        (switches / stage).touch()
        agent.wait_for(f"STATUS=hung: {stage} (")
        agent.wait_for("WATCHDOG=trigger")
        with pytest.raises(AssertionError, match="no WATCHDOG=1"):
            agent.wait_for("WATCHDOG=1", 1.0)
        agent.process.send_signal(signal.SIGABRT)  # what the service manager does then
        assert agent.process.wait(30) == -signal.SIGABRT
        log = agent.log.read_text()
    assert f"watchdog.hung why='{stage} (" in log
    assert where in log
    assert log.count("in _supervise") == 1


def test_a_supervisor_that_hangs_feeds_nobody_and_its_stack_is_shown(tmp_path: Path, switches: Path) -> None:
    with agent_of(tmp_path, WATCHED | switched(switches)) as agent:
        agent.wait_for("WATCHDOG=1")
        (switches / "supervisor").touch()
        with pytest.raises(AssertionError, match="no WATCHDOG"):
            fed_for_ever(agent)
        agent.process.send_signal(signal.SIGABRT)
        assert agent.process.wait(30) == -signal.SIGABRT
        assert "in _supervise" in agent.log.read_text()


def fed_for_ever(agent: AgentProcess) -> None:
    while True:
        agent.wait_for("WATCHDOG", 1.5)  # three looks


def test_a_thread_that_goes_on_after_all_is_well_again(tmp_path: Path, switches: Path) -> None:
    with agent_of(tmp_path, WATCHED | switched(switches)) as agent:
        agent.wait_for("WATCHDOG=1")
        (switches / "vision").touch()
        agent.wait_for("WATCHDOG=trigger")
        (switches / "vision").unlink()
        agent.wait_for("WATCHDOG=1")
        wait_for_line(agent, "watchdog.hung.recovered")
        assert agent.terminate() == 0
