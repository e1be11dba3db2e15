"""What has just come, to everybody who has the page open: one look at the database a second, however many look.

An instance that commits later may have an earlier clock: each look goes back over OVERLAP_MS and leaves out what it
has told already. It is a window, not a log: more than queries.LIVE_MAX events a second are not all shown.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.concurrency import run_in_threadpool

from agent.clock import NS_PER_MS, Clock
from agent.errors import MaskwatchError
from tools.fleet.page.queries import Fleet, Line

EVERY_S = 1.0
OVERLAP_MS = 10_000
LISTENERS_MAX = 100
_WAITING_MAX = 50  # news for somebody who does not read them
_TICKS = 15  # looks after which everything is worth a fresh look: ages grow, telemetry comes


class News(msgspec.Struct, frozen=True):
    """Events that have come, oldest first; changed: the state of some device may have."""

    lines: list[Line]
    changed: bool


class Live:
    """Looks while somebody listens."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._listeners: set[asyncio.Queue[News]] = set()
        self._task: asyncio.Task[None] | None = None
        self._told: dict[tuple[str, str, int], int] = {}  # when each event of the last window came
        self._newest_ms = 0
        self._print: int | None = None
        self._ticks = 0

    @property
    def is_full(self) -> bool:
        return len(self._listeners) >= LISTENERS_MAX

    async def listen(self, quiet_s: float) -> AsyncIterator[News | None]:
        """Give news as they come, None after a time without any."""
        mine: asyncio.Queue[News] = asyncio.Queue(_WAITING_MAX)
        self._listeners.add(mine)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        try:
            while True:
                try:
                    yield await asyncio.wait_for(mine.get(), quiet_s)
                except TimeoutError:
                    yield None
        finally:
            self._listeners.discard(mine)

    async def _work(self) -> None:
        self._newest_ms = self._clock.wall_ns() // NS_PER_MS
        self._print = None
        while self._listeners:
            try:
                news = await run_in_threadpool(self.look)
            except MaskwatchError:  # the next request says it
                news = News([], changed=False)
            if news.lines or news.changed:
                for listener in self._listeners:
                    _put(listener, news)
            await asyncio.sleep(EVERY_S)

    def look(self) -> News:
        """Look at the database; what was there at the first look is no news."""
        lines = self._fleet.came_after(self._newest_ms - OVERLAP_MS)
        fresh = [line for line in lines if (line.device, line.stream, line.sequence) not in self._told]
        self._newest_ms = max([self._newest_ms, *(line.received_ms for line in lines)])
        self._told |= {(line.device, line.stream, line.sequence): line.received_ms for line in fresh}
        oldest_ms = self._newest_ms - OVERLAP_MS
        self._told = {key: came_ms for key, came_ms in self._told.items() if came_ms > oldest_ms}
        before, self._print = self._print, self._fleet.fingerprint()
        self._ticks += 1
        changed = before is not None and (before != self._print or self._ticks % _TICKS == 0)
        return News(fresh if before is not None else [], changed)


def _put(listener: asyncio.Queue[News], news: News) -> None:
    if listener.full():
        listener.get_nowait()
    listener.put_nowait(news)


def wants(site: str | None, device: str | None, kind: str | None, label: str | None) -> Callable[[Line], bool]:
    """Give a test for lines by the filters of an address."""
    wanted = {"site": site, "device": device, "type": kind, "label": label}
    told = {name: value for name, value in wanted.items() if value is not None}
    return lambda line: all(getattr(line, name) == value for name, value in told.items())
