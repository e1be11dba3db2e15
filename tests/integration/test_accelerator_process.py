"""The agent's process beside that of the Edge TPU: ready without it, alive when it hangs, and never more than one."""

import functools
import json
import os
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.cli.check import checks
from agent.clock import SystemClock
from agent.settings import CameraSettings, OutboxSettings, Settings, VisionSettings
from agent.vision.accelerator import SafeRuntime, place
from agent.vision.model import ClassifierManifest, golden_input, load_manifest
from tests.edge_tpu import FakeEdgeTpu
from tests.integration.agent_process import AgentProcess
from tests.real import Mosquitto, Subscriber, wait_for

pytest.importorskip("skimage", reason="the scene's portraits come with the demo extra")

TELEMETRY = "maskwatch/test/board/telemetry"
FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.fixture
def tpu(tmp_path: Path) -> FakeEdgeTpu:
    folder = tmp_path / "tpu"
    folder.mkdir()
    return FakeEdgeTpu(folder)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


def agent_with(tpu: FakeEdgeTpu, home: Path, broker: Mosquitto) -> AgentProcess:
    first = (
        "import functools\nfrom pathlib import Path, PosixPath\n"
        "from agent.vision import nets\nfrom agent.vision.accelerator import Machine\n"
        f"nets.place = functools.partial(nets.place, machine={tpu.machine!r})\n"
    )
    settings = [f"vision.detector={tpu.manifest}", "camera.loop=true", "report.telemetry_every_s=1"]
    return AgentProcess(home, url=broker.url, first=first, settings=settings)


def latest(subscriber: Subscriber, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for telemetry of which something holds; give it."""
    found: list[dict[str, Any]] = []

    def came() -> bool:
        found[:] = [said for said in map(json.loads, subscriber.payloads(TELEMETRY)) if holds(said)]
        return bool(found)

    subscriber.wait_for(came)
    return found[-1]


def children(pid: int) -> list[int]:
    """Give the processes that any thread of a process has started and that have not ended."""
    lists = [(task / "children").read_text().split() for task in Path(f"/proc/{pid}/task").iterdir()]
    return [int(child) for started in lists for child in started if is_alive(int(child))]


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_telemetry_tells_what_is_in_use_and_why_through_loss_and_return(
    tpu: FakeEdgeTpu, broker: Mosquitto, tmp_path: Path
) -> None:
    tpu.unplug()
    with Subscriber(broker) as subscriber, agent_with(tpu, tmp_path / "home", broker) as agent:
        agent.wait_for("READY=1")
        said = latest(subscriber, lambda said: said["accelerator_why"] == "no Coral is on the USB or PCIe bus")
        assert said["accelerator"] == "cpu"
        tpu.plug()
        said = latest(subscriber, lambda said: said["accelerator"] == "edgetpu")
        assert (said["accelerator_why"], said["accelerator_lost"]) == ("its golden answers are right", 0)
        tpu.fail("hang")
        said = latest(subscriber, lambda said: said["accelerator_lost"] > 0 and said["accelerator"] == "cpu")
        frames, faces = said["frames"], said["faces"]
        latest(subscriber, lambda said: said["frames"] > frames + 10 and said["faces"] > faces)
        tpu.plug()
        latest(subscriber, lambda said: said["accelerator_lost"] > 0 and said["accelerator"] == "edgetpu")
        assert agent.terminate() == 0
        log = agent.log.read_text()
    assert "accelerator.ready failures=0 lost=0" in log
    assert "accelerator.lost why='Edge TPU process did not answer in time in a call'" in log
    assert "Traceback" not in log


def test_ready_does_not_wait_for_a_device_and_an_end_does_not_wait_for_one_that_hangs(
    tpu: FakeEdgeTpu, broker: Mosquitto, tmp_path: Path
) -> None:
    tpu.fail("hang at start")
    with Subscriber(broker) as subscriber, agent_with(tpu, tmp_path / "home", broker) as agent:
        agent.wait_for("READY=1")
        said = latest(subscriber, lambda said: said["accelerator_why"] == "Edge TPU process is starting")
        assert said["accelerator"] == "cpu"
        latest(subscriber, lambda said: said["faces"] > 0)
        (worker,) = children(agent.process.pid)
        assert agent.terminate() == 0
        wait_for(lambda: not is_alive(worker))


def test_an_agent_that_is_killed_leaves_no_process_behind(tpu: FakeEdgeTpu, broker: Mosquitto, tmp_path: Path) -> None:
    with Subscriber(broker) as subscriber, agent_with(tpu, tmp_path / "home", broker) as agent:
        latest(subscriber, lambda said: said["accelerator"] == "edgetpu")
        (worker,) = children(agent.process.pid)
        agent.kill()
        wait_for(lambda: not is_alive(worker))


@pytest.fixture
def freeze() -> Iterator[Callable[[int | None], None]]:
    """Freeze a process as the kernel does that waits for a device: SIGKILL does not end it. None: let it go on."""
    group = FREEZER / f"maskwatch-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        state = group / "freezer.state"
        state.read_text()
    except OSError:
        pytest.skip("needs root and the freezer of cgroups v1, whose frozen processes cannot be killed")

    def freeze(pid: int | None) -> None:
        if pid is not None:
            (group / "tasks").write_text(str(pid))
        state.write_text("THAWED" if pid is None else "FROZEN")
        wait_for(lambda: state.read_text().strip() == ("THAWED" if pid is None else "FROZEN"))

    yield freeze
    freeze(None)
    wait_for(lambda: not (group / "tasks").read_text())
    group.rmdir()


@pytest.fixture
def workers() -> Callable[[], set[int]]:
    """Tell which processes we have started since; an earlier test's, such as multiprocessing's tracker, may live on."""
    before = set(children(os.getpid()))
    return lambda: set(children(os.getpid())) - before


@pytest.fixture
def runtime(tmp_path: Path, workers: Callable[[], set[int]]) -> Iterator[SafeRuntime]:
    """Give a runtime whose process is one that `workers` tells of."""
    manifest, content = load_manifest("mask-64", ClassifierManifest)
    tpu = FakeEdgeTpu(tmp_path, model="mask-64")
    made = place(
        manifest.net,
        content,
        tpu.manifest,
        "auto",
        clock=SystemClock(),
        random=random.Random(1),
        machine=tpu.machine,
    )
    yield made
    made.close()


def test_a_process_that_cannot_be_killed_is_neither_waited_for_nor_joined_by_another(
    runtime: SafeRuntime, workers: Callable[[], set[int]], freeze: Callable[[int | None], None]
) -> None:
    picture = golden_input(7, (1, 64, 64, 3))
    expected = runtime.invoke(picture)["logits"].tolist()

    def ask() -> str:
        assert runtime.invoke(picture)["logits"].tolist() == expected
        return runtime.place

    wait_for(lambda: ask() == "edgetpu")
    (worker,) = workers()
    freeze(worker)
    assert (ask(), runtime.why) == ("cpu", "Edge TPU process did not answer in time in a call")
    wait_for(lambda: ask() == "cpu" and runtime.why == "Edge TPU process was killed and does not end")
    assert workers() == {worker}
    freeze(None)
    wait_for(lambda: ask() == "edgetpu")
    assert worker not in workers()


def test_closing_does_not_wait_for_a_process_that_cannot_be_killed(
    runtime: SafeRuntime, workers: Callable[[], set[int]], freeze: Callable[[int | None], None]
) -> None:
    runtime.settle(20)
    (worker,) = workers()
    freeze(worker)
    runtime.close()
    assert is_alive(worker)


@pytest.fixture
def settings(tpu: FakeEdgeTpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("agent.vision.nets.place", functools.partial(place, machine=tpu.machine))
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    return Settings(
        camera=CameraSettings(source="scene"),
        vision=VisionSettings(detector=str(tpu.manifest)),
        outbox=OutboxSettings(directory=str(tmp_path)),
    )


def models_line(settings: Settings) -> str:
    return next(line.text for line in checks(settings, SystemClock(), wait_s=0) if line.name == "models")


def test_check_waits_for_the_device_and_says_what_came_of_it(settings: Settings, tpu: FakeEdgeTpu) -> None:
    assert models_line(settings).endswith("on edgetpu (its golden answers are right)")
    tpu.fail("unplugged")
    assert "on cpu (libedgetpu.so.1: not usable: no device" in models_line(settings)


def test_check_leaves_the_device_to_an_agent_that_runs_here_and_asks_it(
    settings: Settings, tpu: FakeEdgeTpu, tmp_path: Path
) -> None:
    tpu.fail("unplugged")  # whoever starts a second process for it finds this
    notice = {"accelerator": "edgetpu", "accelerator_why": "its golden answers are right"}
    said = {"at_ns": SystemClock().now_ns(), "diagnosis": notice}
    (tmp_path / "agent.json").write_text(json.dumps(said))
    assert models_line(settings).endswith("on edgetpu (its golden answers are right)")
