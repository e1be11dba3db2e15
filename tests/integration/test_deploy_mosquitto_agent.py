"""The agent and the collector at deploy/mosquitto as it is shipped."""

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from agent.events.envelope import Envelope, decode
from agent.events.state import Ack, Reply, Status
from agent.events.types import AgentStart, AgentStop, EventData, PersonNew
from tests.collector_parts import Running
from tests.integration.agent_process import AgentProcess, sped_up
from tests.integration.shipped_mosquitto import Client, TestAuthority, World, world_in
from tests.real import wait_for


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = world_in(tmp_path_factory.mktemp("fleet"))
    with world.broker:
        yield world


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    """A broker that a test may restart and spoil."""
    world = world_in(tmp_path)
    with world.broker:
        yield world


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
