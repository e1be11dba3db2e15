"""Clients of the shipped cluster that show what it did, without mending anything, and what else its tests share."""

import itertools
import select
import socket
import ssl
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.real import wait_for
from tools.fleet.cluster import SIZE, Cluster

WITHIN_S = 30.0
_SESSION = "mqtt-subscription-collectorqos1"
_SESSION_S = 3600
_WINDOW = 20
_STALLED_S = 8.0  # without an answer for so long a device tries another node


class Refused(Exception):
    """The broker did not let a client in. code: what it said, None for a bare close."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"refused with {code}")
        self.code = code


class Client:
    """An MQTT client that neither reconnects nor resends.

    identity: whose certificate it shows. keep: with a session that outlives the connection. commits: acknowledges what
    it receives. shows: a certificate and key that are not the identity's own. mqtt5: or 3.1.1.
    """

    def __init__(
        self,
        cluster: Cluster,
        node: int,
        identity: str,
        *,
        client_id: str | None = None,
        keep: bool = False,
        will: tuple[str, bytes] | None = None,
        login: tuple[str, str | None] | None = None,
        commits: bool = True,
        shows: tuple[Path, Path] | None = None,
        mqtt5: bool = True,
    ) -> None:
        self._changed = threading.Condition()
        self._connected: int | None = None
        self._granted: dict[int, list[int]] = {}
        self.answers: dict[int, int] = {}
        self.messages: list[paho.MQTTMessage] = []
        self.is_lost = False
        self.session_present = False
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=identity if client_id is None else client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if mqtt5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if mqtt5 else not keep,
            reconnect_on_failure=False,
            manual_ack=not commits,
        )
        self._client.max_inflight_messages_set(0)
        context = ssl.create_default_context(cafile=cluster.ca)
        context.load_cert_chain(*(shows or cluster.certificate(identity)))
        self._client.tls_set_context(context)
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        properties = None
        if mqtt5 and keep:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_S
        clean: dict[str, Any] = {"clean_start": not keep, "properties": properties} if mqtt5 else {}
        try:
            self._client.connect("localhost", cluster.ports[node], keepalive=10, **clean)
        except OSError:
            raise Refused(None) from None
        self._client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._connected is not None or self.is_lost, WITHIN_S)
            code = self._connected
        if code != 0:
            self.close()
            raise Refused(code)

    def subscribe(self, topic: str) -> bool:
        """Ask for a topic, QoS 1; tell whether it was granted."""
        _, mid = self._client.subscribe(topic, qos=1)
        assert mid is not None
        with self._changed:
            self._changed.wait_for(lambda: mid in self._granted or self.is_lost, WITHIN_S)
            return all(code < 128 for code in self._granted.get(mid, [128]))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Send, QoS 1, without waiting; gives the key of `answers`."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def send(self, topic: str, payload: bytes, *, retain: bool = False, within_s: float = WITHIN_S) -> int | None:
        """Send, QoS 1, and wait for the answer: its reason code (0 on 3.1.1), or None when none came."""
        mid = self.publish(topic, payload, retain=retain)
        with self._changed:
            self._changed.wait_for(lambda: mid in self.answers or self.is_lost, within_s)
            return self.answers.get(mid)

    def deliver(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send, again and again, until the broker says that somebody waits for it.

        What one node has granted the others route a moment later.
        """
        wait_for(lambda: self.send(topic, payload, retain=retain) == 0, WITHIN_S, "a subscriber")

    def wait_for_answers(self, mids: Sequence[int], within_s: float = WITHIN_S) -> bool:
        """Wait until all these are answered or the connection is lost; tell whether they are answered."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_lost or all(mid in self.answers for mid in mids), within_s)
            return all(mid in self.answers for mid in mids)

    def payloads(self, topic: str | None = None) -> list[bytes]:
        """Give what has arrived, on one topic or on all."""
        with self._changed:
            return [bytes(message.payload) for message in self.messages if topic in (None, message.topic)]

    def got(self, payload: bytes, within_s: float = WITHIN_S) -> bool:
        """Wait for a payload; tell whether it came."""
        with self._changed:
            return self._changed.wait_for(lambda: payload in [bytes(m.payload) for m in self.messages], within_s)

    def wait_until_lost(self, within_s: float = WITHIN_S) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.is_lost, within_s)

    def break_off(self) -> None:
        """Let the connection break: no goodbye."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()
        self._client.loop_stop()

    def close(self) -> None:
        """Say goodbye."""
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._connected = reason.value
            self.session_present = flags.session_present
            self._changed.notify_all()

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            self.is_lost = True
            self._changed.notify_all()

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: list[Any], _properties: Any) -> None:
        with self._changed:
            self._granted[mid] = [reason.value for reason in reasons]
            self._changed.notify_all()

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        with self._changed:
            self.answers[mid] = reason.value
            self._changed.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()


class Load(threading.Thread):
    """A device that sends numbers until told to stop, 20 at a time, and sends again on the next node what nobody
    acknowledged: what the agent does, without its disk."""

    def __init__(self, cluster: Cluster, nodes: Sequence[int], *, device: str = "cam1", first: int = 0) -> None:
        super().__init__(daemon=True)
        self._cluster = cluster
        self._nodes = nodes
        self._device = device
        self._next = first
        self._ended = threading.Event()
        self.acknowledged: set[int] = set()
        self.connections = 0

    def run(self) -> None:
        waiting: list[int] = []
        for turn in itertools.count():
            if self._ended.is_set():
                return
            try:
                client = Client(self._cluster, self._nodes[turn % len(self._nodes)], self._device)
            except Refused:
                self._ended.wait(0.1)
                continue
            with client:
                self.connections += 1
                while not (self._ended.is_set() or client.is_lost):
                    while len(waiting) < _WINDOW:
                        waiting.append(self._next)
                        self._next += 1
                    sent = {client.publish(events(self._device), b"%d" % number): number for number in waiting}
                    client.wait_for_answers(list(sent), _STALLED_S)
                    done = {number for mid, number in sent.items() if client.answers.get(mid) == 0}
                    self.acknowledged |= done
                    waiting = [number for number in waiting if number not in done]
                    if waiting:
                        break

    def wait_for(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        goal = len(self.acknowledged) + more
        wait_for(lambda: len(self.acknowledged) >= goal, 2 * WITHIN_S, f"{goal} acknowledgements")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join(2 * WITHIN_S)
        assert not self.is_alive()


class Door:
    """One address before several nodes, as a load balancer is one: each connection goes to the first that answers."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        for port in self._ports:
            with suppress(OSError):
                node = socket.create_connection(("127.0.0.1", port), timeout=5)
                break
        else:
            client.close()
            return
        node.settimeout(None)
        with client, node, suppress(OSError):
            while True:
                ready, _, _ = select.select([client, node], [], [])
                for source in ready:
                    data = source.recv(65_536)
                    if not data:
                        return
                    (node if source is client else client).sendall(data)


def events(device: str) -> str:
    return f"maskwatch/lab/{device}/events"


def status(device: str) -> str:
    return f"maskwatch/lab/{device}/status"


def open_session(cluster: Cluster, node: int) -> None:
    """Let the collector subscribe in a session that lasts, anew, and leave; all nodes know of it then."""
    with Client(cluster, node, "collector"):  # a clean start ends the session of the test before
        pass
    with Client(cluster, node, "collector", keep=True) as client:
        assert client.subscribe("maskwatch/+/+/events")
    for index in range(SIZE):
        wait_for(lambda index=index: cluster.has_on_disk(index, _SESSION), what="the queue's name")  # type: ignore[misc]
        with Client(cluster, index, "cam2") as device:
            device.deliver(events("cam2"), b"-1")


def collect(cluster: Cluster, node: int, wanted: set[int]) -> list[int]:
    """Come back as the collector and give what its session holds, until all that is wanted has come."""

    def back() -> bool:
        with suppress(Refused):
            found.append(Client(cluster, node, "collector", keep=True))
        return bool(found)

    found: list[Client] = []
    wait_for(back, 2 * WITHIN_S, "the collector's session")
    with found[0] as client:
        assert client.session_present
        wait_for(
            lambda: wanted <= {int(payload) for payload in client.payloads()}, 2 * WITHIN_S, "what is acknowledged"
        )
        return [int(payload) for payload in client.payloads() if payload != b"-1"]
