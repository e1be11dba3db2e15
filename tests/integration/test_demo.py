"""`maskwatch demo`: the real daemon, a real broker, and what comes out of it."""

import importlib.util
import re
import signal
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import psutil
import pytest

from agent.cli.main import main
from tests.integration.cli_scene import ROOT, clean_environ, scene_frames, use_terminal, write_clip
from tests.real import Mosquitto


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Five seconds of the scene: somebody with a mask comes, then somebody without."""
    return str(write_clip(tmp_path_factory.mktemp("demo") / "five.avi", scene_frames()[0][:75], 15.0))


def start_demo(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "agent.cli.main", "demo", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean_environ(),
    )


def test_a_clip_goes_through_the_embedded_broker_to_its_end(clip: str) -> None:
    process = start_demo(clip)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert re.search(r"five\.avi, 640x480, 15 frames/s; broker mqtt://127\.0\.0\.1:\d+ \(embedded\)", out)
    assert [re.split(r"  +", line.strip())[1:3] for line in out.splitlines() if " new " in line] == [
        ["new", "mask"],
        ["new", "no mask"],
    ]
    assert "2 persons in " in out
    assert ": 1 mask · 1 no mask" in out
    assert "in order, none missing" in out


def test_the_scene_shows_a_mask_and_a_bare_face_within_seconds_and_stops_when_told_to() -> None:
    process = start_demo("--loop")
    assert process.stdout is not None
    wanted = {"mask", "no mask"}
    while wanted:
        line = process.stdout.readline()
        assert line, process.communicate()
        if " new " in line:
            wanted -= {re.split(r"  +", line.strip())[2]}
    agents = psutil.Process(process.pid).children()
    assert len(agents) == 1
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "none missing" in out
    assert not agents[0].is_running()


def test_a_broker_that_is_named_is_used(clip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = use_terminal(monkeypatch)
    before = signal.getsignal(signal.SIGTERM)
    with Mosquitto(tmp_path / "broker") as broker:
        assert main(["demo", clip, "--set", f"mqtt.url={broker.url}"]) == 0
        assert broker.url in screen.text
    for words in (
        "MQTT 5",
        "no mask",
        "five.avi",
        "640x480",
        "online",
        "7 so far",
        "1 mask · 1 no mask",
        "none missing",
    ):
        assert words in screen.text, screen.text
    assert "embedded" not in screen.text
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["/nope.mp4"], 65, "/nope.mp4: no such file"),
        (["--set", "vision.detector=face-230"], 65, "did you mean 'face-320'?"),
        (["--set", "camra.fps=5"], 78, "did you mean 'camera'?"),
        (["--config", "/nope.toml"], 78, "/nope.toml"),
        (["--set", "mqtt.url=mqtt://127.0.0.1:9"], 69, "nobody listens there"),
    ],
)
def test_what_cannot_be_shown_is_one_line(words: list[str], code: int, said: str) -> None:
    process = start_demo(*words)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.count("\n") == 1
    assert said in err


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = importlib.util.find_spec

    def find(name: str) -> ModuleSpec | None:
        return None if name == "amqtt" else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    assert main(["demo"]) == 69
    assert capsys.readouterr().err == "demo: amqtt not installed; pip install 'maskwatch[demo]'\n"
