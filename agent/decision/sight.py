"""Does the camera see? What is wrong with single pictures becomes camera.blind and camera.back, and seconds.

  seeing    pictures with nothing wrong
  doubtful  something has been wrong for less than blind_after_s
  blind     ... for longer: camera.blind has been told; the first good picture tells camera.back

Doubtful time becomes blind or watched time when it is known which of the two it was.
"""

import msgspec

from agent.clock import NS_PER_S
from agent.events.types import BlindReason, CameraBack, CameraBlind, Event


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Nanoseconds since last asked."""

    watched_ns: int
    blind_ns: int


class Sight:
    """The sight of one camera. Time begins at the first observation."""

    def __init__(self, *, blind_after_s: float) -> None:
        self._blind_after_ns = round(blind_after_s * NS_PER_S)
        self._last_ns: int | None = None
        self._good_ns = 0  # when a picture was last good
        self._reason: BlindReason | None = None
        self._told = False
        self._began_ns = 0  # since when it has been blind
        self._watched_ns = 0
        self._blind_ns = 0

    @property
    def blind(self) -> BlindReason | None:
        """Tell why the camera is blind, or None."""
        return self._reason if self._told else None

    def observe(self, wrong: BlindReason | None, now_ns: int) -> list[Event]:
        """Take what is wrong with the picture of now_ns (`no_frames`: with there being none), or None."""
        if self._last_ns is None:
            self._last_ns = self._good_ns = now_ns
        now_ns = max(now_ns, self._last_ns)
        if now_ns - self._last_ns > self._blind_after_ns:  # not even a wait for pictures: the machine was suspended
            self._blind_ns += now_ns - self._last_ns
            self._good_ns += now_ns - self._last_ns
        self._last_ns = now_ns
        if wrong is None:
            return self._see(now_ns)
        self._reason = wrong
        if self._told:
            self._blind_ns += now_ns - self._good_ns
            self._good_ns = now_ns
        elif now_ns - self._good_ns >= self._blind_after_ns:
            since_s = round((now_ns - self._good_ns) / NS_PER_S, 3)
            self._told, self._began_ns = True, self._good_ns
            self._blind_ns += now_ns - self._good_ns
            self._good_ns = now_ns
            return [Event(at_ns=now_ns, data=CameraBlind(reason=wrong, since_s=since_s))]
        return []

    def _see(self, now_ns: int) -> list[Event]:
        told, reason = self._told, self._reason
        spent_ns = now_ns - self._good_ns
        self._good_ns, self._told, self._reason = now_ns, False, None
        if not told:
            self._watched_ns += spent_ns
            return []
        self._blind_ns += spent_ns
        assert reason is not None
        blind_s = round((now_ns - self._began_ns) / NS_PER_S, 3)
        return [Event(at_ns=now_ns, data=CameraBack(reason=reason, blind_s=blind_s))]

    def settle(self) -> None:
        """Take doubtful time for watched: it was not long enough to be blindness, and there is no more of it."""
        if self._last_ns is not None and not self._told:
            self._watched_ns += self._last_ns - self._good_ns
            self._good_ns = self._last_ns

    def take_spent(self) -> Spent:
        """Give the seconds watched and blind since last asked; doubtful ones wait until they are known."""
        spent = Spent(watched_ns=self._watched_ns, blind_ns=self._blind_ns)
        self._watched_ns = self._blind_ns = 0
        return spent
