"""The trial of a renewed certificate: whose turn it is, and what a power cut may leave."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.clock import NS_PER_S
from agent.delivery import renewal as renewing
from agent.delivery.certificate import read_certificate
from agent.delivery.link import Trouble
from agent.delivery.renewal import RETRY_MAX_S, RETRY_S, Renewal, Trial
from agent.settings import MqttSettings
from tests.certificates import NOW, Signer, new_key, write_key
from tests.delivery_parts import TurnedClock

_SIGNER = Signer()
_KEY = new_key()
OLD = _SIGNER.sign(_KEY, "cam1", days=30)
NEW = _SIGNER.sign(_KEY, "cam1", days=90)
DOWN, BARE, REFUSED = Trouble.UNREACHABLE, Trouble.CLOSED, Trouble.TLS_CLIENT_CERTIFICATE


# What is shown, attempt after attempt, when each ends like this ("up" connects, and is lost again).
@pytest.mark.parametrize(
    ("ends", "shown"),
    [
        (["up"], ["new"]),
        ([DOWN, "up"], ["new", "old"]),
        ([DOWN, DOWN, "up"], ["new", "old", "new"]),
        ([BARE, BARE, BARE, BARE], ["new", "old", "new", "old"]),
        ([REFUSED, REFUSED, REFUSED], ["new", "old", "new"]),
        ([REFUSED, "up", "up", "up"], ["new", "old", "old", "old"]),
        ([REFUSED, "up", DOWN, "up"], ["new", "old", "old", "new"]),
        ([DOWN, "up", BARE, REFUSED, "up"], ["new", "old", "old", "new", "old"]),
    ],
)
def test_whose_turn_it_is(ends: Sequence[Trouble | str], shown: Sequence[str]) -> None:
    trial, found = Trial(), []
    for end in ends:
        found.append(trial.turn)
        if isinstance(end, Trouble):
            trial.failed(end, "h:1: why")
        elif trial.connected(0):
            break
    assert found == shown


@pytest.mark.parametrize("trouble", Trouble)
def test_two_attempts_in_a_row_never_show_the_same_one(trouble: Trouble) -> None:
    trial = Trial()
    for _ in range(5):
        before = trial.turn
        trial.failed(trouble, "why")
        assert trial.turn != before


@pytest.mark.parametrize("trouble", Trouble)
def test_the_old_one_follows_at_once_unless_nobody_has_seen_the_new_one(trouble: Trouble) -> None:
    trial = Trial()
    unseen = trouble in (Trouble.DNS, Trouble.REFUSED, Trouble.UNREACHABLE, Trouble.BROKER_BUSY)
    assert trial.failed(trouble, "why") is not unseen
    assert trial.failed(trouble, "why") is False, "the new one after the old one waits as any attempt does"


def test_the_wait_for_another_turn_doubles_up_to_a_day() -> None:
    trial, waits_s = Trial(), []
    for _ in range(12):
        trial.failed(BARE, "why")
        assert not trial.connected(0)
        assert trial.due_ns is not None
        waits_s.append(trial.due_ns / NS_PER_S)
        trial.begin_turn()
        assert (trial.turn, trial.due_ns) == ("new", None)
    assert waits_s[:3] == [RETRY_S, 2 * RETRY_S, 4 * RETRY_S]
    assert waits_s[-1] == RETRY_MAX_S


def test_outages_do_not_put_its_turn_off_but_a_failure_begins_the_wait_anew() -> None:
    trial = Trial()
    for now_ns in (7, 8, 9):
        for _ in range(1000):
            trial.failed(DOWN, "no way there")
        if trial.turn == "new":
            trial.failed(DOWN, "no way there")
        assert not trial.connected(now_ns)
        assert trial.due_ns == now_ns + RETRY_S * NS_PER_S


def test_connections_that_break_again_and_again_do_not_put_its_turn_off() -> None:
    trial = Trial()
    trial.failed(BARE, "why")
    for minute in range(9):
        assert not trial.connected(minute * 60 * NS_PER_S)
        assert trial.due_ns == RETRY_S * NS_PER_S


def test_one_that_was_refused_has_its_turn_after_a_day_and_the_word_stays_through_an_outage() -> None:
    trial = Trial()
    trial.failed(REFUSED, "it is revoked")
    trial.failed(DOWN, "no way there")
    trial.failed(DOWN, "no way there")
    trial.connected(5)
    assert trial.due_ns == 5 + RETRY_MAX_S * NS_PER_S
    assert trial.refusal == "it is revoked"


class Board:
    """A board's folder with certificate and key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = TurnedClock()
        self.clock.jump(NOW.timestamp() - self.clock.wall_ns() / NS_PER_S)
        self.old = folder / "device.pem"
        self.new = folder / "device.pem.new"
        self.old.write_text(OLD)
        self.settings = MqttSettings(cert_file=str(self.old), key_file=str(write_key(_KEY, folder / "key.pem")))

    def start(self, **environ: str) -> Renewal:
        """Give what an agent that starts now makes of the folder."""
        return Renewal(self.settings, environ, self.clock)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_a_board_with_one_certificate_shows_that_of_the_settings(board: Board) -> None:
    renewal = board.start()
    assert (renewal.shown(), renewal.due_ns, renewal.sentence) == (None, None, "")
    assert renewal.failed(REFUSED, "x") is False
    renewal.connected()
    assert board.old.read_text() == OLD


def test_a_new_one_is_kept_beside_the_old_one_until_it_has_connected(board: Board) -> None:
    renewal = board.start()
    mask = os.umask(0o077)  # the unit's
    try:
        assert "kept beside the old one" in renewal.offer(NEW)
    finally:
        os.umask(mask)
    assert renewal.due_ns == board.clock.now_ns()
    assert (board.old.read_text(), board.new.read_text()) == (OLD, NEW)
    assert board.new.stat().st_mode & 0o777 == 0o644
    renewal.begin_turn()
    assert renewal.shown() == board.new
    renewal.connected()
    assert board.old.read_text() == NEW
    assert not board.new.exists()
    assert (renewal.shown(), renewal.due_ns) == (None, None)


def test_a_network_that_is_down_for_days_loses_neither(board: Board) -> None:
    renewal = board.start()
    renewal.offer(NEW)
    for _ in range(1001):
        renewal.failed(DOWN, "no way there")
    assert (board.old.read_text(), board.new.read_text()) == (OLD, NEW)
    assert renewal.shown() is None
    renewal.failed(DOWN, "no way there")
    assert renewal.shown() == board.new


def test_a_refusal_is_told_while_the_old_one_is_used_and_not_before(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    renewal = board.start()
    renewal.offer(NEW)
    assert renewal.sentence == ""
    renewal.failed(REFUSED, "broker.example:8883: the broker says that this device's certificate is revoked")
    renewal.connected()
    assert renewal.sentence == (
        "renewed certificate refused, the old one is used: the broker says that this device's certificate is revoked"
    )
    assert len(renewal.sentence) <= 120, "a status holds so much"
    assert (board.old.read_text(), board.new.read_text()) == (OLD, NEW)
    assert "certificate.refused" in caplog.text


def test_the_same_one_again_gets_another_turn_at_once(board: Board) -> None:
    renewal = board.start()
    renewal.offer(NEW)
    renewal.failed(REFUSED, "x")
    renewal.connected()
    renewal.offer(NEW)
    assert (renewal.due_ns, renewal.sentence) == (board.clock.now_ns(), "")


def test_one_that_is_in_use_already_changes_nothing(board: Board) -> None:
    renewal = board.start()
    assert renewal.offer(OLD) == "this certificate is in use already"
    assert not board.new.exists()
    assert renewal.due_ns is None


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (lambda: _SIGNER.sign(new_key(), "cam1", days=90), "does not belong to this device's key"),
        (lambda: _SIGNER.sign(_KEY, "cam2", days=90), "is for 'cam2', not for 'cam1'"),
        (lambda: _SIGNER.sign(_KEY, None, days=90), "is for '', not for 'cam1'"),
        (lambda: _SIGNER.sign(_KEY, "cam1", days=30), "ends no later"),
        (lambda: _SIGNER.sign(_KEY, "cam1", days=29), "ends no later"),
        (lambda: "hello", "holds no PEM certificate"),
        (lambda: "ü" + NEW, "is no PEM"),
        (
            lambda: NEW.replace("-----END CERTIFICATE-----\n-----BEGIN", "AAAA\n-----END CERTIFICATE-----\n-----BEGIN"),
            "damaged",
        ),
        (lambda: NEW[:-200] + "\n-----END CERTIFICATE-----\n", "or is damaged"),
    ],
)
def test_what_is_no_successor_is_not_taken(board: Board, pem: Callable[[], str], said: str) -> None:
    renewal = board.start()
    with pytest.raises(ValueError, match=said):
        renewal.offer(pem())
    assert sorted(path.name for path in board.folder.iterdir()) == ["device.pem", "key.pem"]
    assert board.old.read_text() == OLD
    assert renewal.due_ns is None


def test_an_expired_one_is_not_taken_by_who_knows_the_time(board: Board) -> None:
    board.clock.turn(100 * 86_400)
    with pytest.raises(ValueError, match="is expired"):
        board.start().offer(NEW)
    board.clock.is_trusted = False
    assert "kept" in board.start().offer(NEW)


def test_one_that_is_not_taken_leaves_the_one_on_trial(board: Board) -> None:
    renewal = board.start()
    renewal.offer(NEW)
    with pytest.raises(ValueError):
        renewal.offer(_SIGNER.sign(new_key(), "cam1", days=365))
    assert board.new.read_text() == NEW


def test_a_board_without_a_certificate_has_none_to_renew(board: Board) -> None:
    with pytest.raises(ValueError, match=r"mqtt\.cert_file is not set"):
        Renewal(MqttSettings(), {}, board.clock).offer(NEW)


def test_a_folder_that_may_not_be_written_is_an_os_error(board: Board) -> None:
    settings = MqttSettings(cert_file="/proc/self/gone/device.pem", key_file=board.settings.key_file)
    with pytest.raises(OSError, match="gone"):
        Renewal(settings, {}, board.clock).offer(NEW)


def test_a_key_of_systemd_is_found_by_its_bare_name(board: Board, tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    Path(board.settings.key_file).rename(tmp_path / "credentials/key.pem")
    board.settings = MqttSettings(cert_file=str(board.old), key_file="key.pem")
    assert "kept" in board.start(CREDENTIALS_DIRECTORY=str(tmp_path / "credentials")).offer(NEW)


def test_a_start_goes_on_with_the_trial(board: Board) -> None:
    board.start().offer(NEW)
    renewal = board.start()
    assert renewal.shown() == board.new
    assert renewal.due_ns is None, "there is no connection to end"


@pytest.mark.parametrize("left", [OLD, _SIGNER.sign(_KEY, "cam1", days=10), "", "half a cert"])
def test_a_start_clears_away_what_is_no_better_than_the_present_one(board: Board, left: str) -> None:
    board.new.write_text(left)
    assert board.start().shown() is None
    assert not board.new.exists()
    assert board.old.read_text() == OLD


class PowerCut(BaseException):
    """Nothing runs after it."""


def cut_before(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the power go before a step of those that change a disk."""
    steps = iter(range(100))

    def counted(honest: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if next(steps) == step:
                raise PowerCut
            return honest(*arguments, **options)

        return call

    monkeypatch.setattr(renewing.os, "open", counted(os.open))
    monkeypatch.setattr(renewing.os, "fsync", counted(os.fsync))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))


def test_a_power_cut_at_any_step_leaves_a_certificate_that_connects(tmp_path: Path) -> None:
    seen = set()
    for step in range(20):
        folder = tmp_path / str(step)
        folder.mkdir()
        board = Board(folder)
        renewal = board.start()
        with pytest.MonkeyPatch.context() as patch:
            cut_before(patch, step)
            done = "nothing"
            try:
                renewal.offer(NEW)
                done = "offered"
                renewal.begin_turn()
                renewal.connected()
                done = "renewed"
            except PowerCut:
                pass
        again = board.start()
        name = read_certificate(board.old.read_text()).name
        assert name == "cam1", "what the settings name is always whole"
        if done != "nothing":
            assert NEW in (board.old.read_text(), board.new.read_text() if board.new.exists() else "")
        assert again.shown() in (None, board.new)
        if again.shown() is not None:
            assert board.new.read_text() == NEW
        seen.add((done, board.old.read_text() == NEW, board.new.exists()))
    assert seen == {
        ("nothing", False, False),
        ("nothing", False, True),
        ("offered", False, True),
        ("offered", True, False),
        ("renewed", True, False),
    }


def test_a_rename_that_fails_is_told_and_done_after_a_later_connection(
    board: Board, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renewal = board.start()
    renewal.offer(NEW)
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise OSError("read-only file system")

        patch.setattr(Path, "replace", fail)
        renewal.connected()
    assert "certificate.not_moved" in caplog.text
    assert renewal.shown() == board.new
    renewal.connected()
    assert board.old.read_text() == NEW
