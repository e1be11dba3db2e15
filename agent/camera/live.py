"""Live cameras: losing one is not an error but a state, told as Silence, left by opening it again and again.

lost    -> trying   when the pause of full-jitter back-off is over
trying  -> open     or lost again, with a longer pause
open    -> lost     when the device says so, or gives no frame for `STALL_S`
A camera that stays open for `STEADY_S` has earned a short pause again; one that drops at once keeps its long one.
"""

import logging
from random import Random
from types import TracebackType
from typing import Protocol, Self

import msgspec

from agent.backoff import Backoff
from agent.camera.turn import rotate
from agent.clock import NS_PER_S, Clock
from agent.errors import MaskwatchError, UnavailableError
from agent.seams import End, Frame, Pixels, Silence

log = logging.getLogger(__name__)

STALL_S = 5.0
STEADY_S = 10.0
PAUSE_FIRST_S = 1.0
PAUSE_MOST_S = 30.0


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """What a device gives for one frame. captured_ns: on the machine's clock; lores: see agent.seams.Frame."""

    pixels: Pixels
    captured_ns: int
    lores: Pixels | None = None


class Device(Protocol):
    """A camera that may not be there, or not any more."""

    where: str
    """How errors and the journal name it, without credentials."""

    def open(self) -> None:
        """Raises UnavailableError or NotPermittedError; may then be called again."""

    def grab(self, timeout_s: float) -> Shot | None:
        """Give the next frame, or None when there is none yet. Raises UnavailableError when the camera is lost."""

    def close(self) -> None:
        """Let go of it, whatever its state; never raises."""

    def describe(self) -> str:
        """Say what is read, in a few words."""


class LiveCamera:
    """A device as a camera that comes back by itself. After an entry that failed, `read` goes on trying."""

    live = True

    def __init__(self, device: Device, clock: Clock, random: Random, *, rotate_deg: int = 0) -> None:
        self._device = device
        self._clock = clock
        self._rotate_deg = rotate_deg
        self._index = 0
        self._backoff = Backoff(random, shortest_s=0.0, first_s=PAUSE_FIRST_S, longest_s=PAUSE_MOST_S)
        self._why: str | None = "not opened"  # None while open
        self._opened_ns = 0
        self._heard_ns = 0  # the last frame, or the opening
        self._last_frame_ns = 0
        self._retry_ns = 0
        self._lost_ns: int | None = None  # for the journal, until a frame comes

    def __enter__(self) -> Self:
        self._last_frame_ns = self._clock.now_ns()
        try:
            self._open()
        except MaskwatchError as error:
            self._lose(error.what)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._device.close()
        self._why = "closed"

    def read(self, timeout_s: float) -> Frame | Silence | End:
        if self._why is not None:
            pause_s = (self._retry_ns - self._clock.now_ns()) / NS_PER_S
            self._clock.sleep(min(pause_s, timeout_s))
            if pause_s > timeout_s:
                return self._silence(self._why)
            try:
                self._open()
            except MaskwatchError as error:
                self._lose(error.what)
                return self._silence(error.what)
        try:
            shot = self._device.grab(timeout_s)
        except UnavailableError as error:
            self._lose(error.what)
            return self._silence(error.what)
        return self._silence(self._stalled()) if shot is None else self._frame(shot)

    def describe(self) -> str:
        return self._device.describe()

    def _open(self) -> None:
        self._device.open()
        self._why = None
        self._opened_ns = self._heard_ns = self._clock.now_ns()

    def _lose(self, why: str) -> None:
        now_ns = self._clock.now_ns()
        if self._lost_ns is None:
            self._lost_ns = now_ns
            log.warning("camera.lost source=%s why=%s", self._device.where, why)
        if self._why is None and now_ns - self._opened_ns >= STEADY_S * NS_PER_S:
            self._backoff.reset()
        self._retry_ns = now_ns + self._backoff.next_ns()
        self._why = why
        self._device.close()

    def _stalled(self) -> str:
        silent_s = (self._clock.now_ns() - self._heard_ns) / NS_PER_S
        why = f"no frame for {silent_s:.0f} s"
        if silent_s >= STALL_S:
            self._lose(why)
        return why

    def _frame(self, shot: Shot) -> Frame:
        if self._lost_ns is not None:
            away_s = (shot.captured_ns - self._lost_ns) / NS_PER_S
            log.info("camera.back source=%s after_s=%.1f tries=%d", self._device.where, away_s, self._backoff.failures)
            self._lost_ns = None
        self._heard_ns = self._clock.now_ns()
        self._last_frame_ns = shot.captured_ns
        frame = Frame(
            pixels=rotate(shot.pixels, self._rotate_deg),
            captured_ns=shot.captured_ns,
            index=self._index,
            lores=None if shot.lores is None else rotate(shot.lores, self._rotate_deg),
        )
        self._index += 1
        return frame

    def _silence(self, why: str) -> Silence:
        return Silence(since_ns=self._last_frame_ns, why=why)
