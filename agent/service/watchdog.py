"""Progress of each stage, and whether all of them are alive.

Alive is not working: only finished work, or a wait that ended as waits should, counts as a beat. A slow camera goes
on giving silences, so it beats; a thread that hangs in a kernel, a driver or a disk does not. The bounds are far above
the slowest honest step: a camera's open with its timeouts is 8 s, the slowest frame on the slowest board 0.2 s, an SD
card's worst fsync a few seconds.
"""

import msgspec

from agent.clock import NS_PER_S, Clock


class Stage:
    """The progress of one thread: it beats, others look."""

    def __init__(self, name: str, bound_s: float, clock: Clock) -> None:
        self.name = name
        self.bound_s = bound_s
        self.beats = 0
        self._clock = clock
        self._beat_ns = clock.now_ns()

    def beat(self) -> None:
        """Say that a step is done."""
        self._beat_ns = self._clock.now_ns()
        self.beats += 1

    def quiet_s(self, now_ns: int) -> float:
        """Give the seconds since the last beat."""
        return (now_ns - self._beat_ns) / NS_PER_S


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The stages that the watchdog looks at."""

    camera: Stage
    vision: Stage
    delivery: Stage

    def hung(self, now_ns: int) -> list[str]:
        """Name the stages that have not moved within their bounds; empty: all is well."""
        return [
            f"{stage.name} ({stage.quiet_s(now_ns):.0f} s)"
            for stage in (self.camera, self.vision, self.delivery)
            if stage.quiet_s(now_ns) > stage.bound_s
        ]


def make_progress(
    clock: Clock, *, camera_s: float = 60.0, vision_s: float = 30.0, delivery_s: float = 60.0
) -> Progress:
    """Make the three stages, as of now alive."""
    return Progress(
        camera=Stage("camera", camera_s, clock),
        vision=Stage("vision", vision_s, clock),
        delivery=Stage("delivery", delivery_s, clock),
    )
