"""Progress of each stage, and whether all of them are alive.

Alive is not working: only finished work, or a wait that ended as waits should, counts as a beat. A slow camera goes
on giving silences, so it beats; a thread that hangs in a kernel, a driver or a disk does not. A stage is hung when it
has not moved for two thirds of the service manager's WatchdogSec; systemd/README.md has what that is made of.
"""

import msgspec

from agent.clock import NS_PER_S, Clock

WATCHDOG_S = 30.0  # systemd/maskwatch.service; where nobody watches, hung threads are told all the same
_BOUND = 2 / 3  # of WatchdogSec: 20 s as shipped, far above the slowest honest step
_LOOK = 1 / 6  # of WatchdogSec, between two looks at the stages, and a second at most
_LOOK_MAX_S = 1.0


class Stage:
    """The progress of one thread: it beats, others look."""

    def __init__(self, name: str, bound_s: float, clock: Clock) -> None:
        self.name = name
        self.bound_s = bound_s
        self.beats = 0
        self._clock = clock
        self._beat_ns = clock.now_ns()
        self._excused_ns = self._beat_ns

    def beat(self) -> None:
        """Say that a step is done."""
        self._beat_ns = self._clock.now_ns()
        self.beats += 1

    def excuse(self, now_ns: int) -> None:
        """Count from now on: what was before is not this stage's silence."""
        self._excused_ns = now_ns

    def quiet_s(self, now_ns: int) -> float:
        """Give the seconds since the last beat, or since it was excused."""
        return (now_ns - max(self._beat_ns, self._excused_ns)) / NS_PER_S


class Progress:
    """The stages that the watchdog looks at. `look` is for the supervisor alone, the rest for any thread."""

    def __init__(self, clock: Clock, bound_s: float) -> None:
        self.camera = Stage("camera", bound_s, clock)
        self.vision = Stage("vision", bound_s, clock)
        self.delivery = Stage("delivery", bound_s, clock)
        self._jump_ns = int(bound_s / 2 * NS_PER_S)
        self._looked_ns = clock.now_ns()

    @property
    def stages(self) -> tuple[Stage, Stage, Stage]:
        return self.camera, self.vision, self.delivery

    def begin(self, now_ns: int) -> None:
        """Count from now on: the threads begin."""
        self._looked_ns = now_ns
        for stage in self.stages:
            stage.excuse(now_ns)

    def look(self, now_ns: int) -> list[str]:
        """Name the stages that hang; empty: all is well. To be called every second or so.

        Who calls much later than that was held up himself: the machine slept (its clock counts that, agent.clock) or
        had no time for anybody. Then each stage has its whole bound again.
        """
        if now_ns - self._looked_ns > self._jump_ns:
            self.begin(now_ns)
        self._looked_ns = now_ns
        return self.hung(now_ns)

    def hung(self, now_ns: int) -> list[str]:
        """Name the stages that have not moved within their bounds, and for how long."""
        return [
            f"{stage.name} ({stage.quiet_s(now_ns):.0f} s)"
            for stage in self.stages
            if stage.quiet_s(now_ns) > stage.bound_s
        ]


class Intervals(msgspec.Struct, frozen=True, kw_only=True):
    """bound_s: a stage that has not moved for longer hangs. look_s: between two looks at the stages."""

    bound_s: float
    look_s: float

    @classmethod
    def of(cls, watchdog_s: float | None) -> "Intervals":
        """Derive both from the service manager's interval; None: it does not watch."""
        whole_s = WATCHDOG_S if watchdog_s is None else watchdog_s
        return cls(bound_s=_BOUND * whole_s, look_s=min(_LOOK * whole_s, _LOOK_MAX_S))
