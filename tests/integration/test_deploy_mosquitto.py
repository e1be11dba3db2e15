"""deploy/mosquitto as it is shipped: who gets in, and what each may do there."""

import configparser
import re
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from agent.delivery import discovery
from agent.delivery.topics import Identity
from tests.integration.shipped_mosquitto import Client, TestAuthority, World, world_in
from tools.fleet.shipped import SHIPPED, placed

NOT_AUTHORISED = 135


RELEASES = [False, pytest.param(True, marks=pytest.mark.cluster, id="debian 13")]


@pytest.fixture(scope="module", params=RELEASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = world_in(tmp_path_factory.mktemp("fleet"), debian13=request.param)
    with world.broker:
        yield world


@pytest.fixture(params=RELEASES)
def own_world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """A broker that a test may stop, reload and spoil."""
    world = world_in(tmp_path, debian13=request.param)
    with world.broker:
        yield world


def test_only_folder_and_port_differ_between_the_shipped_file_and_the_tested_one() -> None:
    shipped = (SHIPPED / "maskwatch.conf").read_text()

    changed = placed(shipped, files=Path("/elsewhere"), port=1234)
    pairs = [
        (ours, theirs)
        for ours, theirs in zip(shipped.splitlines(), changed.splitlines(), strict=True)
        if ours != theirs
    ]
    assert [theirs for _, theirs in pairs] == [
        "listener 1234 127.0.0.1",
        *(
            f"{option} /elsewhere/{file}"
            for option, file in re.findall(r"^(\w+) /etc/mosquitto/maskwatch/(.+)$", shipped, re.M)
        ),
    ]


def test_a_file_that_is_not_the_shipped_one_is_not_placed() -> None:
    with pytest.raises(ValueError, match="not the shipped configuration"):
        placed("listener 8883\n", files=Path("/elsewhere"), port=1234)


def test_the_shipped_file_loads_with_no_warning_but_the_one_explained(own_world: World) -> None:
    own_world.broker.reload()
    assert own_world.broker.log.read_text().count("homeassistant/status") == 2
    with own_world.client("gate") as gate:
        assert gate.connected

    assert "New client connected" in own_world.broker.log.read_text()
    noticed = re.findall(r"^\d+: ((?:Warning|Error|Note).*)$", own_world.broker.log.read_text(), re.M)
    ours = [line for line in noticed if "run as root" not in line]  # which a test is, and a service is not
    assert set(ours) == {"Warning: ACL pattern 'homeassistant/status' does not contain '%c' or '%u'."}
    explained = " ".join((SHIPPED / "README.md").read_text().split())
    assert ours[0].removeprefix("Warning: ").removesuffix(".") in explained


def test_there_are_more_descriptors_than_connections() -> None:
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(SHIPPED / "limits.conf")
    (connections,) = re.findall(r"^max_connections (\d+)$", (SHIPPED / "maskwatch.conf").read_text(), re.M)

    assert int(unit["Service"]["LimitNOFILE"]) >= int(connections) + 100


def test_the_longest_message_of_an_agent_fits_and_a_longer_one_is_loud(world: World) -> None:
    identity = Identity(site="s" * 64, device="d" * 64, version="1.2.3")
    longest = len(discovery.document(identity, wanted=True).payload)
    with world.client("door") as door:
        assert door.publish("maskwatch/lab/door/events", b"x" * (longest + 512)) == 0x10  # nobody subscribes
        assert door.publish("maskwatch/lab/door/events", b"x" * 20_000) == 128
        assert door.lost == "Packet too large"


# Who gets in.


def test_a_board_of_the_authority_gets_in(world: World) -> None:
    for mqtt5 in (True, False):
        with world.client("door", mqtt5=mqtt5) as door:
            assert door.connected


def test_nobody_gets_in_without_a_certificate_and_no_password_helps(world: World) -> None:
    with world.client(None) as nobody:
        assert not nobody.connected
    with world.client(None, username="door", client_id="door") as nobody:
        assert not nobody.connected


def test_a_certificate_of_another_authority_with_the_same_names_is_refused(world: World, tmp_path: Path) -> None:
    other = TestAuthority(tmp_path / "ca")
    with Client(world.broker, world.authority.ca, other.issue("door")) as door:
        assert not door.connected
    with Client(world.broker, world.authority.ca, other.issue("operator", "operator")) as operator:
        assert not operator.connected


def test_an_expired_certificate_is_refused(world: World) -> None:
    old = world.authority.issue("old", now=datetime.now(UTC) - timedelta(days=9))
    with Client(world.broker, world.authority.ca, old) as board:
        assert not board.connected


def test_the_broker_s_own_certificate_is_no_client_s(world: World) -> None:
    server = world.authority.issue("stolen-server", "server")
    with Client(world.broker, world.authority.ca, server) as client:
        assert not client.connected


def test_tls_1_2_is_refused(world: World) -> None:
    with world.client("door", tls=ssl.TLSVersion.TLSv1_2) as door:
        assert not door.connected
        assert "PROTOCOL_VERSION" in door.why


def test_a_revoked_board_is_refused_after_a_reload_and_the_others_stay(own_world: World) -> None:
    with own_world.client("gate") as gate, own_world.client("door") as door:
        own_world.authority.revoke("door")
        own_world.broker.take_revocations()
        own_world.broker.reload()
        with own_world.client("door") as again:
            assert not again.connected
        assert gate.publish("maskwatch/lab/gate/events") == 0x10
        assert gate.lost is None
        own_world.broker.stop()
        own_world.broker.start()
        door.wait_until_lost()
    with own_world.client("door") as again, own_world.client("gate") as gate:
        assert not again.connected
        assert gate.connected


def test_an_issuing_authority_that_was_signed_again_is_the_same_to_boards_old_and_new(own_world: World) -> None:
    own_world.authority.reissue()
    own_world.broker.take_revocations()
    own_world.broker.stop()
    own_world.broker.start()
    new = own_world.authority.issue("new")
    with own_world.client("door") as door, Client(own_world.broker, own_world.authority.ca, new) as board:
        assert (door.connected, board.connected) == (True, True)


def test_a_new_key_of_the_issuing_authority_shuts_out_whom_the_old_one_has_signed(own_world: World) -> None:
    own_world.authority.reissue(new_key=True)
    own_world.broker.take_revocations()
    own_world.broker.stop()
    own_world.broker.start()
    new = own_world.authority.issue("new")  # by the same root: the broker's cafile and the boards' are as before
    with own_world.client("door") as door, Client(own_world.broker, own_world.authority.ca, new) as board:
        assert (door.connected, board.connected) == (False, True)


def test_a_board_that_hides_who_signed_it_is_refused(own_world: World, tmp_path: Path) -> None:
    """mosquitto trusts the root alone, so a file without the issuing authority's certificate proves nothing."""
    certificate, key = own_world.pairs["door"]
    alone = tmp_path / "alone.pem"
    alone.write_text(
        certificate.read_text().partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n"
    )
    with Client(own_world.broker, own_world.authority.ca, (alone, key)) as door:
        assert not door.connected


def test_a_renewed_broker_certificate_counts_after_a_reload_and_disconnects_nobody(own_world: World) -> None:
    renewed = own_world.authority.renew("broker")
    with own_world.client("door") as door:
        (own_world.broker.files / "broker.pem").write_bytes(renewed.read_bytes())
        own_world.broker.reload()
        context = ssl.create_default_context(cafile=own_world.authority.ca)
        context.load_cert_chain(*own_world.pairs["gate"])
        expected = x509.load_pem_x509_certificate(renewed.read_bytes()).public_bytes(Encoding.DER)  # the first of two
        assert served(own_world.broker.port, context) == expected
        assert door.publish("maskwatch/lab/door/events") == 0x10
        assert door.lost is None


def served(port: int, context: ssl.SSLContext) -> bytes | None:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        return sock.getpeercert(binary_form=True)


# What a device may do.

OWN = ["events", "status", "telemetry", "reply", "reply/42"]


@pytest.mark.parametrize("mqtt5", [True, False])
def test_a_device_publishes_as_itself_and_as_nobody_else(world: World, mqtt5: bool) -> None:
    allowed = [f"maskwatch/lab/gate/{topic}" for topic in OWN]
    forbidden = [f"maskwatch/lab/door/{topic}" for topic in [*OWN, "command", "ack"]]
    forbidden += ["maskwatch/lab/gate/command", "maskwatch/lab/gate/ack", "maskwatch/lab/gate/picture", "maskwatch/lab"]
    forbidden += ["maskwatch/gate/door/events", "maskwatch/lab/gate/x/events", "maskwatch/lab/collector/status"]
    forbidden += ["homeassistant/device/door/config", "homeassistant/status", "other", "$SYS/broker/uptime"]
    with (
        world.client("operator", topics=("maskwatch/#",)) as operator,
        world.client("homeassistant", topics=("homeassistant/#",)) as home,
        world.client("gate", client_id="door", username="door", mqtt5=mqtt5) as gate,
    ):
        for topic in forbidden:
            answer = gate.publish(topic, b"forged")
            assert answer == (NOT_AUTHORISED if mqtt5 else 0), topic  # MQTT 3.1.1 has no word for it
        for topic in [*allowed, "homeassistant/device/gate/config"]:
            assert gate.publish(topic, b"mine") in (0, 0x10)
        operator.wait_for(allowed[-1], b"mine")
        home.wait_for("homeassistant/device/gate/config", b"mine")
        assert [payload for _, payload in operator.messages] == [b"mine"] * len(allowed)
        assert home.messages == [("homeassistant/device/gate/config", b"mine")]


def test_a_device_reads_what_is_meant_for_it_and_nothing_else(world: World) -> None:
    topics = ("#", "maskwatch/#", "maskwatch/+/door/command", "maskwatch/+/door/ack", "$SYS/#", "$share/x/maskwatch/#")
    with (
        world.client("operator") as operator,
        world.client("collector") as collector,
        world.client("homeassistant") as home,
        world.client("door") as door,
        world.client("gate", client_id="door", username="operator", topics=topics) as gate,
    ):
        for device in ("door", "gate"):
            operator.publish(f"maskwatch/lab/{device}/command", b"for " + device.encode())
            collector.publish(f"maskwatch/lab/{device}/ack", b"for " + device.encode())
        door.publish("maskwatch/lab/door/events", b"of door")
        door.publish("maskwatch/lab/door/status", b"of door", retain=True)
        home.publish("homeassistant/status", b"online")
        gate.wait_for("homeassistant/status", b"online")
        gate.wait_for("maskwatch/lab/gate/ack", b"for gate")
        heard = set(gate.messages)
        door.publish("maskwatch/lab/door/status", b"", retain=True)
    with world.client("gate", topics=("maskwatch/#", "maskwatch/lab/door/status")) as late:
        late.publish("maskwatch/lab/gate/events")
        assert late.messages == []  # no retained status of another, either
    assert heard == {
        ("maskwatch/lab/gate/command", b"for gate"),
        ("maskwatch/lab/gate/ack", b"for gate"),
        ("homeassistant/status", b"online"),
    }


@pytest.mark.parametrize("mqtt5", [True, False])
def test_a_device_cannot_disconnect_another_by_claiming_its_client_id(world: World, mqtt5: bool) -> None:
    with (
        world.client("operator") as operator,
        world.client("door", client_id="door", topics=("maskwatch/+/door/command",)) as door,
    ):
        for _ in range(5):
            with world.client("gate", client_id="door", username="door", mqtt5=mqtt5) as gate:
                assert gate.connected
                assert door.publish("maskwatch/lab/door/events") in (0, 0x10)
        operator.publish("maskwatch/lab/door/command", b"still there?")
        door.wait_for("maskwatch/lab/door/command", b"still there?")
        assert door.lost is None


def test_a_device_cannot_declare_another_offline_by_its_last_will(world: World) -> None:
    with (
        world.client("operator", topics=("maskwatch/#",)) as operator,
        world.client("gate", will=("maskwatch/lab/door/status", b"forged")) as gate,
        world.client("board", will=("maskwatch/lab/board/status", b"")) as board,
    ):
        assert gate.connected
        gate.vanish()
        board.vanish()
        operator.wait_for("maskwatch/lab/board/status", b"")
        with world.client("gate") as again:  # by now the broker has done with the old connection
            again.publish("maskwatch/lab/gate/events", b"end")
            operator.wait_for("maskwatch/lab/gate/events", b"end")
        assert operator.got("maskwatch/lab/door/status") == []


def test_a_device_at_another_site_is_still_itself_alone(world: World) -> None:
    with world.client("operator", topics=("maskwatch/#",)) as operator, world.client("door") as door:
        assert door.publish("maskwatch/elsewhere/door/events", b"mine") == 0
        assert door.publish("maskwatch/elsewhere/gate/events", b"forged") == NOT_AUTHORISED
        operator.wait_for("maskwatch/elsewhere/door/events", b"mine")
        assert operator.got("maskwatch/elsewhere/gate/events") == []


# What the programs may do.


@pytest.mark.parametrize("name", ["collector", "collector-2"])
def test_the_collector_reads_all_and_acknowledges_and_does_nothing_else(world: World, name: str) -> None:
    with (
        world.client(name, topics=("maskwatch/#", "homeassistant/#")) as collector,
        world.client("door", topics=("maskwatch/+/door/ack",)) as door,
    ):
        assert collector.publish("maskwatch/lab/door/ack", b"stored") == 0
        door.wait_for("maskwatch/lab/door/ack", b"stored")
        for topic in ("command", "events", "status", "telemetry", "reply"):
            assert collector.publish(f"maskwatch/lab/door/{topic}") == NOT_AUTHORISED
        for topic in ("reply", "events", "status", "telemetry"):
            door.publish(f"maskwatch/lab/door/{topic}", b"mine")
        collector.wait_for("maskwatch/lab/door/telemetry", b"mine")
        assert {topic for topic, _ in collector.messages} == {
            f"maskwatch/lab/door/{topic}" for topic in ("events", "status", "telemetry")
        }


def test_two_collectors_with_names_of_their_own_stay_both(world: World) -> None:
    with world.client("collector") as one, world.client("collector-2") as two:
        for _ in range(3):
            assert one.publish("maskwatch/lab/door/ack") == 0x10
            assert two.publish("maskwatch/lab/door/ack") == 0x10
        assert (one.lost, two.lost) == (None, None)


def test_home_assistant_reads_and_says_only_that_it_is_there(world: World) -> None:
    with world.client("homeassistant", topics=("maskwatch/#", "homeassistant/#")) as home, world.client("door") as door:
        assert home.publish("homeassistant/status", b"online") == 0
        for topic in ("maskwatch/lab/door/command", "maskwatch/lab/door/ack", "homeassistant/device/door/config"):
            assert home.publish(topic) == NOT_AUTHORISED
        door.publish("homeassistant/device/door/config", b"{}")
        door.publish("maskwatch/lab/door/status", b"{}")
        home.wait_for("homeassistant/device/door/config", b"{}")
        home.wait_for("maskwatch/lab/door/status", b"{}")


# What is kept.


def test_what_waits_for_a_subscriber_survives_an_orderly_restart(own_world: World) -> None:
    topics = ("maskwatch/+/+/events", "maskwatch/+/+/status")
    with own_world.client("collector", client_id="x", topics=topics, mqtt5=False, keep_session=True):
        pass
    with own_world.client("door") as door:
        door.publish("maskwatch/lab/door/status", b"online", retain=True)
        for number in range(50):
            door.publish("maskwatch/lab/door/events", str(number).encode())
        own_world.broker.stop()
        own_world.broker.start()
    with own_world.client("collector", client_id="x", topics=topics, mqtt5=False, keep_session=True) as collector:
        collector.wait_for("maskwatch/lab/door/events", b"49")
        assert collector.got("maskwatch/lab/door/events") == [str(number).encode() for number in range(50)]
        collector.wait_for("maskwatch/lab/door/status", b"online")
