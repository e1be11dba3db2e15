"""The way in and out: the form for the password, the session's cookie, who it belongs to."""

import hmac
import logging
import re
import threading
from collections.abc import Callable
from urllib.parse import parse_qs, quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agent.clock import Clock
from tools.fleet.page.accounts import SESSION_MS, Accounts, csrf_of
from tools.fleet.page.server import Place
from tools.fleet.page.templates import Templates
from tools.fleet.page.throttle import Throttle

_TRIES_AT_ONCE = 2  # each takes 32 MiB
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")
_NEXT = re.compile(r"/(?!/)[A-Za-z0-9_.~%=&?:+/-]{0,500}")

log = logging.getLogger(__name__)

View = Callable[[Request, str], Response]


class Door:
    """Lets in who knows a password."""

    def __init__(self, *, accounts: Accounts, clock: Clock, place: Place, templates: Templates) -> None:
        self._accounts = accounts
        self._clock = clock
        self._place = place
        self._templates = templates
        self._throttle = Throttle()
        self._trying = threading.BoundedSemaphore(_TRIES_AT_ONCE)
        # A browser takes a cookie with this prefix from this very host only, and by TLS (RFC 6265bis, 4.1.3).
        self._cookie = "__Host-maskwatch" if place.origin else "maskwatch"
        self.routes = [
            Route("/login", self._ask_anew, methods=["GET"]),
            Route("/login", self._enter, methods=["POST"]),
            Route("/logout", self._leave, methods=["POST"]),
        ]

    def private(self, view: View) -> Callable[[Request], Response]:
        """Give a handler that shows a view to who is logged in, and the form to everybody else."""

        def guarded(request: Request) -> Response:
            user = self.who(request)
            if user is None:
                back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/login?next={quote(back)}", status_code=303)
            return view(request, user)

        return guarded

    def who(self, request: Request) -> str | None:
        """Give the name of who asks, None for somebody who is not logged in."""
        token = request.cookies.get(self._cookie, "")
        return self._accounts.who(token) if token else None

    def csrf(self, request: Request) -> str:
        """Give the token that forms of this session must carry."""
        return csrf_of(request.cookies.get(self._cookie, ""))

    def _ask_anew(self, request: Request) -> Response:
        if self.who(request) is not None:
            return RedirectResponse("/", status_code=303)
        return self._ask(request, _next(request.query_params.get("next", "/")))

    def _ask(self, request: Request, back: str, *, said: str = "", code: int = 200) -> Response:
        """Show the form for the password; the cookie that its token belongs to is one of nobody yet."""
        mark = request.cookies.get(f"{self._cookie}-form", "") or self._accounts.fresh()
        page = self._templates.page("login.html", code, csrf=csrf_of(mark), said=said, back=back, user=None)
        self._give_cookie(page, f"{self._cookie}-form", mark, SESSION_MS)
        return page

    async def _enter(self, request: Request) -> Response:
        form = _form(await request.body())
        return await run_in_threadpool(self._check, request, form)

    def _check(self, request: Request, form: dict[str, str]) -> Response:
        back = _next(form.get("next", "/"))
        if not _is_ours(form, request.cookies.get(f"{self._cookie}-form", "")):
            return self._ask(request, back, said="This form was too old. Try again.", code=403)
        address = self._address(request)
        if not self._throttle.take(address, self._clock.now_ns()):
            log.warning("page.throttled address=%s", address)
            answer = self._ask(request, back, said="Too many tries. Wait a minute, then try again.", code=429)
            answer.headers["retry-after"] = "60"
            return answer
        with self._trying:
            right = self._accounts.check(form.get("name", ""), form.get("password", ""))
        if not right:
            log.warning("page.refused name=%r address=%s", form.get("name", "")[:64], address)
            return self._ask(request, back, said="Name or password is wrong.", code=401)
        self._throttle.give_back(address)
        log.info("page.entered name=%s address=%s", form["name"], address)
        answer = RedirectResponse(back, status_code=303)
        self._give_cookie(answer, self._cookie, self._accounts.begin(form["name"]), SESSION_MS)
        self._give_cookie(answer, f"{self._cookie}-form", "", 0)
        return answer

    async def _leave(self, request: Request) -> Response:
        form = _form(await request.body())
        token = request.cookies.get(self._cookie, "")
        if not _is_ours(form, token):
            raise HTTPException(403, "This form was too old. Go back and try again.")
        await run_in_threadpool(self._accounts.end, token)
        answer = RedirectResponse("/login", status_code=303)
        self._give_cookie(answer, self._cookie, "", 0)
        return answer

    def _address(self, request: Request) -> str:
        """Whose tries are counted together: behind a proxy of ours, who the proxy says it is."""
        told = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip() if self._place.origin else ""
        if _ADDRESS.fullmatch(told) is not None:
            return told
        return request.client.host if request.client else "unknown"

    def _give_cookie(self, answer: Response, name: str, value: str, age_ms: int) -> None:
        secure = bool(self._place.origin)
        answer.set_cookie(name, value, max_age=age_ms // 1000, httponly=True, samesite="lax", secure=secure)


def _form(body: bytes) -> dict[str, str]:
    """Read a form. Raises HTTPException."""
    try:
        told = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=10, errors="strict")
    except ValueError as error:
        raise HTTPException(400, "This is no form of ours.") from error
    return {name: values[-1] for name, values in told.items()}


def _is_ours(form: dict[str, str], mark: str) -> bool:
    """Tell whether a form carries the token that belongs to a cookie."""
    told = form.get("csrf", "")
    return bool(mark) and told.isascii() and hmac.compare_digest(told, csrf_of(mark))


def _next(path: str) -> str:
    """Give the page to go to after the login, one of ours whatever is asked for."""
    return path if _NEXT.fullmatch(path) else "/"
