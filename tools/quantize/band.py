"""The abstain band: below what a single look is no answer, chosen for a stated risk on sources that were left out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.vision.model import Abstain
from tools.quantize.conditions import AT_SIZE, DARK, EIGHT, SIZES_PX, SOFT
from tools.quantize.figures import INCORRECT, equal_shares
from tools.quantize.looks import softmax
from tools.quantize.trust import fit_temperature
from tools.quantize.unseen import Unseen
from tools.train.wrong_labels import WRONG_LABELS

RISK = 0.0075
"""Of the answered mask and no_mask faces at most this share may be wrong, sources and labels counting equally: with it
the street faces among them (k853) are right in 99.5 % of the answers. At 0.5 % a third of all looks has no answer."""
KIND_FACTOR = 1.5
"""Looks of one kind (so small, so dark, so flat) are refused when over this times RISK of those answered are wrong."""
CALIBRATED = ("crop", "frame", *AT_SIZE[:5])  # what a board sees: 12 px and more, in its surroundings or cut out
LEVELS = (*np.arange(0.40, 0.9, 0.01).round(2).tolist(), *np.arange(0.90, 0.999, 0.002).round(3).tolist())

# What a look is refused for, in the agent's order, the conditions that vary it, and where to cut.
REASONS = {
    "face_px": (("crop", *AT_SIZE), tuple(float(size) for size in reversed(SIZES_PX))),
    "brightness": (("crop", *DARK), (8.0, 12.0, 16.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 60.0, 80.0, 100.0, 140.0)),
    "sharpness": (("crop", *AT_SIZE, *SOFT), (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0, 64.0, 128.0, 512.0)),
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Looks between two values of what a reason measures: how many are answered, and how many of those wrongly."""

    low: float
    high: float
    looks: int
    answered: float
    risk: float
    fitted: float


@dataclass(frozen=True, kw_only=True)
class Band:
    """What the manifest says, and how it was found. reached: RISK can be had at all."""

    temperature: float
    abstain: Abstain
    reached: bool
    kinds: dict[str, list[Kind]]


def fit_band(unseen: Unseen) -> Band:
    """Choose temperature and abstain band on the eight sources, without rows whose label is wrong by eye.

    Temperature: least negative log likelihood over CALIBRATED. confidence: the least at which RISK is kept on tight
    crops, or the one of least risk. face_px, brightness, sharpness: below them the risk of the answered, as a function
    that never rises with them, is over KIND_FACTOR times RISK. Confidence is chosen again when these are known.
    Raises ModelError if none of the eight was looked at.
    """
    if not np.isin(unseen.source, EIGHT).any():
        raise ModelError(
            "none of the sources that count was left out", where="the looks", remedy=f"train without {', '.join(EIGHT)}"
        )
    seen = unseen.only(np.isin(unseen.source, EIGHT) & ~np.isin(unseen.id, list(WRONG_LABELS)))
    natural = seen.only(np.isin(seen.condition, CALIBRATED))
    temperature = fit_temperature(
        natural.logits, natural.label, equal_shares(natural.source, natural.condition, natural.label)
    )
    pair = seen.only(seen.label != INCORRECT)
    probs = softmax(pair.logits / np.float32(temperature))
    sure, right = probs.max(1), probs.argmax(1) == pair.label
    usable = np.ones(len(pair), bool)
    confidence, reached = _confidence(pair, sure, right, usable)
    limits = {"face_px": float(min(SIZES_PX)), "brightness": 0.0, "sharpness": 0.0}  # nothing smaller was ever shown
    kinds: dict[str, list[Kind]] = {}
    for name, (conditions, edges) in REASONS.items():
        part = np.isin(pair.condition, conditions) & usable
        kinds[name] = _kinds(pair.only(part), getattr(pair, name)[part], edges, (sure >= confidence)[part], right[part])
        limits[name] = max(
            (kind.high for kind in kinds[name] if kind.fitted > KIND_FACTOR * RISK and kind.high < np.inf),
            default=limits[name],
        )
        usable &= getattr(pair, name) >= limits[name]
    confidence, reached = _confidence(pair, sure, right, usable)
    return Band(temperature=temperature, abstain=Abstain(confidence=confidence, **limits), reached=reached, kinds=kinds)


def _confidence(
    pair: Unseen, sure: NDArray[np.float32], right: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> tuple[float, bool]:
    part = (pair.condition == "crop") & usable
    weight = equal_shares(pair.source[part], pair.condition[part], pair.label[part])
    risks = {}
    for level in LEVELS:
        answered = sure[part] >= level
        if answered.any():
            risks[level] = float((weight * ~right[part])[answered].sum() / weight[answered].sum())
    kept = [level for level, risk in risks.items() if risk <= RISK]
    return (min(kept), True) if kept else (min(risks, key=lambda level: risks[level]), False)


def _kinds(
    pair: Unseen,
    value: NDArray[np.float32],
    edges: tuple[float, ...],
    answered: NDArray[np.bool_],
    right: NDArray[np.bool_],
) -> list[Kind]:
    which = np.digitize(value, edges)
    # By source and label within a kind, not within a condition: a kind is met in any of them.
    weight = equal_shares(pair.source, which.astype(np.str_), pair.label)
    rows = []
    for one in np.unique(which):
        here = which == one
        mass = weight[here & answered].sum()
        risk = float((weight * ~right)[here & answered].sum() / mass) if mass else 0.0
        rows.append((int(one), here, risk, int((here & answered).sum()), float(mass / weight[here].sum())))
    fitted = never_rising([row[2] for row in rows], [row[3] for row in rows])
    return [
        Kind(
            low=edges[one - 1] if one else 0.0,
            high=edges[one] if one < len(edges) else float("inf"),
            looks=int(here.sum()),
            answered=round(share, 4),
            risk=round(risk, 5),
            fitted=round(level, 5),
        )
        for (one, here, risk, _, share), level in zip(rows, fitted, strict=True)
    ]


def never_rising(values: list[float], weights: list[int]) -> list[float]:
    """Give the nearest sequence that never rises, by weighted squares. Source: pool adjacent violators, Ayer 1955."""
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many values
    for value, weight in zip(values, weights, strict=True):
        pools.append((value, max(weight, 1e-9), 1))
        while len(pools) > 1 and pools[-2][0] < pools[-1][0]:
            (first, one, left), (second, two, more) = pools[-2], pools[-1]
            pools[-2:] = [((first * one + second * two) / (one + two), one + two, left + more)]
    return [mean for mean, _, count in pools for _ in range(count)]
