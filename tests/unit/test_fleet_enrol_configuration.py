"""What a bundle says to agent and board: what the agent would read of it, and what is refused while it is made."""

from pathlib import Path

import pytest

from agent.config import load
from agent.errors import ConfigError, MaskwatchError
from agent.settings import Settings
from deploy.provision.options import Options, read_options
from tools.fleet.enrol.configuration import DEVICE, Wishes, board_toml, check_url, config_toml

BROKER = "mqtts://broker.example:8883"


def read(text: str, folder: Path) -> Settings:
    """Read it as a board does, whose id is `door`."""
    file = folder / "read.toml"
    file.write_text(text.replace(DEVICE, "door"))
    return load(file, environ={}).settings


def test_the_least_that_is_said_is_who_and_where(tmp_path: Path) -> None:
    settings = read(config_toml(Wishes(site="hall", broker=BROKER)), tmp_path)

    assert (settings.device.site, settings.device.id) == ("hall", "door")
    assert settings.mqtt.url == BROKER
    assert settings.mqtt.ca_file == "/etc/maskwatch/ca.pem"
    assert settings.mqtt.cert_file == "/var/lib/maskwatch/device.pem"
    assert settings.mqtt.key_file == "/etc/maskwatch/secrets/key.pem"
    assert (settings.camera, settings.vision) == (Settings().camera, Settings().vision)


def test_an_overlay_adds_what_it_says_and_an_option_outdoes_it(tmp_path: Path) -> None:
    overlay = tmp_path / "more.toml"
    overlay.write_text(
        '[camera]\nsource = "v4l2:/dev/video0"\nrotate = 180\n[vision]\nregion = [0.0, 0.1, 1, 0.9]\n'
        '[mqtt]\nack_mode = "collector"\nkeepalive_s = 30\n[report]\ndiscovery = false\n'
    )
    settings = read(config_toml(Wishes(site="a", broker=BROKER, camera="picamera2:1", overlay=overlay)), tmp_path)

    assert (settings.camera.source, settings.camera.rotate) == ("picamera2:1", 180)
    assert settings.vision.region == (0.0, 0.1, 1.0, 0.9)
    assert (settings.mqtt.ack_mode, settings.mqtt.keepalive_s, settings.mqtt.url) == ("collector", 30, BROKER)
    assert settings.report.discovery is False


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[visoin]\nx = 1\n", "did you mean 'vision'"),
        ("[vision]\nregoin = 1\n", "did you mean 'region'"),
        ('[camera]\nfps = "fast"\n', "camera.fps"),
        ("[decision]\nenter = 0.1\n", "hysteresis"),
        ("camera = 3\n", "camera is a section"),
        ("[camera]\nsource = 2026-01-01\nfps = 1979-05-27T07:32:00Z\n", "camera.fps"),
        ("x = [", "not TOML"),
        ('[device]\nid = "door"\n', "--site"),
        ('[device]\nsite = "hall"\n', "--site"),
    ],
)
def test_an_overlay_that_the_agent_would_not_take_is_one_line_now(tmp_path: Path, text: str, what: str) -> None:
    overlay = tmp_path / "more.toml"
    overlay.write_text(text)
    with pytest.raises(ConfigError) as refused:
        config_toml(Wishes(site="a", broker=BROKER, overlay=overlay))
    assert what in str(refused.value)
    assert "/tmp/tmp" not in str(refused.value)  # no file that nobody has written


@pytest.mark.parametrize("broker", ["mqtt://broker.example", "https://broker.example", "broker.example", "mqtts://"])
def test_a_broker_that_boards_would_not_talk_to_is_refused(broker: str) -> None:
    with pytest.raises(ConfigError, match=r"mqtt(\.|:)"):
        config_toml(Wishes(site="a", broker=broker))


def test_an_overlay_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaskwatchError, match=r"none\.toml"):
        config_toml(Wishes(site="a", broker=BROKER, overlay=tmp_path / "none.toml"))


def test_board_toml_is_read_by_the_board_as_it_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "board.toml"
    file.write_text(board_toml(None))
    assert read_options(file) == Options()
    file.write_text('[board]\njournal = "persistent"\nhardware_watchdog_s = 15\n')
    file.write_text(board_toml(file))
    assert read_options(file) == Options(journal="persistent", hardware_watchdog_s=15)
    file.write_text("[board]\nhardware_watchdog_s = 16\n")
    with pytest.raises(ConfigError, match="hardware_watchdog_s"):
        board_toml(file)


@pytest.mark.parametrize(
    ("url", "host"),
    [("https://enrol.example:8443", "enrol.example"), ("https://[::1]:8443/", "::1"), ("https://10.0.0.1", "10.0.0.1")],
)
def test_the_server_s_url_names_a_host(url: str, host: str) -> None:
    assert check_url(url) == host


@pytest.mark.parametrize(
    "url", ["http://x:1", "x:8443", "https://", "https://x:99999", "https://x/v1/enrol", "https://u@x", "https://x?y"]
)
def test_what_is_no_server_s_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="https://HOST:8443"):
        check_url(url)
