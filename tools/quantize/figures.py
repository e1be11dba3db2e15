"""Figures of a set of answers: how often they are right, how sure they are, and what is left when the unsure are not
counted. The definitions are those of ../shared/eval/score_crops.py, and a test compares the two."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.seams import LABELS
from tools.quantize.looks import two_way_interval

MASK, BARE, INCORRECT = range(3)
NATIVE_PX = {"<=24": (0.0, 24.0), "24-32": (24.0, 32.0), "32-64": (32.0, 64.0), ">64": (64.0, np.inf)}
COVERAGES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 1.0)
LOSS_MAX = 0.2  # points that int8 may lose before quantisation has to be trained with
_Z = 1.959964  # of a 95 % interval


def area_under_curve(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Give the chance that a positive scores higher than a negative, ties counting half; not a number without both."""
    ranked = np.sort(score[~positive])
    higher = np.searchsorted(ranked, score[positive], "left") + np.searchsorted(ranked, score[positive], "right")
    return float(higher.mean() / 2 / ranked.size) if ranked.size and positive.any() else float("nan")


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Give the 95 % interval of a share in per cent. Source: Wilson 1927, the score interval."""
    share, spread = hits / count, _Z**2 / count
    centre, half = share + spread / 2, _Z * np.sqrt(share * (1 - share) / count + spread / 4 / count)
    return 100 * float((centre - half) / (1 + spread)), 100 * float((centre + half) / (1 + spread))


def brief(probs: NDArray[np.float32], label: NDArray[np.int8]) -> dict[str, float]:
    """Give what a condition is judged by, in per cent but for n and auc. probs: (n, 3) in the order of LABELS.

    two_way: the likelier of mask and no_mask; strict: the likeliest of all labels; both balanced over mask and no_mask,
    or of the one that occurs. auc: of mask against no_mask. <label>_called_mask: where the likeliest of all is mask.
    """
    best = probs.argmax(1)
    right = two_way_right(probs, label)
    pair = [label == MASK, label == BARE]
    found: dict[str, float] = {
        "n": len(label),
        "two_way": 100 * _mean([right[part].mean() for part in pair if part.any()]),
        "strict": 100 * _mean([(best == label)[part].mean() for part in pair if part.any()]),
    }
    if pair[0].any() and pair[1].any():
        # Steps of int8 make ties, which the last bits of a division must not break.
        share = (probs[:, MASK] / (probs[:, MASK] + probs[:, BARE]).clip(1e-9)).astype(np.float64).round(6)
        two = label != INCORRECT
        found["auc"] = area_under_curve(share[two], pair[0][two])
    for index in (BARE, INCORRECT):
        if (label == index).any():
            found[f"{LABELS[index]}_called_mask"] = 100 * float((best[label == index] == MASK).mean())
    return {name: round(value, 4 if name == "auc" else 2) for name, value in found.items()}


def full(probs: NDArray[np.float32], label: NDArray[np.int8], native_px: NDArray[np.float32]) -> dict[str, Any]:
    """Give brief, counts and recalls by label, intervals, and brief by native size where there is more than one."""
    best = probs.argmax(1)
    found: dict[str, Any] = dict(brief(probs, label))
    found["two_way_interval"] = two_way_interval(probs, label)
    for index, name in enumerate(LABELS):
        here = label == index
        if here.any():
            found[name] = {"n": int(here.sum()), "found": round(100 * float((best[here] == index).mean()), 2)}
            if index != MASK:
                low, high = wilson(int((best[here] == MASK).sum()), int(here.sum()))
                found[name]["called_mask_interval"] = [round(low, 1), round(high, 1)]
    bins = {name: (native_px > low) & (native_px <= high) for name, (low, high) in NATIVE_PX.items()}
    bins = {name: here for name, here in bins.items() if (here & (label != INCORRECT)).any()}
    if len(bins) > 1:
        found["by_native_px"] = {name: brief(probs[here], label[here]) for name, here in bins.items()}
    return found


def two_way_right(probs: NDArray[np.float32], label: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Tell where the likelier of mask and no_mask is the label; False for faces that are neither."""
    worn = probs[:, MASK] >= probs[:, BARE]
    return np.asarray(np.where(worn, label == MASK, label == BARE), np.bool_)


def equal_shares(source: NDArray[np.str_], condition: NDArray[np.str_], label: NDArray[np.int8]) -> NDArray[np.float64]:
    """Give weights that sum to 1, so that no large source rules.

    Conditions count equally, within one its sources, within those mask and no_mask; `incorrect` counts with the share
    that it has among its source's faces.
    """
    weight = np.zeros(len(label))
    _, kind = np.unique(np.char.add(np.char.add(condition, "|"), source), return_inverse=True)
    for one in range(kind.max(initial=-1) + 1):
        here = kind == one
        odd = here & (label == INCORRECT)
        weight[odd] = 1 / here.sum()
        pair = [part for part in (here & (label == MASK), here & (label == BARE)) if part.any()]
        for part in pair:
            weight[part] = (1 - odd.sum() / here.sum()) / len(pair) / part.sum()
        weight[here] /= len(np.unique(source[condition == condition[here][0]]))
    return np.asarray(weight / weight.sum(), np.float64)


def risk_coverage(
    sure: NDArray[np.float32], right: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give (coverage, risk), both 0..1, when the surest are answered first. Source: El-Yaniv and Wiener, JMLR 2010.

    Points where equally sure answers would be parted are left out.
    """
    order = np.argsort(-sure, kind="stable")
    answered = np.cumsum(weight[order])
    wrong = np.cumsum((weight * ~right)[order])
    last = np.append(np.diff(sure[order]) != 0, [True])
    return answered[last] / weight.sum(), wrong[last] / answered[last]


def risk_at_coverages(
    sure: NDArray[np.float32], right: NDArray[np.bool_], weight: NDArray[np.float64]
) -> dict[str, float]:
    """Give the risk at COVERAGES, by their names, 0..1."""
    coverage, risk = risk_coverage(sure, right, weight)
    return {f"{level:g}": round(float(np.interp(level, coverage, risk)), 5) for level in COVERAGES}


def about_loss(points: float, where: str) -> str:
    """Say whether int8 loses too much. points: float less int8, in per cent."""
    if points > LOSS_MAX:
        return f"int8 loses {points:.2f} points on {where}, more than {LOSS_MAX}: train with quantisation in the loop"
    return f"int8 loses no more than {LOSS_MAX} points on {where}: no training with quantisation in the loop"


def reliability(
    sure: NDArray[np.float32], right: NDArray[np.bool_], weight: NDArray[np.float64], bins: int = 12
) -> list[dict[str, float]]:
    """Give bins of equal weight: how sure the answers in it are on average, and what share of them is right."""
    order = np.argsort(sure, kind="stable")
    which = np.minimum((np.cumsum(weight[order]) / weight.sum() * bins).astype(int), bins - 1)
    found = []
    for one in range(bins):
        part = order[which == one]
        if part.size:
            mass = weight[part].sum()
            found.append(
                {
                    "confidence": round(float((weight * sure)[part].sum() / mass), 4),
                    "right": round(float((weight * right)[part].sum() / mass), 4),
                }
            )
    return found


def calibration_error(sure: NDArray[np.float32], right: NDArray[np.bool_], weight: NDArray[np.float64]) -> float:
    """Give the mean distance of confidence and share right over the bins of `reliability`."""
    return round(_mean([abs(bin_["confidence"] - bin_["right"]) for bin_ in reliability(sure, right, weight)]), 4)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
