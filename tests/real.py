"""Real servers for tests, on loopback and free ports: mosquitto, its certificates, a subscriber, a notify socket.

Nothing here sleeps for a time: each wait is for a condition, with a limit after which the test fails.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tools.fleet.ports import mosquitto_answers

_PATHS = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"
WITHIN_S = 20.0


def need(program: str, package: str) -> str:
    """Give the path of a program, or skip the test with the command that installs it."""
    found = shutil.which(program) or shutil.which(program, path=_PATHS)
    if found is None:
        pytest.skip(f"needs {program}: apt-get install {package}")
    return found


def free_port() -> int:
    """Give a port on loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], within_s: float = WITHIN_S, what: str = "the condition") -> None:
    """Wait until a condition holds. Raises AssertionError after `within_s`."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {within_s} s"
        threading.Event().wait(0.005)


@contextmanager
def running(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Run a program beside a test and wait for its end; a test that fails before kills it. options: those of Popen."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def spawn(work: Callable[[], None]) -> None:
    """Run a function on a thread that the process does not wait for: what MqttLink wants."""
    threading.Thread(target=work, daemon=True).start()


class Pki:
    """A certificate authority of its own, made with the openssl command."""

    def __init__(self, folder: Path, *, name: str = "maskwatch test CA") -> None:
        self._openssl = need("openssl", "openssl")
        folder.mkdir(parents=True)
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._key = folder / "ca.key"
        subject = ("-subj", f"/CN={name}", "-keyout", str(self._key), "-out", str(self.ca))
        self._run("req", "-x509", *_NEW_KEY, "-days", "2", *subject)

    def issue(self, name: str, *, hosts: str = "DNS:localhost,IP:127.0.0.1", days: int = 2) -> tuple[Path, Path]:
        """Give certificate and key for a common name. days: below zero for one that has expired."""
        request, certificate, key, extensions = (
            self._folder / f"{name}.{kind}" for kind in ("csr", "pem", "key", "ext")
        )
        self._run("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        extensions.write_text(f"subjectAltName={hosts}\n")
        signed = ("-in", str(request), "-out", str(certificate), "-extfile", str(extensions), "-days", str(days))
        self._run("x509", "-req", "-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial", *signed)
        return certificate, key

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._openssl, *arguments], check=True, capture_output=True)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Mosquitto:
    """A broker. It may be stopped, killed, frozen and started again on the same port with the same disk.

    extra: more lines for the listener's configuration. users: names with passwords; none: everybody may come in.
    acl: lines of an access list. certificate: with its key, for TLS.
    """

    def __init__(
        self,
        folder: Path,
        *,
        extra: Sequence[str] = (),
        users: dict[str, str] | None = None,
        acl: Sequence[str] = (),
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self._program = need("mosquitto", "mosquitto")
        folder.mkdir(parents=True)
        self.port = free_port()
        self.tls = certificate is not None
        self.log = folder / "log"
        self._config = folder / "mosquitto.conf"
        lines = [f"listener {self.port} 127.0.0.1", "user root", "log_type all", "connection_messages true"]
        lines += ["persistence true", f"persistence_location {folder}/", "max_queued_messages 0"]
        lines += ["allow_anonymous true" if users is None else "allow_anonymous false"]
        if users is not None:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            tool = need("mosquitto_passwd", "mosquitto")
            for user, password in users.items():
                subprocess.run([tool, "-b", str(passwords), user, password], check=True, capture_output=True)
            lines.append(f"password_file {passwords}")
        if acl:
            (folder / "acl").write_text("\n".join(acl) + "\n")
            lines.append(f"acl_file {folder / 'acl'}")
        if certificate is not None:
            lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        self._config.write_text("\n".join([*lines, *extra]) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtts://localhost:{self.port}" if self.tls else f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._config)], stdout=log, stderr=log)
        process = self._process

        def answers() -> bool:
            assert process.poll() is None, self.log.read_text()
            return mosquitto_answers(self.port)

        wait_for(answers, what="mosquitto")

    def stop(self) -> None:
        """Stop in order: sessions and messages are on its disk."""
        assert self._end(signal.SIGTERM) in (0, None), self.log.read_text()

    def kill(self) -> None:
        """Kill: it forgets everything since it last wrote."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it answer nothing and keep its connections, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> int | None:
        """Give its exit status; None when it did not run."""
        if self._process is None:
            return None
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        status = self._process.wait(WITHIN_S)
        self._process = None
        return status

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Subscriber:
    """A client that keeps all that arrives, in a session that survives the broker's restart.

    login: user and password. ca: for TLS. mqtt5: with the properties of messages.
    """

    def __init__(
        self,
        broker: Mosquitto,
        *,
        topics: Sequence[str] = ("maskwatch/#", "homeassistant/#"),
        name: str = "tester",
        login: tuple[str, str] | None = None,
        ca: Path | None = None,
        mqtt5: bool = False,
    ) -> None:
        self._changed = threading.Condition()
        self._topics = list(topics)
        self._ready = False
        self.messages: list[paho.MQTTMessage] = []
        if mqtt5:
            self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5)
        else:
            self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=False)
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  # fractions work, and tests are short
        if login is not None:
            self._client.username_pw_set(*login)
        if ca is not None:
            self._client.tls_set_context(ssl.create_default_context(cafile=ca))
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received
        self._client.connect("localhost" if broker.tls else "127.0.0.1", broker.port)

    def __enter__(self) -> Self:
        self._client.loop_start()
        with self._changed:
            assert self._changed.wait_for(lambda: self._ready, WITHIN_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def payloads(self, topic: str) -> list[bytes]:
        """Give what has arrived on a topic."""
        with self._changed:
            return [bytes(message.payload) for message in self.messages if message.topic == topic]

    def wait_for(self, condition: Callable[[], bool], within_s: float = WITHIN_S) -> None:
        """Wait until the messages meet a condition."""
        with self._changed:
            met = self._changed.wait_for(condition, within_s)
            tail = "\n".join(f"{message.topic} {message.payload[:200]!r}" for message in self.messages[-20:])
        assert met, f"after {within_s} s; the last of {len(self.messages)} messages:\n{tail}"

    def send(self, topic: str, payload: bytes, *, retain: bool = False, **properties: Any) -> None:
        """Publish, QoS 1, and wait until the broker has it. properties: MQTT 5's, by their names."""
        made = None
        if properties:
            made = Properties(PacketTypes.PUBLISH)
            for key, value in properties.items():
                setattr(made, key, value)
        self._client.publish(topic, payload, qos=1, retain=retain, properties=made).wait_for_publish(WITHIN_S)

    def _connected(self, client: paho.Client, *_: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._topics])

    def _subscribed(self, *_: Any) -> None:
        with self._changed:
            self._ready = True
            self._changed.notify_all()

    def _received(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()


class NotifySocket:
    """A service manager's end of sd_notify(3). Give `path` to a process as NOTIFY_SOCKET."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.fspath(self.path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def wait_for(self, word: str, within_s: float = WITHIN_S) -> str:
        """Wait for a notification that begins with a word; give the whole of it."""
        end = time.monotonic() + within_s
        while True:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                said = self._socket.recv(4096).decode()
            except TimeoutError:
                raise AssertionError(f"no {word} within {within_s} s") from None
            if said.startswith(word):
                return said
