"""Persons as the agent tells of them: most come and go, some are told anew, now and then the counts."""

import itertools
import random

import msgspec

from agent.events.types import Counts, Event, LabelCounts, PersonEnd, PersonNew, PersonUpdate

_PRESENT_MAX = 6
_LABELS = ("mask", "mask", "mask", "no_mask", "incorrect", "unsure")


class Street:
    """An endless story, one event at a time; no two events are alike."""

    def __init__(self, rng: random.Random, *, run_id: str) -> None:
        """run_id: makes the persons of this run unique for the device."""
        self._rng = rng
        self._run_id = run_id
        self._numbers = itertools.count(1)
        self._present: list[PersonNew | PersonUpdate] = []
        self._frames = 0

    def next(self, now_ns: int) -> Event:
        """Give the next event, happened now."""
        dice = self._rng.random()
        if dice < 0.02:
            return Event(at_ns=now_ns, data=self._counts())
        if not self._present or (dice < 0.45 and len(self._present) < _PRESENT_MAX):
            return Event(at_ns=now_ns, data=self._comes())
        if dice < 0.6:
            return Event(at_ns=now_ns, data=self._changes())
        return Event(at_ns=now_ns, data=self._goes())

    def _comes(self) -> PersonNew:
        person = f"{self._run_id}-{next(self._numbers)}"
        new = msgspec.convert({"person": person, **self._body()}, PersonNew)
        self._present.append(new)
        return new

    def _changes(self) -> PersonUpdate:
        place = self._rng.randrange(len(self._present))
        before = self._present[place]
        body = {"person": before.person, "previous": before.label, **self._body(), "looks": before.looks + 3}
        update = msgspec.convert(body, PersonUpdate)
        self._present[place] = update
        return update

    def _goes(self) -> PersonEnd:
        last = self._present.pop(self._rng.randrange(len(self._present)))
        body = {"person": last.person, **self._body(), "looks": last.looks, "label": last.label}
        more = {"duration_s": 4.5, "looks_by_label": {last.label: last.looks}, "reason": "gone"}
        return msgspec.convert({**body, **more}, PersonEnd)

    def _counts(self) -> Counts:
        self._frames += 1
        ended = LabelCounts(mask=self._rng.randrange(9))
        present = len(self._present)
        return Counts(span_s=60.0, ended=ended, present=present, frames=self._frames, watched_s=60.0, blind_s=0.0)

    def _body(self) -> dict[str, object]:
        x0, y0 = self._rng.uniform(0, 0.8), self._rng.uniform(0, 0.8)
        return {
            "label": self._rng.choice(_LABELS),
            "confidence": round(self._rng.uniform(0.5, 1.0), 3),
            "looks": self._rng.randrange(4, 60),
            "seen_s": round(self._rng.uniform(0.5, 30.0), 2),
            "face_px": round(self._rng.uniform(18.0, 90.0), 1),
            "box": tuple(round(edge, 4) for edge in (x0, y0, x0 + 0.1, y0 + 0.15)),
        }
