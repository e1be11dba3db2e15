"""The outbox's bound: when the file is full the oldest events are given up, and a `gap` says which and how many."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from agent.delivery.rows import Row
from agent.delivery.schema import PAGE_BYTES, used_pages
from agent.events.types import Gap

_ROW_EXTRA_BYTES = 120  # the columns beside the data, with SQLite's own of a row and of a page
_SPARE_PAGES = 8  # a split of a leaf and of its parents, and the gap's own row
# So many at once, and 1 % of what waits: a gap for each lost event would fill the file itself. No more, or the log
# would need more room than a full disk has.
_GIVE_UP_MIN, _GIVE_UP_MAX = 64, 500


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Events to give up: everything pending up to the last sequence that `gap` names."""

    count: int
    gap: Gap


def fits(db: sqlite3.Connection, rows: Sequence[Row], *, pages_max: int) -> bool:
    """Tell whether rows can be stored without the file growing beyond its bound."""
    needed_bytes = sum(len(row.stored.data) + _ROW_EXTRA_BYTES for row in rows)
    return used_pages(db) + needed_bytes // PAGE_BYTES + _SPARE_PAGES <= pages_max


def oldest(db: sqlite3.Connection, *, after: int, why: Literal["quota", "disk"]) -> Loss | None:
    """Choose the next events to give up among those that wait after a sequence.

    None when there are none, or nothing but a gap: one in its place would free nothing, again and again.
    """
    waiting = "FROM events WHERE done = 0 AND sequence > ?"
    count, kind = db.execute(f"SELECT count(*), max(type) {waiting}", (after,)).fetchone()
    if count == 0 or (count == 1 and kind == Gap.TYPE):
        return None
    give_up = min(count, max(_GIVE_UP_MIN, count // 100), _GIVE_UP_MAX)
    first, last = db.execute(
        f"SELECT min(sequence), max(sequence) FROM (SELECT sequence {waiting} ORDER BY sequence LIMIT ?)",
        (after, give_up),
    ).fetchone()
    chosen = f"{waiting} AND sequence <= ?"
    by_type = Counter(dict(db.execute(f"SELECT type, count(*) {chosen} GROUP BY type", (after, last))))
    # A gap that is given up itself would take its own story with it: the new one tells it too.
    for (data,) in db.execute(f"SELECT data {chosen} AND type = ?", (after, last, Gap.TYPE)):
        earlier = msgspec.json.decode(data, type=Gap)
        first = min(first, earlier.first)
        by_type.update(earlier.by_type)
    return Loss(count=give_up, gap=Gap(first=first, last=last, by_type=dict(by_type), why=why))
