"""One question to the enrolment server: this key's certificate, for this claim. TLS trusts the bundle's root alone."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .board import Board
from .bundle import Claim
from .identity import Identity
from .problem import Exit, Problem

PATIENCE_S = 120.0  # a board that has just booted has no network yet
_PAUSE_S = 3.0
_SAY_EVERY_S = 30.0  # the same news; other news is told at once
_ANSWER_S = 20.0
_ANSWER_BYTES = 65536


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected question would be another server's to answer."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask_certificate(
    board: Board, claim: Claim, ca: Path, request: str, identity: Identity, say: Callable[[str], None]
) -> str:
    """Give the certificate chain, PEM. request: the signing request, PEM. Tries again while nobody answers.

    Raises Problem: refused (the server's own line), not the bundle's server, no answer, or an answer that is none.
    """
    body = {
        "claim": claim.claim,
        "csr": request,
        "board": {"serial": identity.serial or identity.device, "model": identity.model},
    }
    url = f"{claim.url.rstrip('/')}/v1/enrol"
    opener = _opener(ca)
    end_s = board.now_s() + PATIENCE_S
    said, say_again_s = "", 0.0
    while True:
        try:
            return _chain(_ask(opener, url, json.dumps(body).encode()), url, identity)
        except _Silent as silence:
            if board.now_s() + _PAUSE_S > end_s:
                raise Problem(
                    f"no answer within {PATIENCE_S:.0f} s: {silence}",
                    where=url,
                    remedy="check the network and that the enrolment server runs, then run the same command again",
                    code=Exit.UNAVAILABLE,
                ) from silence
            if str(silence) != said or board.now_s() >= say_again_s:
                said, say_again_s = str(silence), board.now_s() + _SAY_EVERY_S
                say(f"{url}: {silence}; trying again for up to {end_s - board.now_s():.0f} s")
            board.sleep(_PAUSE_S)


class _Silent(Exception):
    """Nobody answers, or not now."""


def _opener(ca: Path) -> urllib.request.OpenerDirector:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cafile=str(ca))
    except ssl.SSLError as error:
        raise Problem(
            "holds no certificate", where=str(ca), remedy="make the bundle again", code=Exit.DAMAGED
        ) from error
    no_proxy = urllib.request.ProxyHandler({})  # what a shell's environment says is not the bundle's word
    return urllib.request.build_opener(no_proxy, urllib.request.HTTPSHandler(context=context), _NoRedirect())


def _ask(opener: urllib.request.OpenerDirector, url: str, body: bytes) -> dict[str, Any]:
    question = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"}, method="POST")
    try:
        with opener.open(question, timeout=_ANSWER_S) as answer:
            return _table(answer.read(_ANSWER_BYTES), url)
    except urllib.error.HTTPError as error:
        if error.code >= 500 or error.code == 429:
            raise _Silent(f"it is in trouble ({error.code})") from error
        said = _table(error.read(_ANSWER_BYTES), url)
        what = str(said.get("message") or said.get("error") or f"refused with {error.code}")
        raise Problem(what, where=url, remedy="nothing was issued", code=Exit.NOT_PERMITTED) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Problem(
                f"its certificate is not good: {error.reason.verify_message}",
                where=url,
                remedy="check the address in the bundle's claim.json, and this board's clock",
                code=Exit.UNAVAILABLE,
            ) from error
        raise _Silent(str(error.reason)) from error
    except (OSError, http.client.HTTPException) as error:
        raise _Silent(str(error) or type(error).__name__) from error


def _table(data: bytes, url: str) -> dict[str, Any]:
    try:
        table = json.loads(data)
    except ValueError:
        table = None
    if not isinstance(table, dict):
        remedy = "check the address in the bundle's claim.json"
        raise Problem("does not answer as an enrolment server does", where=url, remedy=remedy, code=Exit.UNAVAILABLE)
    return table


def _chain(answer: dict[str, Any], url: str, identity: Identity) -> str:
    chain = answer.get("certificate")
    if not isinstance(chain, str) or answer.get("device") != identity.device:
        remedy = "see the enrolment server's log"
        raise Problem("answered without this device's certificate", where=url, remedy=remedy, code=Exit.UNAVAILABLE)
    return chain
