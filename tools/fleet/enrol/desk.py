"""The desk at which boards are given certificates: one request, one answer, and what is remembered of both.

A request goes through these steps, with the authority's lock held, and may be cut short before or after any of them:

    1. the claim is found by its secret, the request read, and judged
    2. a certificate is signed and remembered (signed/), or the one that the same key has already is taken
    3. the inventory is replaced: the claim is used, and by whom; the device is known
    4. the answer goes out

After 2 the claim is still open, and the same key finds its certificate; after 3 the same key is told the same again. So
whoever asks again after an interruption gets what it would have got.
"""

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from agent.errors import InputError
from tools.fleet.ca.authority import DEVICE_DAYS, Entry, fingerprint
from tools.fleet.ca.request import Request, read_request
from tools.fleet.ca.store import Store
from tools.fleet.enrol import claims, inventory
from tools.fleet.enrol.inventory import Claim, Device, Incident, Inventory, Use

Error = Literal["used", "expired", "unknown", "void", "device-taken", "bad-csr", "wrong-board", "site"]

_TEXT_MAX = 64
_KEPT_LIFE = 1 / 3  # of a certificate that is given out again; a board renews at the same point


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What a board says of itself. Nothing proves it."""

    serial: str = ""
    model: str = ""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a board sends: its claim, its certificate request in PEM, itself."""

    claim: str
    csr: str
    board: Board = Board()


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """certificate: PEM, the device's own and that of the issuing authority."""

    certificate: str
    device: str
    site: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """error: one word for a program. message: one line for whoever stands before the board. device: where known."""

    error: Error
    message: str
    device: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and the id of the claim that it is about; empty where there is none."""

    answer: Granted | Refused
    claim: str = ""


def enrol(folder: Path, asked: Asked, *, now: datetime, peer: str = "") -> Told:
    """Answer one request. Raises InputError, NotPermittedError or StorageError for what is wrong with the authority."""
    with Store.opened(folder) as store:
        known = inventory.read(folder)
        claim = claims.find(known, asked.claim)
        if claim is None:
            return Told(answer=Refused(error="unknown", message="no such claim; take the bundle that was made for it"))
        try:
            request = read_request(asked.csr.encode())
        except InputError as error:
            return Told(answer=Refused(error="bad-csr", message=str(error)), claim=claim.id)
        counter = _Counter(store, known, request, _plain(asked.board), now=now)
        refused = counter.judge(claim)
        if refused is not None:
            inventory.write(folder, known.with_incident(counter.incident(refused, claim.id, peer)))
            return Told(answer=refused, claim=claim.id)
        if claim.used is not None:
            entry = counter.holding[-1]
        else:
            entry = counter.grant()
            use = Use(device=request.name, key=fingerprint(request.public_key), at=now)
            used = known.with_claim(msgspec.structs.replace(claim, used=use))
            inventory.write(folder, used.with_device(counter.device(entry, claim.site, claim.id)))
        chain = store.chain(entry.serial)
        return Told(answer=Granted(certificate=chain, device=request.name, site=claim.site), claim=claim.id)


def enrol_by_hand(folder: Path, request: Request, *, site: str, now: datetime) -> Granted:
    """Answer a request that somebody has carried here. Raises InputError where the name or the key is another's."""
    with Store.opened(folder) as store:
        known = inventory.read(folder)
        counter = _Counter(store, known, request, Board(), now=now)
        refused = counter.judge_name(site)
        if refused is not None:
            inventory.write(folder, known.with_incident(counter.incident(refused, "", "")))
            what, _, remedy = refused.message.partition("; ")
            raise InputError(what, where=request.name, remedy=remedy)
        entry = counter.grant()
        inventory.write(folder, known.with_device(counter.device(entry, site, "")))
        return Granted(certificate=store.chain(entry.serial), device=request.name, site=site)


class _Counter:
    """One request before the authority. holding: the good certificates that its key has, the newest last."""

    def __init__(self, store: Store, known: Inventory, request: Request, board: Board, *, now: datetime) -> None:
        self._store = store
        self._known = known
        self._request = request
        self._board = board
        self._now = now
        self.holding = store.holders(request.public_key)

    def judge(self, claim: Claim) -> Refused | None:
        """Say why this claim does not give this request a certificate; None: it does."""
        request, now = self._request, self._now
        key = fingerprint(request.public_key)
        match claim.state(now):
            case "used":
                assert claim.used is not None
                if (claim.used.device, claim.used.key) != (request.name, key):
                    what = f"used on {claim.used.at:%Y-%m-%d} by {claim.used.device}, with another key"
                    return self._refuse("used", f"this claim was {what}; ask for a new bundle, and tell who made it")
                if not self.holding or self.holding[-1].ends <= now:
                    return self._refuse("used", "its certificate is revoked or has ended; ask for a new bundle")
                return None
            case "void":
                return self._refuse("void", "this claim was withdrawn; ask for a new bundle")
            case "expired":
                return self._refuse("expired", f"this claim ended on {claim.expires:%Y-%m-%d}; ask for a new bundle")
        serial = (self._board.serial or request.name).lower()
        if claim.serial and claim.serial != serial:
            return self._refuse("wrong-board", f"this bundle is for board {claim.serial}; put it into that one")
        return self.judge_name(claim.site)

    def judge_name(self, site: str) -> Refused | None:
        """Say why this key may not have this name at this site; None: it may."""
        name, key = self._request.name, fingerprint(self._request.public_key)
        for entry in self.holding:
            if entry.name != name:
                what = f"its key is that of {entry.name}, of which this card is a copy"
                return self._refuse("device-taken", f"{what}; provision a blank card instead of copying one")
        bearers = self._store.bearers(name)
        for entry in bearers:
            if entry.key != key:
                what = f"{entry.name} has a certificate for another key since {entry.begins:%Y-%m-%d}"
                remedy = (
                    f"if its card was replaced: python -m tools.fleet.ca revoke DIR {entry.name}; else find the copy"
                )
                return self._refuse("device-taken", f"{what}; {remedy}")
        device = self._known.device(name)
        if bearers and device is not None and device.site != site:
            what = f"{name} belongs to site {device.site}, and this is for site {site}"
            return self._refuse("site", f"{what}; to move it: python -m tools.fleet.ca revoke DIR {name}")
        return None

    def grant(self) -> Entry:
        """Give the certificate that the key has, or where it is old or none is there a new one."""
        if self.holding:
            newest = self.holding[-1]
            if newest.ends - self._now > _KEPT_LIFE * (newest.ends - newest.begins):
                return newest
        return self._store.certify(self._request.name, self._request.public_key, now=self._now, days=DEVICE_DAYS)

    def device(self, entry: Entry, site: str, claim: str) -> Device:
        """Write down what is known of the device from now on."""
        return Device(
            device=entry.name,
            site=site,
            serial=self._board.serial,
            model=self._board.model,
            claim=claim,
            enrolled=self._now,
            certificate=f"{entry.serial:x}",
            begins=entry.begins,
            ends=entry.ends,
        )

    def incident(self, refused: Refused, claim: str, peer: str) -> Incident:
        """Write down what was tried."""
        return Incident(
            error=refused.error,
            device=self._request.name,
            key=fingerprint(self._request.public_key),
            claim=claim,
            serial=self._board.serial,
            model=self._board.model,
            peer=peer,
            first=self._now,
            last=self._now,
        )

    def _refuse(self, error: Error, message: str) -> Refused:
        return Refused(error=error, message=message, device=self._request.name)


def _plain(board: Board) -> Board:
    """Let nothing into files and onto terminals that is not a short line of text."""
    return Board(serial=_line(board.serial), model=_line(board.model))


def _line(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())[:_TEXT_MAX].strip()
