"""Delivery while a renewed certificate is on trial, with a scripted link."""

from pathlib import Path

import msgspec
import pytest

from agent.delivery.link import Answered, Received, Refused, Trouble
from agent.delivery.reconnect import CONNECT_MAX_S
from agent.events.envelope import decode
from agent.events.state import Command, Status
from agent.settings import MqttSettings
from tests.certificates import Signer, new_key, write_key
from tests.delivery_parts import IDENTITY, Parts, ScriptedLink, TurnedClock, counted, make_parts


def steps(parts: Parts, clock: TurnedClock, count: int = 20, seconds: float = 0.1) -> None:
    for _ in range(count):
        clock.turn(seconds)
        parts.delivery.step(0)


def frames(link: ScriptedLink) -> list[int]:
    return [decode(payload).data.frames for payload in link.on(IDENTITY.events)]  # type: ignore[union-attr]


class Renewing:
    """A delivery on whose board there are two certificates, and the broker that it talks to."""

    def __init__(self, tmp_path: Path) -> None:
        signer, key = Signer(), new_key()
        self.old, self.new = tmp_path / "device.pem", tmp_path / "device.pem.new"
        self.old.write_text(signer.sign(key, "cam1", days=500))
        self.successor = signer.sign(key, "cam1", days=900)
        mqtt = MqttSettings(cert_file=str(self.old), key_file=str(write_key(key, tmp_path / "key.pem")))
        self.link, self.clock = ScriptedLink(), TurnedClock()
        self.parts = make_parts(tmp_path / "outbox", self.link, self.clock, mqtt=mqtt)
        steps(self.parts, self.clock)

    def renew(self) -> None:
        """Do what the command does."""
        command = msgspec.json.encode(Command(command="renew", certificate=self.successor))
        self.link.news.append(Received(topic=IDENTITY.command, payload=command))
        (request,) = self.parts.delivery.step(0)
        self.parts.delivery.reply(request, ok=True, message=self.parts.delivery.renew(self.successor))

    def refuse(self, trouble: Trouble) -> None:
        self.link.news.append(Refused(trouble=trouble, sentence="host:1: it is refused"))

    @property
    def reasons(self) -> list[object]:
        return [msgspec.json.decode(payload, type=Status).reason for payload in self.link.on(IDENTITY.status)]


def test_a_renewed_certificate_is_shown_after_the_answer_has_arrived_and_nothing_is_sent_between(
    tmp_path: Path,
) -> None:
    board = Renewing(tmp_path)
    board.parts.hand_over.put([counted(1)])
    steps(board.parts, board.clock, 2)
    board.link.auto = False
    board.renew()
    steps(board.parts, board.clock, 2)
    assert len(board.link.on(IDENTITY.reply)) == 1
    board.parts.hand_over.put([counted(2)])
    steps(board.parts, board.clock, 5)
    assert board.link.certificates == [None], "the answer has not arrived"
    assert frames(board.link) == [1]
    board.link.auto = True
    board.link.news += [Answered(token=token, code=0) for token in range(1, 20)]
    steps(board.parts, board.clock, 3)
    assert board.link.certificates == [None, board.new]
    steps(board.parts, board.clock)
    assert board.old.read_text() == board.successor
    assert frames(board.link) == [1, 2]
    assert len(board.link.on(IDENTITY.reply)) == 1


def test_a_broker_that_does_not_answer_holds_up_the_change_for_five_seconds(tmp_path: Path) -> None:
    board = Renewing(tmp_path)
    board.link.auto = False
    board.renew()
    steps(board.parts, board.clock, 45)
    assert board.link.certificates == [None]
    steps(board.parts, board.clock, 10)
    assert board.link.certificates == [None, board.new]


@pytest.mark.parametrize("trouble", [Trouble.TLS_CLIENT_CERTIFICATE, Trouble.NOT_AUTHORISED])
def test_a_refused_one_costs_one_attempt_and_the_status_says_so(tmp_path: Path, trouble: Trouble) -> None:
    board = Renewing(tmp_path)
    board.link.accepts = False
    board.renew()
    steps(board.parts, board.clock, 2)
    assert board.link.certificates == [None, board.new]
    board.refuse(trouble)
    board.link.accepts = True
    steps(board.parts, board.clock, 2)
    assert board.link.certificates == [None, board.new, None], "the old one follows at once"
    steps(board.parts, board.clock)
    assert board.reasons[-1] == "renewed certificate refused, the old one is used: it is refused"
    assert board.parts.delivery.figures.sentence == board.reasons[-1]
    board.parts.hand_over.put([counted(1)])
    steps(board.parts, board.clock)
    assert frames(board.link) == [1]
    for _ in range(24):
        board.clock.turn(3590)
        board.link.lose()
        steps(board.parts, board.clock, 100)
    assert board.new in board.link.certificates[3:], "its turn comes again after a day"
    assert board.old.read_text() == board.successor
    assert board.reasons[-1] is msgspec.UNSET


def test_an_attempt_that_never_ends_is_the_other_one_s_turn(tmp_path: Path) -> None:
    board = Renewing(tmp_path)
    board.link.accepts = False
    board.renew()
    steps(board.parts, board.clock, 2)
    steps(board.parts, board.clock, 5, CONNECT_MAX_S / 4)
    assert board.link.certificates[:3] == [None, board.new, None]
    assert (board.old.exists(), board.new.exists()) == (True, True)


def test_a_network_that_is_down_keeps_the_wait_of_any_attempt_and_both_certificates(tmp_path: Path) -> None:
    board = Renewing(tmp_path)
    board.link.accepts = False
    board.renew()
    for _ in range(600):  # five minutes
        attempts = board.link.attempts
        steps(board.parts, board.clock, 1, 0.5)
        if board.link.attempts > attempts:
            board.refuse(Trouble.UNREACHABLE)
    assert 5 < board.link.attempts < 40
    assert set(board.link.certificates[-2:]) == {None, board.new}
    assert board.new.read_text() == board.successor
