"""The detector's part: calibration views, and how far the int8 file is from the float net in scores and boxes."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.vision.model import DetectorManifest, Net
from agent.vision.runtime import CpuRuntime
from tools.quantize.balance import balanced
from tools.quantize.checks import check_int8, compile_for_edge_tpu
from tools.quantize.convert import float_answers, to_int8
from tools.quantize.describe import describe_net, write_model
from tools.train.graph import Graph, load_checkpoint, multiply_adds, parameter_count, redrawn
from tools.train.pictures import Picture
from tools.train.views import ViewSettings, make_view

CALIBRATION_VIEWS = 200
BALANCE_VIEWS = 40
COMPARED_VIEWS = 60
OUTPUTS = ("scores", "boxes")
FOLLOW_PART = 2 / 3  # of the threshold: at it, a face where one was followed a moment ago is that one still
NMS_IOU = 0.3
"""A nested second box round one face costs more than two faces so close behind each other: on the validation split
recall at one threshold is 58.6 % here, 57.7 at 0.45 and 57.1 at 0.50."""
GOLDEN_TOLERANCE = 20
"""XNNPACK's kernels were up to 14 steps from the reference ones, TensorFlow's own optimised ones up to 17, one step in
the mean: the rounding of forty layers, less than 0.03 of a score's logit. See docs/decisions/0003."""


def draw_views(pictures: list[Picture], graph: Graph, count: int, seed: int) -> NDArray[np.uint8]:
    """Make views as in training, each source equally often: (count, h, w, 3) uint8."""
    rng = np.random.default_rng([seed, count])
    height, width, _ = graph.input_shape
    by_source = [[p for p in pictures if p.source == name] for name in sorted({p.source for p in pictures})]
    views = []
    for index in range(count):
        pool = by_source[index % len(by_source)]
        four = [pool[int(rng.integers(len(pool)))] for _ in range(4)]
        views.append(make_view(four, width, height, ViewSettings(), rng).pixels)
    return np.stack(views)


def level_strides(graph: Graph) -> tuple[int, ...]:
    """Give the strides of the levels in the order of their cells: one convolution `scores...` a level."""
    shapes = graph.shapes()
    heads = [node.name for node in graph.nodes if node.op == "conv" and node.name.startswith("scores")]
    return tuple(graph.input_shape[0] // shapes[name][0] for name in heads)


def quantize_detector(
    source: Path,
    folder: Path,
    name: str,
    version: int,
    pictures: list[Picture],
    seed: int,
    threshold: float,
    size: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Make folder/name.{tflite,json} and reports/name.json from a float checkpoint; gives the report.

    threshold: the score at which the agent accepts a face. size: width and height of the input, pixels; by default
    those that the net was trained with. Raises ModelError if the file is not full int8, ValueError if the net cannot
    have this size.
    """
    checkpoint = load_checkpoint(source)
    graph = checkpoint.graph if size is None else redrawn(checkpoint.graph, *size)
    checkpoint = replace(checkpoint, graph=graph)
    training = [picture for picture in pictures if picture.split == "train"]
    views = draw_views(training, graph, CALIBRATION_VIEWS, seed)
    content = to_int8(balanced(checkpoint, views[:BALANCE_VIEWS]), views)
    model = folder / f"{name}.tflite"
    anatomy = check_int8(content, str(model))
    net = msgspec.structs.replace(describe_net(content, model.name, OUTPUTS), golden_tolerance=GOLDEN_TOLERANCE)
    manifest = DetectorManifest(
        name=name,
        version=version,
        net=net,
        strides=level_strides(graph),
        score_threshold=threshold,
        follow_threshold=round(threshold * FOLLOW_PART, 2),
        report_floor=min(0.05, threshold),
        nms_iou=NMS_IOU,
    )
    compared = draw_views([p for p in pictures if p.split == "val"], graph, COMPARED_VIEWS, seed)
    exact = float_answers(checkpoint, compared)
    runtime = CpuRuntime(content, net, where=str(model))
    raw = [runtime.invoke((view[None] ^ 0x80).view(np.int8)) for view in compared]
    write_model(folder, manifest, content)
    report = {
        "name": name,
        "sha256": net.sha256,
        "checkpoint": source.name,
        "parameters": parameter_count(graph),
        "multiply_adds": multiply_adds(graph),
        "agreement": agreement(exact, [_real(net, answer) for answer in raw], threshold),
        "anatomy": asdict(anatomy),
        "edge_tpu": compile_for_edge_tpu(model, anatomy),
        "calibration": {"views": CALIBRATION_VIEWS, "seed": seed},
        "training": dict(checkpoint.notes),
    }
    path = folder / "reports" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    return report


def _real(net: Net, answer: dict[str, NDArray[np.int8]]) -> dict[str, NDArray[np.float32]]:
    return {
        name: (answer[name].astype(np.int32) - net.outputs[name].zero_point).astype(np.float32)
        * np.float32(net.outputs[name].scale)
        for name in OUTPUTS
    }


def agreement(
    exact: tuple[NDArray[np.float32], ...], found: list[dict[str, NDArray[np.float32]]], threshold: float
) -> dict[str, float]:
    """Compare cells that either net takes for a face: how many both do, and how far scores and sides are apart."""
    scores = [1 / (1 + np.exp(-part)) for part in (exact[0], np.concatenate([answer["scores"] for answer in found]))]
    sides = exact[1], np.concatenate([answer["boxes"] for answer in found])
    hits = [part[..., 0] >= threshold for part in scores]
    either, both = hits[0] | hits[1], hits[0] & hits[1]
    return {
        "cells": int(either.sum()),
        "both_pct": round(100 * float(both.sum() / max(1, either.sum())), 2),
        "score_apart_mean": round(float(np.abs(scores[0] - scores[1])[..., 0][either].mean()), 4)
        if either.any()
        else 0.0,
        "sides_apart_mean": round(float(np.abs(sides[0] - sides[1])[both].mean()), 4) if both.any() else 0.0,
    }
