"""The page itself: addresses, who may see them, what they show.

Rules for whoever edits this:
- Every address but the login and its style is `private`. Every POST carries the token of its form.
- What comes from the network goes into a query as a value, into a page through an escaping template, into a sheet
  through tools.fleet.page.sheets.
- Handlers are plain functions on threads: a query blocks one of them and never the server's loop.
"""

import itertools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from agent.clock import NS_PER_MS, Clock
from agent.delivery.complaint import Complaint
from agent.errors import MaskwatchError
from tools.fleet.page import views
from tools.fleet.page.accounts import Accounts
from tools.fleet.page.database import Database
from tools.fleet.page.door import Door
from tools.fleet.page.filters import BadFilterError, Filters, parse
from tools.fleet.page.guard import Guard
from tools.fleet.page.live import Live, wants
from tools.fleet.page.periods import period, shift
from tools.fleet.page.queries import Asked, Fleet
from tools.fleet.page.roster import Roster
from tools.fleet.page.server import Place
from tools.fleet.page.sheets import Cell, csv_chunks
from tools.fleet.page.templates import Templates

_HERE = Path(__file__).parent
_EVENTS_AT_ONCE = 100
_DEVICES_AT_ONCE = 100
_PROBLEMS_SHOWN = 12
_LIVE_SHOWN = 20
_EXPORTS_AT_ONCE = 2
_QUIET_S = 15.0

log = logging.getLogger(__name__)


class Page:
    """The application. metrics: gives what Prometheus reads."""

    def __init__(
        self, *, database: Database, clock: Clock, place: Place, zone: ZoneInfo, metrics: Callable[[], bytes]
    ) -> None:
        self._fleet = Fleet(database)
        self._clock = clock
        self._zone = zone
        self._metrics = metrics
        self._roster = Roster(self._fleet, clock)
        self._live = Live(self._fleet, clock)
        self._failing = Complaint(log, "page.failing", clock)
        self._exporting = threading.BoundedSemaphore(_EXPORTS_AT_ONCE)
        self._templates = Templates(_HERE / "html", zone)
        self._door = Door(accounts=Accounts(database, clock), clock=clock, place=place, templates=self._templates)
        private = self._door.private
        routes = [
            *self._door.routes,
            Route("/", private(self._overview)),
            Route("/devices", private(self._devices)),
            Route("/devices.csv", private(self._devices_sheet)),
            Route("/devices/{device}", private(self._device)),
            Route("/events", private(self._events)),
            Route("/events.csv", private(self._events_sheet)),
            Route("/counts.csv", private(self._counts_sheet)),
            Route("/missing", private(self._missing)),
            Route("/metrics", private(self._numbers)),
            Route("/live", self._follow),
            Mount("/static", StaticFiles(directory=_HERE / "static")),
        ]
        handlers = {
            BadFilterError: self._bad_filter,
            MaskwatchError: self._away,
            HTTPException: self._refused,
        }
        inner = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
        self.app: ASGIApp = Guard(inner, place.hosts, origin=place.origin)

    # What is shown.

    def _overview(self, request: Request, user: str) -> Response:
        filters = self._filters(request)
        devices = [one for one in self._roster.seen() if filters.site in (None, one.state.site)]
        problems = views.choose(devices, site=None, level="problem", part=None, sort="state")
        lines = self._fleet.events(Asked(site=filters.site), limit=_LIVE_SHOWN).lines
        return self._show(
            request,
            user,
            "overview.html",
            filters,
            levels=views.by_level(devices),
            problems=problems[:_PROBLEMS_SHOWN],
            more=max(0, len(problems) - _PROBLEMS_SHOWN),
            undated=self._fleet.undated(site=filters.site),
            sites=self._fleet.sites(),
            entries=views.entries(lines, self._zone),
            **self._chart(filters),
        )

    def _devices(self, request: Request, user: str) -> Response:
        filters = self._filters(request)
        every = self._roster.seen()
        found = views.choose(every, site=filters.site, level=filters.state, part=filters.q, sort=filters.sort)
        first = (filters.page - 1) * _DEVICES_AT_ONCE
        return self._show(
            request,
            user,
            "devices.html",
            filters,
            devices=found[first : first + _DEVICES_AT_ONCE],
            first=first,
            number=len(found),
            is_more=len(found) > first + _DEVICES_AT_ONCE,
            sites=sorted({one.state.site for one in every}),
            levels=views.by_level(every),
        )

    def _device(self, request: Request, user: str) -> Response:
        filters, now_ms = self._filters(request), self._now_ms()
        name = parse([("device", request.path_params["device"])]).device
        seen = views.see(self._fleet.states(name), now_ms)
        if not seen or name is None:
            raise HTTPException(404, "No such device has been heard of.")
        asked = Asked(device=name, type=filters.type, label=filters.label)
        found = self._fleet.events(asked, filters.cursor, limit=_EVENTS_AT_ONCE // 2)
        return self._show(
            request,
            user,
            "device.html",
            msgspec.structs.replace(filters, device=name),
            one=seen[0],
            found=found,
            entries=views.entries(found.lines, self._zone),
            holes=self._fleet.holes(name),
            waiting=self._fleet.waiting(name),
            gaps=self._rare("maskwatch.gap.v1", device=name),
            resets=self._rare("maskwatch.outbox.reset.v1", device=name),
            **self._chart(msgspec.structs.replace(filters, device=name)),
        )

    def _events(self, request: Request, user: str) -> Response:
        filters = self._filters(request)
        found = self._fleet.events(self._asked(filters), filters.cursor, limit=_EVENTS_AT_ONCE)
        entries = views.entries(found.lines, self._zone)
        return self._show(
            request, user, "events.html", filters, found=found, entries=entries, sites=self._fleet.sites()
        )

    def _missing(self, request: Request, user: str) -> Response:
        return self._show(
            request,
            user,
            "missing.html",
            self._filters(request),
            gaps=self._rare("maskwatch.gap.v1"),
            resets=self._rare("maskwatch.outbox.reset.v1"),
            holes=self._fleet.holes(),
            waiting=self._fleet.waiting(),
        )

    def _rare(self, kind: str, device: str | None = None) -> list[views.Entry]:
        found = self._fleet.events(Asked(type=kind, device=device), limit=_EVENTS_AT_ONCE // 2)
        return views.entries(found.lines, self._zone)

    def _chart(self, filters: Filters) -> dict[str, object]:
        now = datetime.fromtimestamp(self._now_ms() / 1000, tz=UTC)
        until = filters.until_day
        span = period(filters.by, now=now, until=until, zone=self._zone)
        if filters.device is not None:
            tally = self._fleet.tally_of(filters.device, span.edges_ms)
        else:
            tally = self._fleet.tally(span.edges_ms, site=filters.site)
        found = views.buckets(span, tally, now_ms=self._now_ms(), label=filters.label, zone=self._zone)
        return {
            "buckets": found,
            "chart": views.draw(found, filters.by),
            "totals": views.totals(found),
            "earlier": shift(filters.by, now=now, until=until, zone=self._zone, pages=-1),
            "later": shift(filters.by, now=now, until=until, zone=self._zone, pages=1),
        }

    # Sheets and numbers.

    def _devices_sheet(self, request: Request, user: str) -> Response:
        filters = self._filters(request)
        every = self._roster.seen()
        found = views.choose(every, site=filters.site, level=filters.state, part=filters.q, sort=filters.sort)
        rows = (views.device_row(one, self._zone) for one in found)
        return _sheet("devices", csv_chunks(views.SHEETS["devices"], rows))

    def _events_sheet(self, request: Request, user: str) -> Response:
        asked = self._asked(self._filters(request))
        if not self._exporting.acquire(blocking=False):
            raise HTTPException(503, "Others are exporting events already. Try again later.")

        def rows() -> Iterator[bytes]:
            try:
                found = (views.event_row(line, self._zone) for line in self._fleet.all_events(asked))
                yield from csv_chunks(views.SHEETS["events"], found)
            finally:
                self._exporting.release()

        chunks = rows()
        first = next(chunks)  # begun, it comes to its end whatever becomes of the request
        return _sheet("events", itertools.chain([first], chunks))

    def _counts_sheet(self, request: Request, user: str) -> Response:
        found = self._chart(self._filters(request))["buckets"]
        assert isinstance(found, list)
        head = ["span", *(found[0].counts if found else ()), "heard", "gaps", "new_streams", "camera_blind"]
        rows: list[list[Cell]] = [
            [
                one.name,
                *one.counts.values(),
                "yes" if one.heard else "no",
                *(one.marks.get(name, 0) for name in ("gap", "new stream", "camera blind")),
            ]
            for one in found
        ]
        return _sheet("counts", csv_chunks(head, rows))

    def _numbers(self, request: Request, user: str) -> Response:
        return Response(self._metrics(), media_type="text/plain; version=0.0.4")

    # What has just come.

    async def _follow(self, request: Request) -> Response:
        if await run_in_threadpool(self._door.who, request) is None:
            raise HTTPException(401, "Log in first.")
        if self._live.is_full:
            raise HTTPException(503, "Too many look at once.")
        filters = self._filters(request)
        wanted = wants(filters.site, filters.device, filters.type, filters.label)

        async def news() -> AsyncIterator[bytes]:
            yield b"retry: 3000\n\n"
            async for found in self._live.listen(_QUIET_S):
                if found is None or found.changed:  # now and then: whoever was logged out hears no more
                    if await run_in_threadpool(self._door.who, request) is None:
                        return
                    yield b": still here\n\n" if found is None else b"event: changed\ndata: \n\n"
                for line in found.lines if found else ():
                    if wanted(line):
                        told = msgspec.json.encode(views.entry(line, self._zone))
                        yield b"event: line\ndata: " + told + b"\n\n"

        return StreamingResponse(news(), media_type="text/event-stream")

    # What every page has.

    def _show(self, request: Request, user: str, name: str, filters: Filters, **more: object) -> Response:
        now_ms = self._now_ms()
        csrf, links = self._door.csrf(request), self._fleet.links(now_ms)
        about = {"user": user, "csrf": csrf, "now_ms": now_ms, "filters": filters, "links": links}
        return self._templates.page(name, 200, path=request.url.path, **about, **more)

    def _bad_filter(self, request: Request, error: BadFilterError) -> Response:
        return self._problem(400, f"This address asks for what cannot be: {error}.")

    def _away(self, request: Request, error: MaskwatchError) -> Response:
        self._failing.failing(str(error))  # not for whoever asks: it names hosts and users
        return self._problem(503, "The database does not answer now. The collector's log says why.")

    def _refused(self, request: Request, error: HTTPException) -> Response:
        return self._problem(error.status_code, error.detail)

    def _problem(self, code: int, said: str) -> Response:
        return self._templates.page("problem.html", code, user=None, said=said, number=code)

    def _filters(self, request: Request) -> Filters:
        return parse(request.query_params.multi_items())

    def _asked(self, filters: Filters) -> Asked:
        return Asked(
            site=filters.site,
            device=filters.device,
            type=filters.type,
            label=filters.label,
            since_ms=filters.since_ms(self._zone),
            until_ms=filters.until_ms(self._zone),
        )

    def _now_ms(self) -> int:
        return self._clock.wall_ns() // NS_PER_MS


def _sheet(name: str, chunks: Iterator[bytes]) -> Response:
    about = {"content-disposition": f'attachment; filename="maskwatch-{name}.csv"'}
    return StreamingResponse(chunks, media_type="text/csv; charset=utf-8", headers=about)
