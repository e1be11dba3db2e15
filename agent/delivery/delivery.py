"""Delivery: from the hand-over to the disk to the broker, driven by one thread calling `step`.

A step stores what is due, says what is due, sends what the pump lets go, then waits once, in one poll(2), for events,
the broker, the end of an attempt to connect, or the next instant at which something is due.
"""

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from agent.clock import NS_PER_S, Clock
from agent.delivery import requests
from agent.delivery.collector import Collector
from agent.delivery.disk import DiskTrouble
from agent.delivery.figures import Figures
from agent.delivery.handover import HandOver
from agent.delivery.intake import Intake
from agent.delivery.link import (
    Answered,
    Connected,
    Link,
    Lost,
    Message,
    News,
    Received,
    Refused,
    SubscriptionRefused,
    Trouble,
)
from agent.delivery.outbox import Outbox
from agent.delivery.presence import Presence
from agent.delivery.publisher import PubackCode, Pump, Rebuild, Send, Wait
from agent.delivery.reconnect import Reconnect
from agent.delivery.refusals import Refusals
from agent.delivery.requests import Invalid, Request
from agent.delivery.topics import HOME_ASSISTANT_STATUS, Identity
from agent.errors import MaskwatchError
from agent.events.envelope import CONTENT_TYPE, Stored, encode, is_historical
from agent.events.state import CameraState, Telemetry
from agent.settings import MqttSettings, ReportSettings

__all__ = ["Delivery", "Figures", "Request"]

_log = logging.getLogger(__name__)
T = TypeVar("T")

_GOODBYE_NS = 1 * NS_PER_S  # for the last status to be answered
_FAILURE = 128  # reason codes from here on are failures


class Delivery:
    """The delivery thread's whole world. Only `say`, `reply`, `figures` and the hand-over are for other threads."""

    def __init__(
        self,
        *,
        identity: Identity,
        mqtt: MqttSettings,
        report: ReportSettings,
        hand_over: HandOver,
        outbox: Outbox,
        link: Link,
        clock: Clock,
        rng: random.Random,
        telemetry: Callable[[], Telemetry | None],
        frames_coming: Callable[[], bool],
    ) -> None:
        """telemetry: asked every report.telemetry_every_s. frames_coming: while true, draining is capped."""
        self._identity = identity
        self._ack_mode = mqtt.ack_mode
        self._hand_over = hand_over
        self._outbox = outbox
        self._link = link
        self._clock = clock
        self._rng = rng
        self._frames_coming = frames_coming
        insecure = mqtt.tls and mqtt.insecure
        self._intake = Intake(hand_over, outbox, clock=clock, rng=rng)
        self._presence = Presence(identity, report=report, insecure=insecure, clock=clock, telemetry=telemetry)
        self._reconnect = Reconnect(clock, rng)
        self._refusals = Refusals(clock)
        self._disk = DiskTrouble(_log, "outbox.read", clock=clock, rng=rng)
        self._collector = Collector(hand_over, outbox, clock)
        self._stream = outbox.stream
        self._pump = self._new_pump()
        self._pump_ns: int | None = None  # when to ask the pump again
        self._session = outbox.session  # the number of this connection
        self._receive_max = 0
        self._unanswered: dict[int, int | str] = {}  # by token: the sequence of an event, the topic of anything else
        self._acknowledged = 0
        self.figures = Figures()
        self._tell()

    def step(self, timeout_s: float) -> list[Request]:
        """Do what is due, waiting up to `timeout_s` for something to do; gives the commands that arrived.

        Never raises for what a broker or a network does. A disk that fails is told in `figures.storage` and retried.
        """
        return self._step(self._clock.now_ns() + int(timeout_s * NS_PER_S))

    def say(self, *, camera: CameraState | None = None, reason: str | None = None) -> None:
        """Tell what the status is to say from now on; published when it changes. None: as before; "": no reason."""
        self._presence.say(camera=camera, reason=reason)
        self._hand_over.wake()

    def reply(self, request: Request, *, ok: bool, message: str = "", result: dict[str, Any] | None = None) -> None:
        """Answer a command."""
        self._presence.answer(requests.answer(request, ok=ok, message=message, result=result or {}))
        self._hand_over.wake()

    def replay(self, first: int) -> int:
        """Send again what the outbox still holds from `first` on; gives the first sequence there is (0: none)."""
        held = self._from_disk(lambda: self._outbox.pending(first - 1, 1)) or []
        if held:
            self._pump.resend(self._clock.now_ns())
        return held[0].sequence if held else 0

    def drain(self, within_s: float) -> bool:
        """Store everything handed over, then publish until all is acknowledged or the time is over; True if all is.

        Without a connection it only stores: the next start sends.
        """
        end_ns = self._clock.now_ns() + int(within_s * NS_PER_S)
        while True:
            self._intake.step(hurry=True)
            done = not len(self._intake) and self._outbox.backlog == 0
            away = not self._is_up and not self._reconnect.connecting and not self._reconnect.is_due
            hopeless = away and not len(self._intake)
            if done or hopeless or self._clock.now_ns() >= end_ns:
                return done
            self._step(end_ns)

    def close(self, reason: str) -> None:
        """Say goodbye (retained status offline with the reason), disconnect, mark a clean stop."""
        if self._is_up:
            self._publish(self._presence.goodbye(self._session, reason=reason, backlog=self._outbox.backlog))
            end_ns = self._clock.now_ns() + _GOODBYE_NS
            while self._unanswered and self._is_up and self._clock.now_ns() < end_ns:
                self._intake.step(hurry=True)
                self._heed(self._wait(end_ns))
            self._link.close()
        else:
            self._link.drop()
        try:
            self._outbox.close(clean=True)
        except MaskwatchError as error:
            _log.error("outbox.close why=%r", str(error))

    @property
    def _is_up(self) -> bool:
        return self._reconnect.up_since_ns is not None

    def _step(self, end_ns: int) -> list[Request]:
        self._intake.step()
        self._check_stream()
        self._connect()
        if self._is_up:
            self._say_present()
            self._pump_ns = self._send_events() if self._may_send() else self._presence.introduced_by_ns
        found = self._heed(self._wait(end_ns))
        self._acknowledge()
        self._tell()
        return found

    def _wait(self, end_ns: int) -> list[News]:
        dues_ns = [end_ns, self._intake.due_ns, self._reconnect.due_ns]
        if self._is_up:
            dues_ns += [self._presence.due_ns(room=self._room), self._pump_ns]
        due_ns = min(instant_ns for instant_ns in dues_ns if instant_ns is not None)
        timeout_s = max(0.0, (due_ns - self._clock.now_ns()) / NS_PER_S)
        return self._link.wait(timeout_s, self._hand_over.fileno())

    # The connection.

    def _connect(self) -> None:
        if self._reconnect.overdue():
            self._link.drop()
            self._reconnect.failed(Trouble.TIMEOUT, "the broker accepts the connection and does not answer")
        elif self._reconnect.is_due:
            self._link.connect(self._presence.will(self._outbox.session + 1))
            self._reconnect.begun()

    def _may_send(self) -> bool:
        """Tell whether the broker has answered our introduction; one that never does is dropped."""
        if self._presence.introduce(all_answered=not self._unanswered):
            return True
        if self._clock.now_ns() >= self._presence.introduced_by_ns:
            self._link.drop()
            self._disconnected(Trouble.STALLED, "the broker accepts the connection and does not answer")
        return False

    def _connected(self, version: str, receive_max: int) -> None:
        self._session = self._outbox.session + 1
        self._from_disk(self._outbox.next_session)  # without a disk the number is the next connection's as well
        self._receive_max = receive_max
        self._unanswered.clear()
        self._reconnect.succeeded()
        self._refusals.connected()
        self._presence.connected()
        self._pump.connected(self._clock.now_ns(), newest=self._outbox.last_sequence)
        self._link.subscribe(self._identity.subscriptions)
        _log.info("mqtt.connected version=%s session=%d backlog=%d", version, self._session, self._outbox.backlog)

    def _disconnected(self, trouble: Trouble, sentence: str) -> None:
        if trouble is Trouble.CLOSED and self._refusals.sentence:
            trouble, sentence = Trouble.MESSAGE_REFUSED, self._refusals.sentence
        self._unanswered.clear()
        self._pump.disconnected()
        self._reconnect.failed(trouble, sentence)

    # What goes out.

    @property
    def _room(self) -> int:
        return (self._receive_max if self._presence.is_introduced else 1) - len(self._unanswered)

    @property
    def _hindrance(self) -> str:
        """What keeps events from getting through a connection, or an empty string."""
        return self._collector.sentence or self._pump.sentence or self._refusals.sentence

    def _say_present(self) -> None:
        hindered = self._intake.disk.text or self._disk.text or self._hindrance
        due = self._presence.due(session=self._session, backlog=self._outbox.backlog, trouble=hindered, room=self._room)
        for message in due:
            self._publish(message)

    def _publish(self, message: Message) -> None:
        token = self._link.publish(message)
        if message.qos:
            self._unanswered[token] = message.topic

    def _send_events(self) -> int | None:
        """Send what the pump lets go, and tell when to ask it again."""
        while True:
            now_ns = self._clock.now_ns()
            move = self._pump.next(
                now_ns, newest=self._outbox.last_sequence, room=self._room, frames_coming=self._frames_coming()
            )
            match move:
                case Send(after=after, count=count):
                    rows = self._from_disk(partial(self._outbox.pending, after, count))
                    if not rows or self._outbox.stream != self._stream:
                        return self._disk.retry_ns or now_ns
                    for row in rows:
                        self._send_event(row, now_ns)
                case Rebuild(why=why):
                    self._link.drop()
                    self._disconnected(Trouble.STALLED, why)
                    return None
                case Wait(until_ns=until_ns):
                    return until_ns

    def _send_event(self, row: Stored, now_ns: int) -> None:
        wall_ns = self._clock.wall_ns() if self._clock.trusted() else None
        historical = is_historical(row, boot_id=self._outbox.boot_id, now_ns=now_ns, wall_ns=wall_ns)
        payload = encode(row, source=self._identity.source, historical=historical)
        message = Message(topic=self._identity.events, payload=payload, qos=1, content_type=CONTENT_TYPE)
        self._unanswered[self._link.publish(message)] = row.sequence
        self._pump.sent(row.sequence, now_ns)

    # What comes in.

    def _heed(self, news: list[News]) -> list[Request]:
        found: list[Request] = []
        for item in news:
            match item:
                case Connected(version=version, receive_max=receive_max):
                    self._connected(version, receive_max)
                case Refused(trouble=trouble, sentence=sentence) | Lost(trouble=trouble, sentence=sentence):
                    self._disconnected(trouble, sentence)
                case Answered(token=token, code=code):
                    self._answered(token, code)
                case SubscriptionRefused(topic=topic, code=code):
                    self._refusals.topic("read", topic, code)
                case Received():
                    found.extend(self._received(item))
        return found

    def _answered(self, token: int, code: int) -> None:
        match self._unanswered.pop(token, None):
            case int(sequence):
                self._pump.answered(sequence, PubackCode.of(code), self._clock.now_ns())
                self._refusals.event(self._pump.sentence if code >= _FAILURE else "")
            case str(topic) if code >= _FAILURE:
                self._refusals.topic("write", topic, code)
                self._presence.refused(topic)

    def _received(self, received: Received) -> list[Request]:
        if received.topic == HOME_ASSISTANT_STATUS:
            if received.payload == b"online" and not received.retained:
                self._presence.home_assistant_started()
        elif received.topic == self._identity.ack:
            if self._outbox.stream == self._stream:  # else the pump is of the old one
                self._collector.hear(received, self._pump)
        elif received.topic == self._identity.command:
            match requests.parse(received, self._identity):
                case Request() as request:
                    return [request]
                case Invalid(answer=answer):
                    self._presence.answer(answer)
        return []

    def _acknowledge(self) -> None:
        if self._pump.acknowledged > self._outbox.acknowledged and self._outbox.stream == self._stream:
            count = self._from_disk(lambda: self._outbox.acknowledge(self._stream, self._pump.acknowledged))
            self._acknowledged += count or 0

    # The disk.

    def _from_disk(self, action: Callable[[], T]) -> T | None:
        """Run an action on the outbox; None when the disk fails, or has just failed."""
        if self._disk.is_resting:
            return None
        try:
            result = action()
        except MaskwatchError as error:
            self._disk.failed(error)
            return None
        self._disk.works()
        return result

    def _check_stream(self) -> None:
        """Begin anew with the pump when damage has made the outbox begin a new stream."""
        if self._outbox.stream != self._stream:
            self._stream = self._outbox.stream
            self._pump = self._new_pump()
            self._unanswered = dict.fromkeys(self._unanswered, self._identity.events)
            if self._is_up:
                self._pump.connected(self._clock.now_ns(), newest=self._outbox.last_sequence)

    def _new_pump(self) -> Pump:
        return Pump(ack_mode=self._ack_mode, acknowledged=self._outbox.acknowledged, rng=self._rng)

    def _tell(self) -> None:
        self.figures = Figures(
            stored=self._intake.stored,
            acknowledged=self._acknowledged,
            given_up=self._outbox.given_up,
            backlog=self._outbox.backlog,
            waiting=len(self._intake),
            session=self._session,
            connected_since_ns=self._reconnect.up_since_ns,
            trouble=self._reconnect.trouble,
            sentence=self._pump.sentence if self._pump.is_held else self._reconnect.sentence or self._hindrance,
            storage=self._intake.disk.text or self._disk.text,
        )
