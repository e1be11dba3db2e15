"""What each command does and answers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agent.events.state import Command, Reply, Telemetry
from agent.service.commands import EXIT_RESTART, Commands, renew
from agent.service.inbox import Inbox, StopAsked
from agent.settings import VisionSettings
from agent.vision.model import ClassifierManifest, DetectorManifest, load_manifest, models_folder

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
    accelerator_lost=0,
    memory_mb=12,
    disk_free_mb=13,
    written_kb=14,
)


def commands(vision: VisionSettings | None = None) -> tuple[Commands, Inbox]:
    inbox = Inbox()
    made = Commands(
        vision=vision or VisionSettings(),
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
    vision = VisionSettings(classifier=str(tmp_path / "mask-64.json"))
    answer = commands(vision)[0].answer(Command(command="self-test"))
    assert not answer.ok
    assert "sha256" in answer.message
    assert len(answer.message) <= 200


class ScriptedDelivery:
    """Takes a certificate, or raises; keeps what was answered."""

    def __init__(self, outcome: str | Exception) -> None:
        self._outcome = outcome
        self.offered: list[str] = []
        self.answers: list[tuple[bool, str]] = []

    def renew(self, pem: str) -> str:
        self.offered.append(pem)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def reply(self, request: Any, *, ok: bool, message: str = "") -> None:
        self.answers.append((ok, message))


@pytest.mark.parametrize(
    ("certificate", "outcome", "answer"),
    [
        ("a certificate", "kept", (True, "kept")),
        ("a certificate", ValueError("it is expired"), (False, "it is expired")),
        (
            "a certificate",
            OSError(30, "Read-only file system", "/x"),
            (False, "[Errno 30] Read-only file system: '/x'"),
        ),
        ("a certificate", ValueError("x" * 900), (False, "x" * 200)),
        (msgspec.UNSET, "kept", (False, "renew needs a certificate")),
    ],
)
def test_renew_answers_what_came_of_it(certificate: Any, outcome: Any, answer: tuple[bool, str]) -> None:
    delivery = ScriptedDelivery(outcome)
    request = SimpleNamespace(command=Command(command="renew", certificate=certificate))
    renew(delivery, request)  # type: ignore[arg-type]
    assert delivery.answers == [answer]
    assert delivery.offered == ([] if certificate is msgspec.UNSET else ["a certificate"])
