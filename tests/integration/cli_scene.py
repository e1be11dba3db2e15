"""What the generated scene looks like as files, and the commands as a user starts them."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from agent.camera import SceneCamera
from agent.camera.walk import Walker
from agent.seams import Frame

ROOT = Path(__file__).resolve().parents[2]


def maskwatch(*words: str, stdin: str = "", cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "agent.cli.main", *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
        env=clean_environ() | {"PYTHONPATH": str(ROOT)} | environ,
        check=False,
    )


def clean_environ() -> dict[str, str]:
    """Give this process's environment without anybody's settings, and with one thread a library."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MASKWATCH_", "NOTIFY_"))}
    return kept | {"OMP_NUM_THREADS": "1"}


def scene_frames(every: int = 1) -> tuple[list[Frame], tuple[Walker, ...]]:
    """Give every n-th frame of the scene of the demo, and who walks in it."""
    with SceneCamera() as camera:
        frames = []
        while isinstance(message := camera.read(1.0), Frame):
            if message.index % every == 0:
                frames.append(message)
        return frames, camera.truth


def write_picture(path: Path, frame: Frame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR))
    return path


def write_clip(path: Path, frames: list[Frame], fps: float) -> Path:
    height, width = frames[0].pixels.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (width, height))
    for frame in frames:
        writer.write(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


class Terminal(io.StringIO):
    """A stdout or stderr that says it is a terminal."""

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> str:
        """Give what was written, without colours and cursor moves."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())


def use_terminal(
    monkeypatch: pytest.MonkeyPatch, stream: str = "stdout", width: int = 80, height: int = 24
) -> Terminal:
    """Put a terminal of 80 x 24 in place of a stream, from within a test: pytest exchanges streams before each."""
    terminal = Terminal()
    monkeypatch.setattr(sys, stream, terminal)
    for name, value in (("COLUMNS", str(width)), ("LINES", str(height)), ("TERM", "xterm-256color")):
        monkeypatch.setenv(name, value)
    return terminal
