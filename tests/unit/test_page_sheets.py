"""Sheets: what a reader of CSV gets is what was put in, and nothing that a spreadsheet runs."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.fleet.page.sheets import csv_chunks, harmless

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@given(st.lists(st.tuples(TEXT, st.integers(), st.none() | st.floats(allow_nan=False)), max_size=20))
def test_a_table_survives_and_no_cell_begins_a_formula(rows: list[tuple[str, int, float | None]]) -> None:
    sheet = b"".join(csv_chunks(["text", "number", "other"], rows)).decode()

    head, *found = csv.reader(io.StringIO(sheet, newline=""))

    assert head == ["text", "number", "other"]
    for (text, number, other), row in zip(rows, found, strict=True):
        assert row[0].removeprefix("'") == text.removeprefix("'")
        assert row[1:] == [str(number), "" if other is None else str(other)]
        assert not row[0].lstrip(" ").startswith(tuple("=+-@\t\r\n"))


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1"])
def test_what_a_spreadsheet_would_run_begins_with_an_apostrophe(cell: str) -> None:
    assert harmless(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["cam-1", "", "a=1", 5, -5, -0.5, None])
def test_what_none_would_run_stays_as_it_is(cell: str | float | None) -> None:
    assert harmless(cell) == cell


def test_a_long_table_comes_in_pieces() -> None:
    chunks = list(csv_chunks(["n"], ([number] for number in range(1200))))

    assert len(chunks) == 3
    assert len(b"".join(chunks).splitlines()) == 1201
