"""The classifier's part: calibration faces, temperature, abstain thresholds, agreement of int8 with float."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.seams import LABELS, Box
from agent.vision.crop import crop, quality
from agent.vision.model import Abstain, ClassifierManifest, Net
from agent.vision.runtime import CpuRuntime
from tools.quantize.checks import check_int8, compile_for_edge_tpu
from tools.quantize.convert import float_answers, to_int8
from tools.quantize.describe import describe_net, write_model
from tools.train.data import Faces, draw_weights
from tools.train.degrade import DegradeSettings, shrink_face, view
from tools.train.graph import Checkpoint, load_checkpoint, multiply_adds, parameter_count

CALIBRATION_FACES = 400
SIZES_PX = (10, 12, 16, 20, 24, 32, 48)  # at which validation faces are seen, beside their own size


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Validation faces at several sizes: what the agent would see. Columns of length n."""

    pictures: NDArray[np.uint8]
    label: NDArray[np.int8]
    face_px: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    brightness: NDArray[np.float32]
    id: NDArray[np.str_]


def calibration_faces(faces: Faces, seed: int) -> NDArray[np.uint8]:
    """Draw training faces, every label equally often, degraded as in training: (400, 64, 64, 3) uint8."""
    rng = np.random.default_rng([seed, 400])
    rows = faces.rows(split="train")
    drawn = rng.choice(rows, CALIBRATION_FACES, p=draw_weights(faces, rows, (1.0, 1.0, 1.0)))
    settings = DegradeSettings()
    return np.stack(
        [view(faces.picture(row), faces.face_box(row), settings, float(faces.native_px[row]), rng) for row in drawn]
    )


def looks(faces: Faces, rows: NDArray[np.int64], sizes_px: tuple[float, ...], scale: float) -> Looks:
    """See rows at each size that they have, and at their own, through the agent's own crop."""
    found: dict[str, list[Any]] = {name: [] for name in Looks.__dataclass_fields__}
    for row in rows:
        picture, box = faces.picture(row), faces.face_box(row)
        own_px = min(float(faces.native_px[row]), box.size_px)
        for size in (own_px, *(size for size in sizes_px if size < own_px)):
            small, where = shrink_face(picture, box, size)
            face = face_crop(small, where, scale, boxed=bool(faces.boxed[row]))
            measured = quality(face)
            values = (face, faces.label[row], size, measured.sharpness, measured.brightness, faces.id[row])
            for name, value in zip(found, values, strict=True):
                found[name].append(value)
    return Looks(**{name: np.array(values) for name, values in found.items()})


def face_crop(pixels: NDArray[np.uint8], box: Box, scale: float, *, boxed: bool) -> NDArray[np.uint8]:
    """Cut one face as the agent does; a tight crop, whose box is not known, is taken whole."""
    height, width = pixels.shape[:2]
    return crop(pixels, box, scale, 64) if boxed else crop(pixels, Box(0, 0, width, height), 1.0, 64)


def answers(runtime: CpuRuntime, net: Net, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the int8 net's logits, (n, 3) float32, through the agent's own runtime."""
    out = net.outputs["logits"]
    raw = [runtime.invoke((picture[None] ^ 0x80).view(np.int8))["logits"] for picture in pictures]
    return (np.concatenate(raw).astype(np.int32) - out.zero_point).astype(np.float32) * np.float32(out.scale)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(raised / raised.sum(1, keepdims=True), np.float32)


def fit_temperature(logits: NDArray[np.float32], label: NDArray[np.int8]) -> float:
    """Give the temperature of least negative log likelihood, labels weighted equally. Source: Guo et al. 2017."""
    weight = 1 / np.bincount(label, minlength=len(LABELS)).clip(1)[label]

    def loss(temperature: float) -> float:
        chosen = softmax(logits / np.float32(temperature))[np.arange(len(label)), label]
        return float(-(weight * np.log(chosen.clip(1e-9))).sum())

    return min((round(float(value), 2) for value in np.arange(0.2, 3.01, 0.02)), key=loss)


def fit_abstain(seen: Looks, logits: NDArray[np.float32], temperature: float, right: float) -> Abstain:
    """Choose when one look is no answer.

    confidence: the least at which the answered looks are right in the share `right`, at most 0.9. face_px: the least
    size at which four of five are right. sharpness, brightness: below what 995 of 1,000 looks of 16 px and more have.
    """
    probs = softmax(logits / np.float32(temperature))
    good = probs.argmax(1) == seen.label
    confidence = next(
        (level for level in np.arange(0.4, 0.9, 0.01) if good[probs.max(1) >= level].mean() >= right), 0.9
    )
    usable = [size for size in SIZES_PX if good[np.isclose(seen.face_px, size)].mean() >= 0.8]
    enough = seen.face_px >= 16
    return Abstain(
        confidence=round(float(confidence), 2),
        face_px=float(min(usable, default=SIZES_PX[-1])),
        sharpness=round(float(np.quantile(seen.sharpness[enough], 0.005)), 1),
        brightness=round(float(np.quantile(seen.brightness[enough], 0.005)), 1),
    )


def summary(probs: NDArray[np.float32], seen: Looks, where: NDArray[np.bool_]) -> dict[str, float]:
    """Give n, two-way and strict balanced accuracy in per cent."""
    label, found = seen.label[where], probs[where]
    pair = [(found[label == 0, 0] >= found[label == 0, 1]), (found[label == 1, 0] < found[label == 1, 1])]
    strict = [
        (found[label == index].argmax(1) == index).mean() for index in range(len(LABELS)) if (label == index).any()
    ]
    return {
        "n": int(where.sum()),
        "two_way": round(100 * float(np.mean([part.mean() for part in pair if part.size])), 2),
        "strict": round(100 * float(np.mean(strict)), 2),
    }


def quantize_classifier(source: Path, folder: Path, name: str, version: int, faces: Faces, seed: int) -> dict[str, Any]:
    """Make folder/name.{tflite,json} and reports/name.json from a float checkpoint; gives the report.

    Raises ModelError if the file is not full int8, larger than 250 kB or too far from the float net.
    """
    checkpoint = load_checkpoint(source)
    scale = float(checkpoint.notes["settings"]["crop_scale"])
    content = to_int8(checkpoint, calibration_faces(faces, seed))
    model = folder / f"{name}.tflite"
    anatomy = check_int8(content, str(model))
    if anatomy.bytes > 250_000:
        raise ModelError(f"{anatomy.bytes:,} bytes", where=str(model), remedy="a classifier has at most 250,000")
    net = describe_net(content, model.name, ["logits"])
    seen = looks(faces, faces.rows(split="val"), SIZES_PX, scale)
    logits = answers(CpuRuntime(content, net, where=str(model)), net, seen.pictures)
    temperature = fit_temperature(logits, seen.label)
    abstain = fit_abstain(seen, logits, temperature, right=0.99)
    manifest = ClassifierManifest(
        name=name,
        version=version,
        net=net,
        labels=("mask", "no_mask", "incorrect"),
        temperature=temperature,
        crop_scale=scale,
        abstain=abstain,
    )
    write_model(folder, manifest, content)
    report = _report(checkpoint, seen, logits, manifest) | {
        "anatomy": asdict(anatomy),
        "edge_tpu": compile_for_edge_tpu(model, anatomy),
        "calibration": {"faces": CALIBRATION_FACES, "seed": seed},
        "training": {key: checkpoint.notes[key] for key in ("settings", "data_sha256")},
    }
    path = folder / "reports" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    return report


def _report(
    checkpoint: Checkpoint, seen: Looks, logits: NDArray[np.float32], manifest: ClassifierManifest
) -> dict[str, Any]:
    own = np.concatenate([[True], seen.id[1:] != seen.id[:-1]])  # the first look at a face is at its own size
    exact = float_answers(checkpoint, seen.pictures[own])[0]
    probs, floats = softmax(logits / np.float32(manifest.temperature)), softmax(exact)
    first = Looks(**{name: getattr(seen, name)[own] for name in Looks.__dataclass_fields__})
    everything = np.ones(len(exact), bool)
    changed = probs[own].argmax(1) != floats.argmax(1)
    answered = probs.max(1) >= manifest.abstain.confidence
    return {
        "name": manifest.name,
        "sha256": manifest.net.sha256,
        "parameters": parameter_count(checkpoint.graph),
        "multiply_adds": multiply_adds(checkpoint.graph),
        "agreement_pct": round(100 * float((~changed).mean()), 2),
        "label_changed": [str(name) for name in first.id[changed]],
        "val": {
            "float": summary(floats, first, everything),
            "int8": summary(probs[own], first, everything),
            "by_px": {str(size): summary(probs, seen, np.isclose(seen.face_px, size)) for size in SIZES_PX},
        },
        "temperature": manifest.temperature,
        "abstain": {
            "confidence": manifest.abstain.confidence,
            "coverage_pct": round(100 * float(answered.mean()), 2),
            "right_pct": round(100 * float((probs.argmax(1) == seen.label)[answered].mean()), 2),
        },
    }
