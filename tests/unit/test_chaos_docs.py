"""What docs/chaos.md says was measured: it is what the runs wrote, and it is what was asked for."""

from pathlib import Path

import msgspec
import pytest

from tools.chaos.page import placed
from tools.chaos.plan import FAULTS
from tools.chaos.rows import Report, markdown
from tools.chaos.soak import Soaked, text

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "chaos.md").read_text()


def test_the_page_shows_the_table_that_the_long_run_wrote_with_a_row_for_each_fault() -> None:
    report = msgspec.json.decode((DOCS / "chaos.json").read_bytes(), type=Report)
    assert markdown(report).strip() in PAGE
    assert [row.fault for row in report.rows] == [fault.title for fault in FAULTS]


def test_the_long_run_lost_nothing_over_what_was_asked_for() -> None:
    report = msgspec.json.decode((DOCS / "chaos.json").read_bytes(), type=Report)
    total = report.total
    assert total.verdict.decided >= 200_000
    assert total.sigkills >= 300
    assert total.power_cuts >= 50
    assert total.verdict.is_clean
    assert all(row.is_kept and not row.not_run for row in report.rows)


def test_the_page_shows_the_soak_that_was_run_and_nothing_grew() -> None:
    soaked = msgspec.json.decode((DOCS / "soak.json").read_bytes(), type=Soaked)
    assert text(soaked).strip() in PAGE
    assert soaked.is_kept
    assert soaked.minutes >= 59


def test_the_page_is_what_the_command_makes_of_the_two_files() -> None:
    for name, content in (("chaos", "a table"), ("soak", "lines")):
        assert placed(placed(PAGE, name, content), name, "other") == placed(PAGE, name, "other")
        assert content in placed(PAGE, name, content)
    with pytest.raises(ValueError, match="no marks of 'else'"):
        placed(PAGE, "else", "a table")
