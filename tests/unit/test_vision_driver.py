"""The Edge TPU's process from outside: whatever it does, the agent's end answers or says why not, and never waits."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.clock import SystemClock
from agent.vision.driver import EdgeTpuDriver, EdgeTpuLost
from agent.vision.model import ClassifierManifest, Net, golden_input, load_manifest, models_folder
from agent.vision.runtime import CpuRuntime
from tests.edge_tpu import WORKER
from tests.edge_tpu_worker import IN_A_CALL
from tests.real import wait_for

NET: Net = load_manifest("mask-64", ClassifierManifest)[0].net
MODEL = models_folder() / NET.file
HEALTHY_BUT_WRONG = ("wrong", "dead", "shifted")  # whether numbers are right is not the driver's to know
Start = Callable[..., EdgeTpuDriver]


@pytest.fixture
def fault(tmp_path: Path) -> Path:
    path = tmp_path / "fault"
    path.touch()
    return path


@pytest.fixture
def start(fault: Path) -> Iterator[Start]:
    made: list[EdgeTpuDriver] = []

    def make(**changes: object) -> EdgeTpuDriver:
        arguments: dict[str, object] = {"library": str(fault), "clock": SystemClock(), "worker": WORKER, **changes}
        made.append(EdgeTpuDriver(NET, MODEL, **arguments))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for driver in made:
        driver.end()
        assert driver.gone(10)


def ready(driver: EdgeTpuDriver) -> EdgeTpuDriver:
    wait_for(driver.poll)
    return driver


def test_its_answers_are_those_of_the_net(start: Start) -> None:
    driver, cpu = ready(start()), CpuRuntime(MODEL.read_bytes(), NET, where="here")
    for seed in range(20, 25):
        picture = golden_input(seed, NET.input.shape)
        np.testing.assert_array_equal(cpu.invoke(picture)["logits"], driver.call(picture)["logits"])


def test_a_start_is_not_waited_for(start: Start, fault: Path) -> None:
    fault.write_text("hang at start")
    driver = start()
    assert not driver.poll()
    assert not driver.gone()


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("unplugged", "libedgetpu.so.1: not usable: no device; plug the device in"),
        ("segfault at start", r"Edge TPU process crashed \(signal 11\) while starting"),
        ("garbage at start", "Edge TPU process talked nonsense while starting"),
        ("wrong", "answers its golden inputs .* steps off"),
    ],
)
def test_a_start_that_fails_says_why(start: Start, fault: Path, what: str, why: str) -> None:
    fault.write_text(what)
    driver = start()
    with pytest.raises(EdgeTpuLost, match=why):
        wait_for(driver.poll)


def test_a_worker_that_cannot_be_executed_says_so(start: Start) -> None:
    with pytest.raises(EdgeTpuLost, match="cannot be started: No such file"):
        start(worker=("/absent/python",))


def test_a_worker_that_is_no_worker_says_how_it_ended(start: Start) -> None:
    driver = start(worker=(*WORKER[:1], "-c", "raise SystemExit('out of order')"))
    with pytest.raises(EdgeTpuLost, match=r"ended \(exit code 1\) while starting"):
        wait_for(driver.poll)
    assert driver.end() == "out of order"


@pytest.mark.parametrize("what", [fault for fault in IN_A_CALL if fault not in HEALTHY_BUT_WRONG])
def test_no_fault_in_a_call_gives_an_answer_or_hangs(start: Start, fault: Path, what: str) -> None:
    driver, picture = ready(start(call_timeout_s=0.3)), golden_input(7, NET.input.shape)
    driver.call(picture)
    fault.write_text(what)
    with pytest.raises(EdgeTpuLost, match=r"Edge TPU process .* (in a call|unasked)") as lost:
        wait_for(lambda: driver.call(picture) is None)
    expected = {"hang": "in time", "half an answer": "in time", "drip": "in time", "exit": r"exit code 3"}
    assert expected.get(what, "") in str(lost.value)


def test_a_process_that_was_stopped_is_late_and_can_be_ended(start: Start) -> None:
    driver = ready(start(call_timeout_s=0.3))
    os.kill(driver.pid, signal.SIGSTOP)
    with pytest.raises(EdgeTpuLost, match="did not answer in time in a call"):
        driver.call(golden_input(7, NET.input.shape))
    driver.end()
    assert driver.gone(10)


def test_a_process_that_says_more_than_anybody_reads_is_not_held_up(start: Start, fault: Path) -> None:
    driver = ready(start())
    fault.write_text("talk and exit")
    with pytest.raises(EdgeTpuLost, match="exit code 4"):
        driver.call(golden_input(7, NET.input.shape))
    assert driver.end() == "a driver may say a lot"
