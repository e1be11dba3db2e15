"""What holds of the Edge TPU's life in any order of faults: right answers, one process, pauses that end."""

import itertools
import random
from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from agent.clock import NS_PER_S
from agent.vision.accelerator import (
    BLIND_S,
    LOOK_S,
    PAUSE_LEAST_S,
    PAUSE_MOST_S,
    PROVE_S,
    START_S,
    EdgeTpu,
    SafeRuntime,
)
from agent.vision.driver import EdgeTpuLost
from agent.vision.model import Golden, Net, Tensor, golden_input
from tests.unit.service_clock import TestClock

Answers = dict[str, NDArray[np.int8]]


class RightNet:
    """A net that is as small as a net can be: it counts its input's brightest pixels."""

    def invoke(self, batch: NDArray[np.int8]) -> Answers:
        return {"out": np.array([[(batch > 90).sum() % 100, batch.max() // 2, 7]], np.int8)}


def tiny_net() -> Net:
    shape = (1, 4, 4, 3)
    golden = RightNet().invoke(golden_input(1, shape))["out"][0].tolist()
    return Net(
        file="tiny.tflite",
        sha256="0" * 64,
        input=Tensor(shape=shape, scale=1, zero_point=0),
        outputs={"out": Tensor(shape=(1, 3), scale=1, zero_point=0)},
        golden=[Golden(seed=1, every=1, outputs={"out": golden})],
    )


NET = tiny_net()
PICTURES = [golden_input(seed, NET.input.shape) for seed in range(2, 7)]
FAULTS = ("none", "cannot start", "refuses", "never comes up", "lost", "wrong")


class World(TestClock):
    """A device, its processes, and the time; also what a test must not see broken."""

    def __init__(self, *, insist: bool, seed: int) -> None:
        super().__init__()
        self.fault = "none"
        self.plugged = True
        self.killable = True
        self.drivers: list[ScriptedDriver] = []
        self.starts_s: list[tuple[float, bool]] = []
        self.wrong_since_s: float | None = None
        self.edge_tpu = EdgeTpu(
            NET,
            start=self.start,
            is_plugged=lambda: self.plugged,
            insist=insist,
            clock=self,
            random=random.Random(seed),
        )
        self.runtime = SafeRuntime(RightNet(), self.edge_tpu, "")

    @property
    def now_s(self) -> float:
        return self.now_ns() / NS_PER_S

    def start(self) -> "ScriptedDriver":
        self.starts_s.append((self.now_s, self.plugged))
        if self.fault == "cannot start":
            raise EdgeTpuLost("cannot start")
        self.drivers.append(ScriptedDriver(self))
        assert sum(not driver.gone() for driver in self.drivers) <= 1, "two processes at once"
        return self.drivers[-1]


class ScriptedDriver:
    """A process that is as good as the world lets it be."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._born_s = world.now_s
        self._stuck = world.fault == "never comes up"
        self._killed = self._gone = False

    def poll(self) -> bool:
        assert not self._killed
        if self._world.fault in ("refuses", "lost", "wrong") or not self._world.plugged:
            raise EdgeTpuLost(self._world.fault)
        return not self._stuck and self._world.now_s - self._born_s >= 1.0

    def call(self, batch: NDArray[np.int8]) -> Answers:
        assert not self._killed
        if self._world.fault == "lost" or not self._world.plugged:
            self._world.sleep(0.5)  # the call's deadline
            raise EdgeTpuLost("lost")
        right = RightNet().invoke(batch)
        return {"out": right["out"] - np.int8(50)} if self._world.fault == "wrong" else right

    def end(self) -> str:
        self._killed = True
        return ""

    def gone(self, timeout_s: float = 0.0) -> bool:
        self._gone = self._gone or (self._killed and self._world.killable)
        return self._gone


def flip(name: str) -> Callable[[World], None]:
    return lambda world: setattr(world, name, not getattr(world, name))


def fail(fault: str) -> Callable[[World], None]:
    return lambda world: setattr(world, "fault", fault)


def wait(seconds: float) -> Callable[[World], None]:
    return lambda world: world.sleep(seconds)


waits = st.one_of(st.floats(0.01, 2), st.floats(2, 20), st.floats(20, 400)).map(wait)
moves = st.lists(
    st.one_of(
        st.sampled_from([flip("plugged"), flip("killable")]), st.sampled_from(FAULTS).map(fail), waits, waits, waits
    ),
    max_size=60,
)


def play(world: World, script: list[Callable[[World], None]]) -> None:
    """Let a device come up, and then things happen; the detector asks after each."""
    for number, move in enumerate([wait(0), wait(1), *script]):
        move(world)
        look(world, number)


def look(world: World, number: int) -> None:
    """Ask as the detector does, and check the answer."""
    picture = PICTURES[number % len(PICTURES)]
    before_s = world.now_s
    answer = world.runtime.invoke(picture)["out"].tolist()
    if not world.runtime.vouch(number % 3):
        answer = world.runtime.invoke(picture)["out"].tolist()
    right = answer == RightNet().invoke(picture)["out"].tolist()
    if world.fault == "wrong":
        world.wrong_since_s = before_s if world.wrong_since_s is None else world.wrong_since_s
        assert right or before_s - world.wrong_since_s < PROVE_S, "wrong for longer than it takes to find out"
    else:
        world.wrong_since_s = None
        assert right
    assert world.now_s - before_s <= 1.01, "two deadlines at most"
    if world.fault == "lost" or not world.plugged:
        assert world.runtime.place == "cpu"


@settings(max_examples=300)
@given(moves, st.booleans(), st.integers(0, 9))
def test_any_faults_in_any_order_cost_no_answer_and_no_second_process(
    script: list[Callable[[World], None]], insist: bool, seed: int
) -> None:
    world = World(insist=insist, seed=seed)
    play(world, script)
    between = [later[0] - earlier[0] for earlier, later in itertools.pairwise(world.starts_s)]
    assert all(pause >= PAUSE_LEAST_S for pause in between)
    blind_s = [at_s for at_s, plugged in world.starts_s if not plugged]
    assert insist or not blind_s
    assert all(later - earlier >= BLIND_S for earlier, later in itertools.pairwise(blind_s))


@settings(max_examples=300)
@given(moves, st.integers(0, 9))
def test_whatever_was_before_a_healthy_device_is_in_use_after_the_longest_pause(
    script: list[Callable[[World], None]], seed: int
) -> None:
    world = World(insist=False, seed=seed)
    play(world, script)
    world.fault, world.plugged, world.killable = "none", True, True
    end_s = world.now_s + START_S + PAUSE_MOST_S + 2 * LOOK_S
    while world.now_s < end_s and world.runtime.place == "cpu":
        look(world, 1)
        world.sleep(0.5)
    assert world.runtime.place == "edgetpu"
    world.runtime.close()
    assert world.drivers[-1].gone()


@given(st.integers(0, 1000))
def test_a_device_that_always_fails_is_tried_less_and_less_but_for_ever(seed: int) -> None:
    world = World(insist=False, seed=seed)
    world.fault = "refuses"
    while len(world.starts_s) <= 20:
        world.edge_tpu.step()
        world.sleep(0.1 if len(world.starts_s) < 5 else 1.0)
    pauses = [later[0] - earlier[0] for earlier, later in itertools.pairwise(world.starts_s)]
    for number, pause in enumerate(pauses):
        assert PAUSE_LEAST_S <= pause <= min(2.0**number, PAUSE_MOST_S) + 1.0
    assert max(pauses) > 30  # by chance not once in 10 ** 10 runs
