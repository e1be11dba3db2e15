"""Programs in a Debian 13 with libcamera's virtual cameras and the real picamera2. See shims/picamera2 for the rest."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import pytest
import yaml

from agent.errors import UnavailableError
from agent.seams import Pixels
from tools.debian.root import command
from tools.debian.roots import CAMERA_PYTHON, camera_trixie

SOURCE = Path(__file__).parents[2]
SHIMS = "/src/tests/board/shims/picamera2"
BARS = [(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255), (0, 0, 0)]
"""libcamera's test pattern from left to right, RGB."""
_PROGRAM_S = 100.0


class VirtualCamera(NamedTuple):
    """A camera of libcamera's virtual pipeline. pictures: a folder with 0.jpg, 1.jpg ...; None: the colour bars."""

    name: str
    sizes: tuple[tuple[int, int], ...] = ((640, 480), (320, 240))
    pictures: str | None = None


class CameraRoot:
    """A root of its own for one test, with the cameras it is given."""

    def __init__(self, folder: Path, *cameras: VirtualCamera) -> None:
        """folder: becomes /srv/test inside. Skips the test where there can be no root."""
        try:
            self._place = camera_trixie().ready()
        except UnavailableError as error:
            pytest.skip(str(error))
        self.work = folder / "work"
        self._cameras = folder / "virtual"
        self._scratch = folder / "scratch"
        for made in (self.work, self._cameras):
            made.mkdir(parents=True)
        (self._cameras / "virtual.yaml").write_text(
            yaml.safe_dump({camera.name: _described(camera) for camera in cameras})
        )
        self._runs = 0

    def command(self, arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> list[str]:
        """Give the command line that runs its Python with the agent, the tests and the shims at hand."""
        self._runs += 1
        scratch = self._scratch / str(self._runs)
        scratch.mkdir(parents=True)
        ours = {
            "PYTHONPATH": f"/src:{SHIMS}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "LIBCAMERA_LOG_LEVELS": "*:FATAL,Camera:ERROR",  # that this kernel has no DMA buffers is known
        }
        return command(
            self._place,
            [CAMERA_PYTHON, *arguments],
            environment={**ours, **(environment or {})},
            folders={"/src": SOURCE, "/srv/test": self.work, "/usr/share/libcamera/pipeline/virtual": self._cameras},
            scratch=scratch,
        )

    def tell(self, scenario: str, *words: str, environment: Mapping[str, str] | None = None) -> Any:
        """Run a scenario of camera_program.py; gives what it prints, which is JSON."""
        done = subprocess.run(
            self.command(["-m", "tests.board.camera_program", scenario, *words], environment=environment),
            capture_output=True,
            text=True,
            timeout=_PROGRAM_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
        return json.loads(done.stdout)


def write_pictures(folder: Path, pictures: Sequence[Pixels]) -> None:
    """Write RGB pictures as libcamera reads them: 0.jpg, 1.jpg ..."""
    folder.mkdir()
    for number, pixels in enumerate(pictures):
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(os.fspath(folder / f"{number}.jpg"), bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])


def _described(camera: VirtualCamera) -> dict[str, Any]:
    formats = [{"width": width, "height": height, "frame_rates": [30, 60]} for width, height in camera.sizes]
    shows: dict[str, Any] = {"test_pattern": "bars"}
    if camera.pictures is not None:
        shows = {"frames": {"path": camera.pictures}}
    return {"supported_formats": formats, **shows, "location": "CameraLocationFront", "model": camera.name}
