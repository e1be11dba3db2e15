"""`inspect --report`: what was found, as one HTML file that needs nothing else and loads nothing from anywhere."""

import os
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from agent.cli.html import Markup, el, join, table
from agent.cli.lines import REASONS
from agent.cli.promise import Promise
from agent.cli.story import Portraits, Seen, Story
from agent.cli.terminal import WORDS, duration, some, tail
from agent.errors import NotPermittedError, StorageError
from agent.seams import Reason, Verdict

_REMEDIES: dict[Reason, str] = {
    "too_small": "move the camera closer, zoom in, or take a larger picture",
    "blurred": "focus or clean the lens, or give more light, so that the exposure is shorter",
    "dark": "more light on the faces, not behind them",
    "undecided": "a look from further in front; some faces stay undecided, and that is meant so",
}
_SIZES_PX = (0, 16, 24, 32, 48, 64, 96)
_CONFIDENCES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_LANES_MAX = 40
_VERDICTS: tuple[Verdict, ...] = ("mask", "no_mask", "incorrect", "unsure")
_PATH_CHARS = 36

# The colours are those of drawn copies, darkened or lightened for text; words stand beside them everywhere.
_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--pale:#59636e;--line:#d1d9e0;--ground:#fff;--plate:#f6f8fa;
--mask:#2ea043;--no_mask:#d73a49;--incorrect:#d68800;--unsure:#825ac8;--open:#b6bfc8}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--pale:#9198a1;--line:#3d444d;--ground:#0d1117;--plate:#151b23;
--mask:#3fb950;--no_mask:#f85149;--incorrect:#e3a008;--unsure:#a78bfa;--open:#545d68}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);margin:0 auto;max-width:66rem;
padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.2rem 0 .6rem}h3{font-size:1rem;margin:1rem 0 .3rem;
overflow-wrap:anywhere}
p{margin:.3rem 0}.pale{color:var(--pale)}.note{border-left:4px solid var(--mask);background:var(--plate);
padding:.6rem .9rem;margin:1rem 0}.note.faces{border-color:var(--no_mask)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.75rem;margin:1rem 0}
.tile{background:var(--plate);border-top:4px solid var(--line);padding:.6rem .8rem}
.tile b{display:block;font-size:1.8rem;line-height:1.2}
.mask{border-color:var(--mask)}.no_mask{border-color:var(--no_mask)}.incorrect{border-color:var(--incorrect)}
.unsure{border-color:var(--unsure)}
.bar{display:flex;height:1.1rem;min-width:6rem;width:100%;background:var(--plate)}.bar i{display:block;min-width:2px}
i.mask,.dot.mask{background:var(--mask)}i.no_mask,.dot.no_mask{background:var(--no_mask)}
i.incorrect,.dot.incorrect{background:var(--incorrect)}i.unsure,.dot.unsure{background:var(--unsure)}
.dot{display:inline-block;width:.7em;height:.7em;margin-right:.45em;border-radius:50%}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:middle;
white-space:nowrap}
th{color:var(--pale);font-weight:600}th.n,td.n{text-align:right}td:has(.bar){width:60%}
svg{width:100%;height:auto;display:block}svg text{fill:var(--pale);font-size:11px}svg .axis{stroke:var(--line)}
rect.mask{fill:var(--mask)}rect.no_mask{fill:var(--no_mask)}rect.incorrect{fill:var(--incorrect)}
rect.unsure{fill:var(--unsure)}rect.open{fill:var(--open)}
img{display:block;width:48px;height:48px;object-fit:contain;background:var(--plate)}
@media print{body{max-width:none}.wide{overflow:visible}}
"""


def page(
    story: Story, *, made: str, version: str, models: Sequence[str], promise: Promise, portraits: Portraits | None
) -> str:
    """Write the whole file. made: the time of day for people; portraits: pictures to put in, or None for none."""
    seen = story.seen
    parts = [
        el("h1", "What maskwatch saw"),
        el("p", f"{made} · maskwatch {version} · {', '.join(models)}", class_="pale"),
        _privacy(seen, portraits),
        _summary(story),
        *_unsure(seen),
        *_timelines(seen),
        *_bars("Face sizes", "Side", _by_size(seen), _size_words, promise=promise),
        *_bars("Confidence", "Sure", _by_confidence(seen), _confidence_words, promise=None),
        *_list(seen, portraits),
        *_unread(story.unread),
    ]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width,initial-scale=1"),
        el(
            "meta",
            http_equiv="Content-Security-Policy",
            content="default-src 'none'; style-src 'unsafe-inline'; img-src data:",
        ),
        el("title", "What maskwatch saw"),
        el("style", Markup(_STYLE)),
    )
    return join(Markup("<!doctype html>\n"), el("html", head, el("body", el("main", *parts)), lang="en"), Markup("\n"))


def check_place(path: Path) -> None:
    """Raises StorageError or NotPermittedError where `write` would: before an hour's work, not after it."""
    write_to = path.parent
    if not write_to.is_dir():
        raise StorageError(
            "there is no such folder", where=str(write_to), remedy="make it, or name another for --report"
        )
    if path.is_dir():
        raise StorageError("is a folder", where=str(path), remedy="name a file for --report")
    if not os.access(write_to, os.W_OK):
        raise NotPermittedError("may not be written to", where=str(write_to), remedy="name another file for --report")


def write(path: Path, text: str) -> None:
    """Put the file where it is wanted, whole or not at all. Raises StorageError."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise StorageError(
            f"cannot be written: {error.strerror}", where=str(path), remedy="make room, or name another file"
        ) from error


def _privacy(seen: Sequence[Seen], portraits: Portraits | None) -> Markup:
    if portraits is None:
        return el("p", "No picture of anybody is in this file: numbers and labels only.", class_="note")
    words = f"This file holds pictures of {some(len(seen), 'face')}, because --with-crops asked for them. "
    return el(
        "p", el("b", words), "Keep it where only those may read who must, and delete it after.", class_="note faces"
    )


def _summary(story: Story) -> Markup:
    counted = Counter(one.label for one in story.seen)
    persons = sum(one.begin_s is not None for one in story.seen)
    nouns = [some(count, noun) for count, noun in ((persons, "person"), (len(story.seen) - persons, "face")) if count]
    words = " and ".join(nouns) or "nobody"
    tiles = [
        el(
            "div",
            el("b", str(len(story.seen))),
            words if len(nouns) > 1 else words.lstrip("0123456789 "),
            class_="tile",
        )
    ]
    for verdict in _VERDICTS:
        share = f" · {counted[verdict] / len(story.seen):.0%}" if story.seen else ""
        tiles.append(el("div", el("b", str(counted[verdict])), f"{WORDS[verdict]}{share}", class_=f"tile {verdict}"))
    read = f"{some(len(story.files), 'file')} read"
    failed = f", {len(story.unread)} could not be read" if story.unread else ""
    return el("section", el("div", *tiles, class_="tiles"), _stack(counted), el("p", read + failed, class_="pale"))


def _unsure(seen: Sequence[Seen]) -> list[Markup]:
    """Tell how many are unsure, why, and what would help."""
    reasons = Counter(one.reason or "undecided" for one in seen if one.label == "unsure")
    if not reasons:
        return []
    rows = [[REASONS[reason], str(count), _REMEDIES[reason]] for reason, count in reasons.most_common()]
    return [el("h2", "Why unsure"), table(["Reason", "How many", "What would help"], rows, numbers=frozenset({1}))]


def _timelines(seen: Sequence[Seen]) -> list[Markup]:
    """Draw the persons of each clip along its seconds; who overlaps nobody shares a lane."""
    clips: dict[str, list[Seen]] = {}
    for one in seen:
        if one.begin_s is not None:
            clips.setdefault(one.path, []).append(one)
    if not clips:
        return []
    drawn: list[Markup] = [el("h2", "Timeline")]
    key = [_dot(verdict) for verdict in _VERDICTS]
    drawn.append(el("p", *key, "Gray: seen, not decided yet.", class_="pale"))
    for path, persons in clips.items():
        drawn += [el("h3", tail(path, 2 * _PATH_CHARS)), _timeline(persons)]
    return drawn


def _timeline(persons: Sequence[Seen]) -> Markup:
    end_s = max(one.end_s or 0.0 for one in persons) or 1.0
    lanes: list[float] = []  # when each becomes free
    shapes: list[Markup] = []
    left_out = 0
    for one in sorted(persons, key=lambda one: one.begin_s or 0.0):
        begin_s, last_s = one.begin_s or 0.0, one.end_s or 0.0
        lane = next((place for place, free_s in enumerate(lanes) if free_s <= begin_s), len(lanes))
        if lane >= _LANES_MAX:
            left_out += 1
            continue
        lanes[lane : lane + 1] = [last_s]
        steps = [(begin_s, "open"), *one.turns]
        for (at_s, kind), (until_s, _) in zip(steps, [*steps[1:], (max(last_s, steps[-1][0]), "")], strict=True):
            words = "not decided yet" if kind == "open" else WORDS[kind]
            title = el("title", f"{one.name}: {words}, {at_s:.1f} to {until_s:.1f} s")
            x, width = at_s / end_s * 1000, max(2.0, (until_s - at_s) / end_s * 1000)
            shapes.append(el("g", title, el("rect", x=x, y=lane * 16 + 2.0, width=width, height=12, class_=kind)))
    height = len(lanes) * 16
    marks = []
    for part in range(5):
        anchor = "start" if part == 0 else "end" if part == 4 else "middle"
        words = el("text", f"{end_s * part / 4:.1f} s", x=part * 250, y=height + 14, text_anchor=anchor)
        marks += [el("line", x1=part * 250, x2=part * 250, y1=0, y2=height, class_="axis"), words]
    label = f"{some(len(persons), 'person')} over {duration(end_s)}; the table below says the same"
    svg = el("svg", *marks, *shapes, viewBox=f"0 0 1000 {height + 18}", role="img", aria_label=label)
    return join(svg, el("p", f"{left_out} more are in the table only.", class_="pale")) if left_out else svg


def _by_size(seen: Sequence[Seen]) -> dict[float, Counter[Verdict]]:
    return _binned([(one.face_px, one.label) for one in seen if one.face_px is not None], _SIZES_PX)


def _by_confidence(seen: Sequence[Seen]) -> dict[float, Counter[Verdict]]:
    return _binned([(one.confidence, one.label) for one in seen], _CONFIDENCES)


def _binned(values: Sequence[tuple[float, Verdict]], floors: Sequence[float]) -> dict[float, Counter[Verdict]]:
    bins: dict[float, Counter[Verdict]] = {floor: Counter() for floor in floors}
    for value, label in values:
        bins[max((floor for floor in floors if floor <= value), default=floors[0])][label] += 1
    return bins if values else {}


def _size_words(floor: float, after: float | None) -> str:
    return f"{floor:.0f} px and more" if after is None else f"{floor:.0f} to {after:.0f} px"


def _confidence_words(floor: float, after: float | None) -> str:
    return f"{floor:.0%} and more" if after is None else f"{floor:.0%} to {after:.0%}"


def _bars(
    title: str,
    column: str,
    bins: dict[float, Counter[Verdict]],
    words: Callable[[float, float | None], str],
    *,
    promise: Promise | None,
) -> list[Markup]:
    """Draw one bar a bin, all on one scale. promise: adds what the model's report measured at these sizes."""
    if not bins:
        return []
    most = max(sum(counts.values()) for counts in bins.values()) or 1
    rows = []
    for (floor, counts), after in zip(bins.items(), [*list(bins)[1:], None], strict=True):
        total = sum(counts.values())
        rows.append([words(floor, after), _stack(counts, share=total / most), str(total)])
        if promise is not None:
            measured = promise.at(floor)
            rows[-1].append("not measured" if measured is None else f"{measured:.1f} %")
    titles = [column, "", "How many"] + ([] if promise is None else ["Measured at this size"])
    note = "Right one of mask and no mask, on the classifier's validation pictures." if promise is not None else ""
    said = [el("p", note, class_="pale")] if note else []
    return [el("h2", title), table(titles, rows, numbers=frozenset({2, 3})), *said]


def _stack(counts: Counter[Verdict], *, share: float = 1.0) -> Markup:
    """Draw counts beside each other. share: of the whole width."""
    total = sum(counts.values()) or 1
    parts = [
        el("i", class_=verdict, style=f"width:{counts[verdict] / total * share:.2%}", title=_count(counts, verdict))
        for verdict in _VERDICTS
        if counts[verdict]
    ]
    words = ", ".join(_count(counts, verdict) for verdict in _VERDICTS if counts[verdict]) or "none"
    return el("div", *parts, class_="bar", role="img", aria_label=words)


def _count(counts: Counter[Verdict], verdict: Verdict) -> str:
    return f"{counts[verdict]} {WORDS[verdict]}"


def _list(seen: Sequence[Seen], portraits: Portraits | None) -> list[Markup]:
    """Give one row for each face and person."""
    if not seen:
        return [el("p", "Nobody was seen.")]
    clips = any(one.begin_s is not None for one in seen)
    titles = (
        ["Face", "File", "Who", "Says", "Sure", "Size"] + (["From", "To", "Looks"] if clips else []) + ["Why unsure"]
    )
    rows = []
    for one in seen:
        jpeg = None if portraits is None else portraits.jpeg(one.path, one.name)
        row = [
            "" if jpeg is None else el("img", src=f"data:image/jpeg;base64,{b64encode(jpeg).decode()}", alt=one.name),
            el("span", tail(one.path, _PATH_CHARS), title=one.path),
            one.name,
            _said(one),
            f"{one.confidence:.0%}",
            "" if one.face_px is None else f"{one.face_px:.0f} px",
        ]
        if clips:
            row += [_second(one.begin_s), _second(one.end_s), str(one.looks)]
        rows.append([*row, "" if one.reason is None else REASONS[one.reason]])
    numbers = {"Sure", "Size", "From", "To", "Looks"}
    places = frozenset(place for place, title in enumerate(titles) if title in numbers)
    if portraits is None:
        titles, rows, places = titles[1:], [row[1:] for row in rows], frozenset(place - 1 for place in places)
    return [el("h2", "Persons" if clips else "Faces"), table(titles, rows, numbers=places)]


def _said(one: Seen) -> Markup:
    """Give the label, after those that it had before."""
    before = [WORDS[label] for _, label in one.turns[:-1]]
    return join(_dot(one.label), el("span", f" (was {', '.join(before)})", class_="pale") if before else "")


def _dot(verdict: Verdict) -> Markup:
    return join(el("span", class_=f"dot {verdict}"), WORDS[verdict], " ")


def _second(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def _unread(complaints: Sequence[str]) -> list[Markup]:
    if not complaints:
        return []
    return [el("h2", "Could not be read"), el("ul", *(el("li", line) for line in complaints))]
