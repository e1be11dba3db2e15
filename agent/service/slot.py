"""The slot between the camera and vision: one frame, never a queue.

Rules. A live camera replaces what has not been taken yet: the newest frame wins. A medium (file, folder, scene) waits
until its frame has been taken: every frame counts. A Stop outranks a frame, the end of a medium comes after its last
frame. Whoever waits here gets a value: a frame, a silence, or the stop.
"""

import threading
from collections.abc import Iterator

from agent.clock import Clock
from agent.seams import Frame, Silence, Stop


class FrameSlot:
    """One frame on its way from the capture thread to the vision thread."""

    def __init__(self, clock: Clock, *, every_frame: bool) -> None:
        """every_frame: the source is a medium, so `put` waits for the frame before to be taken."""
        self._clock = clock
        self._every_frame = every_frame
        self._changed = threading.Condition()
        self._waiting: Frame | Silence | None = None
        self._stop: Stop | None = None
        self._at_once = False
        self._last_frame_ns = clock.now_ns()

    def put(self, message: Frame | Silence, timeout_s: float) -> bool:
        """Hand over a frame, or word that there is none.

        Returns False when a medium's frame could not be handed over in time: the caller keeps it and tries again. True
        otherwise, a stopped slot included: nobody wants the frame then.
        """
        with self._changed:
            if self._every_frame:
                self._changed.wait_for(lambda: self._waiting is None or self._stop is not None, timeout_s)
                if self._waiting is not None and self._stop is None:
                    return False
            elif isinstance(message, Silence) and self._waiting is not None:
                return True  # a frame that waits is better news
            self._waiting = message
            if isinstance(message, Frame):
                self._last_frame_ns = self._clock.now_ns()
            self._changed.notify_all()
        return True

    def stop(self, reason: str) -> None:
        """End the messages now; a frame that waits is given up."""
        with self._changed:
            self._stop = Stop(reason=reason)
            self._at_once = True
            self._changed.notify_all()

    def end(self, reason: str) -> None:
        """End the messages after the frame that waits: the medium is over."""
        with self._changed:
            if self._stop is None:
                self._stop = Stop(reason=reason)
            self._changed.notify_all()

    def messages(self, silence_s: float) -> Iterator[Frame | Silence | Stop]:
        """Give what comes, and a Silence each `silence_s` in which nothing does; the Stop is the last."""
        while True:
            message = self._next(silence_s)
            yield message
            if isinstance(message, Stop):
                return

    def _next(self, silence_s: float) -> Frame | Silence | Stop:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is not None or self._stop is not None, silence_s)
            if self._stop is not None and (self._at_once or self._waiting is None):
                return self._stop
            message, self._waiting = self._waiting, None
            self._changed.notify_all()
            if message is None:
                return Silence(since_ns=self._last_frame_ns, why="no frame in time")
            return message
