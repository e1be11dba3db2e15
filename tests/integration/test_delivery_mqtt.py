"""The link against real brokers: who is let in, who is refused, and in which words."""

import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.delivery.link import Connected, Lost, Message, News, Received, Refused, SubscriptionRefused, Trouble
from agent.delivery.mqtt import MqttLink
from agent.settings import MqttSettings, ReportSettings
from tests.delivery_parts import TurnedClock, make_parts
from tests.integration.wire import RefusingBroker
from tests.real import Mosquitto, Pki, free_port, spawn


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki") / "good")


@pytest.fixture
def wake() -> Iterator[int]:
    descriptor = os.eventfd(0)
    yield descriptor
    os.close(descriptor)


def link_to(url: str, environ: dict[str, str] | None = None, **changes: Any) -> MqttLink:
    settings = msgspec.convert({"url": url, **{key: str(value) for key, value in changes.items()}}, MqttSettings)
    return MqttLink(settings, client_id="cam1", spawn=spawn, environ=environ or {})


def first_news(link: MqttLink, wake: int, will: Message | None = None) -> News:
    link.connect(will)
    for _ in range(200):
        if news := link.wait(0.1, wake):
            return news[0]
    raise AssertionError("no news")


def refusal(link: MqttLink, wake: int) -> Refused:
    news = first_news(link, wake)
    assert isinstance(news, Refused), news
    return news


def test_tls_with_the_right_authority_connects(tmp_path: Path, pki: Pki, wake: int) -> None:
    with Mosquitto(tmp_path / "broker", certificate=pki.issue("server")) as broker:
        assert first_news(link_to(broker.url, ca_file=pki.ca), wake) == Connected(version="5", receive_max=20)


def test_a_certificate_of_an_unknown_authority_is_refused_and_named(tmp_path: Path, pki: Pki, wake: int) -> None:
    other = Pki(tmp_path / "other", name="somebody else")
    with Mosquitto(tmp_path / "broker", certificate=other.issue("server")) as broker:
        for link in (link_to(broker.url, ca_file=pki.ca), link_to(broker.url)):  # without a file: the system's trust
            found = refusal(link, wake)
            assert found.trouble is Trouble.TLS_UNKNOWN_CA
            assert "signed by nobody we know" in found.sentence


def test_an_expired_certificate_of_the_broker_is_named(tmp_path: Path, pki: Pki, wake: int) -> None:
    with Mosquitto(tmp_path / "broker", certificate=pki.issue("expired", days=-1)) as broker:
        found = refusal(link_to(broker.url, ca_file=pki.ca), wake)
    assert found.trouble is Trouble.TLS_EXPIRED
    assert "has expired" in found.sentence


def test_a_certificate_for_another_host_is_named(tmp_path: Path, pki: Pki, wake: int) -> None:
    with Mosquitto(tmp_path / "broker", certificate=pki.issue("elsewhere", hosts="DNS:broker.example")) as broker:
        for url in (broker.url, f"mqtts://127.0.0.1:{broker.port}"):
            found = refusal(link_to(url, ca_file=pki.ca), wake)
            assert found.trouble is Trouble.TLS_HOST_NAME, found
            assert "is not for" in found.sentence


def test_verification_can_be_switched_off(tmp_path: Path, wake: int) -> None:
    with Mosquitto(tmp_path / "broker", certificate=Pki(tmp_path / "any").issue("x", hosts="DNS:nowhere")) as broker:
        settings = MqttSettings(url=broker.url, insecure=True)
        link = MqttLink(settings, client_id="cam1", spawn=spawn, environ={})
        assert isinstance(first_news(link, wake), Connected)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_our_own_certificate_is_shown_and_each_reason_to_refuse_it_is_named(
    tmp_path: Path, pki: Pki, wake: int, protocol: str
) -> None:
    extra = [f"cafile {pki.ca}", "require_certificate true", "use_identity_as_username true"]
    with Mosquitto(tmp_path / "broker", certificate=pki.issue("server"), extra=extra) as broker:
        good, key = pki.issue("cam1")
        link = link_to(broker.url, ca_file=pki.ca, cert_file=good, key_file=key, protocol=protocol)
        assert isinstance(first_news(link, wake), Connected)
        link.close()
        none = refusal(link_to(broker.url, ca_file=pki.ca, protocol=protocol), wake)
        assert none.trouble is Trouble.TLS_CLIENT_CERTIFICATE
        assert "wants a certificate from this device" in none.sentence
        old, old_key = pki.issue("cam1-old", days=-1)
        expired = refusal(link_to(broker.url, ca_file=pki.ca, cert_file=old, key_file=old_key), wake)
        assert expired.trouble is Trouble.TLS_CLIENT_CERTIFICATE
        assert "certificate has expired; renew it" in expired.sentence
        stranger, stranger_key = Pki(tmp_path / "stranger").issue("cam1")
        unknown = refusal(link_to(broker.url, ca_file=pki.ca, cert_file=stranger, key_file=stranger_key), wake)
        assert unknown.trouble is Trouble.TLS_CLIENT_CERTIFICATE
        assert "does not know who signed" in unknown.sentence


def test_tls_to_a_plain_port_and_plain_to_a_tls_port_are_named(tmp_path: Path, pki: Pki, wake: int) -> None:
    with Mosquitto(tmp_path / "plain") as plain:
        found = refusal(link_to(f"mqtts://127.0.0.1:{plain.port}", ca_file=pki.ca), wake)
        assert found.trouble in (Trouble.TLS_OTHER, Trouble.TIMEOUT, Trouble.CLOSED)
    with Mosquitto(tmp_path / "tls", certificate=pki.issue("server")) as tls:
        found = refusal(link_to(f"mqtt://127.0.0.1:{tls.port}"), wake)
        assert found.trouble is Trouble.CLOSED
        assert "is that port for TLS" in found.sentence


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_is_named_and_a_right_one_let_in(tmp_path: Path, wake: int, protocol: str) -> None:
    password = tmp_path / "password"
    with Mosquitto(tmp_path / "broker", users={"cam1": "s3cret"}) as broker:
        password.write_text("s3cret\nand a comment\n")
        right = link_to(broker.url, username="cam1", password_file=password, protocol=protocol)
        assert isinstance(first_news(right, wake), Connected)
        right.close()
        password.write_text("wrong\n")
        found = refusal(link_to(broker.url, username="cam1", password_file=password, protocol=protocol), wake)
    assert found.trouble in (Trouble.CREDENTIALS, Trouble.NOT_AUTHORISED)
    assert "password" in found.sentence


def test_a_password_of_systemd_is_found_by_its_bare_name(tmp_path: Path, wake: int) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "mqtt-password").write_text("s3cret\n")
    with Mosquitto(tmp_path / "broker", users={"cam1": "s3cret"}) as broker:
        environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
        link = link_to(broker.url, environ, username="cam1", password_file="mqtt-password")
        assert isinstance(first_news(link, wake), Connected)


def test_a_renewed_password_counts_from_the_next_connection_on(tmp_path: Path, wake: int) -> None:
    password = tmp_path / "password"
    password.write_text("old\n")
    with Mosquitto(tmp_path / "broker", users={"cam1": "new"}) as broker:
        link = link_to(broker.url, username="cam1", password_file=password)
        refusal(link, wake)
        password.write_text("new\n")
        assert isinstance(first_news(link, wake), Connected)
        link.drop()
        password.unlink()
        assert "no such file" in refusal(link, wake).sentence


def test_nobody_listening_and_an_unknown_name_are_two_things(wake: int) -> None:
    assert refusal(link_to(f"mqtt://127.0.0.1:{free_port()}"), wake).trouble is Trouble.REFUSED
    settings = MqttSettings(url="mqtt://no-such-host.invalid", plaintext=True)
    unknown = refusal(MqttLink(settings, client_id="cam1", spawn=spawn, environ={}), wake)
    assert unknown.trouble is Trouble.DNS


def test_a_result_that_comes_after_we_gave_up_is_thrown_away(tmp_path: Path, wake: int) -> None:
    begun: list[Any] = []
    with Mosquitto(tmp_path / "broker") as broker:
        settings = MqttSettings(url=broker.url)
        link = MqttLink(settings, client_id="cam1", spawn=begun.append, environ={})
        link.connect(None)
        link.drop()
        begun[0]()
        assert link.wait(0.05, wake) == []
        assert link.publish(Message(topic="a", payload=b"", qos=1)) == 0


def test_a_subscription_brings_messages_with_their_properties(tmp_path: Path, wake: int) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        link = link_to(broker.url)
        first_news(link, wake)
        link.subscribe(["mine/#"])
        link.publish(Message(topic="mine/a", payload=b"x" * 3000, qos=1, content_type="text/plain", correlation=b"c"))
        found: list[News] = []
        for _ in range(100):
            found += link.wait(0.1, wake)
            if any(isinstance(news, Received) for news in found):
                break
        (received,) = (news for news in found if isinstance(news, Received))
        assert received == Received(topic="mine/a", payload=b"x" * 3000, correlation=b"c")


class OneBroker:
    """A broker of a few bytes, for answers that mosquitto never gives: reads a CONNECT, writes what it is told.

    scripts: one a connection. None: not a word, until the other side hangs up. RESET: a reset at once.
    """

    RESET = b"reset"

    def __init__(self, *scripts: bytes | None, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._door = socket.create_server(("127.0.0.1", 0))
        port = self._door.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{port}" if tls is None else f"mqtts://localhost:{port}"
        self.versions: list[int] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for script in self._scripts:
            plain, _ = self._door.accept()
            with plain if self._tls is None else self._tls.wrap_socket(plain, server_side=True) as connection:
                hello = connection.recv(4096)
                self.versions.append(hello[8])
                if script is None:
                    with suppress(ConnectionError):
                        connection.recv(4096)
                    continue
                if script is self.RESET:  # as when a server closes with something unread
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                connection.sendall(script)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.2)
                with suppress(TimeoutError, ConnectionError):
                    connection.recv(4096)  # not to be the first to close with something unread

    def __enter__(self) -> "OneBroker":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._door.close()


_CONNACK_5 = bytes([0x20, 3, 0, 0, 0])
_CONNACK_4 = bytes([0x20, 2, 0, 0])
_TAKEN_OVER = bytes([0xE0, 2, 0x8E, 0])


@pytest.mark.parametrize("refusal_of_5", [b"", OneBroker.RESET, bytes([0x20, 3, 0, 0x84, 0]), bytes([0x20, 2, 0, 1])])
def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(wake: int, refusal_of_5: bytes) -> None:
    with OneBroker(refusal_of_5, _CONNACK_4) as broker:
        assert first_news(link_to(broker.url), wake) == Connected(version="3.1.1", receive_max=65535)
    assert broker.versions == [5, 4]


def test_a_broker_that_is_silent_to_mqtt_5_is_spoken_to_in_3_1_1_next_and_to_5_again_after_a_while(
    tmp_path: Path,
) -> None:
    clock = TurnedClock()
    # MQTT 5 in vain; once more in 3.1.1 after the connection that worked; 5 in vain; two; then it was updated
    with OneBroker(None, _CONNACK_4, _CONNACK_4, None, _CONNACK_4, _CONNACK_4, _CONNACK_4, _CONNACK_5) as broker:
        parts = make_parts(tmp_path, link_to(broker.url), clock, report=ReportSettings(discovery=False))

        def all_tried() -> bool:
            clock.turn(1.0)
            return len(broker.versions) == 8

        parts.step_until(all_tried)
        parts.step_until(lambda: parts.delivery.figures.session == 6)
        parts.link.drop()
    assert broker.versions == [5, 4, 4, 5, 4, 4, 4, 5]


def test_a_broker_that_refuses_the_only_protocol_allowed_is_named(wake: int) -> None:
    with OneBroker(bytes([0x20, 3, 0, 0x84, 0])) as broker:
        found = refusal(link_to(broker.url, protocol="5"), wake)
    assert found.trouble is Trouble.PROTOCOL_VERSION
    assert "does not speak MQTT 5" in found.sentence


def test_a_broker_that_hangs_up_on_both_protocols_is_named(wake: int) -> None:
    with OneBroker(b"", b"") as broker:
        assert "hung up without an answer" in refusal(link_to(broker.url), wake).sentence


def test_a_session_taken_over_is_told_in_words(wake: int) -> None:
    with OneBroker(_CONNACK_5 + _TAKEN_OVER) as broker:
        link = link_to(broker.url)
        link.connect(None)
        found: list[News] = []
        for _ in range(100):
            found += link.wait(0.1, wake)
            if len(found) == 2:
                break
    assert found[0] == Connected(version="5", receive_max=65535)
    assert isinstance(found[1], Lost)
    assert found[1].trouble is Trouble.TAKEN_OVER
    assert "our id 'cam1'" in found[1].sentence


def test_a_subscription_that_is_refused_is_told(wake: int) -> None:
    with RefusingBroker(suback=lambda topic: 0x87 if topic == "secret" else 1) as broker:
        link = link_to(broker.url)
        first_news(link, wake)
        link.subscribe(["open", "secret"])
        found: list[News] = []
        for _ in range(100):
            found += link.wait(0.1, wake)
            if found:
                break
        link.close()
    assert found == [SubscriptionRefused(topic="secret", code=0x87)]


def test_packets_that_come_in_one_tls_record_are_all_read_at_once(pki: Pki, wake: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pki.issue("packer"))
    publish = bytes([0x30, 5, 0, 1]) + b"t" + bytes([0]) + b"x"  # QoS 0, topic t, no properties, payload x
    with OneBroker(_CONNACK_5 + publish * 50, tls=context) as broker:
        link = link_to(broker.url, ca_file=pki.ca)
        link.connect(None)
        found: list[News] = []
        for _ in range(100):
            found += link.wait(5.0, wake)
            if found:
                break
    assert found[:51] == [Connected(version="5", receive_max=65535), *[Received(topic="t", payload=b"x")] * 50]
    assert all(isinstance(news, Lost) for news in found[51:])
