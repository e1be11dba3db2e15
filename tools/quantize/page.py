"""Reports as Markdown: the tables of sources left out, for the card and beside their JSON, and a net's own page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.quantize.conditions import AT_SIZE, BESIDE, DARK, EIGHT, SIZES_PX, SOFT

Block = Mapping[str, Any]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def put_between(text: str, marks: tuple[str, str], new: str) -> str:
    """Replace what is between two marks that are both in the text."""
    before, rest = text.split(marks[0], 1)
    _, after = rest.split(marks[1], 1)
    return f"{before}{marks[0]}\n{new}{marks[1]}{after}"


def left_out_page(found: Mapping[str, Any]) -> str:
    """Say what tools.quantize.left_out measured. found: its report."""
    sources: Mapping[str, Block] = found["sources"]
    order = [name for name in (*EIGHT, *BESIDE) if name in sources]
    missing = [name for name in EIGHT if name not in sources]
    steps = sorted({str(net["steps"]) for net in found["nets"].values()})
    parts = [
        "Per cent, int8, all faces of a source through the agent as tight crops (`maskwatch inspect --crops`), each by "
        f"a net that was trained ({', '.join(steps)} steps) and calibrated without that source. Two-way: the likelier "
        "of mask and no_mask, balanced (95 % interval); strict: the likeliest of all three, over the same faces.",
        "    python -m tools.quantize.left_out",
    ]
    if missing:
        parts.append(f"Not measured yet: {', '.join(missing)}.")
    parts += [_accuracy(sources, order, found), _conditions(sources, order, found), _said(found), _answered(found)]
    return "\n" + "\n".join(part if part.endswith("\n") else f"{part}\n" for part in parts) + "\n"


def net_page(report: Mapping[str, Any]) -> str:
    """Say what tools.quantize made of a classifier, and how near it is to the float net. report: its JSON."""
    name, val, band = report["name"], report["val"], report["abstain"]
    ops = ", ".join(f"{op} {count}" for op, count in report["anatomy"]["ops"].items())
    about = [
        f"{report['parameters']:,} parameters, {report['multiply_adds']:,} multiply-adds, "
        f"{report['anatomy']['bytes']:,} bytes; sha256 {report['sha256']}.",
        f"Operators: {ops}. Tensors: {', '.join(report['anatomy']['dtypes'])} only.",
        f"{report['edge_tpu']}.",
        f"Calibrated with {report['calibration']['faces']} faces, seed {report['calibration']['seed']}.",
        f"The float net's label on {report['agreement_pct']} % of the validation faces.",
        f"{report['int8_loses']['said']}.",
        f"Temperature {report['temperature']}, least probability {band['confidence']}: from the {report['fitted_on']}. "
        f"Validation looks of 10 px and more: {band['coverage_pct']} % answered, {band['right_pct']} % of these right.",
    ]
    shown = {"float": val["float"], "int8": val["int8"]}
    shown |= {f"int8, {px} px": block for px, block in val["by_px"].items()}
    rows = [
        [
            title,
            str(block["n"]),
            *(_number(block, key, 2) for key in ("two_way", "strict", "bare_called_mask", "incorrect_called_mask")),
        ]
        for title, block in shown.items()
    ]
    head = ["validation faces", "n", "two-way", "strict, all labels", "bare called mask", "incorrect called mask"]
    changed = ", ".join(report["label_changed"]) or "none"
    return (
        f"# {name}\n\nMade by `python -m tools.quantize` from {name}.npz. Faces of sources that the net knows: "
        "what to expect elsewhere is in the model card.\n\n"
        + "\n".join(f"- {line}" for line in about)
        + "\n\nPer cent; faces larger than the size shrunk to it.\n\n"
        + table(head, rows)
        + f"\nFaces whose label changed from float to int8: {changed}.\n\n"
        + f"![How sure, how right]({name}-reliability.png)\n![What not answering buys]({name}-risk.png)\n"
    )


def _accuracy(sources: Mapping[str, Block], order: list[str], found: Mapping[str, Any]) -> str:
    head = ["left out", "faces: mask, bare, incorrect", "two-way", "AUC", "strict"]
    head += ["bare called mask", "incorrect called mask", "incorrect found", "int8 loses"]
    rows = []
    for name in order:
        block = sources[name]["crop"]
        low, high = block["two_way_interval"]
        faces = [str(block.get(label, {}).get("n", 0)) for label in ("mask", "no_mask", "incorrect")]
        lost = found["int8"]["sources"][name]["two_way_lost"]
        rows.append(
            [
                name,
                ", ".join(faces),
                f"{block['two_way']:.1f} ({low}-{high})",
                _number(block, "auc", 3),
                _number(block, "strict"),
                _number(block, "no_mask_called_mask"),
                _number(block, "incorrect_called_mask"),
                _number(block.get("incorrect", {}), "found"),
                f"{lost:+.2f}",
            ]
        )
    for name in ("mean", "worst"):
        block = found[name].get("crop", {})
        lost = f"{found['int8']['two_way_lost']:+.2f}" if name == "mean" else ""
        cells = [f"**{_number(block, key, places)}**" for key, places in (("two_way", 1), ("auc", 3), ("strict", 1))]
        rows.append([f"**{name} of {block.get('sources', 0)}**", "", *cells, "", "", "", lost])
    return table(head, rows)


def _conditions(sources: Mapping[str, Block], order: list[str], found: Mapping[str, Any]) -> str:
    others = ["frame", "wide", "gray", *DARK, *SOFT]
    head = ["two-way", "as it is", *AT_SIZE, "in its surroundings", "1.5x box", "gray"]
    head += [f"{DARK[name]:g} x darker" for name in DARK] + [f"blurred {100 * SOFT[name]:g} %" for name in SOFT]
    shown = {name: sources[name] for name in order} | {f"**{name}**": found[name] for name in ("mean", "worst")}
    rows = [
        [name, *(_number(block.get(condition, {}), "two_way") for condition in ("crop", *AT_SIZE, *others))]
        for name, block in shown.items()
    ]
    note = (
        f"Shrunk: faces larger than that, to {', '.join(map(str, SIZES_PX))} px. Sources of tight crops have no "
        "surroundings. Blurred: standard deviation in per cent of the face's side.\n\n"
    )
    return table(head, rows) + "\n" + note + _by_native(sources, order)


def _by_native(sources: Mapping[str, Block], order: list[str]) -> str:
    rows = []
    for name in order:
        bins = sources[name]["crop"].get("by_native_px", {})
        if "<=24" in bins or "24-32" in bins:
            cells = [
                f"{bins[key]['two_way']:.1f} ({bins[key]['n']})" if key in bins else "-"
                for key in ("<=24", "24-32", "32-64", ">64")
            ]
            rows.append([name, *cells])
    head = ["two-way (faces), by the face's own size", "<= 24 px", "24-32", "32-64", "> 64"]
    return table(head, rows) if rows else ""


def _said(found: Mapping[str, Any]) -> str:
    called, lines = found["called_mask"], []
    hands = found["sources"].get("fer_hands", {}).get("crop")
    if hands:
        low, high = hands["no_mask"]["called_mask_interval"]
        flagged = called["fer_hands_flagged"]
        lines.append(
            f"fer_hands, bare, gray, often behind hands: {len(called['fer_hands'])} of {hands['n']} called mask "
            f"({hands['no_mask_called_mask']} %, {low}-{high}); of the {flagged['n']} flagged `occluder:` "
            f"{len(flagged['called_mask'])}: {', '.join(flagged['called_mask']) or 'none'}."
        )
    mafa = found["sources"].get("mafa", {}).get("crop")
    if mafa:
        low, high = mafa["no_mask"]["called_mask_interval"]
        lines.append(
            f"mafa, bare: {mafa['no_mask_called_mask']} % called mask ({low}-{high}); about 4 % wear something."
        )
    if called["other_flagged"]:
        rows = ", ".join(
            f"{row['id']} ({row['flag'].removeprefix('occluder:')}) {row['called']}, p(mask) {row['p_mask']:.2f}"
            for row in called["other_flagged"]
        )
        lines.append(f"Other faces flagged `occluder:`: {rows}.")
    for condition, words in (("wide", "A box 1.5x as large"), ("gray", "Gray")):
        lost = dict(found["lost_to"][condition])
        if lost:
            mean, worst = lost.pop("mean"), max(lost, key=lambda name: lost[name])
            lines.append(f"{words} takes {mean:.2f} points of two-way on the mean, {lost[worst]:.2f} on {worst}.")
    int8 = found["int8"]
    lines.append(f"{int8['said']} ({int8['two_way_lost']:+.2f} two-way, {int8['strict_lost']:+.2f} strict).")
    return "\n".join(f"- {line}" for line in lines)


def _answered(found: Mapping[str, Any]) -> str:
    abstain, risk = found["abstain"], found["risk"]
    words = "" if risk["reached"] else " (not reached: the level of least risk)"
    text = (
        f"**When it answers.** Temperature {found['temperature']}; no answer below a probability of "
        f"{abstain['confidence']}, {abstain['face_px']:g} px, brightness {abstain['brightness']:g} or sharpness "
        f"{abstain['sharpness']:g}: chosen on the mask and bare faces of those of the eight sources that were left "
        f"out, each counting equally, so that at most {100 * risk['stated']:g} % of the answered tight crops are "
        f"wrong{words}, and no size, darkness or flatness is answered with more than {100 * risk['of_a_kind']:g} % "
        f"wrong. {risk['wrong_labels']} rows whose label is wrong by eye (tools/train/wrong_labels.py) had no say "
        "in this, but count below.\n\n"
    )
    rows = [
        [
            name,
            _number(block, "coverage"),
            _number(block, "right", 2),
            *(_number(block, reason) for reason in ("too_small", "dark", "blurred", "undecided")),
            _number(block, "incorrect_called_mask"),
        ]
        for part in ("by_condition", "by_source")
        for name, block in found["answered"][part].items()
    ]
    head = ["% of looks", "answered", "of these right", "too small", "dark", "blurred", "undecided"]
    error = found["curves"]["calibration_error"]
    before, after = error.get("crop, temperature 1"), error.get("crop")
    tail = f"\nCalibration error on tight crops {after}, with temperature 1 {before} (12 bins of equal weight).\n"
    return text + table([*head, "incorrect answered mask"], rows) + tail


def _number(block: Block, key: str, places: int = 1) -> str:
    return f"{block[key]:.{places}f}" if key in block else "-"
