"""deploy/mosquitto as it is shipped: who gets in, and what each may do there."""

import configparser
import os
import re
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from agent.delivery import discovery
from agent.delivery.topics import Identity
from agent.events.envelope import Envelope, decode
from agent.events.state import Ack, Reply, Status
from agent.events.types import AgentStart, AgentStop, EventData, PersonNew
from tests.collector_parts import Running
from tests.integration.agent_process import AgentProcess, sped_up
from tests.integration.shipped_mosquitto import Client, ShippedMosquitto, TestAuthority
from tests.real import need, wait_for
from tools.fleet.shipped import SHIPPED, placed

NOT_AUTHORISED = 135
Pair = tuple[Path, Path]


class World(NamedTuple):
    """A running broker, its authority, and certificates by name."""

    broker: ShippedMosquitto
    authority: TestAuthority
    pairs: dict[str, Pair]

    def client(self, name: str | None, **more: object) -> Client:
        """Make a client that holds the certificate of a name; None: it has none."""
        return Client(self.broker, self.authority.ca, self.pairs[name] if name else None, **more)  # type: ignore[arg-type]


def made(folder: Path) -> World:
    authority = TestAuthority(folder / "ca")
    pairs = {name: authority.issue(name) for name in ("door", "gate", "board")}
    pairs |= {
        "collector": authority.issue("collector", "collector"),
        "collector-2": authority.issue("collector-2", "collector"),
        "operator": authority.issue("operator", "operator"),
        "homeassistant": authority.issue("homeassistant", "homeassistant"),
    }
    return World(ShippedMosquitto(folder / "broker", authority), authority, pairs)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = made(tmp_path_factory.mktemp("fleet"))
    with world.broker:
        yield world


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    """A broker that a test may stop, reload and spoil."""
    world = made(tmp_path)
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
    with own_world.client("door"):  # it serves: from now on a signal is not the death of it
        own_world.broker.reload()
        wait_for(lambda: own_world.broker.log.read_text().count("homeassistant/status") == 2, what="the reload")
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


_INSIDE = """
set -e
ip link set lo up
mkdir -p upper/etc work/etc state/lib state/log systemd bin broker
mount -t overlay overlay -o lowerdir=/etc,upperdir=$PWD/upper/etc,workdir=$PWD/work/etc /etc || exit 77
mount --bind state/lib /var/lib/mosquitto
mount --bind state/log /var/log/mosquitto
chown mosquitto state/lib state/log
mount -t tmpfs tmpfs /run
mkdir -p /run/mosquitto
chown mosquitto /run/mosquitto
rm -f /etc/mosquitto/conf.d/*
echo 127.0.0.1 localhost broker.example > /etc/hosts
for command in apt-get systemctl; do printf '#!/bin/sh\necho "$0 $*" >> %s/called\n' $PWD > bin/$command; done
printf '#!/bin/sh\nexec %s "$@"\n' "$PYTHON" > bin/python
chmod +x bin/*
export PATH=$PWD/bin:$PATH
(set -e; cd "$ROOT"; . "$OLDPWD/authority.sh")
cp ~/maskwatch-ca/ca.pem ~/maskwatch-ca/ca.crl ~/maskwatch-ca/issued/broker.* "$ROOT"/deploy/mosquitto/* broker/
(set -e; cd broker; . ../broker.sh)
mosquitto -c /etc/mosquitto/mosquitto.conf &
trap 'kill $!; wait $!' EXIT
ours="--cafile $HOME/maskwatch-ca/ca.pem --cert $HOME/maskwatch-ca/issued/entrance-1.pem"
ours="$ours --key $HOME/maskwatch-ca/issued/entrance-1.key --tls-version tlsv1.3 -h broker.example -p 8883 -V mqttv5 -d"
for i in $(seq 200); do
    mosquitto_pub $ours -q 1 -t maskwatch/hall/entrance-1/events -m x && break
    sleep 0.05
done
mosquitto_pub $ours -q 1 -t maskwatch/hall/entrance-2/events -m x
echo --- log
cat state/log/mosquitto.log
ps -o user= -p $!
"""


def test_the_commands_of_the_readme_make_a_broker_of_a_fresh_debian_package(tmp_path: Path) -> None:
    need("mosquitto", "mosquitto")
    need("mosquitto_pub", "mosquitto-clients")
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts over /etc in a namespace of its own")
    if not Path("/etc/mosquitto/mosquitto.conf").exists():
        pytest.skip("needs Debian's configuration of mosquitto: apt-get install mosquitto")
    authority, broker = re.findall(r"```sh\n(.*?)```", (SHIPPED / "README.md").read_text(), re.S)
    (tmp_path / "authority.sh").write_text(authority)
    (tmp_path / "broker.sh").write_text(broker)
    environ = os.environ | {"HOME": str(tmp_path), "PYTHON": sys.executable, "ROOT": str(SHIPPED.parents[1])}
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _INSIDE],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    if done.returncode == 77:
        pytest.skip(f"needs overlay mounts: {done.stderr.strip()}")
    said, log = done.stdout.split("--- log\n")
    assert done.returncode == 0, done.stderr
    assert "sending PUBLISH" in said
    assert "received PUBACK (Mid: 1, RC:16)" in said  # nobody subscribes yet
    assert "received PUBACK (Mid: 1, RC:135)" in said  # and entrance-2 is somebody else
    assert log.split()[-1] == "mosquitto"
    warned = re.findall(r"Warning: .*", log)
    assert warned == ["Warning: ACL pattern 'homeassistant/status' does not contain '%c' or '%u'."]
    assert "systemctl restart mosquitto" in (tmp_path / "called").read_text()


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

        def is_refused() -> bool:
            with own_world.client("door") as again:
                return not again.connected

        wait_for(is_refused, what="the refusal")
        assert gate.publish("maskwatch/lab/gate/events") == 0x10
        assert gate.lost is None
        own_world.broker.stop()
        own_world.broker.start()
        door.wait_until_lost()
    with own_world.client("door") as again, own_world.client("gate") as gate:
        assert not again.connected
        assert gate.connected


def test_a_renewed_broker_certificate_counts_after_a_reload_and_disconnects_nobody(own_world: World) -> None:
    renewed = own_world.authority.renew("broker")
    with own_world.client("door") as door:
        (own_world.broker.files / "broker.pem").write_bytes(renewed.read_bytes())
        own_world.broker.reload()
        context = ssl.create_default_context(cafile=own_world.authority.ca)
        context.load_cert_chain(*own_world.pairs["gate"])
        expected = ssl.PEM_cert_to_DER_cert(renewed.read_text())
        wait_for(lambda: served(own_world.broker.port, context) == expected, what="the new certificate")
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


# The agent itself.


def agent_settings(world: World) -> list[str]:
    certificate, key = world.pairs["board"]
    return [f"mqtt.ca_file={world.authority.ca}", f"mqtt.cert_file={certificate}", f"mqtt.key_file={key}"]


def test_the_agent_delivers_through_it_and_answers_the_operator(world: World, tmp_path: Path) -> None:
    prefix = "maskwatch/test/board"
    with (
        world.client("operator", topics=(f"{prefix}/#",)) as operator,
        world.client("homeassistant", topics=("homeassistant/#",)) as home,
        AgentProcess(
            tmp_path / "home", url=world.broker.url, settings=agent_settings(world), first=sped_up(6)
        ) as agent,
    ):
        wait_for(lambda: any(isinstance(event.data, PersonNew) for event in events(operator)), 60, "a person")
        assert operator.publish(f"{prefix}/command", b'{"command": "ping", "id": "7"}') == 0
        wait_for(lambda: bool(operator.got(f"{prefix}/reply")), what="the answer")
        home.wait_for("homeassistant/device/board/config", home.got("homeassistant/device/board/config")[0])
        assert agent.terminate() == 0
        wait_for(lambda: isinstance(events(operator)[-1].data, AgentStop), what="the goodbye")
        wait_for(lambda: statuses(operator)[-1].state == "offline", what="the last status")
    told = msgspec.json.decode(operator.got(f"{prefix}/reply")[0], type=Reply)
    assert (told.command, told.id, told.ok) == ("ping", "7", True)
    assert isinstance(events(operator)[0].data, AgentStart)
    assert [int(event.sequence) for event in events(operator)] == list(range(1, len(events(operator)) + 1))
    assert statuses(operator)[0].state == "online"
    assert "refused" not in agent.log.read_text()


def events(operator: Client) -> list[Envelope[EventData]]:
    return [decode(payload) for payload in operator.got("maskwatch/test/board/events")]


def statuses(operator: Client) -> list[Status]:
    return [msgspec.json.decode(payload, type=Status) for payload in operator.got("maskwatch/test/board/status")]


def test_an_agent_whose_id_is_not_its_certificate_s_name_is_told_so(world: World, tmp_path: Path) -> None:
    settings = [*agent_settings(world), "device.id=somebody"]
    with (
        world.client("operator", topics=("maskwatch/#",)) as operator,
        AgentProcess(tmp_path / "home", url=world.broker.url, settings=settings) as agent,
    ):
        wait_for(lambda: "may not write maskwatch/test/somebody" in agent.log.read_text(), 60, "the complaint")
        assert not any("/somebody/" in topic for topic, _ in operator.messages)


@pytest.mark.parametrize("instance", ["collector", "collector-2"])
def test_the_collector_stores_through_it_and_the_agent_learns_what_is_stored(
    world: World, tmp_path: Path, instance: str
) -> None:
    for name, pair in (("collector", world.pairs["collector"]), ("collector-2", world.pairs["collector-2"])):
        for kind, source in zip(("pem", "key"), pair, strict=True):
            (tmp_path / f"{name}.{kind}").write_bytes(source.read_bytes())
    words = ["--ca", str(world.authority.ca), "--instance", instance]
    words += ["--cert", f"{tmp_path}/{{instance}}.pem", "--key", f"{tmp_path}/{{instance}}.key"]
    settings = [*agent_settings(world), "mqtt.ack_mode=collector"]
    ack = "maskwatch/test/board/ack"
    with (
        world.client("operator", topics=("maskwatch/test/board/#",)) as operator,
        Running(world.broker, f"sqlite:///{tmp_path}/events.db", *words),
        AgentProcess(tmp_path / "home", url=world.broker.url, settings=settings, first=sped_up(6)) as agent,
    ):
        wait_for(lambda: any(isinstance(event.data, PersonNew) for event in events(operator)), 60, "a person")
        assert agent.terminate() == 0
        wait_for(lambda: isinstance(events(operator)[-1].data, AgentStop), what="the goodbye")
        last = int(events(operator)[-1].sequence)
        wait_for(lambda: bool(operator.got(ack)) and hwm(operator.got(ack)[-1]) == last, what="the acknowledgement")
    with sqlite3.connect(tmp_path / "events.db") as store:
        stored = [sequence for (sequence,) in store.execute("SELECT sequence FROM events ORDER BY sequence")]
    assert stored == list(range(1, last + 1))
    with sqlite3.connect(agent.outbox / "outbox.db") as outbox:
        assert outbox.execute("SELECT count(*) FROM events WHERE NOT done").fetchone() == (0,)


def hwm(payload: bytes) -> int:
    return msgspec.json.decode(payload, type=Ack).hwm


@pytest.mark.parametrize("fault", ["expired", "revoked", "stranger", "none"])
def test_an_agent_that_is_refused_says_which_of_these_it_is(own_world: World, tmp_path: Path, fault: str) -> None:
    authority = own_world.authority
    certificate, key = own_world.pairs["board"]
    said = "the broker says that this device's certificate has expired; renew it"
    match fault:
        case "expired":
            certificate, key = authority.issue("old", now=datetime.now(UTC) - timedelta(days=9))
        case "revoked":
            authority.revoke("board")
            own_world.broker.take_revocations()
            own_world.broker.stop()
            own_world.broker.start()
            said = "the broker says that this device's certificate is revoked"
        case "stranger":
            certificate, key = TestAuthority(tmp_path / "other", name="another fleet").issue("board")
            said = "the broker does not know who signed this device's certificate; check mqtt.cert_file"
        case "none":
            said = "the broker wants a certificate from this device; set mqtt.cert_file and key_file"
    settings = [f"mqtt.ca_file={authority.ca}"]
    if fault != "none":
        settings += [f"mqtt.cert_file={certificate}", f"mqtt.key_file={key}"]
    with AgentProcess(tmp_path / "home", url=own_world.broker.url, settings=settings) as agent:
        wait_for(lambda: said in agent.log.read_text(), 60, f"{said!r} in the journal")
