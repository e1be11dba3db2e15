"""Where a net goes, and what it says of that; each fault at the moment it happens, on the real process of the tests."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.clock import NS_PER_S
from agent.vision.accelerator import BLIND_S, LOOK_S, PAUSE_MOST_S, PROVE_S, Machine, SafeRuntime, place
from agent.vision.model import ClassifierManifest, golden_input, load_manifest
from agent.vision.nets import load_classifier, load_detector
from agent.vision.runtime import CpuRuntime
from tests.edge_tpu import FakeEdgeTpu
from tests.edge_tpu_worker import AT_START, IN_A_CALL
from tests.real import wait_for
from tests.unit.service_clock import TestClock

NET, CONTENT = (lambda loaded: (loaded[0].net, loaded[1]))(load_manifest("mask-64", ClassifierManifest))
PICTURE = golden_input(7, NET.input.shape)
EXPECTED = CpuRuntime(CONTENT, NET, where="here").invoke(PICTURE)["logits"].tolist()


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def tpu(tmp_path: Path) -> FakeEdgeTpu:
    return FakeEdgeTpu(tmp_path, model="mask-64")


@pytest.fixture
def runtime(tpu: FakeEdgeTpu, clock: TestClock) -> Iterator[SafeRuntime]:
    made = place(NET, CONTENT, tpu.manifest, "auto", clock=clock, random=random.Random(3), machine=tpu.machine)
    yield made
    made.close()


def ask(runtime: SafeRuntime) -> str:
    """Ask the net once and check its answer; give what it runs on then."""
    assert runtime.invoke(PICTURE)["logits"].tolist() == EXPECTED
    return runtime.place


def come_up(runtime: SafeRuntime, clock: TestClock) -> None:
    def up() -> bool:
        clock.sleep(0.02)
        return ask(runtime) == "edgetpu"

    wait_for(up, what="the Edge TPU")


def test_the_cpu_answers_until_the_edge_tpu_has_come_up(runtime: SafeRuntime, clock: TestClock) -> None:
    assert (runtime.place, runtime.why) == ("cpu", "not looked for yet")
    assert (ask(runtime), runtime.why) == ("cpu", "Edge TPU process is starting")
    come_up(runtime, clock)
    assert (runtime.why, runtime.lost) == ("its golden answers are right", 0)


def test_one_that_is_plugged_in_late_is_found(runtime: SafeRuntime, tpu: FakeEdgeTpu, clock: TestClock) -> None:
    tpu.unplug()
    assert (ask(runtime), runtime.why) == ("cpu", "no Coral is on the USB or PCIe bus")
    clock.sleep(10 * BLIND_S)
    assert (ask(runtime), runtime.why) == ("cpu", "no Coral is on the USB or PCIe bus")
    tpu.plug("new")
    assert (ask(runtime), runtime.why) == ("cpu", "no Coral is on the USB or PCIe bus")  # it is not time to look yet
    clock.sleep(LOOK_S)
    come_up(runtime, clock)


@pytest.mark.parametrize("fault", IN_A_CALL)
def test_a_fault_costs_no_answer_and_a_healthy_one_is_taken_again(
    runtime: SafeRuntime, tpu: FakeEdgeTpu, clock: TestClock, fault: str
) -> None:
    come_up(runtime, clock)
    tpu.fail(fault)
    clock.sleep(PROVE_S)
    wait_for(lambda: ask(runtime) == "cpu", what="the loss")
    assert runtime.lost == 1
    assert runtime.why.startswith("Edge TPU ")
    tpu.fail("")
    clock.sleep(LOOK_S)
    come_up(runtime, clock)
    assert runtime.lost == 1


@pytest.mark.parametrize("fault", AT_START)
def test_a_fault_at_the_start_leaves_the_cpu_and_is_tried_again(
    runtime: SafeRuntime, tpu: FakeEdgeTpu, clock: TestClock, fault: str
) -> None:
    tpu.fail(fault)
    assert ask(runtime) == "cpu"
    if fault == "hang at start":
        assert (ask(runtime), runtime.why) == ("cpu", "Edge TPU process is starting")
        clock.sleep(31)
    wait_for(lambda: ask(runtime) == "cpu" and runtime.why != "Edge TPU process is starting")
    assert (runtime.place, runtime.lost) == ("cpu", 0)
    tpu.fail("")
    clock.sleep(LOOK_S)
    come_up(runtime, clock)


def test_pulled_out_and_plugged_in_again_it_is_taken_again(
    runtime: SafeRuntime, tpu: FakeEdgeTpu, clock: TestClock
) -> None:
    come_up(runtime, clock)
    tpu.unplug()
    assert (ask(runtime), runtime.lost) == ("cpu", 1)
    assert runtime.why == "Edge TPU process ended (exit code 3) in a call"
    clock.sleep(LOOK_S)
    assert (ask(runtime), runtime.why) == ("cpu", "no Coral is on the USB or PCIe bus")
    tpu.plug()
    clock.sleep(LOOK_S)
    come_up(runtime, clock)


def test_one_that_fails_again_and_again_is_tried_less_and_less_until_it_is_pulled_out_for_a_while(
    runtime: SafeRuntime, tpu: FakeEdgeTpu, clock: TestClock
) -> None:
    for _ in range(12):
        clock.sleep(PAUSE_MOST_S)
        tpu.fail("")
        come_up(runtime, clock)
        tpu.fail("exit")
        assert ask(runtime) == "cpu"
    tpu.fail("")
    clock.sleep(LOOK_S)
    assert (ask(runtime), runtime.why) == ("cpu", "Edge TPU process ended (exit code 3) in a call")
    tpu.unplug()
    for _ in range(2):
        clock.sleep(LOOK_S)
        assert (ask(runtime), runtime.why) == ("cpu", "no Coral is on the USB or PCIe bus")
    tpu.plug()
    clock.sleep(LOOK_S)
    come_up(runtime, clock)


def test_more_faces_than_lately_are_believed_only_of_a_device_that_is_right(
    runtime: SafeRuntime, tpu: FakeEdgeTpu, clock: TestClock
) -> None:
    come_up(runtime, clock)
    assert runtime.vouch(2)
    tpu.fail("wrong")
    assert runtime.vouch(2)
    assert not runtime.vouch(3)
    assert (ask(runtime), runtime.lost) == ("cpu", 1)
    assert "steps off" in runtime.why
    assert runtime.vouch(30)


def test_asked_for_by_name_it_is_tried_though_no_bus_shows_it(tmp_path: Path, clock: TestClock) -> None:
    tpu = FakeEdgeTpu(tmp_path, model="mask-64", plugged=False)
    runtime = place(NET, CONTENT, tpu.manifest, "edgetpu", clock=clock, machine=tpu.machine)
    tpu.fail("unplugged")
    wait_for(lambda: ask(runtime) == "cpu" and "no device" in runtime.why)
    tpu.fail("")
    clock.sleep(LOOK_S)
    assert ask(runtime) == "cpu"
    assert runtime.why.startswith("no Coral is on the USB or PCIe bus, tried: libedgetpu.so.1: not usable: no device")
    clock.sleep(BLIND_S)
    come_up(runtime, clock)
    runtime.close()


def test_settling_waits_for_one_that_comes_up_and_for_nothing_else(
    runtime: SafeRuntime, tpu: FakeEdgeTpu, clock: TestClock
) -> None:
    tpu.fail("hang at start")
    assert (runtime.settle(5), runtime.why) == ("cpu", "Edge TPU process is starting")
    assert clock.now_ns() / NS_PER_S == pytest.approx(5, abs=0.1)
    assert runtime.settle(60) == "cpu"
    assert runtime.why == "Edge TPU process did not answer in time while starting"
    before_s = clock.now_ns() / NS_PER_S
    assert runtime.settle(60) == "cpu"
    assert clock.now_ns() / NS_PER_S == before_s


def test_closed_it_answers_on_the_cpu_and_starts_nothing_again(runtime: SafeRuntime, clock: TestClock) -> None:
    come_up(runtime, clock)
    runtime.close()
    runtime.close()
    clock.sleep(PAUSE_MOST_S)
    assert (ask(runtime), runtime.why) == ("cpu", "closed")


def test_on_the_cpu_by_the_settings_nothing_is_looked_for(tmp_path: Path, clock: TestClock) -> None:
    tpu = FakeEdgeTpu(tmp_path, model="mask-64")
    runtime = place(NET, CONTENT, tpu.manifest, "cpu", clock=clock, machine=tpu.machine)
    assert (runtime.settle(60), ask(runtime), runtime.why, clock.now_ns() / NS_PER_S) == ("cpu", "cpu", "configured", 0)


def test_a_file_that_no_compiler_made_is_not_taken_for_one(tmp_path: Path, clock: TestClock) -> None:
    tpu = FakeEdgeTpu(tmp_path, model="mask-64")
    (tmp_path / "mask-64_edgetpu.tflite").write_bytes(CONTENT)
    runtime = place(NET, CONTENT, tpu.manifest, "auto", clock=clock, machine=tpu.machine)
    assert (ask(runtime), runtime.why) == ("cpu", "mask-64_edgetpu.tflite was not made by edgetpu_compiler")


def test_the_shipped_detector_says_that_it_has_no_edge_tpu_file() -> None:
    detector = load_detector("face-320", "edgetpu")
    said = (detector.settle(60), detector.why, detector.lost)
    assert said == ("cpu", "no face-320_edgetpu.tflite beside the model", 0)
    detector.close()
    assert detector.accelerator == "cpu"


def test_the_classifier_leaves_the_edge_tpu_to_the_detector_and_says_so(tmp_path: Path) -> None:
    manifest = str(FakeEdgeTpu(tmp_path, model="mask-64").manifest)
    on_cpu, asked = load_classifier(manifest, "cpu"), load_classifier(manifest, "edgetpu")
    assert (on_cpu.accelerator, on_cpu.why) == ("cpu", "configured")
    assert (asked.accelerator, asked.why) == ("cpu", "an Edge TPU serves one net, and that is the detector")


def test_the_machine_is_the_real_one_by_default() -> None:
    assert (Machine().root, Machine().library) == (Path("/"), "libedgetpu.so.1")
    np.testing.assert_equal(Machine().worker[-1], "agent.vision.worker")
