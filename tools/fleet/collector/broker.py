"""The edge to paho: a session that the broker keeps, whose messages are acknowledged one by one and by hand.

Rules for whoever edits this:
- One thread drives it all, with its own poll(2): a PUBACK can then never slip into a connection that is not the one
  its message came by. A broker that has forgotten the session numbers its messages from 1 again, and a PUBACK from
  before would lose one.
- One paho client a connection; paho's own queue, resending and reconnecting are unused.
- The broker sends at most RECEIVE_MAX messages that are not acknowledged: what waits for a database is bounded by
  that, and reading goes on meanwhile, or the broker would miss our pings.
"""

import logging
import os
import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.delivery.credentials import Credentials
from agent.delivery.link import Refused, Trouble
from agent.delivery.sockets import Ear, hang_up, has_buffered, prepare
from agent.delivery.trouble import Speaker
from agent.errors import MaskwatchError
from agent.settings import MqttSettings

T = TypeVar("T")
RECEIVE_MAX = 1000
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_S = 10.0  # for CONNACK and SUBACK
_GOODBYE_S = 1.0  # for our last words to leave
_UNSUPPORTED_VERSION = 132
_TAKEN_OVER = 142
_FAILURE = 128  # reason codes from here on are failures


class Receipt(msgspec.Struct, frozen=True):
    """What a message is acknowledged by, in the connection that it came by and no other."""

    connection: int
    token: int


class Received(msgspec.Struct, frozen=True):
    """A message. receipt: None when the broker wants no answer (QoS 0)."""

    topic: str
    payload: bytes
    receipt: Receipt | None


class Broker:
    """A connection at a time to a broker, in a session that outlives it."""

    def __init__(self, nodes: Sequence[MqttSettings], *, client_id: str, session_s: int) -> None:
        """Read the files that the settings name.

        nodes: one for each node of a cluster; when one cannot be reached the next is tried. session_s: how long the
        broker is to keep our session without us.
        Raises ConfigError for a missing or wrong file, NotPermittedError for one that may not be read.
        """
        self._nodes = deque(nodes)
        self._client_id = client_id
        self._session_s = session_s
        for node in nodes:
            Credentials(node, os.environ).password()
            Credentials(node, os.environ).tls()
        self._client: paho.Client | None = None
        self._connection = 0
        self._received: list[Received] = []
        self._granted: list[int] | None = None
        self._why: Refused | None = None
        self._version = MQTTProtocolVersion.MQTTv5
        self._connack: tuple[ReasonCode, bool, Any] | None = None
        self.shares = False
        """Whether this broker divides a subscription among its subscribers ($share)."""
        self.version = ""
        self.had_session = False
        """Whether the broker has kept our session since the last connection."""

    @property
    def _settings(self) -> MqttSettings:
        """Those of the node whose turn it is."""
        return self._nodes[0]

    @property
    def client_id(self) -> str:
        return self._client_id

    @property
    def _speaker(self) -> Speaker:
        return Speaker(self._settings, client_id=self._client_id)

    @property
    def is_up(self) -> bool:
        return self._client is not None

    def connect(self) -> None:
        """Connect, trying MQTT 5 first; `subscribe` comes next. Raises Unreached; then it is the next node's turn."""
        versions = {"auto": (5, 4), "5": (5,), "3.1.1": (4,)}[self._settings.protocol]
        for number in versions:
            try:
                self._dial(MQTTProtocolVersion(number))
            except Unreached as error:
                if number == versions[-1] or not error.may_be_version:
                    self._nodes.rotate(-1)
                    raise
            else:
                return

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for topics, QoS 1, and wait for the answer. Raises Unreached."""
        assert self._client is not None
        self._granted = None
        self._client.subscribe([(topic, 1) for topic in topics])
        granted = self._await(lambda: self._granted)
        refused = [topic for topic, code in zip(topics, granted, strict=False) if code >= _FAILURE]
        if refused:
            self.drop()
            what = f"the broker does not let us read {refused[0]}; mend its access list"
            raise Unreached(self._speaker.say(Trouble.NOT_AUTHORISED, what))

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """Ask for topics no more; what the session holds of them still comes."""
        if self._client is not None:
            self._client.unsubscribe(list(topics))

    def keeps(self, within_s: float) -> bool:
        """Tell whether the connection is still there after so long; what comes meanwhile is for the next `wait`."""
        end = time.monotonic() + within_s
        while self._client is not None and (left_s := end - time.monotonic()) > 0:
            self._serve(left_s)
        return self._client is not None

    def wait(self, timeout_s: float) -> list[Received]:
        """Wait until messages have come or the time is over. Raises Unreached when the connection is lost."""
        if not self._received:
            self._serve(timeout_s)
        if self._client is None:
            raise Unreached(self._why or self._speaker.of_silence())
        received, self._received = self._received, []
        return received

    def acknowledge(self, receipts: Iterable[Receipt]) -> None:
        """Tell the broker that messages are done; it sends those of a lost connection again."""
        for receipt in receipts:
            if self._client is not None and receipt.connection == self._connection:
                self._client.ack(receipt.token, 1)

    def publish(self, topic: str, payload: bytes) -> None:
        """Send now or never, QoS 1."""
        if self._client is not None:
            self._client.publish(topic, payload, qos=1)

    def drop(self) -> list[Received]:
        """Forget the connection without a word; gives what had come and was not waited for."""
        client, self._client = self._client, None
        if client is not None:
            hang_up(client)
        received, self._received = self._received, []
        return received

    def close(self, *, forget: bool = False) -> None:
        """Disconnect in order. forget: the broker may end the session (MQTT 5; 3.1.1 keeps it until it expires)."""
        client, self._client = self._client, None
        if client is not None:
            properties = None
            if forget and self.version == "5":
                properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
                properties.SessionExpiryInterval = 0
            client.disconnect(properties=properties)
            end = time.monotonic() + _GOODBYE_S
            while client.want_write() and (sock := client.socket()) is not None and time.monotonic() < end:
                select.select([], [sock], [], _GOODBYE_S)
                client.loop_write()
            hang_up(client)

    def _dial(self, version: MQTTProtocolVersion) -> None:
        self.drop()
        self._version = version
        self._connection += 1
        self._connack, self._why = None, None
        ear = Ear()
        try:
            self._client = self._new_client(version, ear)
            self._client.connect(**self._how(version))
        except MaskwatchError as error:  # a file that was there at the start has gone
            self._client = None
            raise Unreached(Refused(trouble=Trouble.TLS_OTHER, sentence=str(error))) from error
        except (OSError, UnicodeError) as error:
            self._client = None
            raise Unreached(self._speaker.of_error(error)) from error
        try:
            reason, self.had_session, properties = self._await(lambda: self._connack)
        except Unreached as error:
            if ear.error is not None and not isinstance(ear.error, ConnectionError):
                raise Unreached(self._speaker.of_error(ear.error)) from error
            raise
        if reason.is_failure:
            self.drop()
            why = self._speaker.of_connack(reason.value, str(reason))
            raise Unreached(why, may_be_version=reason.value == _UNSUPPORTED_VERSION)
        is_five = version is MQTTProtocolVersion.MQTTv5
        self.version = "5" if is_five else "3.1.1"
        self.shares = is_five and bool(getattr(properties, "SharedSubscriptionAvailable", 1))  # MQTT 5.0, 3.2.2.3.13

    def _new_client(self, version: MQTTProtocolVersion, ear: Ear) -> paho.Client:
        logger = logging.Logger("paho", logging.WARNING)
        logger.addHandler(ear)
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if version is MQTTProtocolVersion.MQTTv5 else False,
            protocol=version,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        credentials = Credentials(self._settings, os.environ)  # anew: a renewed certificate counts from now on
        client.enable_logger(logger)
        client.max_inflight_messages_set(0)  # no bound of its own, and nothing waits in paho
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if self._settings.username:
            client.username_pw_set(self._settings.username, credentials.password())
        context = credentials.tls()
        if context is not None:
            client.tls_set_context(context)
        client.on_socket_open = prepare
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _how(self, version: MQTTProtocolVersion) -> dict[str, Any]:
        how: dict[str, Any] = {
            "host": self._settings.host,
            "port": self._settings.port,
            "keepalive": self._settings.keepalive_s,
        }
        if version is MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = self._session_s
            properties.ReceiveMaximum = RECEIVE_MAX
            how |= {"clean_start": False, "properties": properties}
        return how

    def _await(self, answer: Callable[[], T | None]) -> T:
        """Serve the connection until the broker has answered. Raises Unreached."""
        end = time.monotonic() + _ANSWER_S
        while (found := answer()) is None:
            if self._client is None:
                raise Unreached(self._why or self._speaker.of_silence(), may_be_version=self._why is None)
            if time.monotonic() > end:
                self.drop()
                what = "the broker accepts the connection and does not answer"
                raise Unreached(self._speaker.say(Trouble.TIMEOUT, what), may_be_version=True)
            self._serve(0.1)
        return found

    def _serve(self, timeout_s: float) -> None:
        """Read what is there, up to RECEIVE_MAX packets, after waiting for it; write what did not fit before."""
        client = self._client
        sock = None if client is None else client.socket()
        if client is None or sock is None:
            return
        poll = select.poll()
        poll.register(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        waited_ms = 0.0 if has_buffered(sock) else timeout_s * 1000
        for _ in range(RECEIVE_MAX):
            events = sum(found for _, found in poll.poll(waited_ms))
            if events & select.POLLOUT:
                client.loop_write()
                poll.modify(sock, select.POLLIN)
            if not (events & ~select.POLLOUT or has_buffered(sock)):
                break
            client.loop_read()
            if client.socket() is not sock:
                break
            waited_ms = 0.0
        client.loop_misc()

    def _on_connect(self, _client: paho.Client, _data: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        self._connack = (reason, bool(flags.session_present), properties)

    def _on_disconnect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if client is self._client:
            if reason.value == _TAKEN_OVER:
                what = "another client connected with our id {client_id!r}; give each instance its own --instance"
                self._why = self._speaker.say(Trouble.TAKEN_OVER, what)
            elif self._connack is not None:
                self._why = self._speaker.of_disconnect(reason.value, str(reason))
            self._client = None
            hang_up(client)

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._granted = [reason.value for reason in reasons]

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        receipt = Receipt(self._connection, message.mid) if message.qos else None
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = repr(message._topic)
        self._received.append(Received(topic, bytes(message.payload), receipt))


class Unreached(Exception):
    """There is no connection. why: the sentence for it. may_be_version: another version of MQTT might be let in."""

    def __init__(self, why: Refused, *, may_be_version: bool = False) -> None:
        super().__init__(why.sentence)
        self.why = why
        self.may_be_version = may_be_version
