"""Puts the page together for a collector."""

from collections.abc import Callable
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.clock import Clock
from agent.errors import UsageError
from tools.fleet.page.app import Page
from tools.fleet.page.database import open_database
from tools.fleet.page.server import PageServer, Place


def serve(*, store: str, place: Place, zone: str, clock: Clock, metrics: Callable[[], bytes]) -> PageServer:
    """Serve the page of a store until `stop`. Raises UsageError, UnavailableError."""
    try:
        where = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"no time zone {zone!r}", where="--page-zone", remedy="like Europe/Madrid") from error
    page = Page(database=open_database(store), clock=clock, place=place, zone=where, metrics=metrics)
    server = PageServer(page.app, place)
    server.start()
    return server
