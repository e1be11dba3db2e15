"""Preflight: what this board is, and whether the bundle is for it. Nothing is changed before all of it is known."""

import importlib.util
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from .board import Board
from .bundle import Bundle
from .problem import Exit, Problem

FREE_MB = 500  # a release is 350 MB; the old one stays, and the outbox may take 64
MEMORY_MB = 350  # a Zero 2 W has 415 to give; the service may take 300
_CLOCK_WAIT_S = 60.0  # from a network that just came up to a clock that is right
_CORALS = {("1a6e", "089a"): "before its firmware", ("18d1", "9302"): "ready"}
# Nodes that a Raspberry Pi has without any camera: codecs, scalers and image processors.
_NO_CAMERAS = ("bcm2835-codec", "bcm2835-isp", "rpivid", "rpi-hevc", "pispbe", "hantro", "rpi-h264")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was found. systemd: its version, 0 where it does not run. corals: each one's state."""

    system: str
    debian: int
    model: str
    machine: str
    python: str
    systemd: int
    free_mb: float
    memory_mb: float
    wall_s: float
    lacking: tuple[str, ...]
    cameras: tuple[str, ...]
    corals: tuple[str, ...]
    has_libedgetpu: bool
    has_picamera2: bool
    has_wifi: bool


def gather(board: Board) -> Facts:
    """Look at the board."""
    release = dict(_shell_lines(board.text("/etc/os-release")))
    version = release.get("VERSION_ID", "")
    debian = release.get("ID") in ("debian", "raspbian")
    return Facts(
        system=release.get("PRETTY_NAME", "an unknown system"),
        debian=int(version) if debian and version.isdigit() else 0,
        model=board.text("/proc/device-tree/model"),
        machine=board.machine(),
        python=board.python(),
        systemd=_systemd(board),
        free_mb=board.free_mb("/opt"),
        memory_mb=_memory_mb(board),
        wall_s=board.wall_s(),
        lacking=_lacking(board),
        cameras=_cameras(board),
        corals=_corals(board),
        has_libedgetpu=any(
            board.is_there(f"{folder}/libedgetpu.so.1")
            for folder in ("/usr/lib", "/usr/local/lib", f"/usr/lib/{board.machine()}-linux-gnu")
        ),
        has_picamera2=any(board.is_there(f"{folder}/picamera2") for folder in ("/usr/lib/python3/dist-packages",)),
        has_wifi=any(board.is_there(f"/sys/class/net/{name}/wireless") for name in board.names("/sys/class/net")),
    )


def judge(facts: Facts, bundle: Bundle, *, is_installed: bool) -> None:
    """Raise Problem for the first reason why the bundle cannot be installed here. is_installed: its release is."""
    manifest = bundle.manifest
    where = facts.model or facts.system
    if facts.debian < 12:
        raise _unfit(f"{facts.system} is not supported", where, "use Raspberry Pi OS or Debian, 12 or later")
    if facts.machine not in manifest.machines:
        remedy = f"use a 64-bit system, or make a bundle with --machine {facts.machine}"
        raise _unfit(f"the bundle is for {' and '.join(manifest.machines)}, not {facts.machine}", where, remedy)
    if facts.python not in manifest.pythons:
        remedy = f"make a bundle with --python {facts.python}"
        raise _unfit(f"the bundle is for Python {' and '.join(manifest.pythons)}, not {facts.python}", where, remedy)
    if facts.lacking:
        raise _unfit(f"{' and '.join(facts.lacking)} missing", where, f"apt-get install {' '.join(facts.lacking)}")
    if not facts.systemd:
        remedy = "run this on the booted board; in an image, let cloud-init do it at the first boot (deploy/cloud-init)"
        raise Problem("systemd does not run here", where=where, remedy=remedy, code=Exit.UNAVAILABLE)
    if facts.memory_mb < MEMORY_MB:
        raise _unfit(f"{facts.memory_mb:.0f} MB of memory, {MEMORY_MB} are needed", where, "use a larger board")
    if facts.free_mb < FREE_MB and not is_installed:
        what = f"{facts.free_mb:.0f} MB are free, {FREE_MB} are needed"
        raise Problem(what, where="/opt", remedy="make room, or use a larger card", code=Exit.STORAGE)
    if facts.wall_s < manifest.made_s:
        raise Problem(
            f"the clock is behind: the bundle was made later, at {manifest.made}; no certificate would be valid",
            where=where,
            remedy="connect the network and wait until timedatectl says synchronized, or set it with date",
            code=Exit.UNAVAILABLE,
        )


def wait_for_clock(board: Board, bundle: Bundle, say: Callable[[str], None]) -> None:
    """Give a clock that is behind the bundle a minute: a board without a battery learns the time from the network."""
    end_s = board.now_s() + _CLOCK_WAIT_S
    if board.wall_s() < bundle.manifest.made_s:
        say("the clock is behind; waiting for the network's time")
    while board.wall_s() < bundle.manifest.made_s and board.now_s() < end_s:
        board.sleep(2.0)


def describe(facts: Facts) -> str:
    """Say in one line what was found."""
    parts = [facts.model, facts.system, facts.machine, f"Python {facts.python}"]
    parts.append(f"{facts.free_mb / 1000:.1f} GB free")
    return ", ".join(part for part in parts if part)


def remarks(facts: Facts) -> list[str]:
    """Say what the board lacks for its work and can be had later, one line each."""
    found = []
    if facts.cameras:
        found.append(f"camera: {', '.join(facts.cameras)}")
    else:
        found.append("camera: none seen; the agent waits for one (rpicam-hello --list-cameras shows what Pi OS sees)")
    if facts.model.startswith("Raspberry Pi") and not facts.has_picamera2:
        found.append("picamera2 is missing: apt-get install --no-install-recommends python3-picamera2")
    found += [f"Coral: seen, {state}" for state in facts.corals]
    if facts.corals and not facts.has_libedgetpu:
        found.append("Coral: libedgetpu.so.1 is missing; the agent uses the CPU until it is there")
    return found


def _lacking(board: Board) -> tuple[str, ...]:
    """Name the packages of the programs that are missing."""
    programs = {"openssl": "openssl", "setpriv": "util-linux", "userdel": "passwd"}
    found = [package for program, package in programs.items() if not board.has_program(program)]
    if importlib.util.find_spec("venv") is None:
        found.append("python3-venv")
    return tuple(found)


def _systemd(board: Board) -> int:
    if not board.is_folder("/run/systemd/system"):  # sd_booted(3)
        return 0
    words = board.ask("systemctl", "--version").out.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _memory_mb(board: Board) -> float:
    for line in board.text("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return float(line.split()[1]) * 1024 / 1e6
    return float("inf")


def _cameras(board: Board) -> tuple[str, ...]:
    folder = "/sys/class/video4linux"
    names = {node: board.text(f"{folder}/{node}/name") for node in board.names(folder)}
    sensors = [name for node, name in names.items() if node.startswith("v4l-subdev") and "-00" in name]  # on an I2C bus
    if not sensors:
        sensors = [
            name for node, name in names.items() if node.startswith("video") and not name.startswith(_NO_CAMERAS)
        ]
    return tuple(dict.fromkeys(name for name in sensors if name))


def _corals(board: Board) -> tuple[str, ...]:
    folder = "/sys/bus/usb/devices"
    found = []
    for name in board.names(folder):
        ids = board.text(f"{folder}/{name}/idVendor"), board.text(f"{folder}/{name}/idProduct")
        if ids in _CORALS:
            found.append(f"{_CORALS[ids]} ({':'.join(ids)})")
    return (*found, *(f"on PCIe (/dev/{name})" for name in board.names("/dev") if name.startswith("apex_")))


def _shell_lines(text: str) -> list[tuple[str, str]]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return [(key, "".join(shlex.split(value))) for key, value in pairs]


def _unfit(what: str, where: str, remedy: str) -> Problem:
    return Problem(what, where=where, remedy=remedy, code=Exit.UNFIT)
