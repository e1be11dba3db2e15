"""The course of one training as a picture: loss, and what validation says, by step."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # no screen where trainings run

import matplotlib.pyplot as plt


def plot_course(history: list[dict[str, Any]], path: Path) -> None:
    """Write a PNG of a classifier's history: `step`, `loss` and `val` -> `all` -> `two_way` and recalls in per cent."""
    steps = [entry["step"] for entry in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(steps, [entry["loss"] for entry in history], marker=".")
    left.set(xlabel="step", ylabel="loss", ylim=(0, None))
    for name in ("two_way", "recall_mask", "recall_no_mask", "recall_incorrect"):
        right.plot(steps, [entry["val"]["all"].get(name) for entry in history], marker=".", label=name)
    right.set(xlabel="step", ylabel="validation, %")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=90)
    plt.close(figure)
