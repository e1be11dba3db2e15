"""One pass of renewals: a board whose certificate is past two thirds of its life is sent a new one for its key.

A pass may find a board away, or be cut short. What was signed stays pending in the inventory and is sent again by the
next pass; the inventory calls it the board's own when the board has said so.
"""

import os
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from agent.clock import NS_PER_S, Clock
from agent.delivery.link import Answered, Connected, Link, Lost, Message, Received, Refused, SubscriptionRefused
from agent.delivery.topics import Identity
from agent.errors import UnavailableError
from agent.events.state import Command, Reply
from tools.fleet.ca.authority import DEVICE_DAYS
from tools.fleet.ca.store import Store
from tools.fleet.enrol import inventory
from tools.fleet.enrol.inventory import Device, Pending

Outcome = Literal["renewed", "away", "refused"]

_DUE = 2 / 3
_URGENT = timedelta(days=14)
_REPLIES = "maskwatch/+/+/reply"
_UNANSWERED_MAX = 10  # below what any broker takes at once
_CONNECT_S = 15.0
_WAIT_S = 0.5
_FAILURE = 128  # reason codes from here on are failures
_NOBODY = 16  # MQTT 5: no matching subscribers


@dataclass(frozen=True, kw_only=True)
class Letter:
    """A certificate on its way to its board."""

    device: Device
    pending: Pending
    chain: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a letter. message: the board's own words, or the broker's."""

    device: Device
    outcome: Outcome
    message: str = ""

    def is_urgent(self, now: datetime) -> bool:
        """Tell whether somebody should look: the board refuses, or will soon not be let in."""
        return self.outcome == "refused" or (self.outcome == "away" and self.device.ends - now < _URGENT)


def is_due(device: Device, now: datetime) -> bool:
    """Tell whether a device's certificate is past two thirds of its life."""
    return now >= device.begins + _DUE * (device.ends - device.begins)


def letters(folder: Path, *, now: datetime) -> list[Letter]:
    """Sign for each device that is due, unless that was done before; gives what is to be sent.

    Raises InputError, NotPermittedError or StorageError for what is wrong with the authority.
    """
    found = []
    with Store.opened(folder) as store:
        known, good = inventory.read(folder), store.good()
        for device in known.devices:
            if not (is_due(device, now) and int(device.certificate, 16) in good):
                continue
            pending = device.pending
            if pending is None or pending.ends - now <= (1 - _DUE) * timedelta(days=DEVICE_DAYS):
                entry = store.certify(device.device, store.public_key(int(device.certificate, 16)), now=now)
                pending = Pending(certificate=f"{entry.serial:x}", begins=entry.begins, ends=entry.ends)
                known = known.with_device(msgspec.structs.replace(device, pending=pending))
            found.append(Letter(device=device, pending=pending, chain=store.chain(int(pending.certificate, 16))))
        inventory.write(folder, known)
    return found


def confirm(folder: Path, letter: Letter) -> None:
    """Note that a device has its new certificate; unless it was enrolled anew meanwhile."""
    with Store.opened(folder):
        known = inventory.read(folder)
        device = known.device(letter.device.device)
        if device is None or device.pending != letter.pending:
            return
        pending = letter.pending
        renewed = msgspec.structs.replace(
            device, certificate=pending.certificate, begins=pending.begins, ends=pending.ends, pending=None
        )
        inventory.write(folder, known.with_device(renewed))


def deliver(link: Link, found: Sequence[Letter], *, clock: Clock, wait_s: float) -> Iterator[tuple[Letter, Result]]:
    """Send letters and give what becomes of each as it is known; those that nobody answers within `wait_s` last.

    Raises UnavailableError when the broker cannot be reached, refuses us, or is lost before the answers are here.
    """
    post = _Post(link, found)
    wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    try:
        link.connect(None)
        end_ns = clock.now_ns() + round(_CONNECT_S * NS_PER_S)
        while not post.is_done and clock.now_ns() < end_ns:
            was_up = post.is_up
            for news in link.wait(_WAIT_S, wake):
                yield from post.take(news)
            post.send()
            if post.is_up and not was_up:
                end_ns = clock.now_ns() + round(wait_s * NS_PER_S)
        if not post.is_up:
            raise UnavailableError("no answer", where="broker", remedy="check --broker")
        yield from post.rest()
    finally:
        link.close()
        os.close(wake)


class _Post:
    """Letters that are out. A reply is known by the id of its command."""

    def __init__(self, link: Link, found: Sequence[Letter]) -> None:
        self._link = link
        self._waiting = deque(found)
        self._out: dict[str, Letter] = {}
        self._tokens: dict[int, str] = {}
        self.is_up = False

    @property
    def is_done(self) -> bool:
        return not (self._waiting or self._out)

    def take(self, news: object) -> Iterator[tuple[Letter, Result]]:
        match news:
            case Connected():
                self.is_up = True
                self._link.subscribe([_REPLIES])
            case Refused(sentence=sentence) | Lost(sentence=sentence):
                where, _, rest = sentence.partition(": ")
                what, _, remedy = rest.partition("; ")
                raise UnavailableError(what, where=where, remedy=remedy or "run the pass again")
            case SubscriptionRefused(topic=topic):
                remedy = "show the certificate of an operator with --cert and --key"
                raise UnavailableError("the broker does not let us read it", where=topic, remedy=remedy)
            case Answered(token=token, code=code):
                request = self._tokens.pop(token, "")
                if code == _NOBODY:
                    yield from self._end(request, "away", "")
                elif code >= _FAILURE:
                    yield from self._end(request, "refused", f"the broker does not let us send it ({code:#04x})")
            case Received(topic=topic, payload=payload, retained=False):
                yield from self._read(topic, payload)

    def send(self) -> None:
        """Send what the broker's window has room for."""
        while self.is_up and self._waiting and len(self._tokens) < _UNANSWERED_MAX:
            letter = self._waiting.popleft()
            request = secrets.token_hex(8)
            command = Command(command="renew", id=request, certificate=letter.chain)
            payload = msgspec.json.encode(command)
            topic = _identity(letter).command
            token = self._link.publish(Message(topic=topic, payload=payload, qos=1, content_type="application/json"))
            self._tokens[token] = request
            self._out[request] = letter

    def rest(self) -> Iterator[tuple[Letter, Result]]:
        """Give up on those that have not answered."""
        for letter in (*self._out.values(), *self._waiting):
            yield letter, Result(device=letter.device, outcome="away")

    def _read(self, topic: str, payload: bytes) -> Iterator[tuple[Letter, Result]]:
        try:
            reply = msgspec.json.decode(payload, type=Reply)
        except msgspec.DecodeError:
            return  # somebody else's conversation
        letter = self._out.get(reply.id)
        if letter is not None and topic == _identity(letter).reply:
            yield from self._end(reply.id, "renewed" if reply.ok else "refused", reply.message)

    def _end(self, request: str, outcome: Outcome, message: str) -> Iterator[tuple[Letter, Result]]:
        letter = self._out.pop(request, None)
        if letter is not None:
            yield letter, Result(device=letter.device, outcome=outcome, message=message)


def _identity(letter: Letter) -> Identity:
    return Identity(site=letter.device.site, device=letter.device.device, version="")
