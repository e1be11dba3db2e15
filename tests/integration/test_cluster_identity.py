"""On the shipped cluster a certificate is an identity, and an identity is confined to its own topics and client id."""

import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from tests.cluster import Client, Refused, events, status
from tools.fleet.ca.authority import new_key, pem, pem_of_key
from tools.fleet.ca.store import Store
from tools.fleet.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

CLIENT_ID_REFUSED, CREDENTIALS_REFUSED = 133, 134


@pytest.mark.parametrize(
    "topic",
    [
        events("cam1"),
        status("cam1"),
        "maskwatch/lab/cam1/command",
        "maskwatch/lab/cam2/command",
        "maskwatch/lab/cam2/ack",
        "maskwatch/lab.cam2/cam1/events",
        "homeassistant/device/cam1/config",
        "homeassistant/status",
        "anything",
    ],
)
def test_a_device_publishes_nothing_that_is_not_its_own(cluster: Cluster, topic: str) -> None:
    with Client(cluster, 1, "homeassistant") as reader:
        assert reader.subscribe("maskwatch/#")
        with Client(cluster, 2, "cam2") as forger:
            assert forger.send(topic, b"forged") is None
            assert forger.is_lost
        with Client(cluster, 2, "cam2") as itself:
            itself.deliver(events("cam2"), b"own")
        assert reader.got(b"own")
        assert b"forged" not in reader.payloads()


@pytest.mark.parametrize("kind", ["events", "status", "telemetry", "reply", "reply/42"])
def test_a_device_publishes_on_its_own_topics(cluster: Cluster, kind: str) -> None:
    with Client(cluster, 1, "operator") as reader, Client(cluster, 2, "cam2") as device:
        assert reader.subscribe("maskwatch/#")
        device.deliver(f"maskwatch/lab/cam2/{kind}", b"own")
        assert reader.got(b"own")


@pytest.mark.parametrize(
    "topic",
    [
        "maskwatch/lab/cam1/command",
        "maskwatch/lab/cam1/ack",
        "maskwatch/lab/cam1/events",
        "maskwatch/lab/+/command",
        "maskwatch/+/+/ack",
        "maskwatch/lab/cam2/#",
        "maskwatch/#",
        "+/+/cam2/command",
        "homeassistant/#",
        "#",
        "$share/x/maskwatch/lab/cam2/command",
    ],
)
def test_a_device_reads_nothing_that_is_not_its_own(cluster: Cluster, topic: str) -> None:
    with Client(cluster, 2, "cam2") as device:
        assert not device.subscribe(topic)


def test_a_device_reads_its_own_commands_and_acknowledgements(cluster: Cluster) -> None:
    with Client(cluster, 2, "cam2") as device, Client(cluster, 0, "operator") as operator:
        for topic in ("maskwatch/lab/cam2/command", "maskwatch/lab/cam2/ack", "homeassistant/status"):
            assert device.subscribe(topic)
        operator.deliver("maskwatch/lab/cam2/command", b"ping")
        with Client(cluster, 1, "collector") as collector:
            collector.deliver("maskwatch/lab/cam2/ack", b"mark")
        assert device.got(b"ping")
        assert device.got(b"mark")


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("node", [0, 2])
def test_a_device_cannot_come_in_under_anothers_client_id_and_throw_it_out(
    cluster: Cluster, node: int, keep: bool
) -> None:
    with Client(cluster, 0, "cam1") as victim:
        with pytest.raises(Refused) as refused:
            Client(cluster, node, "cam2", client_id="cam1", keep=keep)
        assert refused.value.code == CLIENT_ID_REFUSED
        assert victim.send(events("cam1"), b"still here") is not None


@pytest.mark.parametrize("login", [("operator", None), ("operator", ""), ("operator", "guess"), ("guest", "guest")])
def test_a_device_cannot_come_in_as_a_user_by_name(cluster: Cluster, login: tuple[str, str | None]) -> None:
    with pytest.raises(Refused) as refused:
        Client(cluster, 0, "cam2", login=login)
    assert refused.value.code == CREDENTIALS_REFUSED


def test_the_will_of_a_device_on_anothers_topic_goes_nowhere(cluster: Cluster) -> None:
    with Client(cluster, 1, "operator") as reader:
        assert reader.subscribe("maskwatch/#")
        with Client(cluster, 2, "cam2", will=(status("cam1"), b"forged")) as forger:
            forger.break_off()
        with Client(cluster, 2, "cam2", will=(status("cam2"), b"own")) as device:
            device.deliver(status("cam2"), b"here")
            device.break_off()
        assert reader.got(b"own")
        assert b"forged" not in reader.payloads()


def test_a_program_has_its_own_rights_and_no_others(cluster: Cluster) -> None:
    with Client(cluster, 0, "collector") as collector:
        assert not collector.subscribe("maskwatch/+/+/command")
    for name, topic in (
        ("collector", "maskwatch/lab/cam1/command"),
        ("operator", "maskwatch/lab/cam1/ack"),
        ("operator", events("cam1")),
        ("homeassistant", "maskwatch/lab/cam1/command"),
    ):
        with Client(cluster, 0, name) as program:
            assert program.send(topic, b"forged") is None


def test_who_is_not_enrolled_stays_out_and_who_is_withdrawn_as_well(cluster: Cluster) -> None:
    with pytest.raises(Refused) as refused:
        Client(cluster, 0, "cam7")
    assert refused.value.code == CREDENTIALS_REFUSED
    cluster.enrol("cam7", "collector-2")
    with Client(cluster, 2, "cam7") as device, Client(cluster, 1, "collector-2") as second:
        assert second.subscribe("maskwatch/+/+/events")
        device.deliver(events("cam7"), b"1")
        assert second.got(b"1")
        cluster.withdraw("cam7", "collector-2")
        assert device.wait_until_lost()
    with pytest.raises(Refused):
        Client(cluster, 1, "cam7")


def test_a_certificate_without_a_dns_name_is_nobodys(cluster: Cluster, tmp_path: Path) -> None:
    """RabbitMQ binds the client id to a name that is there; with the user from the common name it could be any."""
    issuing = (cluster.ca.parent / "issuing.key").read_bytes()
    authority, signer = x509.load_pem_x509_certificate(issuing), load_pem_private_key(issuing, password=None)
    key, now = new_key(), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cam2")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    )
    (tmp_path / "cert.pem").write_bytes(pem(certificate) + pem(authority))
    (tmp_path / "key.pem").write_bytes(pem_of_key(key))
    for client_id in ("cam1", "cam2"):
        with pytest.raises(Refused):
            Client(cluster, 0, "cam2", client_id=client_id, shows=(tmp_path / "cert.pem", tmp_path / "key.pem"))


@pytest.mark.parametrize("whose", ["another authority's", "a broker's own"])
def test_a_certificate_that_is_no_clients_of_our_authority_is_refused(
    cluster: Cluster, tmp_path: Path, whose: str
) -> None:
    if whose == "a broker's own":
        etc = cluster.ca.parent.parent / "node0" / "etc" / "tls"
        shows = (etc / "node.pem", etc / "node.key")
    else:
        now = datetime.now(UTC).replace(microsecond=0)
        other = Store.create(tmp_path / "other", name="another", now=now, days=30)
        other.issue("cam2", now=now, days=7)
        shows = (other.certificate_of("cam2"), other.key_of("cam2"))
    with pytest.raises(Refused) as refused:
        Client(cluster, 0, "cam2", shows=shows)
    assert refused.value.code is None


@pytest.mark.parametrize("how", ["without a certificate", "TLS 1.2", "no TLS"])
def test_there_is_no_other_way_in(cluster: Cluster, how: str) -> None:
    context = ssl.create_default_context(cafile=cluster.ca)
    if how != "without a certificate":
        context.load_cert_chain(*cluster.certificate("cam1"))
    if how == "TLS 1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04cam1"
    with socket.create_connection(("localhost", cluster.ports[0]), timeout=20) as raw:
        try:
            door = raw if how == "no TLS" else context.wrap_socket(raw, server_hostname="localhost")
            door.sendall(connect)
            answer = door.recv(4)
        except (ssl.SSLError, ConnectionError):
            answer = b""
    assert not answer.startswith(b"\x20")  # CONNACK
