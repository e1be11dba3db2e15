"""Settings: where a value comes from, and what a wrong one is told."""

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Loaded, load, machine_id
from agent.errors import ConfigError, MaskwatchError, NotPermittedError
from agent.settings import MqttSettings, Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def read(file: Path | None, text: str = "", environ: dict[str, str] | None = None, *overrides: str) -> Loaded:
    if file is not None:
        file.write_text(text)
    return load(file, environ or {}, overrides, machine=lambda: "board-1")


def refusal(file: Path | None, text: str = "", environ: dict[str, str] | None = None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(file, text, environ, *overrides)
    assert caught.value.exit_code == 78
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_file_everything_has_its_default_and_the_machine_names_the_board(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.config.DEFAULT_PATH", Path("/nonexistent/config.toml"))

    loaded = read(None)

    assert loaded.file is None
    assert loaded.settings == msgspec.structs.replace(
        Settings(), device=msgspec.structs.replace(Settings().device, id="board-1")
    )
    assert loaded.sources["device.id"] == "machine"
    assert loaded.sources["camera.fps"] == "default"


def test_the_option_beats_the_environment_beats_the_file(file: Path) -> None:
    text = "[camera]\nfps = 5\nwidth = 800\nheight = 600\n"

    loaded = read(file, text, {"MASKWATCH_CAMERA_FPS": "6", "MASKWATCH_CAMERA_WIDTH": "1024"}, "camera.fps=7.5")

    camera = loaded.settings.camera
    assert (camera.fps, camera.width, camera.height) == (7.5, 1024, 600)
    assert loaded.sources["camera.fps"] == "--set camera.fps=7.5"
    assert loaded.sources["camera.width"] == "environment variable MASKWATCH_CAMERA_WIDTH"
    assert loaded.sources["camera.height"] == str(file)


def test_text_settings_take_text_as_it_is_and_others_read_it_as_toml(file: Path) -> None:
    loaded = read(file, "", {"MASKWATCH_DEVICE_SITE": "12"}, "camera.loop=true", "vision.region=[0, 0, 0.5, 1]")

    assert loaded.settings.device.site == "12"
    assert loaded.settings.camera.loop is True
    assert loaded.settings.vision.region == (0.0, 0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[vision]\nmin_fase_px = 3", "vision.min_fase_px (did you mean 'min_face_px'?)"),
        ("[vison]\nmin_face_px = 3", "unknown section 'vison' (did you mean 'vision'?)"),
        ("vision = 3", "vision is a section, not a value"),
        ("[vision]\nmin_face_px = 'x'", "vision.min_face_px = 'x': expected `int`, got `str`"),
        ("[vision]\nmin_face_px = 2", "vision.min_face_px = 2: expected `int` >= 8"),
        ("[vision]\nregion = [0.5, 0.0, 0.4, 1.0]", "not x0 < x1 and y0 < y1 within 0..1"),
        ("[decision]\nenter = 0.6", "hysteresis needs a gap"),
        ("[report]\ncounts_idle_every_s = 10", "is below counts_every_s"),
        ("[device]\nsite = 'a/b'", "device: site = 'a/b'"),
        ("[camera\n", "not TOML"),
        ("[camera]\nrotate = 45", "camera.rotate = 45: invalid enum value 45"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(file: Path, text: str, said: str) -> None:
    line = refusal(file, text)

    assert said in line
    assert str(file) in line


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mqtt://broker.example", "is not encrypted"),
        ("mqtts://", "names no host"),
        ("mqtts://host:port", "mqtts://host:port"),
        ("mqtts://user:secret@host", "use username and password_file"),
        ("http://host", "mqtts?://"),
    ],
)
def test_a_broker_address_that_is_wrong_or_bare_is_refused(file: Path, url: str, said: str) -> None:
    assert said in refusal(file, "", {}, f"mqtt.url={url}")


def test_plaintext_beyond_this_machine_needs_saying_so(file: Path) -> None:
    loaded = read(file, "", {}, "mqtt.url=mqtt://broker.example", "mqtt.plaintext=true")

    assert (loaded.settings.mqtt.host, loaded.settings.mqtt.port, loaded.settings.mqtt.tls) == (
        "broker.example",
        1883,
        False,
    )


def test_ports_default_to_those_of_the_scheme() -> None:
    assert MqttSettings(url="mqtts://b").port == 8883
    assert MqttSettings(url="mqtts://b:1").port == 1


def test_a_certificate_without_its_key_is_refused(file: Path) -> None:
    assert "belong together" in refusal(file, "[mqtt]\ncert_file = '/a.pem'")


def test_unknown_names_in_the_environment_and_in_options_are_refused_with_the_nearest(file: Path) -> None:
    assert "did you mean 'MASKWATCH_CAMERA_SOURCE'?" in refusal(file, "", {"MASKWATCH_CAMERA_SORCE": "scene"})
    assert "did you mean 'loop'?" in refusal(file, "", {}, "camera.lop=true")
    assert "section.key=value" in refusal(file, "", {}, "camera.loop")
    assert "section.key=value" in refusal(file, "", {}, "loop=true")


def test_a_value_of_the_wrong_type_names_the_option_that_gave_it(file: Path) -> None:
    line = refusal(file, "", {}, "camera.fps=fast")

    assert line.startswith("--set camera.fps=fast: camera.fps = 'fast': expected `float`, got `str`")


def test_a_named_file_that_is_missing_or_a_folder_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"[device]\nsite = '\xff'")
    for path, said in (
        (tmp_path / "none.toml", "no such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "latin.toml", "not TOML"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        assert said in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_file_that_may_not_be_read_ends_with_77(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", deny)  # root may read everything, so the refusal itself is played

    with pytest.raises(NotPermittedError) as caught:
        load(file, {})

    assert caught.value.exit_code == 77


@pytest.mark.parametrize("key", ["site", "id"])
@pytest.mark.parametrize("name", ["a/b", "a+", "#", "$SYS", "a.b", "a b", "cam\n", "kamera-ü", "x" * 65])
def test_a_name_that_a_topic_an_access_list_or_a_certificate_would_misread_is_refused(
    file: Path, key: str, name: str
) -> None:
    line = refusal(file, "", {f"MASKWATCH_DEVICE_{key.upper()}": name})

    assert f"device: {key} = {name!r} is not 1 to 64 letters, digits, _ or -" in line


def test_a_site_needs_a_name(file: Path) -> None:
    assert "site = ''" in refusal(file, "[device]\nsite = ''\n")


@pytest.mark.parametrize("role", ["collector", "operator", "homeassistant"])
def test_a_board_may_not_bear_the_name_of_another_role_at_the_broker(file: Path, role: str) -> None:
    assert f"id = {role!r} is the broker's name for another role" in refusal(file, f"[device]\nid = '{role}'\n")
    assert read(file, f"[device]\nsite = '{role}'\nid = '{role}1'\n").settings.device.id == f"{role}1"


def test_the_digest_changes_with_any_setting_and_with_nothing_else(file: Path) -> None:
    one, same, other = read(file), read(file), read(file, "[camera]\nfps = 14")

    assert one.digest == same.digest != other.digest
    assert len(one.digest) == 16


@given(
    fps=st.floats(0.1, 120),
    quota_mb=st.floats(1, 1e5),
    site=st.from_regex(r"\A[A-Za-z0-9_-]{1,64}\Z"),
    loop=st.booleans(),
)
def test_settings_survive_a_round_trip_through_toml(fps: float, quota_mb: float, site: str, loop: bool) -> None:
    camera = f"[camera]\nfps = {fps!r}\nloop = {str(loop).lower()}\n"
    text = f"[device]\nsite = '{site}'\n{camera}[outbox]\nquota_mb = {quota_mb!r}\n"
    plain = msgspec.convert(tomllib.loads(text), Settings)

    overrides = [
        f"device.site={site}",
        f"camera.fps={fps!r}",
        f"camera.loop={str(loop).lower()}",
        f"outbox.quota_mb={quota_mb!r}",
    ]
    loaded = load(None, {}, [*overrides, "device.id=x"])

    assert msgspec.structs.replace(loaded.settings, device=plain.device) == plain


def test_the_board_is_named_by_its_serial_else_by_a_digest_that_hides_the_machine_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serial, machine = tmp_path / "serial-number", tmp_path / "machine-id"
    monkeypatch.setattr("agent.config._SERIAL_FILES", (serial,))
    monkeypatch.setattr("agent.config._MACHINE_ID", machine)

    assert machine_id() == "unnamed"
    machine.write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    hidden = machine_id()
    serial.write_bytes(b"10000000ABCDEF01\0")

    assert machine_id() == "10000000abcdef01"
    assert len(hidden) == 12
    assert hidden not in machine.read_text()


def test_every_error_of_the_family_has_the_exit_code_of_the_contract() -> None:
    codes = {kind.__name__: kind.exit_code for kind in MaskwatchError.__subclasses__()}

    assert codes == {
        "UsageError": 2,
        "InputError": 65,
        "ModelError": 65,
        "UnavailableError": 69,
        "StorageError": 74,
        "NotPermittedError": 77,
        "ConfigError": 78,
    }
