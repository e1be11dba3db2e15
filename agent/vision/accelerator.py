"""A net on the Edge TPU while there is one that works, on the CPU otherwise; whatever the device does, it answers.

waiting  -> absent    when no Coral is on the bus
waiting  -> starting  when one is, and the pause after the last failure is over; so does absent
starting -> ready     when the driver's process has proved the net; the CPU answers meanwhile
starting -> waiting   when it will not, or not in time
ready    -> waiting   when a call fails, is late or gives nonsense, or a golden answer is wrong: the device is lost
any      -> closed

No thread drives this, but the calls themselves: each takes the steps that are due, and none of them waits. There is
never more than one process: one that was killed and has not ended yet, because it hangs in the kernel, keeps its place.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.backoff import Backoff
from agent.clock import NS_PER_S, Clock
from agent.vision.coral import MACHINE, is_plugged
from agent.vision.driver import WORKER, Driver, EdgeTpuDriver, EdgeTpuLost
from agent.vision.model import Net, golden_input
from agent.vision.runtime import EDGETPU_LIBRARY, CpuRuntime, Runtime, steps_off

log = logging.getLogger(__name__)
Place = Literal["cpu", "edgetpu"]
Wanted = Literal["auto", "cpu", "edgetpu"]
State = Literal["waiting", "absent", "starting", "ready", "closed"]

LOOK_S = 5.0  # between two looks at the bus, 0.3 ms each
BLIND_S = 300.0  # between two tries without one on the bus, where the settings insist
START_S = 30.0  # imports on a slow board, and the stick leaves the bus and comes back with its firmware; nobody waits
PROVE_S = 1.0  # an answer that is known is asked for so often, and before more faces than before are believed
PAUSE_LEAST_S = 0.5
PAUSE_FIRST_S = 1.0
PAUSE_MOST_S = 300.0  # a start is some seconds of a core
STEADY_S = 60.0  # a device that worked for so long has earned a short pause again
_GONE_LOOKS = 2  # a stick that restarts is off the bus for a second or two, one that was pulled out for longer
_NEVER_NS = 1 << 62
_CLOSING_S = 1.0
_STEP_S = 0.02
_COMPILED = b"edgetpu-custom-op"  # the name of the operator that edgetpu_compiler puts in


class EdgeTpu:
    """The life of the device. Written by the thread that calls; any may read `state`, `why` and `lost`.

    why: what the state comes from, in one line. lost: how often it was ready and is not any more.
    """

    def __init__(
        self,
        net: Net,
        *,
        start: Callable[[], Driver],
        is_plugged: Callable[[], bool],
        insist: bool,
        clock: Clock,
        random: Random,
    ) -> None:
        """start: raises EdgeTpuLost if it cannot. insist: try though none is on the bus."""
        self.state: State = "waiting"
        self.why = "not looked for yet"
        self.lost = 0
        self._net = net
        self._golden = golden_input(net.golden[0].seed, net.input.shape)
        self._start = start
        self._is_plugged = is_plugged
        self._insist = insist
        self._clock = clock
        self._driver: Driver | None = None
        self._backoff = Backoff(random, shortest_s=PAUSE_LEAST_S, first_s=PAUSE_FIRST_S, longest_s=PAUSE_MOST_S)
        self._gone_looks = 0
        self._error = ""
        self._next_ns = self._pause_ns = self._blind_ns = clock.now_ns()
        self._since_ns = self._prove_ns = 0
        self._count = self._vouched = 0

    def ask(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]] | None:
        """Run once on the device, or give None where it is not ready, or not any more."""
        if self.step() != "ready" or self._driver is None:
            return None
        try:
            if self._clock.now_ns() >= self._prove_ns:
                self._prove(self._driver)
                self._vouched = self._count
            return self._driver.call(batch)
        except EdgeTpuLost as error:
            self._lose(str(error))
            return None

    def vouch(self, count: int) -> bool:
        """Tell whether an answer in which so many things were found can be believed.

        A device gone mad finds things where there are none. So more of them than lately are believed once it has
        given a golden answer after them; if that is wrong, the device is lost, and whoever asks again asks the CPU.
        """
        self._count = count
        if count <= self._vouched or self.state != "ready" or self._driver is None:
            return True
        try:
            self._prove(self._driver)
        except EdgeTpuLost as error:
            self._lose(str(error))
            return False
        self._vouched = count
        return True

    def step(self) -> State:
        """Do what is due, without waiting."""
        now_ns = self._clock.now_ns()
        if self.state in ("waiting", "absent") and now_ns >= self._next_ns:
            self._look(now_ns)
        if self.state == "starting" and self._driver is not None:
            self._follow(self._driver, now_ns)
        return self.state

    def settle(self, timeout_s: float) -> None:
        """Wait until it is known whether it comes up."""
        end_ns = self._clock.now_ns() + round(timeout_s * NS_PER_S)
        while self.step() == "starting" and self._clock.now_ns() < end_ns:
            self._clock.sleep(_STEP_S)

    def close(self) -> None:
        """Let the device go."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.end()
            driver.gone(_CLOSING_S)
        self.state, self.why = "closed", "closed"

    def _look(self, now_ns: int) -> None:
        """Start the driver if there is a device, the pause is over and the last process has ended."""
        plugged = self._is_plugged()
        if plugged:
            self._gone_looks, due_ns = 0, self._pause_ns
            if self.state == "absent":
                self.state, self.why = "waiting", self._error or "found on the bus"
        else:
            self._miss(now_ns)
            due_ns = self._blind_ns if self._insist else _NEVER_NS
        self._next_ns = now_ns + round(LOOK_S * NS_PER_S)
        if now_ns < due_ns:
            self._next_ns = min(self._next_ns, due_ns)
        elif self._driver is not None and not self._driver.gone():
            self.why = "Edge TPU process was killed and does not end"
            self._next_ns = now_ns + round(PAUSE_LEAST_S * NS_PER_S)
        else:
            self._blind_ns = now_ns + round(BLIND_S * NS_PER_S)
            self._begin(now_ns)

    def _miss(self, now_ns: int) -> None:
        """Take that no device is on the bus."""
        self._gone_looks += 1
        if self._gone_looks >= _GONE_LOOKS:
            self._backoff.reset()
            self._pause_ns = now_ns  # who pulls it out and puts it in wants it tried at once
        if self.state != "absent":
            tried = f", tried: {self._error}" if self._insist and self._error else ""
            self.state, self.why = "absent", f"no Coral is on the USB or PCIe bus{tried}"

    def _begin(self, now_ns: int) -> None:
        self._driver = None
        try:
            self._driver = self._start()
        except EdgeTpuLost as error:
            self._lose(str(error))
        else:
            self._since_ns = now_ns
            self.state, self.why = "starting", "Edge TPU process is starting"

    def _follow(self, driver: Driver, now_ns: int) -> None:
        try:
            if driver.poll():
                self.state, self.why = "ready", "its golden answers are right"
                self._count = self._vouched = 0
                self._since_ns = self._prove_ns = now_ns
                self._error = ""
                log.info("accelerator.ready failures=%d lost=%d", self._backoff.failures, self.lost)
            elif now_ns - self._since_ns >= START_S * NS_PER_S:
                raise EdgeTpuLost("Edge TPU process did not answer in time while starting")
        except EdgeTpuLost as error:
            self._lose(str(error))

    def _prove(self, driver: Driver) -> None:
        """Ask what the answer is known to. Raises EdgeTpuLost if it is another."""
        off = steps_off(driver.call(self._golden), self._net.golden[0])
        if off > self._net.golden_tolerance:
            raise EdgeTpuLost(f"Edge TPU answers its golden input {off} steps off")
        self._prove_ns = self._clock.now_ns() + round(PROVE_S * NS_PER_S)

    def _lose(self, why: str) -> None:
        now_ns = self._clock.now_ns()
        said = "" if self._driver is None else self._driver.end()
        if self.state == "ready":
            self.lost += 1
            if now_ns - self._since_ns >= STEADY_S * NS_PER_S:
                self._backoff.reset()
        self._pause_ns = now_ns + self._backoff.next_ns()
        self._next_ns = min(self._pause_ns, now_ns + round(LOOK_S * NS_PER_S))
        if why != self._error or self.state == "ready":  # a device that cannot be used is news once
            log.warning("accelerator.lost why=%r said=%r now=cpu lost=%d", why, said, self.lost)
            self._error = why
        self.state, self.why = "waiting", why


class SafeRuntime:
    """A net that always answers: on the Edge TPU for as long as that does, else on the CPU.

    For one thread; any may read what it tells of itself.
    """

    def __init__(self, cpu: Runtime, edge_tpu: EdgeTpu | None, why: str) -> None:
        """why: in one line, why there is no Edge TPU where there is none."""
        self._cpu = cpu
        self._edge_tpu = edge_tpu
        self._why = why

    @property
    def place(self) -> Place:
        """Tell what it runs on now."""
        return "edgetpu" if self._edge_tpu is not None and self._edge_tpu.state == "ready" else "cpu"

    @property
    def why(self) -> str:
        """Tell in one line why it runs on that."""
        return self._why if self._edge_tpu is None else self._edge_tpu.why

    @property
    def lost(self) -> int:
        """Tell how often the Edge TPU was in use and then lost."""
        return 0 if self._edge_tpu is None else self._edge_tpu.lost

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        answer = None if self._edge_tpu is None else self._edge_tpu.ask(batch)
        return self._cpu.invoke(batch) if answer is None else answer

    def vouch(self, count: int) -> bool:
        """Tell whether the last answer, in which so many things were found, can be believed; if not, ask again."""
        return self._edge_tpu is None or self._edge_tpu.vouch(count)

    def settle(self, timeout_s: float) -> Place:
        """Wait until an Edge TPU that is starting has come up, or will not; tell what the net runs on then."""
        if self._edge_tpu is not None:
            self._edge_tpu.settle(timeout_s)
        return self.place

    def close(self) -> None:
        """Let the device go; after that the net runs on the CPU."""
        if self._edge_tpu is not None:
            self._edge_tpu.close()


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where a device, its driver's library and its process come from; a test has others.

    root: of the file system. worker: the command of agent.vision.worker, without its arguments.
    """

    root: Path = MACHINE
    library: str = EDGETPU_LIBRARY
    worker: tuple[str, ...] = WORKER


def place(
    net: Net,
    content: bytes,
    manifest: Path,
    wanted: Wanted,
    *,
    clock: Clock,
    random: Random | None = None,
    machine: Machine | None = None,
) -> SafeRuntime:
    """Put a net where the settings want it, or on the CPU, and say why. Nothing is started yet.

    content: the model's bytes; manifest: its path, beside which the Edge TPU's file lies as NAME_edgetpu.tflite.
    Raises ModelError if the net is wrong on the CPU: that one must work in any case.
    """
    cpu = CpuRuntime(content, net, where=str(manifest.with_name(net.file)))
    if wanted == "cpu":
        return SafeRuntime(cpu, None, "configured")
    compiled = manifest.with_name(f"{Path(net.file).stem}_edgetpu.tflite")
    if not compiled.is_file():
        return SafeRuntime(cpu, None, f"no {compiled.name} beside the model")
    if _COMPILED not in compiled.read_bytes():
        return SafeRuntime(cpu, None, f"{compiled.name} was not made by edgetpu_compiler")
    where = machine or Machine()
    edge_tpu = EdgeTpu(
        net,
        start=lambda: EdgeTpuDriver(net, compiled, library=where.library, clock=clock, worker=where.worker),
        is_plugged=lambda: is_plugged(where.root),
        insist=wanted == "edgetpu",
        clock=clock,
        random=random or Random(),
    )
    return SafeRuntime(cpu, edge_tpu, "")
