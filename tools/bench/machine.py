"""The machine that measures: its description for the record, and the readings that the kernel offers."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

import msgspec

_PACKAGES = ("numpy", "opencv-python-headless", "ai-edge-litert", "msgspec", "paho-mqtt")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure depends on. load: processes that wanted a core while the bench began, one-minute mean."""

    cpu: str
    cores: int
    memory_gb: float
    kernel: str
    python: str
    packages: dict[str, str]
    load: float


def describe() -> Machine:
    """Describe this machine, without a name of its own."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        kernel=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        load=round(os.getloadavg()[0], 2),
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo").read_text()
    found = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith(("model name", "Model"))]
    return found[0] if found else platform.machine()


def take_one_core() -> None:
    """Bind this process to the core that has just been the most idle."""
    before = _idle_ticks()
    time.sleep(0.2)  # the kernel counts in ticks of 10 ms
    idle = {core: ticks - before[core] for core, ticks in _idle_ticks().items() if core in os.sched_getaffinity(0)}
    os.sched_setaffinity(0, {max(idle, key=lambda core: idle[core])})


def _idle_ticks() -> dict[int, int]:
    lines = Path("/proc/stat").read_text().splitlines()
    return {int(line.split()[0][3:]): int(line.split()[4]) for line in lines if line[:3] == "cpu" and line[3] != " "}


def resident_mb(pid: int | str = "self") -> float:
    """Give the resident memory of a process, MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(kilobytes) * 1024 / 1e6


def written_bytes(pid: int | str = "self") -> int:
    """Give what a process has caused to be sent to a disk (proc(5): write_bytes)."""
    counters = Path(f"/proc/{pid}/io").read_text()
    return int(next(line.split()[1] for line in counters.splitlines() if line.startswith("write_bytes:")))
