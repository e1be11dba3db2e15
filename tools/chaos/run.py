"""The run: lanes side by side, a row each time a fault is done, and the table written anew with it."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from agent.clock import NS_PER_S, SystemClock
from agent.errors import MaskwatchError
from tools.chaos.processes import CannotRunError
from tools.chaos.rig import World
from tools.chaos.rows import Report, Row, save
from tools.chaos.trial import Budget, Fault

HOUR_S = 3600.0
SMOKE_SPEED = 4.0
SMOKE_SCALE = 0.05
SMOKE_PATIENCE_S = 60.0


class Run:
    """One run of some faults. Its rows are in the order of the plan, whatever the order in which they come."""

    def __init__(self, world: World, faults: Sequence[Fault], folder: Path, *, tell: Callable[[Row], None]) -> None:
        self._world = world
        self._faults = faults
        self._folder = folder
        self._tell = tell
        self._rows: dict[str, Row] = {}
        self._lock = threading.Lock()
        self._clock = SystemClock()
        self._begun_ns = self._clock.now_ns()

    def _report(self) -> Report:
        rows = [self._rows[fault.name] for fault in self._faults if fault.name in self._rows]
        seconds = (self._clock.now_ns() - self._begun_ns) / NS_PER_S
        return Report(seed=self._world.seed, seconds=round(seconds, 1), speed=self._world.speed, rows=rows)

    def run(self, budget_of: Callable[[Fault], Budget]) -> Report:
        """Try every fault; returns when all lanes are through, or soon after the world stops."""
        lanes: dict[int, list[Fault]] = {}
        for fault in self._faults:
            lanes.setdefault(fault.lane, []).append(fault)
        threads = [
            threading.Thread(target=self._lane, args=(faults, budget_of), name=f"lane {number}", daemon=True)
            for number, faults in lanes.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)  # so that Ctrl-C gets its turn
        return self._report()

    def _lane(self, faults: Sequence[Fault], budget_of: Callable[[Fault], Budget]) -> None:
        for fault in faults:
            if self._world.stop.is_set():
                return
            row = self._try(fault, budget_of(fault))
            with self._lock:
                self._rows[fault.name] = row
                save(self._report(), self._folder)
                self._tell(row)

    def _try(self, fault: Fault, budget: Budget) -> Row:
        try:
            return fault.run(self._world, budget, fault)
        except CannotRunError as error:
            return Row(fault=fault.title, not_run=str(error))
        except (OSError, RuntimeError, MaskwatchError, msgspec.MsgspecError) as error:
            # A defect of the suite must not pass for a fault that was answered.
            return Row(fault=fault.title, not_run=f"the suite failed: {type(error).__name__}: {error}", failed=True)


def hour_budget(seconds: float) -> Callable[[Fault], Budget]:
    """Give each fault its share of a run of so many seconds."""
    return lambda fault: Budget(seconds=fault.seconds * seconds / HOUR_S, scale=min(1.0, seconds / 600.0))


def smoke_budget(fault: Fault) -> Budget:
    """Give a fault as few tries as show that it is answered."""
    return Budget(seconds=HOUR_S, count=fault.smoke, scale=SMOKE_SCALE)
