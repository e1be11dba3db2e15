"""`maskwatch check`: a line for each thing, the exit code of the first failure."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.cli import aim
from agent.cli import check as checking
from agent.cli.check import Line, checks
from agent.cli.main import main
from agent.clock import NS_PER_S, SystemClock
from agent.errors import UnavailableError
from agent.seams import End, Silence
from agent.settings import (
    CameraSettings,
    DeviceSettings,
    MqttSettings,
    OutboxSettings,
    Settings,
    VisionSettings,
)
from tests.integration.agent_process import AgentProcess
from tests.real import Mosquitto, Pki, free_port
from tests.unit.service_clock import TestClock

_WALL_NS = 1_800_000_000 * NS_PER_S


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


class Clock(SystemClock):
    """The machine's clock, set by the network or not, as the test says."""

    def __init__(self, *, trusted: bool = True) -> None:
        self._trusted = trusted

    def trusted(self) -> bool:
        return self._trusted


def check(settings: Settings, *, wait_s: float | None = None, trusted: bool = True) -> dict[str, Line]:
    return {line.name: line for line in checks(settings, Clock(trusted=trusted), wait_s=wait_s)}


def good(broker: Mosquitto, tmp_path: Path) -> Settings:
    return Settings(
        device=DeviceSettings(site="test", id="board"),
        camera=CameraSettings(source="scene"),
        mqtt=MqttSettings(url=broker.url),
        outbox=OutboxSettings(directory=str(tmp_path / "not" / "made" / "yet")),
    )


def test_all_is_well(broker: Mosquitto, tmp_path: Path) -> None:
    lines = check(good(broker, tmp_path))
    assert list(lines) == ["board", "camera", "models", "broker", "clock"]
    assert {line.verdict for line in lines.values()} == {"ok"}, lines
    assert "GB free for the outbox" in lines["board"].text
    assert "a frame of 640x480 after" in lines["camera"].text
    assert "face-320, mask-64: golden answers match; on cpu" in lines["models"].text
    assert "MQTT 5" in lines["broker"].text
    assert not (tmp_path / "not").exists()  # looking is not making


def test_the_broker_is_asked_under_the_boards_own_id_and_not_while_the_agent_uses_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    assert check(good(broker, tmp_path))["broker"].verdict == "ok"
    assert " as board " in broker.log.read_text()
    check(good(broker, tmp_path), wait_s=0.1)
    assert broker.log.read_text().count("New client connected") == 1


def test_a_clock_that_nobody_has_set_is_no_failure(broker: Mosquitto, tmp_path: Path) -> None:
    line = check(good(broker, tmp_path), trusted=False)["clock"]
    assert (line.verdict, line.exit_code) == ("note", 0)


def test_everything_that_is_wrong_has_its_own_line_and_code(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(
        camera=CameraSettings(source="v4l2:/dev/video99"),
        vision=VisionSettings(classifier="mask-46"),
        mqtt=MqttSettings(url=f"mqtt://127.0.0.1:{free_port()}"),
        outbox=OutboxSettings(directory=str(tmp_path / "outbox"), quota_mb=100_000),
    )
    lines = check(settings)
    codes = {line.name: line.exit_code for line in lines.values()}
    assert codes == {"board": 74, "camera": 69, "models": 65, "broker": 69, "clock": 0}
    assert "outbox.quota_mb is 100000" in lines["board"].text
    assert "did you mean 'mask-64'" in lines["models"].text


def test_a_place_for_the_outbox_that_may_not_be_written_is_named(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, whom nothing stops
    line = check(good(broker, tmp_path))["board"]
    assert (line.verdict, line.exit_code) == ("FAIL", 77)
    assert str(tmp_path / "not") in line.text


def test_a_throttled_board_and_the_days_of_its_certificate_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = Pki(tmp_path / "pki").issue("board")
    health = checking.read_health

    def hot(*arguments: object) -> object:
        found = health(*arguments)  # type: ignore[arg-type]
        return msgspec.structs.replace(found, throttled=True, temperature_c=84.4)

    monkeypatch.setattr(checking, "read_health", hot)
    with Mosquitto(tmp_path / "broker") as broker:
        settings = Settings(
            camera=CameraSettings(source="scene"),
            mqtt=MqttSettings(url=broker.url, cert_file=str(certificate), key_file=str(key)),
            outbox=OutboxSettings(directory=str(tmp_path)),
        )
        text = check(settings)["board"].text
    assert "84 °C" in text
    assert "THROTTLED" in text
    assert "certificate good for" in text


class MuteCamera:
    """Opens, and gives what it is told to."""

    live = True

    def __init__(self, clock: TestClock, message: Silence | End) -> None:
        self._clock = clock
        self._message = message

    def __enter__(self) -> "MuteCamera":
        return self

    def __exit__(self, *error: object) -> None: ...

    def describe(self) -> str:
        return "mute"

    def read(self, timeout_s: float) -> Silence | End:
        self._clock.sleep(timeout_s)
        return self._message


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Silence(since_ns=0, why="the stream ended"), "the stream ended within 10 s"),
        (End(), "has no frame"),
    ],
)
def test_a_camera_without_a_frame_is_absent(message: Silence | End, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = TestClock(wall_ns=_WALL_NS)
    monkeypatch.setattr(checking, "open_camera", lambda *_: MuteCamera(clock, message))
    with pytest.raises(UnavailableError, match=said):
        checking._camera(CameraSettings(source="rtsp://camera/1?password=x"), clock)


def test_a_broker_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_BROKER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(mqtt=MqttSettings(url=f"mqtt://127.0.0.1:{silent.getsockname()[1]}"))
        with pytest.raises(UnavailableError, match="no answer within"):
            checking._broker(settings, Clock())


def test_an_unverified_broker_is_said_to_be_one(tmp_path: Path) -> None:
    certificate = Pki(tmp_path / "pki").issue("broker")
    with Mosquitto(tmp_path / "broker", certificate=certificate) as broker:
        text = checking._broker(Settings(mqtt=MqttSettings(url=broker.url, insecure=True)), Clock())
    assert "NOT VERIFIED" in text


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder that a service manager would make in memory."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    return folder


def test_waiting_looks_at_the_running_agent_until_something_is_acknowledged(
    broker: Mosquitto, tmp_path: Path, runtime: Path
) -> None:
    with AgentProcess(tmp_path / "home", url=broker.url, settings=["camera.loop=true"]) as agent:
        agent.wait_for("READY=1")
        lines = check(good(broker, tmp_path), wait_s=20)
        meanwhile = checking._broker(good(broker, tmp_path), Clock())
        assert agent.terminate() == 0
    assert list(lines) == ["board", "models", "agent", "clock"]
    assert lines["agent"].verdict == "ok", lines["agent"].text
    assert "acknowledged, camera " in lines["agent"].text
    assert meanwhile == f"{broker.url}: the agent that runs here is connected"
    assert broker.log.read_text().count(" as board ") == 1  # the agent's client id, which nobody took from it
    assert list(runtime.iterdir()) == []


def test_waiting_for_an_agent_that_is_not_there_ends(broker: Mosquitto, tmp_path: Path, runtime: Path) -> None:
    line = check(good(broker, tmp_path), wait_s=0.5)["agent"]
    assert line.exit_code == 69
    assert f"{runtime}/agent.json: no agent says there within 0.5 s how it is; systemctl status" in line.text


def test_waiting_for_an_agent_whose_events_do_not_arrive_says_why(tmp_path: Path, runtime: Path) -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    with AgentProcess(tmp_path / "home", url=url, settings=["camera.loop=true"]) as agent:
        agent.wait_for("READY=1")
        settings = Settings(mqtt=MqttSettings(url=url))
        with pytest.raises(UnavailableError, match=r"no event acknowledged within 3 s, \d+ waiting, .*nobody listens"):
            checking._agent(settings, Clock(), 3.0)
        with pytest.raises(UnavailableError, match=r"the agent that runs here: .*nobody listens there"):
            checking._broker(settings, Clock())


def test_the_command_prints_a_line_each_and_ends_with_the_first_failures_code(
    broker: Mosquitto, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "--set", f"mqtt.url={broker.url}", "--set", f"outbox.directory={tmp_path}"]
    assert main([*words, "--set", "camera.source=v4l2:/dev/video99"]) == 69
    printed = capsys.readouterr()
    assert [line.split()[:2] for line in printed.err.splitlines()] == [["camera", "FAIL"]]
    assert [line.split()[0] for line in printed.out.splitlines()] == ["board", "models", "broker", "clock"]


def test_the_command_helps_to_aim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aim, "aim", lambda settings, clock: 7)
    assert main(["check", "--aim"]) == 7
