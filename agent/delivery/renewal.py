"""The device's certificate and the one that is to follow it: which of them a connection shows.

    files                         state       shown to the broker
    device.pem                    settled     that one
    device.pem, device.pem.new    on trial    both in turn, the new one first

    on trial, when                            then
    the new one has connected                 settled: it takes the old one's name
    an attempt has failed                     the other one's turn, so that neither blocks the way for long
    the old one has connected                 it is used, and the new one's turn comes after a wait, which doubles
    the broker has refused the new one        the status says so while the old one is used, and the wait is a day
    the agent starts                          the new one's turn, unless the old one is good for longer by now
    another one is offered                    on trial with that one, its turn at once

The files are the state, and each change of it is one rename of a file that the disk has: whatever a power cut leaves is
a row of the first table. A renewed certificate is never given up for a network's sake, nor the old one for a promise.
"""

import logging
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from agent.clock import NS_PER_S, Clock
from agent.delivery.certificate import Certificate, read_certificate
from agent.delivery.credentials import find
from agent.delivery.link import Trouble
from agent.settings import MqttSettings

_log = logging.getLogger(__name__)

RETRY_S = 600
RETRY_MAX_S = 86_400
_REFUSALS = {Trouble.TLS_CLIENT_CERTIFICATE, Trouble.NOT_AUTHORISED, Trouble.CREDENTIALS, Trouble.CLIENT_ID}
# Nobody has looked at the certificate then, and the other one would fare no better.
_UNSEEN = {Trouble.DNS, Trouble.REFUSED, Trouble.UNREACHABLE, Trouble.BROKER_BUSY}


class Trial:
    """Whose turn it is while there are two. Pure: it is told the time and what happened."""

    def __init__(self) -> None:
        self.turn: Literal["new", "old"] = "new"
        self.due_ns: int | None = None
        """When a connection with the old one is to end for the new one's turn."""
        self.refusal = ""
        """Why the broker does not take the new one, as it said last; empty if it never did."""
        self._wait_s: float = RETRY_S  # before its next turn
        self._is_seen = False  # somebody has looked at it in its last turn

    def failed(self, trouble: Trouble, sentence: str) -> bool:
        """Take note of an attempt that came to nothing. Returns whether the other one is to be tried at once."""
        if self.turn == "old":
            self.turn = "new"
            return False
        self.turn = "old"
        self.due_ns = None
        self._is_seen = trouble not in _UNSEEN
        if trouble in _REFUSALS:
            self.refusal = sentence
        return self._is_seen

    def connected(self, now_ns: int) -> bool:
        """Take note of a connection. Returns whether it is the new one's, and the trial over."""
        if self.turn == "new":
            return True
        if self.due_ns is None:  # a connection that breaks often must not put it off again and again
            wait_s = RETRY_MAX_S if self.refusal else self._wait_s
            self.due_ns = now_ns + int(wait_s * NS_PER_S)
            if self._is_seen:  # an outage says nothing about it
                self._wait_s = min(2 * self._wait_s, RETRY_MAX_S)
        return False

    def begin_turn(self) -> None:
        """The new one's turn has come: the connection with the old one is ended for it."""
        self.turn = "new"
        self.due_ns = None


class Renewal:
    """The files of the trial, driven by the delivery thread."""

    def __init__(self, settings: MqttSettings, environ: Mapping[str, str], clock: Clock) -> None:
        """Find out which state the files are in."""
        self._clock = clock
        self._old = find(settings.cert_file, environ) if settings.cert_file else None
        self._key = find(settings.key_file, environ)
        self._trial: Trial | None = None
        if self._old is not None and _path_of_new(self._old).exists():
            self._begin_or_clear(self._old)

    def shown(self) -> Path | None:
        """Give the certificate that the attempt to connect is to show; None: that of the settings."""
        if self._trial is None or self._old is None or self._trial.turn == "old":
            return None
        return _path_of_new(self._old)

    def failed(self, trouble: Trouble, sentence: str) -> bool:
        """Take note of an attempt that came to nothing. Returns whether to try again at once, with the other one."""
        if self._trial is None:
            return False
        again = self._trial.failed(trouble, sentence)
        if trouble in _REFUSALS and self._trial.turn == "old":
            _log.warning("certificate.refused why=%r", sentence)
        return again

    def connected(self) -> None:
        """Take note that the broker has accepted us."""
        if self._trial is None or self._old is None or not self._trial.connected(self._clock.now_ns()):
            return
        try:
            _path_of_new(self._old).replace(self._old)
            _sync(self._old.parent)
        except OSError as error:  # it is used all the same, and takes the name after a later connection
            _log.error("certificate.not_moved file=%s why=%r", self._old, str(error))
            return
        self._trial = None
        _log.info("certificate.renewed file=%s", self._old)

    @property
    def due_ns(self) -> int | None:
        """When the connection that there is should end for the new one's turn; None: it should not."""
        return None if self._trial is None else self._trial.due_ns

    def begin_turn(self) -> None:
        """The next attempt is the new one's."""
        if self._trial is not None:
            self._trial.begin_turn()

    @property
    def sentence(self) -> str:
        """What is wrong with the new certificate while the old one is used, or an empty string."""
        if self._trial is None or not self._trial.refusal:
            return ""
        return f"renewed certificate refused, the old one is used: {self._trial.refusal.split(': ', 1)[-1]}"

    def offer(self, pem: str) -> str:
        """Keep a new certificate, its chain behind it, beside the old one. Returns what happens next, for people.

        Only one that belongs to this device and its key, is not expired and ends later than the present one. When this
        returns the disk has it. Raises ValueError for any other, OSError where it cannot be kept.
        """
        if self._old is None:
            raise ValueError("this device has no certificate: mqtt.cert_file is not set")
        if not pem.isascii():
            raise ValueError("the new certificate is no PEM")
        old, new = read_certificate(self._old.read_text("ascii")), read_certificate(pem)
        if new.der == old.der:
            return "this certificate is in use already"
        self._check(new, old)
        fresh = self._old.with_name(self._old.name + ".part")
        try:
            _write(fresh, pem)
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(fresh, self._key, password="")
            fresh.replace(_path_of_new(self._old))
        except ssl.SSLError as error:
            raise ValueError("the new certificate does not belong to this device's key, or is damaged") from error
        finally:
            with suppress(OSError):
                fresh.unlink()
        _sync(self._old.parent)
        self._trial = Trial()
        self._trial.due_ns = self._clock.now_ns()
        _log.info("certificate.offered file=%s", _path_of_new(self._old))
        return "kept beside the old one; it is used as soon as the broker takes it"

    def _check(self, new: Certificate, old: Certificate) -> None:
        if new.name != old.name:
            raise ValueError(f"the new certificate is for {new.name[:64]!r}, not for {old.name!r}")
        if self._clock.trusted() and new.ends_ns <= self._clock.wall_ns():
            raise ValueError("the new certificate is expired")
        if new.ends_ns <= old.ends_ns:
            raise ValueError("the new certificate ends no later than the present one")

    def _begin_or_clear(self, old: Path) -> None:
        """At the start: go on with a trial, or clear away what somebody has overtaken by putting a better one there."""
        try:
            new_ends_ns = read_certificate(_path_of_new(old).read_text("ascii")).ends_ns
            if new_ends_ns > read_certificate(old.read_text("ascii")).ends_ns:
                self._trial = Trial()
                return
            why = "the present one ends no earlier"
        except (OSError, ValueError) as error:
            why = str(error)
        _log.warning("certificate.cleared file=%s why=%r", _path_of_new(old), why)
        with suppress(OSError):
            _path_of_new(old).unlink()


def _path_of_new(old: Path) -> Path:
    return old.with_name(old.name + ".new")


def _write(file: Path, text: str) -> None:
    with suppress(FileNotFoundError):
        file.unlink()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="ascii") as stream:
        os.fchmod(stream.fileno(), 0o644)  # whatever the service's mask: a certificate is shown to everybody
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    """Have the disk know a file's new name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
