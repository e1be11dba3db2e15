"""The page's HTTP server, on a thread of the collector's process."""

import socket
import threading
from urllib.parse import urlsplit

import msgspec
import uvicorn
from starlette.types import ASGIApp

from agent.errors import UnavailableError, UsageError
from tools.fleet.page.guard import LOOPBACK

_CONNECTIONS_MAX = 256
_GOODBYE_S = 2


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where the page is. origin: how browsers ask for it, through something that speaks TLS; empty: on loopback."""

    host: str
    port: int
    origin: str = ""

    def __post_init__(self) -> None:
        """Raises UsageError for a place at which passwords would travel in clear."""
        parts = urlsplit(self.origin)
        if self.origin and (parts.scheme != "https" or not parts.hostname or parts.path.strip("/")):
            what = f"--page-origin {self.origin!r} is no address of a page"
            raise UsageError(what, where="--page-origin", remedy="like https://fleet.example.org")
        if not self.origin and self.host not in LOOPBACK:
            what = f"--page {self.host}:{self.port} is not only for this machine, and passwords would travel in clear"
            remedy = "listen on 127.0.0.1, or put a proxy with TLS in front and name it in --page-origin"
            raise UsageError(what, where="--page", remedy=remedy)

    @property
    def hosts(self) -> frozenset[str]:
        """The names by which it may be asked for."""
        return LOOPBACK | ({urlsplit(self.origin).hostname or ""} if self.origin else frozenset())


class PageServer:
    """Answers from `start` to `stop`."""

    def __init__(self, app: ASGIApp, place: Place) -> None:
        self._place = place
        # Headers about who is in front of us are read in tools.fleet.page.app, and only if somebody is.
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=_CONNECTIONS_MAX,
            timeout_graceful_shutdown=_GOODBYE_S,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. Raises UnavailableError when the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._place.host else socket.AF_INET
        try:
            door = socket.create_server((self._place.host, self._place.port), family=family, backlog=256)
        except OSError as error:
            where = f"{self._place.host}:{self._place.port}"
            what = error.strerror or str(error)
            raise UnavailableError(what, where=where, remedy="name a free address in --page") from error
        # Accepted connections inherit it; asyncio would set it only where the socket names its protocol. Without it
        # the body of an answer waits for the acknowledgement of its head: 40 ms.
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._thread = threading.Thread(target=self._server.run, args=([door],), name="page", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, and give what is under way a moment."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_GOODBYE_S + 3)
