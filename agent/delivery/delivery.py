"""Delivery: from the hand-over to the disk to the broker, driven by one thread calling `step`.

A step stores what is due, says what is due, sends what the pump lets go, then waits once, in one poll(2), for events,
the broker, the end of an attempt to connect, or the next instant at which something is due.
"""

import logging
import random
from collections.abc import Callable
from typing import Any

from agent.clock import NS_PER_S, Clock
from agent.delivery import requests
from agent.delivery.figures import Figures
from agent.delivery.handover import HandOver
from agent.delivery.intake import Intake
from agent.delivery.lane import Lane
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
from agent.delivery.publisher import Rebuild
from agent.delivery.reconnect import Reconnect
from agent.delivery.refusals import Refusals
from agent.delivery.renewal import Renewal
from agent.delivery.requests import Invalid, Request
from agent.delivery.topics import HOME_ASSISTANT_STATUS, Identity
from agent.errors import MaskwatchError
from agent.events.state import CameraState, Telemetry
from agent.settings import MqttSettings, ReportSettings

__all__ = ["Delivery", "Figures", "Request"]

_log = logging.getLogger(__name__)

_BROKER_PATIENCE = 1.5  # keep-alives until a broker takes a silent client for gone: MQTT 5.0 section 3.1.2.10
_GOODBYE_NS = 1 * NS_PER_S  # for the last status to be answered
_LAST_WORDS_NS = 5 * NS_PER_S  # for what is unanswered, before a connection is ended for a new certificate's sake
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
        renewal: Renewal | None = None,
    ) -> None:
        """telemetry: asked every report.telemetry_every_s. frames_coming: while true, draining is capped.

        renewal: None where the settings' files are all there is, and no credentials of systemd's.
        """
        self._identity = identity
        self._hand_over = hand_over
        self._outbox = outbox
        self._link = link
        self._renewal = renewal or Renewal(mqtt, {}, clock)
        self._clock = clock
        self._frames_coming = frames_coming
        insecure = mqtt.tls and mqtt.insecure
        self._intake = Intake(hand_over, outbox, clock=clock, rng=rng)
        self._presence = Presence(identity, report=report, insecure=insecure, clock=clock, telemetry=telemetry)
        self._reconnect = Reconnect(clock, rng)
        self._refusals = Refusals(clock)
        self._lane = Lane(identity, outbox, hand_over, ack_mode=mqtt.ack_mode, clock=clock, rng=rng)
        self._patience_ns = int(_BROKER_PATIENCE * mqtt.keepalive_s * NS_PER_S)
        self._stepped_ns = clock.now_ns()
        self._lane_ns: int | None = None  # when to ask the lane again
        self._session = outbox.session  # the number of this connection
        self._receive_max = 0
        self._unanswered: dict[int, int | str] = {}  # by token: the sequence of an event, the topic of anything else
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
        return self._lane.replay(first)

    def renew(self, pem: str) -> str:
        """Keep a new certificate of this device, and connect with it once what is unanswered now is answered.

        Returns what happens next, for people. Raises ValueError for one that is not taken, OSError for the disk.
        """
        return self._renewal.offer(pem)

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
            self._publish(self._presence.goodbye(self._session, reason=reason, standing=self._lane.standing))
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
        if self._lane.check_stream(is_up=self._is_up):
            self._unanswered = dict.fromkeys(self._unanswered, self._identity.events)
        is_last = self._is_up and self._leave_for_certificate()
        self._connect()
        if self._is_up:
            self._say_present()
            may_send = self._may_send() and not is_last
            self._lane_ns = self._send_events() if may_send else self._presence.introduced_by_ns
        found = self._heed(self._wait(end_ns))
        self._lane.acknowledge()
        self._tell()
        return found

    def _wait(self, end_ns: int) -> list[News]:
        dues_ns = [end_ns, self._intake.due_ns, self._reconnect.due_ns]
        if self._is_up:
            dues_ns += [self._presence.due_ns(room=self._room), self._lane_ns, self._leave_ns]
        due_ns = min(instant_ns for instant_ns in dues_ns if instant_ns is not None)
        timeout_s = max(0.0, (due_ns - self._clock.now_ns()) / NS_PER_S)
        return self._link.wait(timeout_s, self._hand_over.fileno())

    # The connection.

    def _connect(self) -> None:
        now_ns, before_ns = self._clock.now_ns(), self._stepped_ns
        self._stepped_ns = now_ns
        if self._is_up and now_ns - before_ns > self._patience_ns:  # the board was suspended, and nobody said goodbye
            self._link.drop()
            self._disconnected(Trouble.TIMEOUT, f"asleep for {(now_ns - before_ns) / NS_PER_S:.0f} s")
        if self._reconnect.overdue():
            self._link.drop()
            self._disconnected(Trouble.TIMEOUT, "the broker accepts the connection and does not answer")
        elif self._reconnect.is_due:
            self._link.connect(self._presence.will(self._outbox.session + 1), self._renewal.shown())
            self._reconnect.begun()

    @property
    def _leave_ns(self) -> int | None:
        """When to ask next whether to end the connection for a new certificate's sake."""
        due_ns = self._renewal.due_ns
        return due_ns if due_ns is None or self._clock.now_ns() < due_ns else due_ns + _LAST_WORDS_NS

    def _leave_for_certificate(self) -> bool:
        """End the connection when a new certificate's turn has come. Returns whether no event may go until then.

        Without a goodbye: should nothing connect any more, it is the will that says so.
        """
        due_ns, now_ns = self._renewal.due_ns, self._clock.now_ns()
        if due_ns is None or now_ns < due_ns:
            return False
        if (self._unanswered or self._presence.has_answers) and now_ns < due_ns + _LAST_WORDS_NS:
            return True
        self._renewal.begin_turn()
        self._link.drop()
        self._unanswered.clear()
        self._lane.pump.disconnected()
        self._reconnect.again()
        return False

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
        self._lane.from_disk(self._outbox.next_session)  # without a disk the number is the next connection's as well
        self._receive_max = receive_max
        self._unanswered.clear()
        self._reconnect.succeeded()
        self._renewal.connected()
        self._refusals.connected()
        self._presence.connected()
        self._lane.connected()
        self._link.subscribe(self._identity.subscriptions)
        _log.info("mqtt.connected version=%s session=%d backlog=%d", version, self._session, self._outbox.backlog)

    def _disconnected(self, trouble: Trouble, sentence: str) -> None:
        if trouble is Trouble.CLOSED and self._refusals.sentence:
            trouble, sentence = Trouble.MESSAGE_REFUSED, self._refusals.sentence
        another = not self._is_up and self._renewal.failed(trouble, sentence)
        self._unanswered.clear()
        self._lane.pump.disconnected()
        self._reconnect.failed(trouble, sentence, at_once=another)

    # What goes out.

    @property
    def _room(self) -> int:
        return (self._receive_max if self._presence.is_introduced else 1) - len(self._unanswered)

    @property
    def _hindrance(self) -> str:
        """What somebody should see to though there is a connection, or an empty string."""
        held = self._lane.sentence if self._lane.pump.is_held else ""
        return held or self._refusals.sentence or self._renewal.sentence or self._lane.sentence

    def _say_present(self) -> None:
        hindered = self._intake.disk.text or self._lane.disk.text or self._hindrance
        due = self._presence.due(session=self._session, standing=self._lane.standing, trouble=hindered, room=self._room)
        for message in due:
            self._publish(message)

    def _publish(self, message: Message) -> None:
        token = self._link.publish(message)
        if message.qos:
            self._unanswered[token] = message.topic

    def _send_events(self) -> int | None:
        """Send the events that may go, and tell when to ask again."""

        def publish(message: Message, sequence: int) -> None:
            self._unanswered[self._link.publish(message)] = sequence

        found = self._lane.send(publish, room=lambda: self._room, frames_coming=self._frames_coming)
        if isinstance(found, Rebuild):
            self._link.drop()
            self._disconnected(Trouble.STALLED, found.why)
            return None
        return found

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
                self._lane.answered(sequence, code)
                self._refusals.event(self._lane.pump.sentence if code >= _FAILURE else "")
            case str(topic) if code >= _FAILURE:
                self._refusals.topic("write", topic, code)
                self._presence.refused(topic)

    def _received(self, received: Received) -> list[Request]:
        if received.topic == HOME_ASSISTANT_STATUS:
            if received.payload == b"online" and not received.retained:
                self._presence.home_assistant_started()
        elif received.topic == self._identity.ack:
            self._lane.hear(received)
        elif received.topic == self._identity.command:
            match requests.parse(received, self._identity):
                case Request() as request:
                    return [request]
                case Invalid(answer=answer):
                    self._presence.answer(answer)
        return []

    def _tell(self) -> None:
        self.figures = Figures(
            stored=self._intake.stored,
            acknowledged=self._lane.acknowledged,
            given_up=self._outbox.given_up,
            backlog=self._outbox.backlog,
            waiting=len(self._intake),
            session=self._session,
            connected_since_ns=self._reconnect.up_since_ns,
            trouble=self._reconnect.trouble,
            sentence=self._lane.pump.sentence
            if self._lane.pump.is_held
            else self._reconnect.sentence or self._hindrance,
            storage=self._intake.disk.text or self._lane.disk.text,
        )
