"""The enrolment server: POST /v1/enrol over HTTPS. One JSON line of log for each request, without a secret in it.

Whoever is on the network may knock. So a body has an end, a connection as a whole has a deadline (headers that trickle
in included), and nothing is parsed as a certificate request before its claim is known.
"""

import asyncio
import json
import logging
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from cryptography import x509
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from agent.errors import ConfigError, InputError, MaskwatchError, NotPermittedError, UnavailableError
from tools.fleet.ca.store import Store
from tools.fleet.enrol import inventory
from tools.fleet.enrol.desk import Asked, Granted, enrol

BODY_BYTES_MAX = 16 * 1024
_BODY_S = 10.0
_CONNECTION_S = 20.0
_CONNECTIONS_MAX = 256
_GRACE_S = 5
_STATUS = {"device-taken": 409, "bad-csr": 400}
_FORBIDDEN = 403
_log = logging.getLogger("tools.fleet.enrol")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where to listen. port: 0 is any that is free."""

    host: str
    port: int


class _Problem(Exception):
    """A request that is none. error, message: as in a refusal."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message


def application(folder: Path, now: Callable[[], datetime]) -> Starlette:
    """Make the application: what an address answers, whoever serves it."""

    async def post(request: Request) -> Response:
        line: dict[str, Any] = {"peer": request.client.host if request.client else ""}
        started_s = time.monotonic()
        try:
            asked = await _read(request)
            told = await run_in_threadpool(enrol, folder, asked, now=now(), peer=line["peer"])
        except _Problem as problem:
            response = _answer(problem.status, {"error": problem.error, "message": problem.message})
            line |= {"status": problem.status, "error": problem.error}
        except ClientDisconnect:
            line |= {"status": 499, "error": "gone"}
            response = Response(status_code=499)  # nobody will read it
        except MaskwatchError as error:  # of our own folder: the disk is full, the authority is at its end
            response = _answer(503, {"error": "unavailable", "message": "the authority cannot sign now; see its log"})
            line |= {"status": 503, "error": "unavailable", "why": str(error)}
        else:
            line |= {"claim": told.claim, "device": told.answer.device}
            if isinstance(told.answer, Granted):
                response = _answer(200, msgspec.to_builtins(told.answer))
                line |= {"status": 200, "site": told.answer.site}
            else:
                status = _STATUS.get(told.answer.error, _FORBIDDEN)
                response = _answer(status, {"error": told.answer.error, "message": told.answer.message})
                line |= {"status": status, "error": told.answer.error}
        _log.info("enrol", extra={"line": line | {"ms": round(1000 * (time.monotonic() - started_s))}})
        return response

    async def other(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        line = {"peer": request.client.host if request.client else "", "status": error.status_code}
        _log.info("other", extra={"line": line | {"path": request.url.path[:64]}})
        return _answer(error.status_code, {"error": "no-such-thing", "message": "POST /v1/enrol is all there is"})

    return Starlette(routes=[Route("/v1/enrol", post, methods=["POST"])], exception_handlers={404: other, 405: other})


async def _read(request: Request) -> Asked:
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES_MAX:  # whatever its headers say, or do not
                    raise _Problem(413, "too-large", f"a request has at most {BODY_BYTES_MAX} bytes")
    except TimeoutError:
        raise _Problem(408, "too-slow", f"the request was not here within {_BODY_S:g} s") from None
    try:
        return msgspec.json.decode(bytes(body), type=Asked)
    except msgspec.DecodeError as error:
        raise _Problem(400, "bad-request", f"not what a board sends: {error}") from error


def _answer(status: int, content: dict[str, Any]) -> Response:
    body = json.dumps(content).encode()
    return Response(body, status, media_type="application/json", headers={"Connection": "close"})


class _Bounded(H11Protocol):
    """HTTP/1.1 that hangs up on whoever is not done in time: uvicorn itself waits for headers for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._deadline = self.loop.call_later(_CONNECTION_S, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    """uvicorn, which says where it listens when it does, and can be stopped in order from then on."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _log.info("up", extra={"line": {"listening": self._url}})


class _Json(logging.Formatter):
    """One JSON object a line; what uvicorn has to say of a broken request comes the same way."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")}
        more: dict[str, Any] | None = getattr(record, "line", None)
        if more is None:
            more = {"level": record.levelname.lower(), "message": record.getMessage()}
            if record.exc_info:
                more["trace"] = self.formatException(record.exc_info)
        return json.dumps(line | more)


def serve(folder: Path, address: Address, *, name: str, now: Callable[[], datetime]) -> None:
    """Serve until SIGTERM or SIGINT. name: whose certificate and key to show, in issued/.

    Raises InputError where the authority is not as it should be, ConfigError where the server has no certificate,
    UnavailableError where the address cannot be had.
    """
    inventory.read(folder)  # now, and not at the first board
    context = _context(folder, name, now())
    door = _listen(address)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Json())
    for logger in (_log, logging.getLogger("uvicorn")):
        logger.handlers = [handler]
        logger.propagate = False
    _log.setLevel(logging.INFO)
    config = uvicorn.Config(
        application(folder, now),
        http=_Bounded,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_context_factory=lambda *_: context,
    )
    shown = f"[{address.host}]" if ":" in address.host else address.host
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn ends in order for them, and then raises them once more
        signal.signal(number, lambda *_: sys.exit(0))
    _Server(config, f"https://{shown}:{door.getsockname()[1]}").run(sockets=[door])


def _context(folder: Path, name: str, now: datetime) -> ssl.SSLContext:
    with Store.opened(folder) as store:
        certificate, key = store.certificate_of(name), store.key_of(name)
    if not (certificate.exists() and key.exists()):
        command = f"python -m tools.fleet.ca issue {folder} {name} --role server --host THE-NAME-IN-THE-URL"
        raise ConfigError("the server has no certificate", where=str(certificate), remedy=f"make it: {command}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
        ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except PermissionError as error:
        raise NotPermittedError("may not be read", where=str(key), remedy="run as the folder's owner") from error
    except (ValueError, OSError) as error:
        remedy = "revoke it and issue it again"
        raise InputError("not a certificate with its key", where=str(certificate), remedy=remedy) from error
    if ends <= now:
        remedy = f"python -m tools.fleet.ca renew {folder} {name}"
        raise ConfigError(f"ended on {ends:%Y-%m-%d}", where=str(certificate), remedy=remedy)
    return context


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=128)
    except PermissionError as error:
        where = f"{address.host}:{address.port}"
        raise NotPermittedError(error.strerror or "", where=where, remedy="take a port above 1023") from error
    except OSError as error:
        where = f"{address.host}:{address.port}"
        remedy = "name an address of this machine and a free port with --listen"
        raise UnavailableError(f"cannot listen: {error.strerror}", where=where, remedy=remedy) from error
