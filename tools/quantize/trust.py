"""When to believe the classifier: its temperature, and the looks that are no answer.

A net whose recipe was tried without each source (tools/quantize/left_out.py) takes both from there. Any other, say
somebody's own, has them fitted on the validation faces, which are of sources that it knows: it will be too sure.
"""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.seams import LABELS
from agent.vision.model import Abstain
from tools.quantize.looks import Looks, softmax

SIZES_PX = (10, 12, 16, 20, 24, 32, 48)  # at which validation faces are seen, beside their own size


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """The part of reports/NAME-left-out.json that belongs into NAME's manifest, and for which checkpoint it holds."""

    checkpoint_sha256: str
    temperature: float
    abstain: Abstain


def measured_unseen(checkpoint: Path, report: Path) -> LeftOut | None:
    """Give what was measured on sources left out (tools.quantize.left_out), if that was done for this checkpoint.

    Raises ModelError if the report is there and cannot be read.
    """
    try:
        found = msgspec.json.decode(report.read_bytes(), type=LeftOut)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ModelError(
            f"cannot be read: {error}", where=str(report), remedy="python -m tools.quantize.left_out, or remove it"
        ) from error
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    return found if found.checkpoint_sha256 == digest else None


def equal_labels(label: NDArray[np.int8]) -> NDArray[np.float64]:
    return np.asarray(1 / np.bincount(label, minlength=len(LABELS)).clip(1)[label], np.float64)


def fit_temperature(logits: NDArray[np.float32], label: NDArray[np.int8], weight: NDArray[np.float64]) -> float:
    """Give the temperature of least negative log likelihood. Source: Guo et al. 2017."""

    def loss(temperature: float) -> float:
        chosen = softmax(logits / np.float32(temperature))[np.arange(len(label)), label]
        return float(-(weight * np.log(chosen.clip(1e-9))).sum())

    return min((round(float(value), 2) for value in np.arange(0.2, 3.01, 0.02)), key=loss)


def at_size(seen: Looks, size_px: float) -> NDArray[np.bool_]:
    return np.isclose(seen.face_px, size_px)


def fit_abstain(seen: Looks, logits: NDArray[np.float32], temperature: float, right: float) -> Abstain:
    """Choose when one look is no answer.

    confidence: the least at which the answered looks are right in the share `right`, at most 0.8, because votes
    of several looks follow. face_px: the least size at which four of five are right. sharpness, brightness: below what
    998 of 1,000 looks of 16 px and more have.
    """
    probs = softmax(logits / np.float32(temperature))
    good = probs.argmax(1) == seen.label
    confidence = next(
        (level for level in np.arange(0.4, 0.8, 0.01) if good[probs.max(1) >= level].mean() >= right), 0.8
    )
    shown = [size for size in SIZES_PX if at_size(seen, size).any()]
    usable = [size for size in shown if good[at_size(seen, size)].mean() >= 0.8]
    enough = seen.face_px >= 16
    return Abstain(
        confidence=round(float(confidence), 2),
        face_px=float(min(usable, default=SIZES_PX[-1])),
        sharpness=round(float(np.quantile(seen.sharpness[enough], 0.002)), 1),
        brightness=round(float(np.quantile(seen.brightness[enough], 0.002)), 1),
    )
