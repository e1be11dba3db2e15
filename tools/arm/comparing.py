"""How far one board's answers are from this machine's."""

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from agent.settings import VisionSettings
from agent.vision.model import ClassifierManifest, DetectorManifest, load_manifest
from agent.vision.nms import overlaps
from tools.arm.figures import Answered
from tools.arm.guest import Answers, Found

_SAME_IOU = 0.5
_UNSURE = "unsure"


def compare(ours: Answers, theirs: Answers, *, suite: str, python: str, cpu: str, kernels: str) -> Answered:
    """Compare what a board answered (theirs) with what this machine did (ours)."""
    pairs = [pair for here, there in zip(ours.found, theirs.found, strict=True) for pair in matched(here, there)]
    both = [(here, there) for here, there in pairs if here is not None and there is not None]
    steps = [
        abs(here - there)
        for row, other in zip(ours.logits, theirs.logits, strict=True)
        for here, there in zip(row, other, strict=True)
    ]
    looks = [*zip(ours.labels, theirs.labels, strict=True), *((here.label, there.label) for here, there in both)]
    differ = [look for look in looks if look[0] != look[1]]
    unsure = sum(_UNSURE in look for look in differ)
    persons = None if theirs.persons is None else len(theirs.persons)
    return Answered(
        suite=suite,
        python=python,
        cpu=cpu,
        kernels=kernels,
        golden=theirs.golden,
        tolerance=tolerances(),
        faces=len(looks),
        logit_steps=max(steps),
        labels_changed=len(differ) - unsure,
        unsure_changed=unsure,
        frames=len(theirs.found),
        found=sum(map(len, theirs.found)),
        found_by_one_only=len(pairs) - len(both),
        box_px=round(
            max((abs(a - b) for here, there in both for a, b in zip(here.box, there.box, strict=True)), default=0.0), 2
        ),
        persons=persons,
        persons_changed=None if theirs.persons is None else _changed(ours.persons or [], theirs.persons),
    )


def _changed(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Count persons, in the order in which they came, that are decided otherwise or are there on one side only."""
    return sum(here != there for here, there in zip_longest(ours, theirs))


def matched(ours: Sequence[Found], theirs: Sequence[Found]) -> list[tuple[Found | None, Found | None]]:
    """Pair the faces of one frame, each with the one that it overlaps most; what is left over stays alone."""
    left = list(theirs)
    pairs: list[tuple[Found | None, Found | None]] = []
    for here in ours:
        best = max(left, key=lambda there: _iou(here, there), default=None)
        if best is not None and _iou(here, best) >= _SAME_IOU:
            left.remove(best)
            pairs.append((here, best))
        else:
            pairs.append((here, None))
    return pairs + [(None, there) for there in left]


def _iou(one: Found, other: Found) -> float:
    return float(overlaps(np.array([one.box], np.float32), np.array([other.box], np.float32))[0, 0])


def tolerances() -> dict[str, int]:
    """Give the steps that the manifests allow, by model."""
    vision = VisionSettings()
    classifier, _ = load_manifest(vision.classifier, ClassifierManifest)
    detector, _ = load_manifest(vision.detector, DetectorManifest)
    return {manifest.name: manifest.net.golden_tolerance for manifest in (classifier, detector)}
