"""Weighs the looks at one person and keeps their mean: what is believed now, and how surely.

A look counts by how much it can tell (larger and sharper ones more, those with a reason hardly) and by the time that
it stands for, so that ten looks in a second say no more than the second does, at any frame rate. Old looks fade: who
puts on a mask is believed after seconds, not after as long as he was seen without.
"""

import math

from agent.clock import NS_PER_S
from agent.events.types import LabelCounts
from agent.seams import LABELS, Decision, Label, Look, Reason

_MEMORY_S = 4.0  # a look has lost 63 % of its weight after this long
_SPAN_MAX_S = 0.5  # a look stands for the time since the one before, at most this
_FIRST_SPAN_S = 0.1
_FULL_PX = 40.0  # larger faces tell no more than this one
_FULL_SHARPNESS = 100.0
_SMALL_WEIGHT, _SOFT_WEIGHT = 0.25, 0.5  # what the smallest and the softest look still counts
_POOR_WEIGHT = 0.02  # too small, blurred or dark: a grain, so that the mean exists
_POOR: tuple[Reason, ...] = ("too_small", "blurred", "dark")


def weight(look: Look) -> float:
    """Give how much a look can tell, 0..1."""
    if look.reason in _POOR:
        return _POOR_WEIGHT
    size = _SMALL_WEIGHT + (1 - _SMALL_WEIGHT) * min(1.0, look.face_px / _FULL_PX)
    sharpness = _SOFT_WEIGHT + (1 - _SOFT_WEIGHT) * min(1.0, look.sharpness / _FULL_SHARPNESS)
    return size * sharpness


class Votes:
    """The looks at one person, told in order of time."""

    def __init__(self) -> None:
        self._sums = [0.0, 0.0, 0.0]
        self._total = 0.0
        self._last_ns: int | None = None
        self._good = 0
        self._reasons: dict[Reason, int] = dict.fromkeys(_POOR, 0)
        self._by_label: dict[Label, int] = dict.fromkeys(LABELS, 0)
        self._unsure = 0

    @property
    def looks(self) -> int:
        """Count all looks, poor ones too."""
        return self._unsure + sum(self._by_label.values())

    @property
    def good_looks(self) -> int:
        """Count the looks that were large, sharp and bright enough to tell something."""
        return self._good

    def add(self, look: Look, now_ns: int) -> None:
        """Count a look."""
        if self._last_ns is None:
            span_s = _FIRST_SPAN_S
        else:
            elapsed_s = max(0.0, (now_ns - self._last_ns) / NS_PER_S)
            fade = math.exp(-elapsed_s / _MEMORY_S)
            self._sums = [value * fade for value in self._sums]
            self._total *= fade
            span_s = min(elapsed_s, _SPAN_MAX_S)
        self._last_ns = now_ns
        share = weight(look) * span_s
        self._sums = [value + share * probability for value, probability in zip(self._sums, look.probs, strict=True)]
        self._total += share
        if look.reason in _POOR:
            self._reasons[look.reason] += 1
        else:
            self._good += 1
        if look.reason is None:
            self._by_label[LABELS[look.probs.index(max(look.probs))]] += 1
        else:
            self._unsure += 1

    def means(self) -> tuple[float, float, float]:
        """Give the mean probabilities of mask, no_mask and incorrect; a third each before the first look."""
        if self._total <= 0:
            return 1 / 3, 1 / 3, 1 / 3
        a, b, c = (value / self._total for value in self._sums)
        return a, b, c

    def likeliest(self) -> tuple[Label, float]:
        """Give the label of the highest mean and that mean."""
        means = self.means()
        top = max(means)
        return LABELS[means.index(top)], top

    def mean_of(self, label: Label) -> float:
        return self.means()[LABELS.index(label)]

    def unsure(self, min_looks: int) -> Decision:
        """Give the decision that there is none, and why: with too few good looks, what most of the others lacked."""
        reason: Reason = "undecided"
        if self._good < min_looks:
            commonest = max(_POOR, key=lambda poor: self._reasons[poor])
            reason = commonest if self._reasons[commonest] else "undecided"
        return Decision(label="unsure", confidence=self.likeliest()[1], reason=reason)

    def by_label(self) -> LabelCounts:
        """Count the looks by their own likeliest label; those with a reason are unsure."""
        return LabelCounts(**self._by_label, unsure=self._unsure)
