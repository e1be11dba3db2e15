"""The bad input table: each thing that users get wrong, started as users start it, is one line on stderr and its code.

What, where and what to do are in the line; nothing of OpenCV's, FFmpeg's or the interpreter's stands beside it.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.cli_scene import ROOT, clean_environ, maskwatch, scene_frames, write_clip
from tests.real import Mosquitto, Pki, free_port

MODELS = ROOT / "models"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file without settings: the machine's own must not have a say."""
    file = tmp_path / "config.toml"
    file.touch()
    return file


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.stderr.endswith("\n"), result
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.rstrip("\n")


def copy_model(folder: Path, name: str, damage: Callable[[bytes], bytes], *, own_up: bool) -> Path:
    """Copy a model and its manifest, the model damaged. own_up: the manifest's sha256 is that of the damaged file."""
    manifest = json.loads((MODELS / f"{name}.json").read_bytes())
    content = damage((MODELS / manifest["net"]["file"]).read_bytes())
    (folder / manifest["net"]["file"]).write_bytes(content)
    if own_up:
        manifest["net"]["sha256"] = hashlib.sha256(content).hexdigest()
    path = folder / f"{name}.json"
    path.write_text(json.dumps(manifest))
    return path


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("run", '[camera]\nsorce = "scene"\n', "camera.sorce (did you mean 'source'?)"),
        ("check", "[camra]\nfps = 5\n", "'camra' (did you mean 'camera'?)"),
        ("config", '[camera]\nfps = "fast"\n', "camera.fps = 'fast'"),
        ("run", "[camera]\nfps = 500\n", "camera.fps = 500"),
        ("config", "[decision]\nenter = 0.5\n", "is not below enter"),
        ("watch", "[camera\n", "not TOML"),
    ],
)
def test_a_wrong_key_section_type_or_value_in_the_file(config: Path, command: str, text: str, said: str) -> None:
    config.write_text(text)
    result = maskwatch(command, "--config", str(config))
    line = one_line(result)
    assert (result.returncode, str(config) in line, said in line) == (78, True, True), line


def test_a_wrong_key_or_value_on_the_command_line_or_in_the_environment(config: Path) -> None:
    result = maskwatch("run", "--config", str(config), "--set", "mqtt.ulr=mqtt://x")
    assert (result.returncode, "did you mean 'url'?" in one_line(result)) == (78, True)
    result = maskwatch("run", "--config", str(config), "--set", "mqtt.url=mqtt://example.org")
    assert (result.returncode, "plaintext" in one_line(result)) == (78, True)
    result = maskwatch("run", "--config", str(config), MASKWATCH_CAMERA_FSP="5")
    assert (result.returncode, "MASKWATCH_CAMERA_FPS" in one_line(result)) == (78, True)


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    result = maskwatch("run", "--config", str(tmp_path / "nope.toml"))
    assert (result.returncode, "nope.toml: there is no such file" in one_line(result)) == (78, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["inspcet", "a.jpg"], "did you mean 'inspect'?"),
        (["inspect", "a.jpg", "--crop"], "did you mean '--crops'?"),
        (["run", "--foreground"], "no option --foreground"),
        (["inspect"], "PATH"),
        ([], "name one of"),
    ],
)
def test_an_unknown_command_or_option_or_a_missing_argument(words: list[str], said: str) -> None:
    result = maskwatch(*words)
    assert (result.returncode, said in one_line(result)) == (2, True)


@pytest.mark.parametrize(
    ("command", "key", "name", "said"),
    [
        ("run", "vision.detector", "face-230", "did you mean 'face-320'?"),
        ("run", "vision.classifier", "nope.json", "nope.json"),
        ("inspect", "vision.detector", "nope.json", "nope.json"),
        ("inspect", "vision.classifier", "mask-46", "did you mean 'mask-64'?"),
    ],
)
def test_a_model_that_is_not_there(config: Path, tmp_path: Path, command: str, key: str, name: str, said: str) -> None:
    words = [command, *([str(tmp_path)] if command == "inspect" else []), "--config", str(config)]
    result = maskwatch(*words, "--set", f"{key}={name}", "--set", "camera.source=scene")
    assert (result.returncode, said in one_line(result)) == (65, True), result


@pytest.mark.parametrize(
    ("damage", "own_up", "said"),
    [
        (lambda content: content[:-1] + b"x", False, "sha256 is"),
        (lambda content: content[: len(content) // 2], False, "sha256 is"),
        (lambda content: content[: len(content) // 2], True, "not a model that this interpreter reads"),
        (lambda content: b"not a model", True, "not a model that this interpreter reads"),
    ],
)
@pytest.mark.parametrize("name", ["mask-64", "face-320"])
def test_a_model_of_another_sha256_truncated_or_no_model_at_all(
    config: Path, tmp_path: Path, name: str, damage: Callable[[bytes], bytes], own_up: bool, said: str
) -> None:
    manifest = copy_model(tmp_path, name, damage, own_up=own_up)
    key = "vision.classifier" if name == "mask-64" else "vision.detector"
    result = maskwatch("run", "--config", str(config), "--set", f"{key}={manifest}", "--set", "camera.source=scene")
    line = one_line(result)
    assert (result.returncode, said in line, f"{name}.tflite" in line) == (65, True, True), line


def test_a_manifest_of_the_wrong_kind_or_damaged(config: Path, tmp_path: Path) -> None:
    result = maskwatch("run", "--config", str(config), "--set", "vision.detector=mask-64")
    assert (result.returncode, "mask-64.json: not a DetectorManifest" in one_line(result)) == (65, True)
    (tmp_path / "m.json").write_text("{")
    result = maskwatch("run", "--config", str(config), "--set", f"vision.detector={tmp_path}/m.json")
    assert (result.returncode, "m.json" in one_line(result)) == (65, True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound clip of a second."""
    return write_clip(tmp_path_factory.mktemp("clip") / "whole.avi", scene_frames()[0][:15], 15.0).read_bytes()


def make_bad_files(folder: Path, clip: bytes) -> dict[str, Path]:
    files = {name: folder / name for name in ("text.jpg", "cut.avi", "text.mp4", "zero.png", "no.jpg", "empty")}
    files["text.jpg"].write_text("this is a text\n" * 50)
    files["text.mp4"].write_text("this is a text\n" * 50)
    files["cut.avi"].write_bytes(clip[: len(clip) // 2])
    files["zero.png"].touch()
    files["empty"].mkdir()
    return files


@pytest.mark.parametrize("name", ["text.jpg", "cut.avi", "text.mp4", "zero.png", "no.jpg", "empty"])
def test_a_path_that_inspect_cannot_read(name: str, clip: bytes, tmp_path: Path) -> None:
    bad = make_bad_files(tmp_path, clip)[name]
    result = maskwatch("inspect", str(bad))
    line = one_line(result)
    assert result.returncode == 65
    assert str(bad) in line
    assert ";" in line, "what to do"


@pytest.mark.parametrize("name", ["text.jpg", "text.mp4", "zero.png", "no.jpg", "empty"])
def test_a_medium_that_run_cannot_open(name: str, clip: bytes, config: Path, tmp_path: Path) -> None:
    bad = make_bad_files(tmp_path, clip)[name]
    result = maskwatch("run", "--config", str(config), "--set", f"camera.source={bad}", cwd=tmp_path)
    assert result.returncode == 65
    assert str(bad) in one_line(result)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("v4l2:/dev/video99", "v4l2:/dev/video99: "),
        ("rtsp://127.0.0.1:9/stream", "connection refused"),
        ("http://127.0.0.1:9/stream", "connection refused"),
        ("picamera2", "picamera2"),
    ],
)
def test_check_says_that_the_camera_is_absent(source: str, said: str, config: Path, tmp_path: Path) -> None:
    result = maskwatch(
        "check", "--config", str(config), "--set", f"camera.source={source}", "--set", f"outbox.directory={tmp_path}"
    )
    failed = [line for line in result.stderr.splitlines() if line.startswith("camera")]
    assert (result.returncode, len(failed)) == (69, 1), result
    assert said in failed[0]
    assert all(line.split()[1] == "FAIL" for line in result.stderr.splitlines()), result.stderr


def run_with_outbox(directory: Path, config: Path, *prefix: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "agent.cli.main", "run", "--config", str(config)]
    words += ["--set", "camera.source=scene", "--set", f"outbox.directory={directory}"]
    environ = clean_environ()
    if prefix:  # another user cannot write this run's coverage, and would say so
        environ = {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [*prefix, *words], capture_output=True, text=True, timeout=60, cwd=ROOT, env=environ, check=False
    )


def test_an_outbox_directory_that_is_a_file(config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run_with_outbox(tmp_path / "file", config)
    assert (result.returncode, str(tmp_path / "file") in one_line(result)) == (74, True)


def test_an_outbox_on_a_full_disk(config: Path) -> None:
    result = run_with_outbox(Path("/dev/full"), config)
    assert (result.returncode, "/dev/full" in one_line(result)) == (74, True)


def test_an_outbox_directory_that_this_user_may_not_write(config: Path) -> None:
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv (util-linux) is not installed, and root may write anywhere")
        prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all"]
    else:
        prefix = []
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are for their owner alone
        place = Path(folder)
        place.chmod(0o755)
        forbidden = place / "forbidden"
        forbidden.mkdir(mode=0o500)
        result = run_with_outbox(forbidden / "outbox", Path(shutil.copy(config, place)), *prefix)
    assert (result.returncode, "forbidden" in one_line(result)) == (77, True)


def check_broker(config: Path, folder: Path, *settings: str) -> tuple[int, str]:
    """Check with a camera that works. Returns the exit code and the one line on stderr, which is the broker's."""
    words = [word for setting in settings for word in ("--set", setting)]
    result = maskwatch(
        *("check", "--config", str(config), "--set", "camera.source=scene"),
        *("--set", f"outbox.directory={folder}", *words),
    )
    line = one_line(result)
    assert line.startswith("broker  FAIL  ")
    return result.returncode, line


def test_check_says_that_the_broker_refuses_the_connection(config: Path, tmp_path: Path) -> None:
    port = free_port()
    code, line = check_broker(config, tmp_path, f"mqtt.url=mqtt://127.0.0.1:{port}")
    assert (code, f"127.0.0.1:{port}: nobody listens there" in line) == (69, True), line


def test_check_says_that_the_password_is_wrong(config: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong\n")
    with Mosquitto(tmp_path / "broker", users={"cam": "right"}) as broker:
        settings = (f"mqtt.url={broker.url}", "mqtt.username=cam", f"mqtt.password_file={tmp_path}/password")
        code, line = check_broker(config, tmp_path, *settings)
        assert (code, "password" in line) == (69, True), line
        (tmp_path / "password").write_text("right\n")
        words = [word for setting in settings for word in ("--set", setting)]
        ours = ("--config", str(config), "--set", "camera.source=scene", "--set", f"outbox.directory={tmp_path}")
        result = maskwatch("check", *ours, *words)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("hosts", "days", "ca", "said"),
    [
        ("DNS:localhost", -1, True, "has expired"),
        ("DNS:example.org", 2, True, "is not for localhost"),
        ("DNS:localhost", 2, False, "signed by nobody we know"),
    ],
)
def test_check_says_what_is_wrong_with_the_brokers_certificate(
    config: Path, tmp_path: Path, hosts: str, days: int, ca: bool, said: str
) -> None:
    pki = Pki(tmp_path / "pki")
    issued = pki.issue("broker", hosts=hosts, days=days)
    authority = pki.ca if ca else Pki(tmp_path / "other").ca
    with Mosquitto(tmp_path / "broker", certificate=issued) as broker:
        code, line = check_broker(config, tmp_path, f"mqtt.url={broker.url}", f"mqtt.ca_file={authority}")
    assert (code, said in line) == (69, True), line


@pytest.mark.parametrize("key", ["ca_file", "cert_file", "password_file"])
def test_a_named_credential_file_that_is_not_there(config: Path, tmp_path: Path, key: str) -> None:
    settings = [f"mqtt.{key}={tmp_path}/nope.pem", "mqtt.url=mqtts://localhost:1", "mqtt.username=cam"]
    if key == "cert_file":
        settings.append(f"mqtt.key_file={tmp_path}/nope.key")
    words = [word for setting in settings for word in ("--set", setting)]
    ours = ("--config", str(config), "--set", "camera.source=scene", "--set", f"outbox.directory={tmp_path}/outbox")
    result = maskwatch("run", *ours, *words)
    assert (result.returncode, "nope." in one_line(result)) == (78, True), result
