"""What the demo knows of its source, and how it ends an agent that does not end."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli import demo
from agent.clock import SystemClock
from agent.errors import InputError
from agent.settings import CameraSettings


def test_the_scene_tells_whom_it_shows() -> None:
    words, labels = demo._look_at(CameraSettings(source="scene"), SystemClock())
    assert words.startswith("generated scene, 6 persons")
    assert sorted(labels) == ["mask"] * 3 + ["no_mask"] * 3


def test_a_live_camera_is_not_opened_twice() -> None:
    words, labels = demo._look_at(CameraSettings(source="rtsp://user:secret@127.0.0.1:9/x"), SystemClock())
    assert "127.0.0.1" in words
    assert "secret" not in words
    assert labels == []


def test_a_file_that_is_no_clip_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no clip")
    with pytest.raises(InputError, match=r"a\.mp4"):
        demo._look_at(CameraSettings(source=str(tmp_path / "a.mp4")), SystemClock())


def test_an_agent_that_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_STOP_S", 0.2)
    script = (
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"deaf\n"
    agent = demo.Agent(process, tmp_path / "log")
    assert agent.stop() == -signal.SIGKILL
    assert agent.over
    process.stdout.close()


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("agent.start version=1\n/a.mp4: damaged; copy it again\n", "/a.mp4: damaged; copy it again"),
        ("one\nTraceback (most recent call last):\n  boom\n", "one\nTraceback (most recent call last):\n  boom"),
        ("", ""),
    ],
)
def test_an_agents_last_words_are_its_last_line_or_its_whole_fault(tmp_path: Path, log: str, said: str) -> None:
    (tmp_path / "log").write_text(log)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert demo.Agent(process, tmp_path / "log").last_words() == said
