"""Several instances on one database: who is there, whose part a device is, and what becomes of one that dies.

Each instance renews a row every two seconds. One whose row is older than LEASE_S is dead for the others: one of them
inherits its session at the broker, in which the messages lie that the dead one would have got. So nothing waits for
its return, and nothing is left behind even by devices that forget an event once the broker has it.

Where the broker shares a subscription among us it divides the messages, and this is all. Where it does not, each of
us gets everything and stores the devices that are its part, by the highest hash of device and instance: when one comes
or goes, only its own devices move. What is another's part is left to it without a look at the database, which is safe
by the order of things: it had its subscription before its row, and we leave devices to a newcomer only after a moment
in which the broker had nothing for us, since until then it may be sending us what is older than that subscription.
"""

import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, runtime_checkable

from agent.clock import NS_PER_S, Clock
from agent.delivery.complaint import Complaint
from agent.errors import MaskwatchError
from tools.fleet.collector.broker import Broker, Received, Unreached

EVENTS, SHARED, STATUS = "maskwatch/+/+/events", "$share/collector/maskwatch/+/+/events", "maskwatch/+/+/status"
TELEMETRY = "maskwatch/+/+/telemetry"
LOOKS = (STATUS, TELEMETRY)
LEASE_S = 10.0
_BEATS = 5  # in a lease
_DRAINED_NS = 5 * NS_PER_S  # a session is empty when it has been silent for so long: a cluster may be electing
_TIED_S = 0.3  # for the broker to throw us out, if it takes an heir for us

log = logging.getLogger(__name__)


@runtime_checkable
class Roll(Protocol):
    """The rows of the instances. Methods raise UnavailableError, StorageError or NotPermittedError."""

    def attend(self, name: str, lease_s: float) -> set[str]:
        """Renew our row; give the names of all whose lease has not run out."""

    def claim(self, name: str, lease_s: float) -> str | None:
        """Give the name of a dead instance that is ours to inherit from now on, if there is one."""

    def hold(self, dead: str, heir: str) -> None:
        """Renew our claim on a dead instance."""

    def strike(self, name: str) -> None:
        """Remove a row: its instance has left, or has been inherited."""


class Division:
    """Which devices are our part. Pure."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._trusted = {name}  # to whom we leave their devices
        self._seen = {name}

    @property
    def newcomers(self) -> set[str]:
        """Those to whom nothing is left yet."""
        return self._seen - self._trusted

    def heard(self, live: Collection[str]) -> None:
        """Take note of who is there. Who has gone is trusted with nothing any more."""
        self._seen = {*live, self._name}
        self._trusted &= self._seen

    def quiet(self) -> None:
        """Take note that the broker has nothing for us at this moment."""
        self._trusted = set(self._seen)

    def is_ours(self, device: str) -> bool:
        """Tell whether we are to store what a device sends."""
        if len(self._trusted) == 1:
            return True
        return max(self._trusted, key=lambda name: _weight(name, device)) == self._name


Settle = Callable[[Sequence[Received], Broker], None]
"""Stores messages and answers their broker for them. Raises MaskwatchError when the store fails."""


class _Legacy:
    """A dead instance's session while we empty it."""

    def __init__(self, name: str, broker: Broker, now_ns: int) -> None:
        self.name = name
        self.broker = broker
        self.taken = 0
        self.silent_ns = now_ns  # since when nothing came


class Fleet:
    """Our place among the instances: keeps our row, hears of the others, inherits from the dead."""

    def __init__(
        self, *, name: str, roll: Roll, dial: Callable[[str], Broker], clock: Clock, lease_s: float = LEASE_S
    ) -> None:
        """dial: makes the connection of an instance, by its name. lease_s: silence after which one is dead."""
        self.division = Division(name)
        self._name = name
        self._roll = roll
        self._dial = dial
        self._clock = clock
        self._lease_s = lease_s
        self._beat_ns = 0
        self._attended_ns: int | None = None
        self._may_inherit = True
        self._legacy: _Legacy | None = None
        self._roll_away = Complaint(log, "fleet.roll", clock)
        self._stuck = Complaint(log, "fleet.inherit", clock)

    def step(self, main: Broker, settle: Settle) -> None:
        """Do what is due, while `main` is connected."""
        try:
            if self._clock.now_ns() >= self._beat_ns:
                self._beat(main)
            if self._legacy is not None:
                self._empty(self._legacy, settle)
        except MaskwatchError as error:
            self._roll_away.failing(str(error))
            self.let_go()
        except Unreached as error:  # the dead one is back, or the broker has gone: another beat will see
            self._stuck.failing(error.why.sentence)
            self.let_go()

    def let_go(self) -> None:
        """Leave the session that we are emptying; what is in it stays there."""
        if self._legacy is not None:
            self._legacy.broker.drop()
            self._legacy = None

    def _beat(self, main: Broker) -> None:
        now_ns = self._clock.now_ns()
        self._beat_ns = now_ns + int(self._lease_s / _BEATS * NS_PER_S)
        self.division.heard(self._roll.attend(self._name, self._lease_s))
        self._roll_away.over()
        # After a time without the database or the broker everybody's row is old, and nobody need be dead.
        steady = self._attended_ns is not None and now_ns - self._attended_ns < self._lease_s / 2 * NS_PER_S
        self._attended_ns = now_ns
        if self._legacy is not None:
            self._roll.hold(self._legacy.name, self._name)
        elif steady and self._may_inherit and (dead := self._roll.claim(self._name, self._lease_s)) is not None:
            self._legacy = _Legacy(dead, self._dial(dead), now_ns)
            self._open(self._legacy, main)

    def _open(self, legacy: _Legacy, main: Broker) -> None:
        """Enter a dead instance's session.

        A broker may make the client id of who we are by certificate or password: then the session would be our own,
        and opening it throws us out of it. That ends all inheriting.
        """
        legacy.broker.connect()
        legacy.silent_ns = self._clock.now_ns()
        if legacy.broker.had_session and not main.keeps(_TIED_S):
            self._may_inherit = False
            log.error("fleet.inherit why='the broker takes us for %s: nobody can inherit from it'", legacy.name)
            self.let_go()
        else:
            legacy.broker.unsubscribe((EVENTS, SHARED, *LOOKS) if legacy.broker.shares else (EVENTS, *LOOKS))

    def _empty(self, legacy: _Legacy, settle: Settle) -> None:
        """Store what has come from a dead instance's session; end it when nothing comes any more."""
        now_ns = self._clock.now_ns()
        if received := legacy.broker.wait(0):
            settle(received, legacy.broker)
            legacy.taken += len(received)
            legacy.silent_ns = now_ns
        elif now_ns - legacy.silent_ns >= _DRAINED_NS or not legacy.broker.had_session:
            legacy.broker.close(forget=True)
            self._legacy = None
            self._roll.strike(legacy.name)
            self._stuck.over()
            log.info("fleet.inherited name=%s messages=%d", legacy.name, legacy.taken)


def _weight(name: str, device: str) -> bytes:
    return hashlib.blake2b(f"{name}/{device}".encode(), digest_size=8).digest()
