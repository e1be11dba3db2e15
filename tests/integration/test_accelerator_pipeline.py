"""The whole agent with an Edge TPU that fails at some moment: the same people and labels as on the CPU alone.

Frames are the generated scene's, the pipeline and both nets are the real ones, and so is the device's process but for
what it is told to do wrong. Pauses and proofs go by the scene's time.
"""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.camera.scene import SceneCamera
from agent.events.types import PersonEnd, PersonNew, PersonUpdate
from agent.pipeline import Pipeline
from agent.seams import Detector, End, Frame
from agent.settings import Settings
from agent.vision.accelerator import LOOK_S, SafeRuntime, place
from agent.vision.detector import FaceDetector
from agent.vision.model import DetectorManifest, load_manifest
from agent.vision.nets import load_classifier, load_detector
from tests.edge_tpu import FakeEdgeTpu
from tests.edge_tpu_worker import IN_A_CALL
from tests.real import wait_for

pytest.importorskip("skimage", reason="the scene's portraits come with the demo extra")

Story = list[tuple[str, str, str]]
FPS = 10.0
FAULTS = [fault for fault in IN_A_CALL if fault != "drip"]  # its deadline needs a clock that goes on by itself
STARTING = "Edge TPU process is starting"


class SceneClock:
    """The scene's time; sleeping lets other processes on, and no time of the scene passes."""

    def __init__(self) -> None:
        self.at_ns = 0

    def now_ns(self) -> int:
        return self.at_ns

    def wall_ns(self) -> int:
        return 0

    def trusted(self) -> bool:
        return False

    def sleep(self, seconds: float) -> None:
        threading.Event().wait(0.001)


class Agent:
    """A pipeline whose detector runs on the Edge TPU of the tests."""

    def __init__(self, folder: Path) -> None:
        self.tpu = FakeEdgeTpu(folder)
        self.clock = SceneClock()
        manifest, content = load_manifest(str(self.tpu.manifest), DetectorManifest)
        self.runtime: SafeRuntime = place(
            manifest.net,
            content,
            self.tpu.manifest,
            "auto",
            clock=self.clock,
            random=random.Random(1),
            machine=self.tpu.machine,
        )
        self.detector = FaceDetector(manifest, self.runtime, self.runtime.vouch)
        self.is_stuck = False
        """A process began to start under a fault that may silence it, for longer than the scene lasts."""

    def show(self, frame: Frame) -> None:
        """Let it be as late as a frame; a process that is starting then has come up, or has failed."""
        self.clock.at_ns = frame.captured_ns
        self.runtime.settle(0)
        starting = self.runtime.why == STARTING
        self.is_stuck = starting and (self.is_stuck or not self.tpu.answers_at_start)
        if self.tpu.answers_at_start and not self.is_stuck:
            wait_for(lambda: self.runtime.settle(0) == "edgetpu" or self.runtime.why != STARTING)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    with SceneCamera(fps=FPS, persons=4, duration_s=14.0, seed=4) as camera:
        shown = []
        while not isinstance(message := camera.read(1.0), End):
            assert isinstance(message, Frame)
            shown.append(message)
    return shown


def watch(frames: list[Frame], detector: Detector, show: Callable[[Frame], None]) -> Story:
    """Give what is told of whom, in order."""
    pipeline = Pipeline(
        detector=detector, classifier=load_classifier("mask-64", "cpu").net, settings=Settings(), run_id="a" * 16
    )
    events = []
    for frame in frames:
        show(frame)
        events += pipeline.step(frame)
    events += pipeline.finish(frames[-1].captured_ns, "gone")
    people = [event for event in events if isinstance(event.data, PersonNew | PersonUpdate | PersonEnd)]
    return [(event.type, event.data.person, event.data.label) for event in people]  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def on_cpu(frames: list[Frame]) -> Story:
    story = watch(frames, load_detector("face-320", "cpu").net, lambda _: None)
    assert len(story) >= 8, "a scene in which little happens shows little"
    return story


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.runtime.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_moment_changes_nobodys_story_and_the_device_is_used_again_when_it_is_well(
    frames: list[Frame], on_cpu: Story, agent: Agent, fault: str
) -> None:
    chance = random.Random(f"{fault} 13")
    fails_at = chance.randrange(len(frames) // 8, len(frames) // 2)
    well_at = fails_at + 2 * round(FPS)
    lost_at: list[int] = []
    used_again_at: list[int] = []

    def show(frame: Frame) -> None:
        if frame.index == fails_at:
            assert agent.runtime.place == "edgetpu"
            agent.tpu.fail(fault)
        if frame.index == well_at:
            agent.tpu.fail("")
        agent.show(frame)
        if frame.index > fails_at and not lost_at and agent.runtime.place == "cpu":
            lost_at.append(frame.index)
        if frame.index > well_at and agent.runtime.place == "edgetpu":
            used_again_at.append(frame.index)

    assert watch(frames, agent.detector, show) == on_cpu
    assert lost_at[0] - fails_at <= 2 * FPS, f"{fault} at frame {fails_at} was noticed at {lost_at[0]}"
    assert used_again_at or agent.is_stuck, f"{fault} at frame {fails_at}: {agent.runtime.why}"
    assert agent.runtime.lost >= 1


def test_pulled_out_and_plugged_in_again_it_is_used_again(frames: list[Frame], on_cpu: Story, agent: Agent) -> None:
    places: dict[int, str] = {}
    out_at, in_at = 25, 25 + round((2 * LOOK_S - 4) * FPS)

    def show(frame: Frame) -> None:
        if frame.index == out_at:
            agent.tpu.unplug()
        if frame.index == in_at:
            agent.tpu.plug("new")
        agent.show(frame)
        places[frame.index] = agent.runtime.place

    assert watch(frames, agent.detector, show) == on_cpu
    assert {places[index] for index in range(out_at + 2, in_at)} == {"cpu"}
    assert (places[out_at - 1], places[len(frames) - 1]) == ("edgetpu", "edgetpu")


def test_a_device_that_hangs_while_it_starts_changes_nothing(frames: list[Frame], on_cpu: Story, agent: Agent) -> None:
    agent.tpu.fail("hang at start")
    assert watch(frames, agent.detector, agent.show) == on_cpu
    assert (agent.runtime.place, agent.runtime.why) == ("cpu", STARTING)


def test_a_device_that_fails_and_fails_again_changes_nothing(frames: list[Frame], on_cpu: Story, agent: Agent) -> None:
    chance = random.Random(5)

    def show(frame: Frame) -> None:
        if frame.index % 20 == 0:
            agent.tpu.fail("" if frame.index % 40 == 0 else chance.choice(FAULTS))
        agent.show(frame)

    assert watch(frames, agent.detector, show) == on_cpu
    assert agent.runtime.lost >= 2
