"""How the board is doing, read from the kernel's files; what a board cannot tell is None.

Sources: proc(5) for /proc/self/status and /proc/self/io; sysfs ABI documents for class/thermal and the
raspberrypi-hwmon driver (reading the firmware's get_throttled file instead makes the kernel log a warning).
"""

import os
from pathlib import Path

import msgspec

from agent.clock import NS_PER_S, Clock
from agent.delivery.certificate import read_certificate

_DAY_NS = 86_400 * NS_PER_S


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """One reading. written_kb: by this process to disks, since it started."""

    memory_mb: float
    disk_free_mb: float
    written_kb: int
    temperature_c: float | None
    throttled: bool | None
    certificate_days: float | None


def read_health(directory: Path, cert_file: str, clock: Clock, *, root: Path = Path("/")) -> Health:
    """Read all of it. directory: the outbox's; cert_file: the certificate in use, or empty."""
    return Health(
        memory_mb=_field(root / "proc/self/status", "VmRSS:") / 1024,
        disk_free_mb=_disk_free_mb(directory),
        written_kb=_field(root / "proc/self/io", "write_bytes:") // 1024,
        temperature_c=temperature_c(root / "sys"),
        throttled=throttled(root / "sys"),
        certificate_days=_days_left(cert_file, clock),
    )


def temperature_c(sys: Path) -> float | None:
    """Give the processor's temperature in degrees Celsius: the zone that is named after it, else the hottest."""
    zones = {zone: _read(zone / "temp") for zone in sorted(sys.glob("class/thermal/thermal_zone*"))}
    celsius = {_read(zone / "type"): int(text) / 1000 for zone, text in zones.items() if text.lstrip("-").isdigit()}
    named = [value for kind, value in celsius.items() if kind.startswith(("cpu", "x86_pkg", "soc"))]
    return max(named or celsius.values(), default=None)


def throttled(sys: Path) -> bool | None:
    """Tell whether the board lacks voltage or the kernel has slowed the processor down for its heat, now."""
    voltage = [_read(chip / "in0_lcrit_alarm") for chip in sys.glob("class/hwmon/hwmon*") if _named(chip, "rpi_volt")]
    coolers = sys.glob("class/thermal/cooling_device*")
    heat = [_read(cooler / "cur_state") for cooler in coolers if _read(cooler / "type").startswith("cpufreq")]
    signs = [sign for sign in (*voltage, *heat) if sign.isdigit()]
    return any(int(sign) > 0 for sign in signs) if signs else None


def _days_left(cert_file: str, clock: Clock) -> float | None:
    if not cert_file or not clock.trusted():
        return None
    try:
        return (read_certificate(Path(cert_file).read_text("ascii")).ends_ns - clock.wall_ns()) / _DAY_NS
    except (OSError, ValueError):
        return None


def _disk_free_mb(directory: Path) -> float:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return 0.0  # a disk that does not even answer has no room
    return disk.f_bavail * disk.f_frsize / 1e6


def _field(file: Path, name: str) -> int:
    words = next((line.split() for line in _read(file).splitlines() if line.startswith(name)), [])
    return int(words[1]) if len(words) > 1 else 0


def _named(chip: Path, name: str) -> bool:
    return _read(chip / "name") == name


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
