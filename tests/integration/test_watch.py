"""`maskwatch watch` on a real broker: plain lines in a pipe, a live view in a terminal."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from agent.cli.main import main
from agent.events.types import CameraBlind
from tests.integration.cli_scene import ROOT, clean_environ, use_terminal
from tests.real import Mosquitto, spawn
from tests.unit.cli_messages import Board, end, new, update


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as running:
        yield running


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A file without settings: the machine's own must not have a say."""
    (tmp_path / "config.toml").touch()
    return str(tmp_path / "config.toml")


def publish(broker: Mosquitto, *messages: tuple[str, bytes]) -> None:
    """Say things, and see them taken by the broker; what stands on `status` and `events` is retained for late ears."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for topic, payload in messages:
        client.publish(topic, payload, qos=1, retain=True).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()


def once_subscribed(broker: Mosquitto, *messages: tuple[str, bytes]) -> None:
    """Say things as soon as somebody listens to events."""

    def go() -> None:
        with broker.log.open() as log:
            while True:
                line = log.readline()
                if "SUBSCRIBE" in line:
                    publish(broker, *messages)
                    return

    spawn(go)


def test_events_are_plain_lines_in_a_pipe_until_the_count_is_reached(
    broker: Mosquitto, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = Board(), Board(site="yard", device="cam-2")
    once_subscribed(
        broker,
        one.status("online", camera="ok"),
        one.telemetry(),
        one.event(new()),
        two.event(update()),
        one.event(end()),
        one.event(new("not-seen-any-more")),
    )
    assert main(["watch", "--config", config, "--set", f"mqtt.url={broker.url}", "--count", "3"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert printed.err == ""
    assert [line.split()[1:3] for line in lines[1:4]] == [
        ["lobby/cam-1", "new"],
        ["yard/cam-2", "update"],
        ["lobby/cam-1", "end"],
    ]
    assert "status  online, camera ok" in lines[0]


def test_one_site_or_board_can_be_singled_out(
    broker: Mosquitto, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = Board(), Board(site="yard", device="cam-2")
    publish(broker, one.status("online"), two.status("online"), one.event(new()), two.event(new()))
    words = ["watch", "--config", config, "--set", f"mqtt.url={broker.url}", "--count", "1"]
    assert main([*words, "--site", "yard"]) == 0
    assert "lobby" not in capsys.readouterr().out
    assert main([*words, "--device", "cam-1"]) == 0
    assert "yard" not in capsys.readouterr().out


def test_it_ends_after_its_time(broker: Mosquitto, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "--config", config, "--set", f"mqtt.url={broker.url}", "--for", "0.3"]) == 0
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_the_live_view_and_a_last_line(
    broker: Mosquitto, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board()
    publish(broker, board.status("online", camera="ok"))
    once_subscribed(
        broker,
        board.telemetry(),
        board.event(new(label="no_mask")),
        board.event(CameraBlind(reason="black", since_s=9)),
    )
    screen = use_terminal(monkeypatch)
    assert main(["watch", "--config", config, "--set", f"mqtt.url={broker.url}", "--count", "2"]) == 0
    for words in ("maskwatch watch", broker.url, "MQTT 5", "lobby/cam-1", "no mask", "blind: black", "detect 4.25 ms"):
        assert words in screen.text, screen.text
    assert screen.text.rstrip().endswith("2 events of 1 device: 1 no mask")


def test_an_interrupt_is_the_way_to_end_it(broker: Mosquitto, config: str) -> None:
    board = Board()
    publish(broker, board.event(new()))
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli.main", "watch", "--config", config, "--set", f"mqtt.url={broker.url}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean_environ(),
    )
    assert process.stdout is not None
    assert "new" in process.stdout.readline()
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")


def test_a_broker_that_goes_and_comes_back_is_listened_to_again(
    broker: Mosquitto, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    board = Board()
    publish(broker, board.event(new("a-1")))

    def restart() -> None:
        with broker.log.open() as log:
            while "SUBSCRIBE" not in log.readline():
                pass
        broker.stop()
        broker.start()
        publish(broker, board.event(new("a-2")))

    spawn(restart)
    assert main(["watch", "--config", config, "--set", f"mqtt.url={broker.url}", "--count", "2"]) == 0
    assert "a-2" in capsys.readouterr().out
