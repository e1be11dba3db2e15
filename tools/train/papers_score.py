"""What the papers' nets are measured by, and the tables of docs/experiments.md. Needs neither torch nor data."""

import json
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPORT = Path("models/reports/papers.json")
PAGE = Path("docs/experiments.md")
BEGIN, END = "<!-- papers: begin -->\n", "<!-- papers: end -->\n"
SIZES = (("<= 24 px", 0, 24), ("24-32", 24, 32), ("32-64", 32, 64), ("> 64", 64, np.inf))  # lower bound excluded
Figures = dict[str, Any]
Row = dict[str, Any]


def wilson(right: int, count: int) -> tuple[float, float]:
    """Give the 95 % interval of a share. Source: Wilson, 1927."""
    z = 1.96
    share, scale = right / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / scale
    return middle - half, middle + half


def balanced(right: Sequence[tuple[int, int]]) -> Figures:
    """Give balanced accuracy in per cent and its 95 % interval from (right, count) of each label that occurs.

    The interval keeps its width where everything is right, which a bootstrap does not.
    Source: square and add, Newcombe, Statistics in Medicine 17, 1998, for a mean in place of a difference.
    """
    occurring = [(good, count) for good, count in right if count]
    shares = [good / count for good, count in occurring]
    bounds = [wilson(good, count) for good, count in occurring]
    mean, parts = float(np.mean(shares)), len(shares)
    below = sqrt(sum((share - low) ** 2 for share, (low, _) in zip(shares, bounds, strict=True))) / parts
    above = sqrt(sum((high - share) ** 2 for share, (_, high) in zip(shares, bounds, strict=True))) / parts
    return {
        "n": sum(count for _, count in occurring),
        "two_way": round(100 * mean, 2),
        "interval": [round(100 * (mean - below), 1), round(100 * (mean + above), 1)],
    }


def score(
    logits: NDArray[np.float32], label: NDArray[np.int8], native_px: NDArray[np.float32], source: NDArray[np.str_]
) -> Figures:
    """Score logits of mask and no_mask, (n, 2), against labels 0 and 1.

    Gives balanced accuracy with its interval for all, by native size and by source, and the mean cross entropy.
    """
    right = (logits[:, 0] >= logits[:, 1]) == (label == 0)
    wrong_by = np.where(label == 0, logits[:, 1] - logits[:, 0], logits[:, 0] - logits[:, 1]).astype(np.float64)

    def block(where: NDArray[np.bool_]) -> Figures:
        return balanced([(int(right[where & (label == k)].sum()), int((where & (label == k)).sum())) for k in (0, 1)])

    sizes = {name: (native_px > low) & (native_px <= high) for name, low, high in SIZES}
    return block(np.ones(len(label), bool)) | {
        "loss": round(float(np.logaddexp(0, wrong_by).mean()), 3),
        "by_px": {name: block(where) for name, where in sizes.items() if where.any()},
        "by_source": {str(name): block(source == name) for name in np.unique(source)},
    }


def tables(report: Mapping[str, Any]) -> str:
    """Give both tables of a report as Markdown."""
    return "\n".join([*_by_epochs(report), "", *_by_size(report)])


def _with_interval(figures: Figures) -> str:
    low, high = figures["interval"]
    return f"{figures['two_way']:.1f} ({low:.1f}-{high:.1f})"


def _by_epochs(report: Mapping[str, Any]) -> Iterator[str]:
    test, unseen = report["subset"]["faces"]["test"], report["out_of_source"]["faces"]
    yield (
        "| net | weights | epochs | thesis: accuracy | loss "
        f"| in-source, {test:,} faces | loss | out-of-source, {unseen:,} faces | loss |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in report["rows"]:
        name = f"| {row['title']} | {row['parameters']:,} "
        if "not_run" in row:
            cost = row["not_run"]
            each, steps, epochs = cost["seconds_a_step"], cost["steps"], cost["epochs"]
            told = f"not run: {each:.2g} s a step x {steps:,} steps = {each * steps / 3600:.1f} h"
            yield f"{name}| {epochs} | {_thesis(row, epochs)} | {told} | | | |"
        for point in row.get("points", ()):
            inside, outside = point["in_source"], point["out_of_source"]
            yield (
                f"{name}| {point['epoch']} | {_thesis(row, point['epoch'])} | {_with_interval(inside)} "
                f"| {inside['loss']:.3f} | {_with_interval(outside)} | {outside['loss']:.3f} |"
            )


def _thesis(row: Mapping[str, Any], epoch: int | str) -> str:
    """Give accuracy and loss of the document at an epoch; two cells."""
    if (found := row["thesis"].get(str(epoch))) is None:
        return "- | -"
    return f"{found[0]:.2f} | {found[1]:.3f}"


def _by_size(report: Mapping[str, Any]) -> Iterator[str]:
    done = [row for row in report["rows"] if row.get("points")]
    if not done:
        return
    last = {row["name"]: row["points"][-1]["out_of_source"] for row in done}
    first = last[done[0]["name"]]
    heads = [f"{name} (n {first['by_px'][name]['n']})" for name in first["by_px"]]
    heads += [f"{name} (n {first['by_source'][name]['n']})" for name in first["by_source"]]
    yield f"| out-of-source, last epoch | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for row in done:
        figures = last[row["name"]]
        cells = [_with_interval(part[name]) for part in (figures["by_px"], figures["by_source"]) for name in part]
        yield f"| {row['title']} | {' | '.join(cells)} |"


def known(out: Path, empty: Row) -> list[Row]:
    """Give the rows of a report that is about the same faces, none otherwise."""
    if not out.exists():
        return []
    found = json.loads(out.read_text())
    same = all(found[key] == empty[key] for key in ("data_sha256", "seed", "subset", "out_of_source"))
    rows: list[Row] = found["rows"] if same else []
    return rows


def write(out: Path, page: Path, empty: Row, row: Row, order: list[str]) -> None:
    """Put a row into the report, and the report's tables into the page between its two marks."""
    rows = {one["name"]: one for one in known(out, empty)} | {row["name"]: row}
    report = empty | {"rows": [rows[name] for name in order if name in rows]}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    if page.exists():
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n{tables(report)}\n\n{END}{after}")
