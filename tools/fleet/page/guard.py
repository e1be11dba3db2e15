"""What every answer carries and every request must have, whatever the page: headers, a host of ours, a small body.

The policy lets a page load from its own server only, run no inline script and be in nobody's frame. A host that is
not ours is refused: a name that somebody has pointed at loopback (DNS rebinding) is no way in.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_MAX = 4096
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}


class Guard:
    """Wraps the whole application."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], *, origin: str) -> None:
        """hosts: by which we are asked for. origin: where somebody in front of us speaks TLS for us; empty: nobody."""
        self._app = app
        self._hosts = frozenset(hosts)
        self._origin = origin.rstrip("/")
        self._more = {"strict-transport-security": "max-age=31536000"} if origin else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS | self._more)
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        await (refusal or self._app)(scope, receive, send_more)

    def _refusal(self, method: str, headers: Headers) -> PlainTextResponse | None:
        host = headers.get("host", "")
        if hostname(host) not in self._hosts:
            return PlainTextResponse("this is not the host that you asked for\n", status_code=421)
        if method in ("GET", "HEAD"):
            return None
        told = headers.get("content-length", "")
        if not told.isdecimal() or int(told) > BODY_MAX:
            return PlainTextResponse("this form is too large\n", status_code=413)
        origin = headers.get("origin")
        if origin is not None and origin not in (self._origin, f"http://{host}"):
            return PlainTextResponse("this form is not ours\n", status_code=403)
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return PlainTextResponse("this form is not ours\n", status_code=403)
        return None


def hostname(netloc: str) -> str:
    """Give the name of `name:port`, lower case; empty for what is none."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""
