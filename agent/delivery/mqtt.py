"""The edge to paho: a connection to the broker whose news are values (agent.delivery.link).

Rules for whoever edits this:
- One paho client a connection, and paho's own queue, resending and reconnecting unused: the outbox is the queue.
- Connecting blocks (name look-up, TCP, TLS), for longer than events may wait for the disk: it runs on a thread of its
  own, started by `spawn`, which hands the connected client over and ends. From then on the delivery thread alone
  touches the client, with its own poll(2) on the socket: loop_start would need locks, and wakes up late.
- A callback only notes a value. paho calls it within loop_read, loop_write, loop_misc or publish of this thread.
- `auto` begins with MQTT 5 unless a broker was silent to it (agent.delivery.versions); 3.1.1 follows at once where that
  is refused, by a word or by a bare close.
"""

import logging
import os
import queue
import select
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.delivery.credentials import Credentials
from agent.delivery.link import (
    Answered,
    Connected,
    Lost,
    Message,
    News,
    Received,
    Refused,
    SubscriptionRefused,
    Trouble,
    Version,
)
from agent.delivery.sockets import Ear, hang_up, has_buffered, prepare
from agent.delivery.trouble import Speaker
from agent.delivery.versions import Versions
from agent.errors import MaskwatchError
from agent.settings import MqttSettings

Spawn = Callable[[Callable[[], None]], None]
"""Runs a function on a thread of its own that the process does not wait for at its end; service and cli have one."""

_CONNECT_TIMEOUT_S = 5.0  # for each address of the name, and for the TLS handshake
_PACKETS_MAX = 1000  # read in one go: the events must be stored meanwhile as well
_SOMETHING = select.POLLIN | select.POLLERR | select.POLLHUP
_RECEIVE_MAX_UNSAID = 65_535  # MQTT 5.0 section 3.2.2.3.3
_UNSUPPORTED_VERSION = 132
_FAILURE = 128  # reason codes from here on are failures


class MqttLink:
    """A link (agent.delivery.link) over TCP or TLS, MQTT 5 with 3.1.1 where that is refused."""

    def __init__(
        self, settings: MqttSettings, *, client_id: str, spawn: Spawn, environ: Mapping[str, str] | None = None
    ) -> None:
        """Read the files that the settings name; nothing is sent yet.

        environ: where CREDENTIALS_DIRECTORY is looked up, for relative file names.
        Raises ConfigError for a missing or wrong file, NotPermittedError for one that may not be read.
        """
        self._settings = settings
        self._client_id = client_id
        self._spawn = spawn
        self._credentials = Credentials(settings, os.environ if environ is None else environ)
        self._credentials.password()
        self._credentials.tls()
        self._speaker = Speaker(settings, client_id=client_id)
        self._ready = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._results: queue.SimpleQueue[tuple[int, _Dialled | Refused]] = queue.SimpleQueue()
        self._attempt = 0  # numbers the attempts, so that the result of one given up is known
        self._will: Message | None = None
        self._certificate: Path | None = None
        self._versions = Versions(settings.protocol)
        self._version: Version = "5"
        self._client: paho.Client | None = None
        self._up = False
        self._ear = Ear()
        self._subscribing: dict[int, Sequence[str]] = {}
        self._news: list[News] = []

    def connect(self, will: Message | None, certificate: Path | None = None) -> None:
        """Begin to connect, without waiting. Ends in Connected or Refused."""
        self._will = will
        self._certificate = certificate
        self._begin(self._versions.first)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Ask for topics, QoS 1."""
        if self._client is not None:
            _, mid = self._client.subscribe([(topic, 1) for topic in topics])
            if mid is not None:
                self._subscribing[mid] = topics

    def publish(self, message: Message) -> int:
        """Send now and never keep for later; gives the token of the answer (QoS 1). 0: Lost is among the news."""
        if self._client is None:
            return 0
        properties = None
        if self._version == "5" and (message.content_type or message.correlation is not None):
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            if message.content_type:
                properties.ContentType = message.content_type
            if message.correlation is not None:
                properties.CorrelationData = message.correlation
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        return info.mid

    def wait(self, timeout_s: float, wake: int) -> list[News]:
        """Wait until something has happened, the descriptor `wake` is readable or the time is over."""
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        poll.register(self._ready, select.POLLIN)
        client = self._client
        sock = None if client is None else client.socket()
        buffered = False
        if client is not None and sock is not None:
            poll.register(sock, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
            buffered = has_buffered(sock)
        events = dict(poll.poll(0 if self._news or buffered else timeout_s * 1000))
        if client is not None and sock is not None:
            self._serve(client, sock, events.get(sock.fileno(), 0) | (select.POLLIN if buffered else 0))
        if self._ready in events:
            os.eventfd_read(self._ready)
        with suppress(queue.Empty):
            while True:
                self._take_over(*self._results.get_nowait())
        news, self._news = self._news, []
        return news

    def drop(self) -> None:
        """Forget the connection at once, without a goodbye: the broker publishes the will."""
        self._attempt += 1
        client, self._client = self._client, None
        if client is not None and not self._up:  # it has taken our CONNECT, and never answered
            self._versions.silent(self._version)
        self._up = False
        self._subscribing.clear()
        if client is not None:
            hang_up(client)

    def close(self) -> None:
        """Disconnect in order: the broker does not publish the will."""
        client, self._client = self._client, None  # its end is wished for: no news, no other version tried
        if client is not None and self._up:
            client.disconnect()
            hang_up(client)
        self.drop()

    def _begin(self, version: Version) -> None:
        self.drop()
        self._version = version
        attempt = self._attempt
        self._spawn(lambda: self._connect(attempt, version))

    def _connect(self, attempt: int, version: Version) -> None:
        """Connect and hand the result over; runs on a thread of its own and touches nothing that others change."""
        result: _Dialled | Refused
        try:
            result = self._dial(version)
        except MaskwatchError as error:  # a file that was there at the start has gone
            result = Refused(trouble=Trouble.TLS_OTHER, sentence=str(error))
        except (OSError, UnicodeError) as error:
            result = self._speaker.of_error(error)
        self._results.put((attempt, result))
        os.eventfd_write(self._ready, 1)

    def _dial(self, version: Version) -> "_Dialled":
        ear = Ear()
        logger = logging.Logger("paho", logging.WARNING)
        logger.addHandler(ear)
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if version == "5" else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.enable_logger(logger)
        client.max_inflight_messages_set(0)  # no bound of its own: the pump's holds, and nothing waits in paho
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)
        if self._settings.username:
            client.username_pw_set(self._settings.username, self._credentials.password())
        context = self._credentials.tls(self._certificate)
        if context is not None:
            client.tls_set_context(context)
        client.on_socket_open = prepare
        client.connect(self._settings.host, self._settings.port, self._settings.keepalive_s)
        return _Dialled(client, ear)

    def _take_over(self, attempt: int, result: "_Dialled | Refused") -> None:
        if attempt != self._attempt:  # given up meanwhile
            if isinstance(result, _Dialled):
                hang_up(result.client)
        elif isinstance(result, Refused):
            self._news.append(result)
        else:
            client, self._ear = result.client, result.ear
            self._client = client
            client.on_connect = self._on_connect
            client.on_disconnect = self._on_disconnect
            client.on_publish = self._on_publish
            client.on_subscribe = self._on_subscribe
            client.on_message = self._on_message
            if client.socket() is None:  # it was lost over the first packet, before it had anybody to tell
                self._hung_up()

    def _serve(self, client: paho.Client, sock: Any, events: int) -> None:
        if events & _SOMETHING:
            client.loop_read()
            # A broker that hangs up says why first: whoever writes to it before having read that never learns it.
            for _ in range(_PACKETS_MAX):
                if client.socket() is not sock or not _has_more(sock):
                    break
                client.loop_read()
        if events & select.POLLOUT:
            client.loop_write()
        client.loop_misc()

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Any) -> None:
        if reason.is_failure:
            if reason.value == _UNSUPPORTED_VERSION and self._falls_back():
                return
            self._refuse(self._speaker.of_connack(reason.value, str(reason)))
            return
        self._up = True
        self._versions.works(self._version)
        receive_max = getattr(properties, "ReceiveMaximum", _RECEIVE_MAX_UNSAID)
        self._news.append(Connected(version=self._version, receive_max=receive_max))

    def _on_disconnect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if self._client is None or client is not self._client:
            return
        if not self._up:
            self._hung_up()
            return
        error = self._ear.error
        why = self._speaker.of_disconnect(reason.value, str(reason)) if error is None else self._speaker.of_error(error)
        self._up = False
        self._client = None
        self._news.append(Lost(trouble=why.trouble, sentence=why.sentence))

    def _hung_up(self) -> None:
        """The connection ended before the broker said a word: it does not like us, or it does not speak MQTT 5."""
        error = self._ear.error
        if error is not None and not isinstance(error, ConnectionError):
            self._refuse(self._speaker.of_error(error))
        elif not self._falls_back():
            self._refuse(self._speaker.of_silence())

    def _falls_back(self) -> bool:
        if not self._versions.falls_back(self._version):
            return False
        self._client = None  # paho is still at work in it: it closes its own socket
        self._begin("3.1.1")
        return True

    def _refuse(self, why: Refused) -> None:
        self._client = None
        self._news.append(why)

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        self._news.append(Answered(token=mid, code=reason.value))

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        for topic, reason in zip(self._subscribing.pop(mid, ()), reasons, strict=False):
            if reason.value >= _FAILURE:
                self._news.append(SubscriptionRefused(topic=topic, code=reason.value))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # not a topic of ours
            return
        self._news.append(
            Received(
                topic=topic,
                payload=bytes(message.payload),
                retained=message.retain,
                response_topic=getattr(message.properties, "ResponseTopic", None),
                correlation=getattr(message.properties, "CorrelationData", None),
            )
        )


class _Dialled(NamedTuple):
    """A client that has sent its CONNECT, and the ear that listens to it."""

    client: paho.Client
    ear: Ear


def _has_more(sock: Any) -> bool:
    """Tell whether something can be read at once."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return has_buffered(sock) or bool(poll.poll(0))
