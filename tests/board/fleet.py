"""What a board meets in its fleet: an authority, the shipped broker, the enrolment server, and bundles made for it."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import msgspec

from agent.camera import SceneCamera
from agent.events.envelope import Envelope, decode
from agent.events.state import Status
from agent.events.types import EventData
from agent.seams import Frame
from tests.integration.shipped_mosquitto import Client, ShippedMosquitto, TestAuthority
from tests.real import free_port, wait_for
from tools.fleet.enrol.__main__ import SERVER
from tools.fleet.ports import listens

SITE = "lab"
SHARED = "/mnt/maskwatch"
"""Where a board sees the fleet's `shared` folder, read-only: bundles, a clip, what a test puts there."""

CLIP_FPS = 15.0
_BUNDLE_S = 300.0


class Fleet:
    """A broker and an enrolment server on loopback, with an authority of their own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.shared = folder / "shared"
        self.shared.mkdir()
        self._ca = folder / "ca"
        self.authority = TestAuthority(self._ca)
        self.broker = ShippedMosquitto(folder / "broker", self.authority)
        self.authority.issue(SERVER, "server")
        self._operator = self.authority.issue("operator", "operator")
        self._port = free_port()
        self._log = folder / "enrol.log"
        self._server: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._wheel: Path | None = None

    def bundle(self, python: str, *, wheel: Path | None = None) -> str:
        """Have a bundle made for one x86-64 board, with a claim; gives where boards see it.

        wheel: the agent; None: that of this checkout as it was when the first bundle was made.
        """
        self._made += 1
        out = self.shared / f"bundles{self._made}"
        more = self.shared / "more.toml"
        more.write_text("[camera]\nloop = true\n\n[report]\ncounts_every_s = 5.0\ntelemetry_every_s = 5.0\n")
        words: list[str | Path] = ["--site", SITE, "--out", out, "--machine", "x86_64", "--python", python]
        words += ["--broker", self.broker.url, "--url", f"https://localhost:{self._port}"]
        words += ["--camera", f"{SHARED}/clip.avi", "--config", more]
        words += ["--wheel", chosen] if (chosen := wheel or self._wheel) else []
        self.enrol(*words)
        (made,) = out.iterdir()
        if chosen is None:
            (self._wheel,) = (made / "wheels").glob("maskwatch-*.whl")
        return f"{SHARED}/{out.name}/{made.name}"

    @property
    def wheel(self) -> Path:
        """The agent of this checkout, once a bundle has been made."""
        assert self._wheel is not None
        return self._wheel

    def enrol(self, *words: str | Path) -> str:
        """Run tools.fleet.enrol on this authority; gives what it says."""
        command = [sys.executable, "-m", "tools.fleet.enrol", str(self._ca), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUNDLE_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def operator(self) -> Client:
        """Give a client that hears everything."""
        return Client(self.broker, self.authority.ca, self._operator, topics=("maskwatch/#",))

    def __enter__(self) -> Self:
        self.broker.start()
        with self._log.open("wb") as log:
            self._server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tools.fleet.enrol",
                    str(self._ca),
                    "--serve",
                    "--listen",
                    f"localhost:{self._port}",
                ],
                stdout=log,
                stderr=log,
            )
        wait_for(self._serves, what="the enrolment server")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(30)
        self.broker.kill()

    def _serves(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, self._log.read_text()
        return listens(self._port, "localhost")


def write_clip(place: Path, *, fps: float = CLIP_FPS) -> None:
    """Write the generated scene as a clip."""
    writer = cv2.VideoWriter(os.fspath(place), cv2.VideoWriter.fourcc(*"MJPG"), fps, (640, 480))
    with SceneCamera(fps=fps) as scene:
        while isinstance(frame := scene.read(1), Frame):
            writer.write(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR))
    writer.release()


def events_of(operator: Client, device: str) -> list[Envelope[EventData]]:
    return [decode(payload) for payload in operator.got(f"maskwatch/{SITE}/{device}/events")]


def statuses_of(operator: Client, device: str) -> list[Status]:
    return [msgspec.json.decode(payload, type=Status) for payload in operator.got(f"maskwatch/{SITE}/{device}/status")]
