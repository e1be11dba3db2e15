"""The Debian roots there are."""

from pathlib import Path

from tools.debian.root import DebianRoot

_REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "board.txt"
CAMERA_PYTHON = "/opt/camera/bin/python"
"""In `camera_trixie`: a Python that has picamera2 and what the agent needs."""

# What a fresh Raspberry Pi OS Lite has of what matters here. No python3-venv: its Lite image has none either.
_BOARD = (
    *("systemd", "systemd-sysv", "systemd-timesyncd", "dbus", "udev", "kmod", "procps", "sudo", "passwd", "less"),
    *("python3", "openssl", "ca-certificates", "iproute2", "iputils-ping", "iw", "rfkill", "usbutils", "wget"),
)

_BOARD_FILES = (("/etc/hosts", "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost\n127.0.1.1\traspberrypi\n"),)
_BOARD_SETUP = (("ln", "-sf", "/etc/machine-id", "/var/lib/dbus/machine-id"),)  # else all boards have D-Bus's as theirs

BROKERS = DebianRoot(
    name="trixie-brokers", suite="trixie", packages=("rabbitmq-server", "mosquitto", "ca-certificates")
)
"""The brokers of Debian 13, where those of Debian 12 are too old."""

BOARD_TRIXIE = DebianRoot(name="board-trixie", suite="trixie", packages=_BOARD, files=_BOARD_FILES, setup=_BOARD_SETUP)
BOARD_BOOKWORM = DebianRoot(
    name="board-bookworm", suite="bookworm", packages=_BOARD, files=_BOARD_FILES, setup=_BOARD_SETUP
)


def camera_trixie() -> DebianRoot:
    """Give the root with libcamera and the real picamera2, which Debian does not have and PyPI has.

    What it is built from: libcamera of Debian 13 has the virtual pipeline, Debian 12's has not. PiDNG, which picamera2
    wants, has a part in C and no wheel.
    """
    needed = ("python3-libcamera", "libcamera-ipa", "libcamera-tools", "python3-numpy", "python3-prctl")
    built = ("python3-venv", "python3-pip", "ca-certificates", "gcc", "libc6-dev", "python3-dev", "libcap-dev")
    pip = ("/opt/camera/bin/pip", "install", "-q", "--no-input", "--disable-pip-version-check")
    return DebianRoot(
        name="camera-trixie",
        suite="trixie",
        packages=(*needed, *built),
        files=(("/opt/camera.txt", _REQUIREMENTS.read_text()),),
        setup=(
            ("/usr/bin/python3", "-m", "venv", "--system-site-packages", "/opt/camera"),
            (*pip, "--require-hashes", "-r", "/opt/camera.txt"),
            (*pip, "picamera2==0.3.38"),
        ),
    )


HOME_ASSISTANT_PYTHON = "/opt/home-assistant/bin/python"

HOME_ASSISTANT = DebianRoot(
    name="home-assistant",
    suite="trixie",
    packages=("python3", "python3-venv", "python3-dev", "ca-certificates", "gcc", "g++", "libc6-dev"),
    setup=(
        ("/usr/bin/python3", "-m", "venv", "/opt/home-assistant"),
        (
            *("/opt/home-assistant/bin/pip", "install", "-q", "--no-input", "homeassistant==2025.4.4"),
            *(
                "paho-mqtt==2.1.0",
                "home-assistant-frontend==20250411.0",
            ),  # what its manifests of mqtt and frontend name
        ),
    ),
)
"""Home Assistant's core for Debian 13's Python, and what its MQTT integration needs."""
