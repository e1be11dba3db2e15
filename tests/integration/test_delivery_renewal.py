"""A renewed certificate at deploy/mosquitto as it is shipped: good, of a stranger, revoked, and through outages."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from agent.clock import NS_PER_S
from agent.delivery import renewal as renewing
from agent.delivery.mqtt import MqttLink
from agent.delivery.renewal import RETRY_MAX_S, RETRY_S, Renewal
from agent.events.envelope import decode
from agent.events.state import Command, Reply, Status, Telemetry
from agent.settings import MqttSettings, ReportSettings
from tests.certificates import Signer, new_key, write_key
from tests.delivery_parts import IDENTITY, Parts, TurnedClock, counted, make_parts
from tests.disks import Ext4, ext4
from tests.integration.agent_process import AgentProcess
from tests.integration.shipped_mosquitto import Client, ShippedMosquitto, TestAuthority
from tests.real import spawn, wait_for
from tools.fleet.ca.authority import Authority, revocation_list

NOW = datetime.now(UTC)


class Site(NamedTuple):
    """A broker with its authority, and a board whose certificate ends tomorrow."""

    broker: ShippedMosquitto
    authority: TestAuthority
    folder: Path
    old: Path
    key: Path
    successor: str

    @property
    def settings(self) -> MqttSettings:
        return MqttSettings(
            url=self.broker.url, ca_file=str(self.authority.ca), cert_file=str(self.old), key_file=str(self.key)
        )

    @property
    def new(self) -> Path:
        return self.old.with_name("device.pem.new")

    def operator(self, *topics: str) -> Client:
        return Client(self.broker, self.authority.ca, self.authority.issue("operator", "operator"), topics=topics)

    def take_back(self, pem: str) -> None:
        """Revoke one certificate, and no other of its bearer's."""
        text = (self.folder / "ca/issuing.key").read_bytes()
        key = load_pem_private_key(text, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        authority = Authority(certificate=x509.load_pem_x509_certificate(text), key=key)
        serial = x509.load_pem_x509_certificate(pem.encode()).serial_number
        crl = revocation_list(authority, [(serial, NOW)], now=NOW)
        (self.broker.files / "ca.crl").write_bytes(crl.public_bytes(Encoding.PEM))
        self.broker.reload()


def make_site(folder: Path, name: str) -> Site:
    authority = TestAuthority(folder / "ca")
    certificate, key = authority.issue(name, now=NOW - timedelta(days=1))
    old = folder / "device.pem"
    old.write_bytes(certificate.read_bytes())
    successor = authority.renew(name).read_text()
    return Site(ShippedMosquitto(folder / "broker", authority), authority, folder, old, key, successor)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = make_site(tmp_path, IDENTITY.device)
    with made.broker:
        yield made


class Board:
    """A delivery at a site's broker. Time is turned: fast while nothing is under way."""

    def __init__(self, site: Site) -> None:
        self.clock = TurnedClock()
        self.clock.jump(NOW.timestamp() - self.clock.wall_ns() / NS_PER_S)
        link = MqttLink(site.settings, client_id=IDENTITY.device, spawn=spawn, environ={})
        report = ReportSettings(discovery=False)
        self.parts: Parts = make_parts(site.folder / "outbox", link, self.clock, mqtt=site.settings, report=report)
        self._number = 0

    @property
    def delivery(self) -> Any:
        return self.parts.delivery

    def until_connected(self, session: int) -> None:
        self.until(lambda: self.delivery.figures.session >= session and self.delivery._is_up)

    def until_given_up(self) -> None:
        self.until(lambda: not self.delivery._reconnect.connecting)

    def until_delivered(self) -> None:
        """Let an event come, and wait until the broker has it."""
        self._number += 1
        self.parts.hand_over.put([counted(self._number, self.clock.now_ns())])
        done = self.delivery.figures.acknowledged + 1
        self.until(lambda: self.delivery.figures.acknowledged >= done)

    def until(self, condition: Any) -> None:
        def step() -> bool:
            if condition():
                return True
            busy = self.delivery._reconnect.connecting or self.delivery._unanswered
            self.clock.turn(0.005 if busy else 0.1)
            self.delivery.step(0.005 if busy else 0)
            return False

        wait_for(step, 30)

    def turn(self, seconds: float) -> None:
        """Let so much time pass at once."""
        self.clock.turn(seconds)
        self.delivery.step(0)

    def vanish(self) -> None:
        """Go as in a power cut."""
        self.delivery._link.drop()
        self.parts.outbox.close(clean=False)


def statuses(operator: Client) -> list[Status]:
    return [msgspec.json.decode(payload, type=Status) for payload in operator.got(IDENTITY.status)]


def test_a_good_one_is_what_the_board_connects_with_from_then_on(site: Site) -> None:
    board = Board(site)
    board.until_delivered()
    site.take_back(site.old.read_text())  # the connection that there is lives on; the old one opens no other
    board.delivery.renew(site.successor)
    board.until_connected(2)
    assert site.old.read_text() == site.successor
    assert not site.new.exists()
    board.until_delivered()


def test_one_of_a_stranger_is_told_in_the_status_and_the_old_one_goes_on_delivering(site: Site) -> None:
    before = site.old.read_text()
    stranger = Signer().sign(key_of(site), IDENTITY.device, days=90)
    with site.operator(f"{IDENTITY.status}", IDENTITY.events) as operator:
        board = Board(site)
        board.until_delivered()
        board.delivery.renew(stranger)
        board.until_connected(2)
        board.until_delivered()
        board.until(lambda: statuses(operator)[-1].state == "online" and statuses(operator)[-1].session == 2)
        assert (
            statuses(operator)[-1].reason
            == (
                "renewed certificate refused, the old one is used: "
                "the broker does not know who signed this device's certificate; check mqtt.cert_file"
            )[:120]
        )
        assert (site.old.read_text(), site.new.read_text()) == (before, stranger)
        board.turn(RETRY_MAX_S)  # the broker has learned of the stranger, perhaps
        board.until_connected(3)
        board.until_delivered()
        board.delivery.renew(site.successor)
        board.until_connected(4)
        assert site.old.read_text() == site.successor
        board.until_delivered()
        wait_for(lambda: len(operator.got(IDENTITY.events)) >= 4)
        assert {int(decode(payload).sequence) for payload in operator.got(IDENTITY.events)} == {1, 2, 3, 4}
        board.until(lambda: statuses(operator)[-1].session == 4)
        assert statuses(operator)[-1].reason is msgspec.UNSET


def test_a_revoked_one_is_kept_and_taken_when_the_list_is_mended(site: Site) -> None:
    empty = (site.broker.files / "ca.crl").read_bytes()
    board = Board(site)
    board.until_delivered()
    site.take_back(site.successor)
    board.delivery.renew(site.successor)
    board.until_connected(2)
    assert "is revoked" in board.delivery.figures.sentence
    assert site.new.read_text() == site.successor
    (site.broker.files / "ca.crl").write_bytes(empty)
    site.broker.reload()
    board.turn(RETRY_MAX_S)
    board.until_connected(3)
    assert site.old.read_text() == site.successor


def test_neither_an_outage_nor_restarts_in_it_lose_the_new_one(site: Site) -> None:
    board = Board(site)
    board.until_delivered()
    site.broker.kill()
    board.until(lambda: not board.delivery._is_up)
    board.delivery.renew(site.successor)
    board.turn(3600)
    for _ in range(3):  # power cuts, meanwhile
        board.vanish()
        board = Board(site)
        for _ in range(10):
            board.until_given_up()
            board.turn(120)
        assert site.new.read_text() == site.successor
    site.broker.start()
    board.until_connected(2)
    if site.new.exists():  # the old one's turn came when the broker did
        board.turn(RETRY_S)
        board.until(lambda: not site.new.exists())
    assert site.old.read_text() == site.successor
    board.until_connected(2)
    board.until_delivered()


def test_an_old_one_that_is_refused_does_not_keep_the_new_one_from_its_turn(site: Site) -> None:
    """The board was away, with the new one on trial, until the old one had expired."""
    stale, key = site.authority.issue("late", now=NOW - timedelta(days=9))
    site.old.write_bytes(stale.read_bytes())
    late = site._replace(key=key, successor=site.authority.renew("late").read_text())
    late.new.write_text(late.successor)
    board = Board(late)
    board.until_connected(1)
    assert site.old.read_text() == late.successor


def key_of(site: Site) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(site.key.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def test_the_command_renews_and_the_telemetry_shows_the_days_of_the_one_in_use(tmp_path: Path) -> None:
    site = make_site(tmp_path, "board")
    prefix = "maskwatch/test/board"
    settings = [
        f"mqtt.ca_file={site.authority.ca}",
        f"mqtt.cert_file={site.old}",
        "mqtt.key_file=key.pem",
        "report.telemetry_every_s=1",
    ]
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/key.pem").write_bytes(site.key.read_bytes())
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path / "credentials")}
    with (
        site.broker,
        site.operator(f"{prefix}/#") as operator,
        AgentProcess(tmp_path / "home", url=site.broker.url, settings=settings, first=TRUSTED, environ=environ),
    ):

        def days() -> list[float]:
            found = [msgspec.json.decode(one, type=Telemetry) for one in operator.got(f"{prefix}/telemetry")]
            return [one.certificate_days for one in found if isinstance(one.certificate_days, float)]

        wait_for(lambda: bool(days()), 30, "telemetry")
        assert 0.9 < days()[-1] <= 1
        order = msgspec.json.encode(Command(command="renew", id="1", certificate=site.successor))
        assert operator.publish(f"{prefix}/command", order) == 0
        wait_for(lambda: bool(operator.got(f"{prefix}/reply")), what="the answer")
        assert msgspec.json.decode(operator.got(f"{prefix}/reply")[0], type=Reply).ok
        wait_for(lambda: 1.9 < days()[-1] <= 2, what="the new one's days")
    assert site.old.read_text() == site.successor


TRUSTED = """
import agent.service.process as process
process.SystemClock.trusted = lambda self: True
"""


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Ext4]:
    with ext4(tmp_path, megabytes=24) as disk:
        yield disk


class OnCard:
    """A board's certificates on a card whose power can be cut."""

    def __init__(self, card: Ext4) -> None:
        signer, key = Signer(), new_key()
        self.clock = TurnedClock(trusted=False)
        self.first, self.second = (signer.sign(key, "cam1", days=days) for days in (30, 90))
        self.old, self.new = card.at / "device.pem", card.at / "device.pem.new"
        self.old.write_text(self.first)
        self.settings = MqttSettings(cert_file=str(self.old), key_file=str(write_key(key, card.at / "key.pem")))
        renewing._sync(card.at)
        card.power_on()

    def start(self) -> Renewal:
        return Renewal(self.settings, {}, self.clock)


def test_what_was_answered_and_what_was_taken_survive_a_power_cut(card: Ext4) -> None:
    board = OnCard(card)
    board.start().offer(board.second)
    card.cut_power()
    card.power_on()
    assert (board.old.read_text(), board.new.read_text()) == (board.first, board.second)
    renewal = board.start()
    assert renewal.shown() == board.new
    renewal.connected()
    card.cut_power()
    card.power_on()
    assert board.old.read_text() == board.second
    assert not board.new.exists()


def test_without_a_sync_a_power_cut_does_take_it(card: Ext4, monkeypatch: pytest.MonkeyPatch) -> None:
    board = OnCard(card)
    monkeypatch.setattr(renewing.os, "fsync", lambda _: None)
    board.start().offer(board.second)
    card.cut_power()
    card.power_on()
    assert not board.new.exists() or board.new.read_text() != board.second
