"""The collector's database, read from outside: all of it for the verdict, its newest rows for the time to recover."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from agent.events.types import Gap, OutboxReset
from tools.chaos.checker import Arrived
from tools.chaos.contents import digest_of_payload

_LIMIT = 5_000


Ask = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]


class Store:
    """One collector's store, by the URL that the collector was given."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._marks: dict[tuple[str, str], int] = {}

    def rows(self, device: str) -> Iterator[Arrived]:
        """Give all rows of a device."""
        query = "SELECT stream, sequence, type, payload FROM events WHERE device = ? ORDER BY stream, sequence"
        with self._open() as ask:
            for stream, sequence, kind, payload in ask(query, (device,)):
                yield _arrived(stream, sequence, kind, payload)

    def devices(self) -> list[str]:
        """Give the devices that it has rows of."""
        with self._open() as ask:
            return sorted(device for (device,) in ask("SELECT DISTINCT device FROM events", ()))

    def reached(self, marks: Mapping[str, tuple[str, int]]) -> set[str]:
        """Give the devices of which everything up to their mark (stream, sequence) is there, or named by a gap."""
        with self._open() as ask:
            return {device for device, (stream, goal) in marks.items() if self._mark(ask, device, stream) >= goal}

    def _mark(self, ask: Ask, device: str, stream: str) -> int:
        """Give the end of the gap-free run, by our own reckoning, going on from where it was found last."""
        mark = self._marks.get((device, stream), 0)
        query = (
            "SELECT sequence, type, payload FROM events WHERE device = ? AND stream = ? AND sequence > ? "
            f"ORDER BY sequence LIMIT {_LIMIT}"
        )
        while found := ask(query, (device, stream, mark)):
            before = mark
            named = [(gap.first, gap.last) for _, kind, payload in found if kind == Gap.TYPE for gap in _gap(payload)]
            there = {sequence for sequence, _, _ in found}
            while True:
                over = max((last for first, last in named if first <= mark + 1 <= last), default=mark)
                over = mark + 1 if over == mark and mark + 1 in there else over
                if over == mark:
                    break
                mark = over
            if mark == before:
                break
        self._marks[device, stream] = mark
        return mark

    @contextmanager
    def _open(self) -> Iterator[Ask]:
        if self._url.startswith("sqlite:"):
            path = Path(self._url.removeprefix("sqlite://"))
            if not path.exists():
                yield lambda _query, _values: []
                return
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
                is_made = db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'events'").fetchone() == (1,)
                yield lambda query, values: db.execute(query, values).fetchall() if is_made else []
        else:
            import psycopg  # only a fleet has it

            with psycopg.connect(self._url) as server:
                yield lambda query, values: server.execute(query.replace("?", "%s"), values).fetchall()


def _gap(payload: bytes | str) -> Iterable[Gap]:
    yield msgspec.convert(digest_of_payload(payload)[1].data, Gap)


def _arrived(stream: str, sequence: int, kind: str, payload: bytes | str) -> Arrived:
    digest, envelope = digest_of_payload(payload)
    data = envelope.data if kind in (Gap.TYPE, OutboxReset.TYPE) else None
    return Arrived(stream=stream, sequence=int(sequence), type=kind, digest=digest, data=data)
