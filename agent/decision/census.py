"""Counts the scene: who ended with which label, frames, seconds watched and blind, told now and then.

While somebody is present or something changes, every counts_every_s; otherwise one event in counts_idle_every_s that
covers the whole span, so that an idle board writes nothing.
"""

from collections.abc import Sequence

from agent.clock import NS_PER_S
from agent.decision.sight import Sight
from agent.events.types import CameraBack, CameraBlind, Counts, Event, LabelCounts, PersonEnd
from agent.seams import Verdict
from agent.settings import ReportSettings


class Census:
    """The counts of one camera. The span begins at the first frame or the first wait for one."""

    def __init__(self, settings: ReportSettings, sight: Sight) -> None:
        self._every_ns = round(settings.counts_every_s * NS_PER_S)
        self._idle_every_ns = round(settings.counts_idle_every_s * NS_PER_S)
        self._sight = sight
        self._span_from_ns: int | None = None
        self._period_from_ns = 0
        self._eventful = False  # in this period of counts_every_s
        self._frames = 0
        self._ended: dict[Verdict, int] = {}

    def observe(self, events: Sequence[Event], present: int, now_ns: int, *, frames: int) -> list[Event]:
        """Take what was told of this frame and how many are present; give a counts event when one is due."""
        if self._span_from_ns is None:
            self._span_from_ns = self._period_from_ns = now_ns
        self._frames += frames
        self._eventful |= present > 0
        for event in events:
            if isinstance(event.data, PersonEnd):
                self._ended[event.data.label] = self._ended.get(event.data.label, 0) + 1
            if isinstance(event.data, PersonEnd | CameraBlind | CameraBack):
                self._eventful = True
        if now_ns - self._period_from_ns < self._every_ns:
            return []
        due = self._eventful or now_ns - self._span_from_ns >= self._idle_every_ns
        self._period_from_ns, self._eventful = now_ns, False
        return [self._close(present, now_ns)] if due else []

    def finish(self, now_ns: int) -> list[Event]:
        """Give the last counts: what the other ones have not told yet."""
        if self._span_from_ns is None:
            return []
        self._sight.settle()
        return [self._close(0, now_ns)]

    def _close(self, present: int, now_ns: int) -> Event:
        assert self._span_from_ns is not None
        spent = self._sight.take_spent()
        counts = Counts(
            span_s=_seconds(now_ns - self._span_from_ns),
            ended=LabelCounts(**self._ended),
            present=present,
            frames=self._frames,
            watched_s=_seconds(spent.watched_ns),
            blind_s=_seconds(spent.blind_ns),
        )
        self._span_from_ns, self._frames, self._ended = now_ns, 0, {}
        return Event(at_ns=now_ns, data=counts)


def _seconds(span_ns: int) -> float:
    return round(max(0, span_ns) / NS_PER_S, 3)
