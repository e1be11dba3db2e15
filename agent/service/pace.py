"""The pace of a medium: its own time laid onto the machine's, each frame held back until it is due."""

from collections.abc import Callable

import msgspec

from agent.clock import NS_PER_S, Clock
from agent.seams import Frame

_SLICE_S = 0.1  # how late a stop may be noticed while waiting
_LATE_NS = NS_PER_S  # behind by more than this, a new scene begins at its own time again


class Pace:
    """Rebases the frames of one medium."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset_ns: int | None = None
        self._scene = 0

    def rebase(self, frame: Frame) -> Frame:
        """Give the frame with captured_ns on the machine's timeline: the instant at which it is due.

        The first frame is due now. A machine too slow for the medium falls behind within a scene, for a person's
        seconds must stay the medium's; at a cut nobody is present, and the time lost is dropped there.
        """
        now_ns = self._clock.now_ns()
        cut = frame.scene != self._scene
        if self._offset_ns is None or (cut and now_ns - (frame.captured_ns + self._offset_ns) > _LATE_NS):
            self._offset_ns = now_ns - frame.captured_ns
        self._scene = frame.scene
        return msgspec.structs.replace(frame, captured_ns=frame.captured_ns + self._offset_ns)


def wait_until(due_ns: int, clock: Clock, go_on: Callable[[], bool]) -> bool:
    """Wait until `due_ns`, asking `go_on` every tenth of a second. Returns False when it said no."""
    while go_on():
        left_s = (due_ns - clock.now_ns()) / NS_PER_S
        if left_s <= 0:
            return True
        clock.sleep(min(left_s, _SLICE_S))
    return False
