"""The curves of a report as small PNG files, on a ground of their own so that light and dark pages show the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

from cycler import cycler
from matplotlib import pyplot as plt

from tools.quantize.conditions import AT_SIZE, BESIDE, EIGHT, SIZES_PX

STYLE = {
    "figure.figsize": (6.4, 4.2),
    "figure.dpi": 90,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "lines.linewidth": 1.6,
    # Told apart without colours too: by dashes and marks, and with colours that the colour-blind see (Okabe and Ito).
    "axes.prop_cycle": cycler(
        color=["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7f7f7f"] * 2,
        linestyle=["-"] * 8 + ["--"] * 8,
        marker=list("osD^vPX*") * 2,
    ),
    "lines.markersize": 4,
}


def plot_reliability(found: Mapping[str, Any], of: str, path: Path) -> None:
    """found: bins of figures.reliability by the name of their curve. of: what faces, for the title."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots()
        low = min(bins[0][key] for bins in found.values() for key in ("confidence", "right"))
        axes.plot([low, 1], [low, 1], color="#7f7f7f", linestyle=":", marker="", label="as sure as right")
        for name, bins in found.items():
            axes.plot([one["confidence"] for one in bins], [one["right"] for one in bins], label=name)
        axes.set(xlabel="confidence: probability of the likeliest label", ylabel="share right")
        axes.set_title(f"How sure, how right: {of}", loc="left")
        save(figure, axes, path)


def plot_risk(found: Mapping[str, Mapping[str, float]], stated: float | None, of: str, path: Path) -> None:
    """found: risk at coverages by condition. stated: the risk that the band was chosen for, if it was."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots()
        for name, points in found.items():
            axes.plot([100 * float(key) for key in points], [100 * risk for risk in points.values()], label=name)
        if stated is not None:
            axes.axhline(100 * stated, color="#7f7f7f", linestyle=":", label=f"stated risk, {100 * stated:g} %")
        axes.set(xlabel="answered, % of looks, the surest first", ylabel="wrong among the answered, %")
        axes.set_yscale("symlog", linthresh=0.5)
        axes.set_yticks([0, 0.25, 0.5, 1, 2, 5, 10, 20], ["0", "0.25", "0.5", "1", "2", "5", "10", "20"])
        axes.set_ylim(0, 25)
        axes.set_title(f"What not answering buys: {of}", loc="left")
        save(figure, axes, path)


def plot_sizes(sources: Mapping[str, Any], path: Path) -> None:
    """sources: figures by condition, by source."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots()
        for name in (*EIGHT, *BESIDE):
            shown = [
                (px, sources[name][c]) for px, c in zip(SIZES_PX, AT_SIZE, strict=True) if c in sources.get(name, {})
            ]
            if shown:
                axes.plot([px for px, _ in shown], [block["two_way"] for _, block in shown], label=name)
        axes.set_xscale("log")
        axes.set_xticks(SIZES_PX, [str(px) for px in SIZES_PX], minor=False)
        axes.set_xticks([], minor=True)
        axes.set(xlabel="face, px, shrunk to this", ylabel="right of mask and no_mask, balanced, %")
        axes.set_title("By size, each source with a net that never saw it", loc="left")
        save(figure, axes, path)


def save(figure: Any, axes: Any, path: Path) -> None:
    """Write a figure with its legend beside it, and close it."""
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)
