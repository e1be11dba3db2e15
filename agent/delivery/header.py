"""The first hundred bytes of the outbox's file: without them SQLite reads nothing of it, and they say little.

Source: https://www.sqlite.org/fileformat2.html#the_database_header
"""

import struct
from pathlib import Path

_MAGIC = b"SQLite format 3\0"
_BYTES = 100


def mend(file: Path, *, page_bytes: int, version: int) -> None:
    """Write a header to a file that does not begin with one, so that what lies behind it can be read.

    version: our own, of the tables. A file whose header is there, true or not, stays as it is. Raises OSError.
    """
    with file.open("r+b") as opened:
        if opened.read(len(_MAGIC)) == _MAGIC:
            return
        pages = opened.seek(0, 2) // page_bytes
        if pages == 0:
            return
        write_ahead, schema_format, utf_8, counter = 2, 4, 1, 1
        opened.seek(0)
        opened.write(_MAGIC + struct.pack(">H6B", page_bytes, write_ahead, write_ahead, 0, 64, 32, 32))
        opened.write(struct.pack(">4I", counter, pages, 0, 0))
        opened.write(struct.pack(">8I", 1, schema_format, 0, 0, utf_8, version, 0, 0))
        opened.write(bytes(20) + struct.pack(">2I", counter, 3_040_000))
        assert opened.tell() == _BYTES, opened.tell()
