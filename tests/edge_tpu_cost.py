"""What an Edge TPU's process costs beside the net itself: `python -m tests.edge_tpu_cost`, figures as JSON.

Measured with the process of the tests on this machine; no Edge TPU is.
"""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agent.camera.scene import SceneCamera
from agent.clock import NS_PER_MS, SystemClock
from agent.pipeline import Pipeline
from agent.seams import End, Frame
from agent.settings import Settings
from agent.vision.accelerator import place
from agent.vision.coral import is_plugged
from agent.vision.detector import FaceDetector
from agent.vision.driver import EdgeTpuDriver
from agent.vision.model import DetectorManifest, golden_input, load_manifest
from agent.vision.nets import load_classifier
from tests.edge_tpu import WORKER, FakeEdgeTpu, build_library
from tests.edge_tpu_worker import IN_A_CALL
from tests.real import wait_for

CLOCK = SystemClock()


def spent_ms(work: Callable[[], object], times: int) -> list[float]:
    spent = []
    for _ in range(times):
        start_ns = CLOCK.now_ns()
        work()
        spent.append((CLOCK.now_ns() - start_ns) / NS_PER_MS)
    return spent


def measure(folder: Path) -> dict[str, object]:
    tpu = FakeEdgeTpu(folder)
    manifest, content = load_manifest(str(tpu.manifest), DetectorManifest)
    picture = golden_input(7, manifest.net.input.shape)
    compiled = next(folder.glob("*_edgetpu.tflite"))
    tpu.unplug()
    for number in range(12):
        tpu.plug_other(f"2-{number}")
    looks = spent_ms(lambda: is_plugged(tpu.machine.root), 200)
    figures: dict[str, object] = {"a look at a bus with 12 other devices, ms": np.median(looks)}
    tpu.plug()

    real = EdgeTpuDriver(manifest.net, compiled, library=build_library(folder), clock=CLOCK)
    wait_for(real.poll)
    rollup = Path(f"/proc/{real.pid}/smaps_rollup").read_text().splitlines()
    sizes = {line.split()[0].rstrip(":"): int(line.split()[1]) / 1024 for line in rollup[1:]}
    figures |= {"process, resident MB": sizes["Rss"], "process, its own share MB": sizes["Pss"]}
    real.end()

    fault = folder / "instant"
    fault.touch()
    driver = EdgeTpuDriver(manifest.net, compiled, library=str(fault), clock=CLOCK, worker=WORKER)
    figures["from start to ready, ms"] = sum(spent_ms(lambda: wait_for(driver.poll), 1))
    fault.write_text("instant")
    way = spent_ms(lambda: driver.call(picture), 2000)
    figures |= {"a call's way, median ms": np.median(way), "a call's way, p99 ms": np.percentile(way, 99)}
    driver.end()

    slowest: dict[str, float] = {}
    for what in IN_A_CALL:
        runtime = place(manifest.net, content, tpu.manifest, "auto", clock=CLOCK, machine=tpu.machine)
        figures["first call, starts the process, ms"] = spent_ms(lambda: runtime.invoke(picture), 1)[0]  # noqa: B023
        assert runtime.settle(20) == "edgetpu"
        runtime.invoke(picture)
        tpu.fail(what)
        start_ns, spent = CLOCK.now_ns(), []
        while runtime.place == "edgetpu":
            spent += spent_ms(lambda: runtime.invoke(picture), 1)  # noqa: B023
        slowest[what] = (CLOCK.now_ns() - start_ns) / NS_PER_MS
        runtime.close()
        tpu.fail("")
    figures["from a fault to the CPU's answer, ms"] = {what: round(ms) for what, ms in slowest.items()}
    figures["calls for proofs, of all calls, %"] = proofs_percent(tpu)
    return figures


def proofs_percent(tpu: FakeEdgeTpu) -> float:
    """Count, on the scene at its own pace, the calls that only prove the device."""
    manifest, content = load_manifest(str(tpu.manifest), DetectorManifest)
    at_ns = 0

    class SceneClock(SystemClock):
        def now_ns(self) -> int:
            return at_ns

    runtime = place(manifest.net, content, tpu.manifest, "auto", clock=SceneClock(), machine=tpu.machine)
    assert runtime.settle(20) == "edgetpu"
    detector = FaceDetector(manifest, runtime, runtime.vouch)
    pipeline = Pipeline(
        detector=detector, classifier=load_classifier("mask-64", "cpu").net, settings=Settings(), run_id="cost"
    )
    with SceneCamera(fps=15.0, persons=6, duration_s=60.0) as camera:
        while not isinstance(message := camera.read(1.0), End):
            assert isinstance(message, Frame)
            at_ns = message.captured_ns
            pipeline.step(message)
    edge_tpu = runtime._edge_tpu
    assert edge_tpu is not None
    assert isinstance(edge_tpu._driver, EdgeTpuDriver)
    calls = edge_tpu._driver._number
    runtime.close()
    return 100 * (calls - pipeline.stats.detections) / calls


if __name__ == "__main__":
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-2:])
    with tempfile.TemporaryDirectory() as name:
        rounded = {
            what: round(float(figure), 2) if isinstance(figure, float) else figure
            for what, figure in measure(Path(name)).items()
        }
    print(json.dumps(rounded, indent=1))
