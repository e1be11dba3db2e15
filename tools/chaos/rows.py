"""The table: one row a fault."""

from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from tools.chaos.checker import Verdict

_EXAMPLES = 20


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one fault did. recover_s: p50 and longest, None without any; unrecovered: not within the wait for it.

    unstored: what kills found in memory, not decided and so not promised: the most at once, and the oldest of it.
    """

    fault: str
    injected: int = 0
    verdict: Verdict = Verdict()
    duplicates: int = 0
    recover_p50_s: float | None = None
    recover_max_s: float | None = None
    unrecovered: int = 0
    sigkills: int = 0
    power_cuts: int = 0
    unstored_max: int = 0
    unstored_age_s_max: float = 0.0
    seconds: float = 0.0
    note: str = ""
    not_run: str = ""
    """Why it could not be tried here; empty when it was."""
    failed: bool = False
    """Whether that is a defect of the suite, which must not pass for a fault that was answered."""

    @property
    def is_kept(self) -> bool:
        """Whether nothing is lost and all is counted; a fault that was not tried has broken nothing."""
        return not self.failed and self.verdict.is_clean


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run writes."""

    seed: int
    seconds: float
    speed: float
    rows: list[Row]

    @property
    def total(self) -> Row:
        tried = [row for row in self.rows if not row.not_run]
        verdict = Verdict()
        for row in tried:
            verdict += row.verdict
        return Row(
            fault="all",
            injected=sum(row.injected for row in tried),
            verdict=verdict,
            duplicates=sum(row.duplicates for row in tried),
            sigkills=sum(row.sigkills for row in tried),
            power_cuts=sum(row.power_cuts for row in tried),
            unstored_max=max((row.unstored_max for row in tried), default=0),
            unstored_age_s_max=max((row.unstored_age_s_max for row in tried), default=0.0),
            unrecovered=sum(row.unrecovered for row in tried),
            seconds=self.seconds,
        )


_HEADS = (
    "fault",
    "injected",
    "decided",
    "delivered",
    "named",
    "lost",
    "uncounted",
    "duplicates removed",
    "recover p50 / max s",
    "in memory / oldest s",
)


def _cells(row: Row) -> list[str]:
    if row.not_run:
        return [row.fault, "not run: " + " ".join(row.not_run.split())]
    found = row.verdict
    times = "" if row.recover_p50_s is None else f"{row.recover_p50_s:.1f} / {row.recover_max_s:.1f}"
    return [
        row.fault,
        f"{row.injected}",
        f"{found.decided:,}",
        f"{found.delivered:,}",
        f"{found.given_up + found.destroyed:,}",
        f"{len(found.lost)}",
        f"{len(found.uncounted)}",
        f"{row.duplicates:,}",
        times + (f" ({row.unrecovered} not)" if row.unrecovered else ""),
        f"{row.unstored_max} / {row.unstored_age_s_max:.2f}" if row.unstored_max else "",
    ]


def _sums(report: Report) -> str:
    total = report.total
    return (
        f"seed {report.seed}, {report.seconds:.0f} s, clock x{report.speed:g}: "
        f"{total.verdict.decided:,} events decided, {total.sigkills} SIGKILLs, {total.power_cuts} power cuts, "
        f"{len(total.verdict.lost)} lost, "
        f"{len(total.verdict.uncounted)} uncounted"
    )


def terminal(report: Report) -> Table:
    """Give the table for a terminal."""
    table = Table(title=_sums(report), title_justify="left")
    for place, head in enumerate(_HEADS):
        table.add_column(head, justify="left" if place == 0 else "right", no_wrap=place == 0)
    for row in [*report.rows, report.total]:
        style = "dim" if row.not_run else "" if row.is_kept else "bold red"
        table.add_row(*(Text(cell) for cell in _cells(row)), style=style)
    return table


def markdown(report: Report) -> str:
    """Give the table as Markdown, with the notes and what did not add up under it."""
    lines = [_sums(report) + ".", "", "| " + " | ".join(_HEADS) + " |", "|---|" + "--:|" * (len(_HEADS) - 1)]
    for row in [*report.rows, report.total]:
        cells = _cells(row)
        lines.append("| " + " | ".join(cells + [""] * (len(_HEADS) - len(cells))) + " |")
    notes = [f"- {row.fault}: {row.note}" for row in report.rows if row.note]
    wrong = [
        f"- {row.fault}: {sentence}"
        for row in report.rows
        for sentence in [*(f"lost {one}" for one in row.verdict.lost), *row.verdict.uncounted][:_EXAMPLES]
    ]
    return "\n".join([*lines, "", *notes, "", *wrong]).rstrip() + "\n"


def save(report: Report, folder: Path) -> None:
    """Write chaos.json and chaos.md, each whole or not at all: a run writes them anew with each row."""
    for name, text in (
        ("chaos.json", msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n"),
        ("chaos.md", markdown(report)),
    ):
        fresh = folder / f".{name}"
        fresh.write_text(text)
        fresh.rename(folder / name)
