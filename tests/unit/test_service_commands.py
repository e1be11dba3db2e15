"""What each command does and answers."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.clock import NS_PER_S
from agent.events.state import Command, Reply, Telemetry
from agent.service.commands import EXIT_RESTART, Answer, Commands
from agent.service.health import certificate_end_ns
from agent.service.inbox import Inbox, StopAsked
from agent.settings import MqttSettings, Settings, VisionSettings
from agent.vision.model import ClassifierManifest, DetectorManifest, load_manifest, models_folder
from tests.unit.service_clock import TestClock
from tests.unit.test_service_health import make_certificate

_TELEMETRY = Telemetry(
    session=1,
    uptime_s=2,
    camera="ok",
    frames=3,
    frames_per_s=4,
    stages={},
    faces=5,
    persons=6,
    glimpses=7,
    still_faces=8,
    backlog=9,
    events=10,
    acknowledged=11,
    accelerator="cpu",
    accelerator_why="x",
    memory_mb=12,
    disk_free_mb=13,
    written_kb=14,
)


def commands(settings: Settings | None = None, clock: TestClock | None = None) -> tuple[Commands, Inbox]:
    inbox = Inbox()
    made = Commands(
        settings=settings or Settings(),
        clock=clock or TestClock(),
        inbox=inbox,
        telemetry=lambda: _TELEMETRY,
        diagnosis=lambda: {"broker": "", "hung": ""},
    )
    return made, inbox


def test_ping_is_answered_with_the_version() -> None:
    answer = commands()[0].answer(Command(command="ping"))
    assert answer.ok
    assert set(answer.result) == {"version"}


def test_diag_gives_the_telemetry_of_now_and_what_it_leaves_out() -> None:
    answer = commands()[0].answer(Command(command="diag"))
    assert answer.ok
    assert answer.result["acknowledged"] == 11
    assert answer.result["hung"] == ""
    reply = Reply(command="diag", ok=True, result=answer.result)
    assert msgspec.json.decode(msgspec.json.encode(reply), type=Reply) == reply


def test_restart_is_answered_and_stops_with_the_code_that_the_unit_knows() -> None:
    made, inbox = commands()
    assert made.answer(Command(command="restart")).ok
    assert inbox.take(0) == StopAsked(reason="command restart", exit_code=EXIT_RESTART)
    unit = (Path(__file__).parents[2] / "systemd/maskwatch.service").read_text()
    assert f"RestartForceExitStatus={EXIT_RESTART}\n" in unit


def test_the_self_test_proves_the_files_on_the_disk() -> None:
    answer = commands()[0].answer(Command(command="self-test"))
    assert answer.ok, answer.message
    allowed = {
        "classifier": load_manifest("mask-64", ClassifierManifest)[0].net.golden_tolerance,
        "detector": load_manifest("face-320", DetectorManifest)[0].net.golden_tolerance,
    }
    assert set(answer.result) == set(allowed)
    assert all(0 <= steps <= allowed[name] for name, steps in answer.result.items())


def test_the_self_test_fails_in_one_line_when_a_model_was_damaged_since_the_start(tmp_path: Path) -> None:
    for file in models_folder().glob("mask-64.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = tmp_path / "mask-64.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    settings = Settings(vision=VisionSettings(classifier=str(tmp_path / "mask-64.json")))
    answer = commands(settings)[0].answer(Command(command="self-test"))
    assert not answer.ok
    assert "sha256" in answer.message
    assert len(answer.message) <= 200


@pytest.fixture
def device(tmp_path: Path) -> tuple[Path, Path]:
    """Give certificate and key of a device."""
    return make_certificate(tmp_path, 10)


def renewed(device: tuple[Path, Path], text: Any, clock: TestClock | None = None) -> Answer:
    settings = Settings(mqtt=MqttSettings(cert_file=str(device[0]), key_file=str(device[1])))
    command = Command(command="renew") if text is None else Command(command="renew", certificate=text)
    return commands(settings, clock)[0].answer(command)


def test_a_new_certificate_of_the_same_key_takes_the_place_of_the_old_one(
    device: tuple[Path, Path], tmp_path: Path
) -> None:
    old = device[0].read_text()
    new = make_certificate(tmp_path, 90, name="new", key=device[1])[0].read_text()
    for _ in range(2):
        answer = renewed(device, new)
        assert answer.ok, answer.message
        assert device[0].read_text() == new
    assert renewed(device, old).ok
    assert (tmp_path / "device.pem.old").read_text() == new
    assert not (tmp_path / "device.pem.new").exists()


def test_a_certificate_of_another_key_is_refused_and_the_old_one_stays(
    device: tuple[Path, Path], tmp_path: Path
) -> None:
    old = device[0].read_text()
    answer = renewed(device, make_certificate(tmp_path, 90, name="other")[0].read_text())
    assert not answer.ok
    assert "does not belong to this device's key" in answer.message
    assert device[0].read_text() == old
    assert sorted(path.name for path in tmp_path.glob("device.*")) == ["device.key", "device.pem"]


def test_an_expired_certificate_is_refused_by_who_knows_the_time(device: tuple[Path, Path]) -> None:
    text = device[0].read_text()
    end_ns = certificate_end_ns(text)
    assert not renewed(device, text, TestClock(wall_ns=end_ns + NS_PER_S)).ok
    assert renewed(device, text, TestClock(wall_ns=end_ns - NS_PER_S)).ok


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "renew needs a certificate"), ("hello", "holds no PEM certificate")],
)
def test_what_is_no_certificate_is_refused(device: tuple[Path, Path], text: str | None, said: str) -> None:
    answer = renewed(device, text)
    assert not answer.ok
    assert said in answer.message


def test_a_device_without_a_certificate_has_none_to_renew() -> None:
    answer = commands()[0].answer(Command(command="renew", certificate="x"))
    assert not answer.ok
    assert "mqtt.cert_file is not set" in answer.message


def test_a_place_that_may_not_be_written_is_named(device: tuple[Path, Path], tmp_path: Path) -> None:
    gone = tmp_path / "gone" / "device.pem"
    answer = renewed((gone, device[1]), device[0].read_text())
    assert not answer.ok
    assert str(gone) in answer.message
