"""A pass of renewals at the shipped mosquitto: a real agent, and devices that answer as they are told."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from cryptography import x509

from agent.delivery.link import Received
from agent.delivery.requests import parse
from agent.delivery.topics import Identity
from agent.events.state import Command, Reply
from tests.fleet_parts import make_csr, make_key, utc_now
from tests.integration.agent_process import AgentProcess
from tests.integration.shipped_mosquitto import Client, ShippedMosquitto, TestAuthority
from tests.real import WITHIN_S, free_port, wait_for
from tools.fleet.ca.__main__ import main as ca
from tools.fleet.enrol import inventory, renewal
from tools.fleet.enrol.__main__ import main as enrol
from tools.fleet.enrol.inventory import Device


class World(NamedTuple):
    """A broker, the authority's folder, and where devices keep what they have."""

    broker: ShippedMosquitto
    authority: TestAuthority
    folder: Path
    devices: Path

    def board(self, name: str, *, made_days_ago: int = 61) -> tuple[Path, Path]:
        """Enrol a board so many days ago; gives certificate and key."""
        key = make_key(self.devices / f"{name}.key")
        request = self.devices / f"{name}.csr"
        request.write_text(make_csr(key, name))
        then = utc_now() - timedelta(days=made_days_ago)
        assert enrol([str(self.folder), "--sign", str(request), "--site", "test"], now=lambda: then) == 0
        return self.devices / f"{name}.pem", key

    def known(self, name: str) -> Device:
        device = inventory.read(self.folder).device(name)
        assert device is not None
        return device

    def renew(self, *words: str, wait_s: float = 20.0) -> int:
        return enrol([str(self.folder), "--renew", "--broker", self.broker.url, "--wait", str(wait_s), *words])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Each test has an authority of its own: a pass is about all boards that there are."""
    authority = TestAuthority(tmp_path / "ca")
    authority.issue("operator", "operator")
    (tmp_path / "devices").mkdir()
    with ShippedMosquitto(tmp_path / "broker", authority) as broker:
        yield World(broker, authority, tmp_path / "ca", tmp_path / "devices")


class Answering:
    """A board that takes renew commands and answers as told, over its own connection at the broker."""

    def __init__(self, world: World, name: str, pair: tuple[Path, Path]) -> None:
        self.command = f"maskwatch/test/{name}/command"
        self.reply = f"maskwatch/test/{name}/reply"
        self._identity = Identity(site="test", device=name, version="")
        self.client = Client(world.broker, world.authority.ca, pair, topics=(self.command,))

    def wait_for_command(self, number: int = 1) -> Command:
        """Give the newest command when so many have come, as an agent would read it."""
        wait_for(lambda: len(self.client.got(self.command)) >= number, what="the command")
        received = Received(topic=self.command, payload=self.client.got(self.command)[-1])
        request = parse(received, self._identity)
        return request.command  # type: ignore[union-attr]  # an Invalid one has none, and the test fails

    def answer(self, command: Command, *, ok: bool, message: str = "") -> None:
        said = Reply(command=command.command, id=command.id, ok=ok, message=message)
        self.client.publish(self.reply, msgspec.json.encode(said))


@contextmanager
def in_background(work: Callable[[], object]) -> Iterator[None]:
    """Let something happen meanwhile, and end before we go on."""
    with ThreadPoolExecutor(1) as other:
        happening = other.submit(work)
        yield
        happening.result(WITHIN_S)


def leaf(text: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(text.encode())


def test_an_agent_gets_a_new_certificate_for_its_key_and_the_inventory_knows(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = world.board("board")
    before = certificate.read_text()
    settings = [f"mqtt.ca_file={world.authority.ca}", f"mqtt.cert_file={certificate}", f"mqtt.key_file={key}"]
    operator = (world.folder / "issued/operator.pem", world.folder / "issued/operator.key")
    with AgentProcess(tmp_path / "home", url=world.broker.url, settings=settings) as agent:
        with Client(world.broker, world.authority.ca, operator, topics=("maskwatch/test/board/status",)) as people:
            wait_for(lambda: bool(people.got("maskwatch/test/board/status")), 60, "the agent")
        assert world.renew() == 0
        assert "board: renewed until" in capsys.readouterr().out
        wait_for(lambda: certificate.read_text() != before, what="the new certificate")
        assert agent.terminate() == 0

    new = leaf(certificate.read_text())
    assert new.public_key() == leaf(before).public_key()
    known = world.known("board")
    assert (int(known.certificate, 16), known.ends, known.pending) == (
        new.serial_number,
        new.not_valid_after_utc,
        None,
    )
    assert world.renew() == 0
    assert "nobody is due" in capsys.readouterr().out


def test_only_those_past_two_thirds_of_their_life_are_asked(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for name, days in (("young", 59), ("due", 61), ("revoked", 61)):
        world.board(name, made_days_ago=days)
    assert ca(["revoke", str(world.folder), "revoked"]) == 0
    capsys.readouterr()

    assert world.renew(wait_s=0.2) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["due"]
    assert [world.known(name).pending is None for name in ("young", "due", "revoked")] == [True, False, True]


def test_a_board_that_is_away_gets_the_same_certificate_in_the_next_pass(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = world.board("away")
    old = world.known("away").certificate
    assert world.renew() == 0  # and does not wait: the broker says that nobody listens
    assert "away: is away" in capsys.readouterr().out
    pending = world.known("away").pending
    assert pending is not None
    assert world.known("away").certificate == old
    device = Answering(world, "away", pair)
    with device.client:
        assert world.renew(wait_s=0.3) == 0  # there, and silent
        command = device.wait_for_command()
        assert world.renew(wait_s=0.3) == 0
        again = device.wait_for_command(2)
    for sent in (command, again):
        assert f"{leaf(str(sent.certificate)).serial_number:x}" == pending.certificate
    assert len(list((world.folder / "signed").glob("*.pem"))) == 4  # broker, operator, the old one and the new one
    assert world.known("away").certificate == old


def test_the_inventory_believes_the_board_alone(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    pair, gate = world.board("door"), world.board("gate", made_days_ago=1)
    old = world.known("door").certificate
    device, other = Answering(world, "door", pair), Answering(world, "gate", gate)
    with device.client, other.client:
        results: list[int] = []
        with in_background(lambda: results.append(world.renew())):
            command = device.wait_for_command()
            other.answer(command, ok=True)  # another board says so
            device.answer(msgspec.structs.replace(command, id="0"), ok=True)  # about something else
            device.client.publish(device.reply, b"garbage")
            device.answer(command, ok=False, message="the disk is full")
        assert results == [69]
    assert "door: refuses: the disk is full" in capsys.readouterr().out
    assert world.known("door").certificate == old
    assert world.known("door").pending is not None


def test_a_board_that_was_enrolled_anew_meanwhile_keeps_what_it_has(world: World) -> None:
    world.board("door")
    (letter,) = renewal.letters(world.folder, now=utc_now())
    assert ca(["revoke", str(world.folder), "door"]) == 0
    world.board("door", made_days_ago=0)  # with a new key
    before = world.known("door")
    renewal.confirm(world.folder, letter)  # the answer comes late

    assert world.known("door") == before


def test_a_command_that_waits_for_a_board_is_not_longer_than_a_board_takes(world: World) -> None:
    name = "x" * 64
    device = Answering(world, name, world.board(name))
    with device.client, in_background(lambda: world.renew()):
        device.answer(device.wait_for_command(), ok=True)  # parse has refused what is longer
    assert world.known(name).pending is None


def test_a_certificate_that_is_about_to_end_makes_the_pass_fail(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.board("late", made_days_ago=80)
    assert world.renew() == 69
    assert "late: is away" in capsys.readouterr().out


@pytest.mark.parametrize("fault", ["nobody listens", "a device's certificate", "no certificate", "another authority"])
def test_a_pass_that_cannot_reach_the_boards_says_why_and_keeps_what_is_signed(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    certificate, key = world.board("door")
    words: list[str] = []
    code = 69
    match fault:
        case "nobody listens":
            words = ["--broker", f"mqtts://localhost:{free_port()}"]
        case "a device's certificate":
            words = ["--cert", str(certificate), "--key", str(key)]
        case "no certificate":
            words, code = ["--cert", "/none.pem", "--key", "/none.key"], 78
        case "another authority":
            words = ["--ca", str(TestAuthority(tmp_path / "other").ca)]
    capsys.readouterr()
    assert world.renew(*words) == code
    said = capsys.readouterr()
    assert len((said.out + said.err).splitlines()) == 1
    assert "Traceback" not in said.err
    assert world.known("door").pending is not None


def test_more_boards_than_a_broker_takes_commands_at_once_are_all_asked(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(30):
        world.board(f"b{number}")
    answering = Answering(world, "b7", (world.devices / "b7.pem", world.devices / "b7.key"))
    with answering.client, in_background(lambda: world.renew()):
        answering.answer(answering.wait_for_command(), ok=True)
    said = capsys.readouterr().out
    assert said.count("is away") == 29
    assert said.count("renewed until") == 1
