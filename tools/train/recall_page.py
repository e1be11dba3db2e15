"""What evaluate_detector measured, as a page: tables between marks in docs/detector.md, a plot, and their JSON.

python -m tools.train.recall_page    # the page anew from models/reports/detector.json
"""

from pathlib import Path

import matplotlib as mpl
import msgspec

mpl.use("agg")

from matplotlib import pyplot as plt

from tools.quantize.page import put_between, table
from tools.quantize.plots import STYLE, save
from tools.train.evaluate_detector import EVERYTHING, Measured, Report
from tools.train.recall import SIZES

REPORT = Path("models/reports/detector.json")
PLOT = Path("docs/detector.png")
PAGE = Path("docs/detector.md")
MARKS = ("<!-- figures: written by the command -->", "<!-- end of the figures -->")

AIMS = (
    ("one pass at 320x256", "face-320, one pass", "masked", 80.0),
    ("one pass at 320x256", "face-320, one pass", "wider", 56.0),
    ("one pass at 480x384", "face-480, one pass", "masked", 87.0),
    ("one pass at 480x384", "face-480, one pass", "wider", 73.0),
)
INSPECT_MS = 15.0
FLOAT_POINTS = 1.0
ELSEWHERE = {
    "AIZOO, 260x260": ((11, 43, 63, 81, 96, 56.8), 34.9),
    "YuNet-n, 320 px": ((26, 67, 77, 89, 93, 69.4), 51.9),
    "YuNet-n, 480 px": ((56, 82, 84, 90, 91, 80.4), 70.5),
    "YuNet-n, 640 px": ((67, 84, 85, 90, 93, 83.5), 77.8),
}
"""Per cent by size on `masked`, and on `wider`, precision 0.90: figures of this project's task, not of these tools."""


def write_report(report: Report) -> None:
    """Write the JSON, the plot, and the tables into the page."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    plot(report, PLOT)
    PAGE.write_text(put_between(PAGE.read_text(), MARKS, f"\n{figures(report)}\n"))


def figures(report: Report) -> str:
    """Give all tables as Markdown."""
    models = ", ".join(f"{name} {sha256[:8]}" for name, sha256 in report.sha256.items())
    machine = report.machine
    pictures = ", ".join(f"{count} {split}" for split, count in report.pictures.items())
    parts = [
        f"Models {models}; pictures {report.data} ({pictures}); "
        f"one core of {machine.cpu}, load {machine.load:g} when it began.\n",
        "### Aims\n",
        _aims(report),
        *(f"### All sizes, {split} split\n\n{_all_sizes(report, split)}" for split in report.pictures),
    ]
    if "test" in report.pictures:
        groups = [group for group in ("masked", "wider", "wider_more", "k210cam") if _with(report, "test", group)]
        parts += [f"### By size, test split: {group}\n\n{_by_size(report, 'test', group)}" for group in groups]
        parts.append(f"### By label and size, test split: masked\n\n{_by_label(report, 'test', 'masked')}")
    return "\n".join(parts)


def _with(report: Report, split: str, group: str) -> list[Measured]:
    return [one for one in report.measured if group in one.recall.get(split, {})]


def _title(one: Measured) -> str:
    return one.name if one.numbers == "int8" else f"{one.name}, {one.numbers}"


def _aims(report: Report) -> str:
    int8 = {one.name: one for one in report.measured if one.numbers == "int8"}
    exact = {one.name: one for one in report.measured if one.numbers == "float"}
    rows = []
    for what, name, group, aim in AIMS:
        recall = int8[name].recall.get("test", {}) if name in int8 else {}
        if group in recall:
            found = recall[group]["0.90"].all.recall["all"]
            rows.append([f"{what}: {group}, test", f">= {aim:g} %", f"{found} %", _verdict(found >= aim)])
    for name, one in int8.items():
        both = [split for split in ("test", "val") if name in exact and EVERYTHING in one.recall.get(split, {})]
        for split in both:
            pair = [of[name].recall[split][EVERYTHING]["0.90"].all.recall["all"] for of in (int8, exact)]
            behind = round(pair[1] - pair[0], 1)
            said = f"{pair[0]} against {pair[1]} %"
            rows.append(
                [
                    f"{name}: behind its float net, {split}",
                    f"<= {FLOAT_POINTS:g}",
                    said,
                    _verdict(behind <= FLOAT_POINTS),
                ]
            )
    if "closely" in int8:
        ms = int8["closely"].ms
        rows.append(["closely: ms a picture of 640 px", f"<= {INSPECT_MS:g}", f"{ms:.1f}", _verdict(ms <= INSPECT_MS)])
    return table(["what", "aim", "found", ""], rows)


def _verdict(reached: bool) -> str:
    return "reached" if reached else "missed"


def _all_sizes(report: Report, split: str) -> str:
    groups = list(dict.fromkeys(group for one in report.measured for group in one.recall.get(split, {})))
    rows = []
    for one in report.measured:
        recall = one.recall.get(split, {})
        if recall:
            work = "" if one.million_multiply_adds is None else f"{one.million_multiply_adds:.0f}"
            cells = [_both(one, split, group, "all") if group in recall else "" for group in groups]
            score = recall[EVERYTHING]["0.90"].threshold
            at = f"{score:.2f}" if score is not None and one.numbers != "cascade" else ""
            rows.append([_title(one), work, f"{one.ms:.1f}", at, *cells])
    if split == "test":
        for name, (by_size, wider) in ELSEWHERE.items():
            cells = [{"masked": f"{by_size[-1]}", "wider": f"{wider}"}.get(group, "") for group in groups]
            rows.append([f"{name}, float *", "", "", "", *cells])
    return table(["detector", "M multiply-adds", "ms", "score", *groups], rows)


def _both(one: Measured, split: str, group: str, size: str) -> str:
    """Give the recall at both precisions."""
    found = [recall.all.recall.get(size) for recall in one.recall[split][group].values()]
    return " / ".join("" if recall is None else f"{recall}" for recall in found) if found[0] is not None else ""


def _by_size(report: Report, split: str, group: str) -> str:
    ways = _with(report, split, group)
    faces = ways[0].recall[split][group]["0.90"].all.faces
    head = ["detector", *(f"{size} ({faces[size]})" for size in SIZES if size in faces), "95 %"]
    rows = []
    for one in ways:
        low, high = one.recall[split][group]["0.90"].interval
        rows.append(
            [_title(one), *(_both(one, split, group, size) for size in SIZES if size in faces), f"{low}-{high}"]
        )
    if group == "masked":
        rows += [
            [f"{name}, float *", *(f"{value:g}" for value in values), ""] for name, (values, _) in ELSEWHERE.items()
        ]
    return table(head, rows)


def _by_label(report: Report, split: str, group: str) -> str:
    ways = [one for one in _with(report, split, group) if one.numbers == "int8"]
    rows = []
    for one in ways:
        at = one.recall[split][group]
        for label, by_size in at["0.90"].by_label.items():
            cells = [
                f"{by_size.recall[size]} / {at['0.80'].by_label[label].recall[size]} ({by_size.faces[size]})"
                if size in by_size.faces
                else ""
                for size in SIZES
            ]
            rows.append([one.name, label, *cells])
    return table(["detector", "label", *SIZES], rows)


def plot(report: Report, path: Path, split: str = "test", group: str = "masked") -> None:
    """Draw recall by size: ours as int8, the best of the cascades, and some of what was measured elsewhere."""
    ways = _with(report, split, group)
    cascades = [one for one in ways if one.numbers == "cascade"]
    shown = [one for one in ways if one.numbers == "int8"]
    shown += sorted(cascades, key=lambda one: -one.recall[split][group]["0.90"].all.recall["all"])[:1]
    names = [size for size in SIZES if size != "all"]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots()
        for one in shown:
            recall = one.recall[split][group]["0.90"].all.recall
            axes.plot(range(len(names)), [recall.get(size) for size in names], label=_title(one))
        for name, (by_size, _) in list(ELSEWHERE.items())[1::2]:
            axes.plot(range(len(names)), by_size[:-1], linestyle=":", label=f"{name}, float *")
        axes.set_xticks(range(len(names)), names)
        axes.set(xlabel="face, px of the stored picture", ylabel="found, %, at precision 0.90", ylim=(0, 100))
        axes.set_title(f"Faces found by size, {group}, {split} split", loc="left")
        save(figure, axes, path)


def main() -> None:
    """Write the page anew from the report that is there."""
    write_report(msgspec.json.decode(REPORT.read_bytes(), type=Report))


if __name__ == "__main__":
    main()
