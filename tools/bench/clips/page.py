"""The figures of the clips: what is written as JSON, and the same as tables for docs/clips.md."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.errors import InputError
from tools.bench.clips.findings import SAME_TIME_S, Nobody, Seen, Told
from tools.bench.street.figures import Share

BEGIN, END = "<!-- figures: written by the command -->", "<!-- end of the figures -->"
ONCE_AIM = 90.0
FRAMES_AIM = 120.0


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What changes with a gate open. lost: persons told only then; differences: all, in words; none is the aim."""

    detections: int
    lost: list[str]
    differences: list[str]


class ClipFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One clip. frames_per_s: decoding and commits included, one core; a figure of the machine that measured."""

    name: str
    size: str
    fps: float
    frames: int
    frames_per_s: float
    detections: int
    persons: list[Seen]
    nobody: list[Nobody]
    opened: dict[str, Opened]

    @property
    def counted(self) -> list[Seen]:
        return [one for one in self.persons if one.counts]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What is written. aims: which are reached."""

    command: str
    detector_sha256: str
    classifier_sha256: str
    aims: dict[str, bool]
    clips: list[ClipFigures]


def opened(shipped: Sequence[Told], other: Sequence[Told], differences: list[str], detections: int) -> Opened:
    """Name who is told only with a gate open."""
    told = {one.who for one in shipped}
    lost = sorted({one.who for one in other} - told - {"nobody"})
    return Opened(detections=detections, lost=lost, differences=differences)


def aims(clips: Sequence[ClipFigures]) -> dict[str, bool]:
    """Tell which aims are reached."""
    counted = [one for clip in clips for one in clip.counted]
    found = {f"told once, one `new` and one `end`: >= {ONCE_AIM:.0f} %": _percent(counted) >= ONCE_AIM}
    for name in clips[0].opened if clips else ():
        changed = any(clip.opened[name].differences for clip in clips)
        found[f"gate open ({name}): the same persons and labels, times within {SAME_TIME_S:g} s"] = not changed
    found[f"frames a second on each clip: >= {FRAMES_AIM:.0f}"] = all(clip.frames_per_s >= FRAMES_AIM for clip in clips)
    return found


def _percent(persons: Sequence[Seen]) -> float:
    return 100 * sum(one.once for one in persons) / len(persons) if persons else 0.0


def tables(report: Report) -> str:
    """Give all figures as Markdown."""
    models = f"Detector {report.detector_sha256[:8]}, classifier {report.classifier_sha256[:8]}."
    parts = [models, "", *_row(["aim", ""], rule=True)]
    parts += [line for aim, reached in report.aims.items() for line in _row([aim, "reached" if reached else "missed"])]
    return "\n".join([*parts, "", *_clips(report.clips), "", *_persons(report.clips), "", *_gates(report.clips)]) + "\n"


def _clips(clips: Sequence[ClipFigures]) -> list[str]:
    head = [
        "clip",
        "persons",
        "once",
        "twice",
        "missed",
        "right",
        "wrong",
        "unsure",
        "nobody",
        "others told",
        "frames/s",
    ]
    rows = _row(head, rule=True)
    for clip in clips:
        size = f"{clip.name}, {clip.size}, {clip.frames} frames at {clip.fps:g}/s"
        rows += _row([size, *_sums([clip]), f"{clip.frames_per_s:.0f}"])
    counted = [one for clip in clips for one in clip.counted]
    once = Share.of(sum(one.once for one in counted), len(counted))
    return [*rows, *_row(["all", *_sums(clips), ""]), "", f"Told once: {once} %."]


def _sums(clips: Sequence[ClipFigures]) -> list[str]:
    counted = [one for clip in clips for one in clip.counted]
    told = [one for one in counted if one.times]
    numbers = (
        len(counted),
        sum(one.once for one in counted),
        sum(one.times > 1 for one in counted),
        sum(not one.times for one in counted),
        sum(one.said == one.label for one in told),
        sum(one.said not in (one.label, "unsure") for one in told),
        sum(one.said == "unsure" for one in told),
        sum(len(clip.nobody) for clip in clips),
        sum(one.times for clip in clips for one in clip.persons if not one.counts),
    )
    return [str(number) for number in numbers]


def _persons(clips: Sequence[ClipFigures]) -> list[str]:
    head = ["clip", "person", "is", "px", "s", "found in", "told as, from `new` to `end` (s)", "cause"]
    rows = _row(head, rule=True)
    for clip in clips:
        for one in clip.counted:
            told = "; ".join(map(_story, one.told)) or "-"
            rows += _row(
                [
                    clip.name,
                    one.who,
                    one.label,
                    f"{one.size_px:.0f}",
                    f"{one.clear_s:.1f}",
                    f"{one.found} of {one.shown}",
                    told,
                    one.why or "-",
                ]
            )
        for nobody in clip.nobody:
            place = ", ".join(f"{side:.0f}" for side in nobody.box)
            rows += _row([clip.name, "nobody", nobody.what, "", "", "", f"{nobody.label} {nobody.begin_s:g}", place])
    return rows


def _story(told: Told) -> str:
    shared = f" (partly on {', '.join(told.shared)})" if told.shared else ""
    return f"{told.label} {told.new_s:g}-{told.end_s:g}{shared}"


def _gates(clips: Sequence[ClipFigures]) -> list[str]:
    rows = _row(["clip", "gate open", "searches, as shipped", "gate open", "lost", "what differs"], rule=True)
    for clip in clips:
        for name, one in clip.opened.items():
            cells = [clip.name, name, str(clip.detections), str(one.detections)]
            rows += _row([*cells, ", ".join(one.lost) or "nobody", "; ".join(one.differences) or "nothing"])
    return rows


def _row(cells: Sequence[str], *, rule: bool = False) -> list[str]:
    line = "| " + " | ".join(cells) + " |"
    return [line, "|" + "---|" * len(cells)] if rule else [line]


def write_page(path: Path, figures: str) -> None:
    """Put the figures into a page, between its two marks. Raises InputError if it has no such marks."""
    text = path.read_text()
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError("has no place for the figures", where=str(path), remedy=f"add the lines {BEGIN} and {END}")
    path.write_text(f"{head}{BEGIN}\n{figures}{END}{tail}")
