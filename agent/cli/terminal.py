"""How the commands look in a terminal: one set of words, colours and bars for all of them."""

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from agent.seams import Verdict

STYLES: dict[str, str] = {
    "mask": "green",
    "no_mask": "bold red",
    "incorrect": "yellow",
    "unsure": "magenta",
    "good": "green",
    "bad": "bold red",
    "pale": "bright_black",
}
WORDS: dict[str, str] = {"mask": "mask", "no_mask": "no mask", "incorrect": "worn wrongly", "unsure": "unsure"}
_BARS = "▁▂▃▄▅▆▇█"


def console(stream: TextIO | None = None) -> Console:
    """Give a console on a stream (stdout when none is named): no highlighting of its own, no markup in our data.

    Only the stream says whether it is a terminal: FORCE_COLOR in somebody's environment must not put codes in a pipe.
    """
    file = stream or sys.stdout
    return Console(file=file, force_terminal=file.isatty(), highlight=False, markup=False, emoji=False)


def label(verdict: Verdict | str) -> Text:
    """Give a verdict in the words and the colour it has everywhere."""
    return Text(WORDS[verdict], STYLES[verdict])


def sparkline(values: Sequence[float], *, width: int) -> str:
    """Give the last `width` values as bars, scaled to the largest; an empty place for 0, so that little is not none."""
    shown = values[-width:]
    top = max(shown, default=0)
    bars = "".join(" " if value <= 0 else _BARS[min(7, int(value / top * 8))] for value in shown)
    return bars.rjust(width)


def bar(part: float, *, width: int) -> str:
    """Give a bar for 0..1, in eighths of a cell."""
    eighths = round(max(0.0, min(1.0, part)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width)


def tail(text: str, width: int) -> str:
    """Give the end of a text that is too long: names and paths of one place begin alike."""
    return text if len(text) <= width else "…" + text[1 - width :]


def duration(seconds: float) -> str:
    """Write a span for people: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds) // 60
    return f"{minutes} min {int(seconds) % 60:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def some(count: int, noun: str) -> str:
    """Write a count with its noun: 1 file, 2 files."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def verdicts(words: Iterable[str]) -> Text:
    """Count verdicts: `3 mask · 1 no mask`, each in its colour; `nobody` for none."""
    counted = list(words)
    parts = [Text(f"{counted.count(name)} {WORDS[name]}", STYLES[name]) for name in WORDS if counted.count(name)]
    return Text(" · ").join(parts) if parts else Text("nobody", STYLES["pale"])
