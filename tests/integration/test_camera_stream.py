"""Network cameras: a real HTTP stream of ffmpeg's on loopback, lost, gone silent, and found again."""

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from random import Random

import pytest

from agent.camera import open_camera
from agent.clock import NS_PER_S, SystemClock
from agent.errors import UnavailableError
from agent.seams import Camera, Frame, Silence
from agent.settings import CameraSettings

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg: apt-get install ffmpeg")

LIMIT_S = 40
Serve = Callable[[str], subprocess.Popen[bytes]]


class Quick(Random):
    """Pauses between attempts that are as short as chance allows."""

    def uniform(self, a: float, b: float) -> float:
        return min(b, 0.05)


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
        return number


@pytest.fixture
def serve(port: int) -> Iterator[Serve]:
    """Start an ffmpeg that serves one viewer a moving test picture."""
    started = []

    def start(kind: str) -> subprocess.Popen[bytes]:
        codec = {"mpjpeg": "mjpeg", "mpegts": "mpeg2video"}[kind]
        command = ["ffmpeg", "-v", "quiet", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25"]
        command += ["-c:v", codec, "-f", kind, "-listen", "1", f"http://127.0.0.1:{port}/stream"]
        process = subprocess.Popen(command)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def _open(port: int) -> Camera:
    source = f"http://user:secret@127.0.0.1:{port}/stream"
    return open_camera(CameraSettings(source=source), SystemClock(), Quick())


def _enter(camera: Camera) -> None:
    """Enter as the daemon does: a camera that is not there yet is only lost."""
    with contextlib.suppress(UnavailableError):
        camera.__enter__()


def _until(camera: Camera, wanted: Callable[[object], bool]) -> object:
    """Read until something wanted comes, for as long as the limit of the test."""
    clock = SystemClock()
    end_ns = clock.now_ns() + LIMIT_S * NS_PER_S
    while clock.now_ns() < end_ns:
        got = camera.read(0.5)
        if wanted(got):
            return got
    raise AssertionError("what was waited for never came")


def _served(camera: Camera, serve: Serve, kind: str) -> tuple[subprocess.Popen[bytes], Frame]:
    """Serve until a frame comes: ffmpeg ends with its one viewer, and on a busy machine the first may give up."""
    server = serve(kind)

    def came(got: object) -> bool:
        nonlocal server
        if server.poll() is not None:
            server = serve(kind)
        return isinstance(got, Frame)

    frame = _until(camera, came)
    assert isinstance(frame, Frame)
    return server, frame


def _is_silence(got: object) -> bool:
    return isinstance(got, Silence)


@pytest.mark.parametrize("kind", ["mpjpeg", "mpegts"])
def test_a_stream_is_read_lost_and_read_again(
    kind: str, port: int, serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    camera = _open(port)
    _enter(camera)
    before_ns = SystemClock().now_ns()
    server, frame = _served(camera, serve, kind)
    assert frame.pixels.shape == (120, 160, 3)
    assert before_ns <= frame.captured_ns <= SystemClock().now_ns()
    assert camera.describe() == f"http://127.0.0.1:{port}/stream, 160x120"

    server.kill()
    server.wait()
    silence = _until(camera, _is_silence)
    assert isinstance(silence, Silence)
    assert "the stream ended" in silence.why
    refused = _until(camera, lambda got: isinstance(got, Silence) and "refused" in got.why)
    assert isinstance(refused, Silence)

    _, again = _served(camera, serve, kind)
    assert again.index > frame.index
    assert again.captured_ns > frame.captured_ns
    camera.__exit__(None, None, None)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_goes_silent_is_noticed_within_seconds(port: int, serve: Serve) -> None:
    camera = _open(port)
    _enter(camera)
    server, _ = _served(camera, serve, "mpjpeg")
    server.send_signal(signal.SIGSTOP)
    stopped_ns = SystemClock().now_ns()
    _until(camera, _is_silence)
    assert SystemClock().now_ns() - stopped_ns < 10 * NS_PER_S
    camera.__exit__(None, None, None)


def test_a_refused_url_is_unavailable_in_one_line_without_the_password(port: int) -> None:
    with pytest.raises(UnavailableError) as caught:
        _open(port).__enter__()
    assert str(caught.value) == (
        f"http://127.0.0.1:{port}/stream: connection refused; check the camera and camera.source"
    )


def test_a_server_that_accepts_and_says_nothing_is_unavailable_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started_ns = SystemClock().now_ns()
        with pytest.raises(UnavailableError, match="answers, but gives no video"):
            _open(listener.getsockname()[1]).__enter__()
    assert SystemClock().now_ns() - started_ns < 15 * NS_PER_S
