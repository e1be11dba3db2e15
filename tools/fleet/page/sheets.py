"""Tables as CSV. Pure.

A cell that a spreadsheet would take for a formula begins with an apostrophe: names and reasons come from a network,
and a sheet runs what begins with one of these signs (OWASP, CSV injection).
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

_FORMULAS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # the last four as East Asian sheets write the first
_ROWS_AT_ONCE = 500

Cell = str | int | float | None


def csv_chunks(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[bytes]:
    """Give a table in pieces, UTF-8, RFC 4180."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    for number, row in enumerate(rows, start=1):
        writer.writerow([harmless(cell) for cell in row])
        if number % _ROWS_AT_ONCE == 0:
            yield _take(text)
    yield _take(text)


def harmless(cell: Cell) -> Cell:
    """Give a cell that no spreadsheet runs. Numbers stay numbers: they are ours."""
    if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULAS):
        return "'" + cell
    return cell


def _take(text: io.StringIO) -> bytes:
    taken = text.getvalue().encode()
    text.seek(0)
    text.truncate()
    return taken
