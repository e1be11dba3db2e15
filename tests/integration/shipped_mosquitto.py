"""The broker of deploy/mosquitto as it is shipped, on loopback, with an authority of its own; and clients of it."""

import shlex
import signal
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.errors import UnavailableError
from tests.real import WITHIN_S, Mosquitto, free_port, need, wait_for
from tools.debian.root import command
from tools.debian.roots import BROKERS
from tools.fleet.ca.authority import Role
from tools.fleet.ca.store import Store
from tools.fleet.ports import mosquitto_answers
from tools.fleet.shipped import lay_out


class TestAuthority:
    """An authority in a folder, founded now."""

    __test__ = False

    def __init__(self, folder: Path, *, name: str = "test fleet") -> None:
        self._folder = folder
        Store.create(folder, name=name, now=datetime.now(UTC))

    @property
    def ca(self) -> Path:
        return self._folder / "ca.pem"

    @property
    def crl(self) -> Path:
        return self._folder / "ca.crl"

    def issue(self, name: str, role: Role = "device", *, now: datetime | None = None) -> tuple[Path, Path]:
        """Give certificate and key for a name, good for two days. now: when it is made, if that is not now."""
        hosts = ("localhost", "127.0.0.1") if role == "server" else ()
        with Store.opened(self._folder) as store:
            store.issue(name, role=role, hosts=hosts, now=now or datetime.now(UTC), days=2)
            return store.certificate_of(name), store.key_of(name)

    def renew(self, name: str) -> Path:
        """Sign a name's key again; gives the certificate."""
        with Store.opened(self._folder) as store:
            store.renew(name, now=datetime.now(UTC), days=2)
            return store.certificate_of(name)

    def reissue(self, *, new_key: bool = False) -> None:
        """Let the root sign the issuing authority again."""
        with Store.opened(self._folder) as store:
            store.reissue(self._folder / "root", now=datetime.now(UTC), new_key=new_key)

    def revoke(self, name: str) -> None:
        with Store.opened(self._folder) as store:
            store.revoke(name, now=datetime.now(UTC))


class ShippedMosquitto(Mosquitto):
    """deploy/mosquitto/maskwatch.conf with its access list, and what Debian's own file says beside it."""

    def __init__(self, folder: Path, authority: TestAuthority, *, debian13: bool = False) -> None:
        """debian13: with the mosquitto of that release, in a root of its own."""
        self._authority = authority
        self.files = folder / "maskwatch"
        self.port = free_port()
        self.tls = True
        self.log = folder / "log"
        certificate, key = authority.issue("broker", "server")
        self._config = lay_out(
            folder, port=self.port, ca=authority.ca, crl=authority.crl, certificate=certificate, key=key
        )
        self._program = debian_13(folder, self._config) if debian13 else need("mosquitto", "mosquitto")
        self._process = None

    def take_revocations(self) -> None:
        """Copy the authority's list of revoked certificates, as an operator does."""
        (self.files / "ca.crl").write_bytes(self._authority.crl.read_bytes())

    def reload(self) -> None:
        """Send SIGHUP, what systemctl reload does, and wait until the files have been read.

        mosquitto reads them at the end of a round of its loop, and answers each of two questions in a round of its own.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        for _ in range(2):
            wait_for(lambda: mosquitto_answers(self.port), what="an answer")


def debian_13(folder: Path, config: Path) -> str:
    """Give a program that runs Debian 13's mosquitto with a configuration below /tmp; skips where there is none."""
    try:
        root = BROKERS.ready()
    except UnavailableError as error:
        pytest.skip(str(error))
    if not (root / "usr/sbin/mosquitto").exists():
        pytest.skip(f"{root}: no mosquitto in it; add it to tools.debian.roots.BROKERS")
    if not config.is_relative_to("/tmp"):
        pytest.skip("tests' folders are not below /tmp, which is what the root of Debian 13 shares")
    words = command(root, ["/usr/sbin/mosquitto", "-c", str(config)], folders={"/tmp": Path("/tmp")})
    program = folder / "mosquitto-of-debian-13"
    program.write_text(f"#!/bin/sh\nexec {shlex.join(words)}\n")
    program.chmod(0o755)
    return str(program)


class Client:
    """A client with a certificate, and with whatever it claims beside it.

    Connects in __enter__ and waits for the broker's word; refused: `connected` is False and `why` says so.
    """

    def __init__(
        self,
        broker: Mosquitto,
        ca: Path,
        pair: tuple[Path, Path] | None,
        *,
        client_id: str = "",
        username: str | None = None,
        topics: tuple[str, ...] = (),
        will: tuple[str, bytes] | None = None,
        mqtt5: bool = True,
        keep_session: bool = False,
        tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> None:
        self._changed = threading.Condition()
        self._topics = topics
        self._granted = not topics
        self._answers: dict[int, int] = {}
        self._port = broker.port
        self.messages: list[tuple[str, bytes]] = []
        self.connected: bool | None = None
        self.why = ""
        self.lost: str | None = None
        """The reason for which the broker ended an accepted connection; None while it lives."""
        version = MQTTProtocolVersion.MQTTv5 if mqtt5 else MQTTProtocolVersion.MQTTv311
        more: dict[str, Any] = {} if mqtt5 else {"clean_session": not keep_session}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=version, reconnect_on_failure=False, **more
        )
        context = ssl.create_default_context(cafile=ca)
        context.minimum_version = context.maximum_version = tls
        if pair is not None:
            context.load_cert_chain(*pair)
        self._client.tls_set_context(context)
        if username is not None:
            self._client.username_pw_set(username, "secret")
        if will is not None:
            self._client.will_set(*will, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = lambda *_: self._note(connected=False)
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = lambda *_: self._note(granted=True)
        self._client.on_publish = self._on_publish
        self._client.on_message = lambda _client, _data, message: self._came(message)

    def __enter__(self) -> Self:
        try:
            self._client.connect("127.0.0.1", self._port)
        except OSError as error:
            self.connected, self.why = False, str(error)
            return self
        self._client.loop_start()
        self._wait(lambda: self.connected is False or bool(self.connected and self._granted))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> int:
        """Publish with QoS 1; gives the reason code of the answer, 128 when the broker hung up instead."""
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        self._wait(lambda: info.mid in self._answers or self.lost is not None)
        return self._answers.get(info.mid, 128)

    def got(self, topic: str) -> list[bytes]:
        """Give what has come on a topic."""
        with self._changed:
            return [payload for name, payload in self.messages if name == topic]

    def wait_for(self, topic: str, payload: bytes) -> None:
        self._wait(lambda: (topic, payload) in self.messages)

    def wait_until_lost(self) -> str:
        """Wait until the broker hangs up; gives its reason."""
        self._wait(lambda: self.lost is not None)
        assert self.lost is not None
        return self.lost

    def vanish(self) -> None:
        """Break the connection without a goodbye: the broker publishes the will."""
        sock = self._client.socket()
        assert sock is not None
        sock.close()

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(condition, WITHIN_S), (self.connected, self.why, self.lost, self.messages)

    def _note(self, *, connected: bool | None = None, granted: bool | None = None) -> None:
        with self._changed:
            self.connected = self.connected if connected is None else connected
            self._granted = self._granted if granted is None else granted
            self._changed.notify_all()

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if not reason.is_failure and self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])
        self.why = str(reason)
        self._note(connected=not reason.is_failure)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self.connected:
            self.lost = str(reason)
        self._note(connected=bool(self.connected))

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._answers[mid] = reason.value
            self._changed.notify_all()

    def _came(self, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.messages.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()


class World(NamedTuple):
    """A running broker, its authority, and certificates by name."""

    broker: ShippedMosquitto
    authority: TestAuthority
    pairs: dict[str, tuple[Path, Path]]

    def client(self, name: str | None, **more: object) -> Client:
        """Make a client that holds the certificate of a name; None: it has none."""
        return Client(self.broker, self.authority.ca, self.pairs[name] if name else None, **more)  # type: ignore[arg-type]


def world_in(folder: Path, *, debian13: bool = False) -> World:
    """Make a broker, not yet running, with certificates for three boards and all programs."""
    authority = TestAuthority(folder / "ca")
    pairs = {name: authority.issue(name) for name in ("door", "gate", "board")}
    pairs |= {
        "collector": authority.issue("collector", "collector"),
        "collector-2": authority.issue("collector-2", "collector"),
        "operator": authority.issue("operator", "operator"),
        "homeassistant": authority.issue("homeassistant", "homeassistant"),
    }
    return World(ShippedMosquitto(folder / "broker", authority, debian13=debian13), authority, pairs)
