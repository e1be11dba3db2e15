"""The classifier's part: calibration faces, temperature, abstain thresholds, agreement of int8 with float."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.vision.model import ClassifierManifest, models_folder
from agent.vision.runtime import CpuRuntime
from tools.quantize.checks import check_int8, compile_for_edge_tpu
from tools.quantize.convert import float_answers, to_int8
from tools.quantize.describe import describe_classifier, write_model
from tools.quantize.figures import about_loss, reliability, risk_at_coverages
from tools.quantize.looks import Looks, answers, joined, look_at, own_px, softmax, summary
from tools.quantize.page import net_page
from tools.quantize.plots import plot_reliability, plot_risk
from tools.quantize.trust import SIZES_PX, at_size, equal_labels, fit_abstain, fit_temperature, measured_unseen
from tools.train.data import Faces, draw_weights
from tools.train.degrade import DegradeSettings, view
from tools.train.graph import Checkpoint, load_checkpoint, multiply_adds, parameter_count

CALIBRATION_FACES = 400
VALIDATION = "validation faces, labels counting equally"


def calibration_faces(faces: Faces, seed: int, without: Sequence[str] = ()) -> NDArray[np.uint8]:
    """Draw training faces, every label equally often, degraded as in training: (400, 64, 64, 3) uint8.

    without: sources that the net was not trained on.
    """
    rng = np.random.default_rng([seed, 400])
    rows = faces.rows(split="train", without=without)
    drawn = rng.choice(rows, CALIBRATION_FACES, p=draw_weights(faces, rows, (1.0, 1.0, 1.0)))
    settings = DegradeSettings()
    return np.stack(
        [view(faces.picture(row), faces.face_box(row), settings, float(faces.native_px[row]), rng) for row in drawn]
    )


def left_out_sources(checkpoint: Checkpoint) -> list[str]:
    """Give the sources that a net was trained without, as its notes say."""
    return [name for name in checkpoint.notes["settings"].get("leave_out", "").split(",") if name]


def crop_scale(checkpoint: Checkpoint) -> float:
    """Give the side of the crop / longer side of the box that a net was trained and evaluated with."""
    return float(checkpoint.notes["settings"]["crop_scale"])


def quantize_classifier(source: Path, folder: Path, name: str, version: int, faces: Faces, seed: int) -> dict[str, Any]:
    """Make folder/name.{tflite,json} and reports/name.{json,md}, with plots, from a float checkpoint; gives the report.

    Temperature and abstain band are those measured on sources left out, where that was done for this very checkpoint.
    Raises ModelError if the file is not full int8, too far from the float net, or larger than 250 kB and to be shipped.
    """
    checkpoint = load_checkpoint(source)
    scale = crop_scale(checkpoint)
    content = to_int8(checkpoint, calibration_faces(faces, seed, left_out_sources(checkpoint)))
    model = folder / f"{name}.tflite"
    anatomy = check_int8(content, str(model))
    if anatomy.bytes > 250_000 and folder.resolve() == models_folder():
        raise ModelError(
            f"{anatomy.bytes:,} bytes",
            where=str(model),
            remedy="a shipped classifier has at most 250,000; for a trial name another folder with --models",
        )
    net = describe_classifier(content, model.name)
    rows = faces.rows(split="val")
    sizes = np.array([own_px(faces, row) for row in rows])
    seen = joined(
        [look_at(faces, rows, None, scale)] + [look_at(faces, rows[sizes > size], size, scale) for size in SIZES_PX]
    )
    logits = answers(CpuRuntime(content, net, where=str(model)), net, seen.pictures)
    unseen = measured_unseen(source, folder / "reports" / f"{name}-left-out.json")
    if unseen is None:
        fitted_on = "validation split, of sources that the net knows"
        temperature = fit_temperature(logits, seen.label, equal_labels(seen.label))
        abstain = fit_abstain(seen, logits, temperature, right=0.98)
    else:
        fitted_on = f"sources left out, reports/{name}-left-out.json"
        temperature, abstain = unseen.temperature, unseen.abstain
    manifest = ClassifierManifest(
        name=name,
        version=version,
        net=net,
        labels=("mask", "no_mask", "incorrect"),
        temperature=temperature,
        crop_scale=scale,
        abstain=abstain,
    )
    report = _report(checkpoint, seen, len(rows), logits, manifest) | {
        "fitted_on": fitted_on,
        "anatomy": asdict(anatomy),
        "calibration": {"faces": CALIBRATION_FACES, "seed": seed},
        "training": {key: checkpoint.notes[key] for key in ("settings", "data_sha256")},
    }
    if report["agreement_pct"] < 97:
        raise ModelError(
            f"gives the float net's label to {report['agreement_pct']} % of the validation faces, 97 is the least",
            where=str(model),
            remedy="calibrate with more faces, or train with quantisation in the loop",
        )
    write_model(folder, manifest, content)
    report["edge_tpu"] = compile_for_edge_tpu(model, anatomy)
    stem = folder / "reports" / name
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_name(f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    stem.with_name(f"{name}.md").write_text(net_page(report))
    plot_reliability(report["curves"]["reliability"], VALIDATION, stem.with_name(f"{name}-reliability.png"))
    plot_risk(report["curves"]["risk_at_coverage"], None, VALIDATION, stem.with_name(f"{name}-risk.png"))
    return report


def _report(
    checkpoint: Checkpoint, seen: Looks, count: int, logits: NDArray[np.float32], manifest: ClassifierManifest
) -> dict[str, Any]:
    """Compare int8 with float on the first `count` looks, those at the faces' own size."""
    exact = softmax(float_answers(checkpoint, seen.pictures[:count])[0])
    probs = softmax(logits / np.float32(manifest.temperature))
    answered = probs.max(1) >= manifest.abstain.confidence
    changed = probs[:count].argmax(1) != exact.argmax(1)
    val = {"float": summary(exact, seen.label[:count]), "int8": summary(probs[:count], seen.label[:count])}
    lost = {key: round(val["float"][key] - val["int8"][key], 2) for key in ("two_way", "strict")}
    return {
        "name": manifest.name,
        "sha256": manifest.net.sha256,
        "parameters": parameter_count(checkpoint.graph),
        "multiply_adds": multiply_adds(checkpoint.graph),
        "agreement_pct": round(100 * float((~changed).mean()), 2),
        "label_changed": [str(name) for name in seen.id[:count][changed]],
        "int8_loses": lost | {"said": about_loss(max(lost.values()), "validation faces")},
        "val": val
        | {"by_px": {str(px): summary(probs[at_size(seen, px)], seen.label[at_size(seen, px)]) for px in SIZES_PX}},
        "temperature": manifest.temperature,
        "abstain": {
            "confidence": manifest.abstain.confidence,
            "coverage_pct": round(100 * float(answered.mean()), 2),
            "right_pct": round(100 * float((probs.argmax(1) == seen.label)[answered].mean()), 2),
        },
        "curves": _curves(seen, probs, count),
    }


def _curves(seen: Looks, probs: NDArray[np.float32], count: int) -> dict[str, Any]:
    """Give reliability and risk at set coverages, labels counting equally: the faces' own size first, then shrunk."""
    sure, right = probs.max(1), probs.argmax(1) == seen.label
    parts = {"own size": np.arange(len(probs)) < count} | {f"{px} px": at_size(seen, px) for px in SIZES_PX[::-2]}
    parts = {name: here for name, here in parts.items() if here.any()}
    weight = {name: equal_labels(seen.label[here]) for name, here in parts.items()}
    return {
        "reliability": {name: reliability(sure[here], right[here], weight[name]) for name, here in parts.items()},
        "risk_at_coverage": {
            name: risk_at_coverages(sure[here], right[here], weight[name]) for name, here in parts.items()
        },
    }
