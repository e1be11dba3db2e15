"""The report on sources left out: from looks to the figures, the abstain band and the curves, as one JSON tree."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from agent.seams import LABELS, Reason
from agent.vision.classifier import distrust
from agent.vision.model import Abstain
from tools.quantize.band import KIND_FACTOR, RISK, Band
from tools.quantize.conditions import AT_SIZE, CONDITIONS, EIGHT
from tools.quantize.figures import (
    INCORRECT,
    MASK,
    about_loss,
    brief,
    calibration_error,
    equal_shares,
    full,
    reliability,
    risk_at_coverages,
)
from tools.quantize.looks import softmax
from tools.quantize.unseen import Unseen
from tools.train.wrong_labels import WRONG_LABELS

REASON_NAMES: tuple[Reason, ...] = get_args(Reason)
CURVES = ("crop", "wide", "gray", "48 px", "24 px", "16 px", "12 px")


def report(seen: Unseen, band: Band, nets: Mapping[str, Any]) -> dict[str, Any]:
    """Give everything that the card and the plots show. nets: what is known of each source's net, passed on."""
    probs = softmax(seen.logits / np.float32(band.temperature))
    known = (seen.condition == "crop") & np.isin(seen.id, list(WRONG_LABELS))
    found = {source: _source(seen, probs, source) for source in np.unique(seen.source).tolist()}
    return {
        "temperature": band.temperature,
        "abstain": {name: getattr(band.abstain, name) for name in Abstain.__struct_fields__},
        "nets": dict(nets),
        "sources": found,
        "mean": _over_eight(found, np.mean),
        "worst": _over_eight(found, np.min),
        "lost_to": {condition: _lost_to(found, condition) for condition in ("wide", "gray")},
        "int8": _int8(seen, probs),
        "called_mask": called_mask(seen, probs),
        "risk": {
            "stated": RISK,
            "of_a_kind": KIND_FACTOR * RISK,
            "reached": band.reached,
            "wrong_labels": int(known.sum()),
        },
        "answered": answered(seen, probs, band.abstain),
        "reasons": {
            name: [{key: value for key, value in asdict(kind).items() if value != np.inf} for kind in kinds]
            for name, kinds in band.kinds.items()
        },
        "curves": curves(seen, probs),
    }


def _source(seen: Unseen, probs: NDArray[np.float32], source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for condition in CONDITIONS:
        here = (seen.source == source) & (seen.condition == condition)
        if (here & (seen.label != INCORRECT)).any():
            one = probs[here], seen.label[here]
            found[condition] = full(*one, seen.native_px[here]) if condition == "crop" else brief(*one)
    return found


def _over_eight(found: Mapping[str, Any], how: Any) -> dict[str, dict[str, float]]:
    """Give the mean or the worst over those of the eight that were measured, by condition; bare ones apart."""
    over: dict[str, dict[str, float]] = {}
    for condition in CONDITIONS:
        blocks = [found[name][condition] for name in EIGHT if condition in found.get(name, {})]
        if blocks:
            over[condition] = {"sources": len(blocks)} | {
                key: round(float(how([block[key] for block in blocks])), 4 if key == "auc" else 2)
                for key in ("two_way", "auc", "strict")
                if all(key in block for block in blocks)
            }
    return over


def _lost_to(found: Mapping[str, Any], condition: str) -> dict[str, float]:
    """Give how many points of two_way a condition takes from tight crops, by source of the eight, and their mean."""
    lost = {
        name: round(found[name]["crop"]["two_way"] - found[name][condition]["two_way"], 2)
        for name in EIGHT
        if condition in found.get(name, {})
    }
    return lost | ({"mean": round(float(np.mean(list(lost.values()))), 2)} if lost else {})


def _int8(seen: Unseen, probs: NDArray[np.float32]) -> dict[str, Any]:
    """Compare the int8 nets with their float nets on the same tensors."""
    here = seen.condition == "crop"
    exact = softmax(seen.exact[here])
    parts: dict[str, Any] = {}
    for source in np.unique(seen.source).tolist():
        one = seen.source[here] == source
        label = seen.label[here][one]
        mine, theirs = brief(probs[here][one], label), brief(exact[one], label)
        parts[source] = {
            "float_two_way": theirs["two_way"],
            "two_way_lost": round(theirs["two_way"] - mine["two_way"], 2),
            "strict_lost": round(theirs["strict"] - mine["strict"], 2),
            "same_label_pct": round(100 * float((probs[here][one].argmax(1) == exact[one].argmax(1)).mean()), 2),
        }
    counted = [parts[name] for name in EIGHT if name in parts]
    lost = {key: round(float(np.mean([part[key] for part in counted])), 3) for key in ("two_way_lost", "strict_lost")}
    return lost | {"said": about_loss(max(lost.values()), "the mean of sources left out"), "sources": parts}


def called_mask(seen: Unseen, probs: NDArray[np.float32]) -> dict[str, Any]:
    """List bare faces with something before them that are called mask, one by one, by the likeliest of all labels."""
    crops = seen.condition == "crop"
    best = probs.argmax(1)
    occluded = crops & (np.char.find(seen.flags, "occluder") >= 0)
    hands = seen.source == "fer_hands"
    return {
        "fer_hands": seen.id[crops & hands & (best == MASK)].tolist(),
        "fer_hands_flagged": {
            "n": int((occluded & hands).sum()),
            "called_mask": seen.id[occluded & hands & (best == MASK)].tolist(),
        },
        "other_flagged": [
            {
                "id": str(seen.id[row]),
                "flag": next(flag for flag in str(seen.flags[row]).split() if flag.startswith("occluder")),
                "label": LABELS[seen.label[row]],
                "called": LABELS[best[row]],
                "p_mask": round(float(probs[row, MASK]), 3),
            }
            for row in np.flatnonzero(occluded & ~hands)
        ],
    }


def answered(seen: Unseen, probs: NDArray[np.float32], abstain: Abstain) -> dict[str, Any]:
    """Give coverage and share right of the answered, by condition on the eight, by source on tight crops, in per cent.

    Of mask and no_mask faces, sources and labels counting equally; and for what reason how many are not answered.
    incorrect_called_mask: of all such faces, those that
    are answered, and with mask.
    """
    best = probs.argmax(1)
    reasons = why_not(seen, probs, abstain)
    taken = reasons == ""
    weight = np.zeros(len(seen))
    pair = seen.label != INCORRECT
    weight[pair] = equal_shares(seen.source[pair], seen.condition[pair], seen.label[pair])
    eight = np.isin(seen.source, EIGHT)

    def block(here: NDArray[np.bool_]) -> dict[str, float]:
        mass = weight[here & taken].sum()
        odd = here & (seen.label == INCORRECT)
        found = {"coverage": float(mass / weight[here].sum())}
        if mass:
            found["right"] = float(weight[here & taken & (best == seen.label)].sum() / mass)
        found |= {
            reason: float(weight[here & (reasons == reason)].sum() / weight[here].sum()) for reason in REASON_NAMES
        }
        if odd.any():
            found["incorrect_called_mask"] = float((taken & (best == MASK))[odd].mean())
        return {name: round(100 * value, 2) for name, value in found.items()}

    crops = seen.condition == "crop"
    small = crops & (seen.native_px <= 64)
    parts = {
        "by_condition": {c: block(eight & (seen.condition == c)) for c in CONDITIONS if (seen.condition == c).any()},
        "by_source": {source: block(crops & (seen.source == source)) for source in np.unique(seen.source).tolist()},
    }
    if (small & eight & pair).any():
        parts["by_condition"]["crop, native <= 64 px"] = block(small & eight)
    return parts


def why_not(seen: Unseen, probs: NDArray[np.float32], abstain: Abstain) -> NDArray[np.str_]:
    """Give the agent's reason for not answering each look, or "" where it does."""
    measured = zip(probs.max(1), seen.face_px, seen.sharpness, seen.brightness, strict=True)
    return np.array([distrust(abstain, *map(float, values)) or "" for values in measured])


def curves(seen: Unseen, probs: NDArray[np.float32]) -> dict[str, Any]:
    """Give reliability before and after the temperature, and risk at set coverages, on the eight, by condition."""
    pair = seen.only((seen.label != INCORRECT) & np.isin(seen.source, EIGHT))
    kept = probs[(seen.label != INCORRECT) & np.isin(seen.source, EIGHT)]
    found: dict[str, Any] = {"reliability": {}, "calibration_error": {}, "risk_at_coverage": {}}
    for condition in CURVES:
        here = pair.condition == condition
        if not here.any():
            continue
        weight = equal_shares(pair.source[here], pair.condition[here], pair.label[here])
        right = kept[here].argmax(1) == pair.label[here]
        found["risk_at_coverage"][condition] = risk_at_coverages(kept[here].max(1), right, weight)
        found["calibration_error"][condition] = calibration_error(kept[here].max(1), right, weight)
        if condition == "crop":
            raw = softmax(pair.logits[here])
            found["calibration_error"]["crop, temperature 1"] = calibration_error(raw.max(1), right, weight)
            found["reliability"]["as it comes"] = reliability(raw.max(1), right, weight)
            found["reliability"]["with the temperature"] = reliability(kept[here].max(1), right, weight)
    small = np.isin(pair.condition, AT_SIZE[:5])
    if small.any():
        weight = equal_shares(pair.source[small], pair.condition[small], pair.label[small])
        right = kept[small].argmax(1) == pair.label[small]
        found["reliability"]["12 to 48 px"] = reliability(kept[small].max(1), right, weight)
    return found
