"""A board's processor: Debian 12's qemu-user, the last one packaged that takes plugins, on a Debian arm64 root.

It is fetched like the roots, so that every machine counts with the same emulator. Linux shows a program the processor
in /proc/cpuinfo, and this QEMU shows that of the machine underneath: XNNPACK's library of processors finds no Arm core
in it and reads through a null pointer. So each board has a /proc/cpuinfo of its own, and XNNPACK chooses its kernels
as it does on the board itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from agent.errors import UnavailableError
from tools.arm.archive import architecture, unpacked, version
from tools.arm.cache import kept, run

_SUITE = "bookworm"
_EMULATOR = "qemu-user"
_PLUGIN = Path(__file__).with_name("count.c")
_PYTHON_PACKAGES = ("base-files", "python3-minimal", "libpython3-stdlib", "libstdc++6")
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
_REPOSITORY = Path(__file__).parents[2]
_CORES = 4


class Cpu(msgspec.Struct, frozen=True, kw_only=True):
    """A core as QEMU names it, and as Linux describes it on the board. part, revision: of MIDR_EL1; flags: HWCAP."""

    name: str
    part: str
    variant: str
    revision: str
    flags: str

    @property
    def description(self) -> str:
        """Give /proc/cpuinfo as the board has it."""
        lines = {
            "BogoMIPS": "38.40",
            "Features": self.flags,
            "CPU implementer": "0x41",
            "CPU architecture": "8",
            "CPU variant": self.variant,
            "CPU part": self.part,
            "CPU revision": self.revision,
        }
        text = "".join(f"{name}\t: {value}\n" for name, value in lines.items())
        return "\n".join(f"processor\t: {core}\n{text}" for core in range(_CORES))


CPUS = {
    cpu.name: cpu
    for cpu in (
        Cpu(name="cortex-a53", part="0xd03", variant="0x0", revision="4", flags="fp asimd evtstrm crc32 cpuid"),
        Cpu(name="cortex-a72", part="0xd08", variant="0x0", revision="3", flags="fp asimd evtstrm crc32 cpuid"),
        Cpu(
            name="cortex-a76",
            part="0xd0b",
            variant="0x4",
            revision="1",
            flags="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        ),
    )
}


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """A Debian release on a core. Programs see its folder first and this machine's files behind it."""

    suite: str
    cpu: str
    emulator: tuple[str, ...]
    plugin: str
    folder: str

    @property
    def python(self) -> str:
        return PYTHONS[self.suite]

    def run(
        self, arguments: Sequence[str | Path], *, within_s: float, site: Path | None = None, counts: Path | None = None
    ) -> str:
        """Run Python with these arguments and give what it printed.

        site: where its packages are; the repository is importable with them. counts: where the plugin writes.
        """
        plugin = [] if counts is None else ["-plugin", f"{self.plugin},out={counts}"]
        python = f"{self.folder}/usr/bin/python{self.python}"
        flags = ["-I"] if site is None else []
        environment = {
            "QEMU_CPU": self.cpu,
            "QEMU_LD_PREFIX": self.folder,
            "PYTHONPATH": "" if site is None else f"{site}:{_REPOSITORY}",
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
            "LD_LIBRARY_PATH": "",
        }
        command = [*self.emulator, *plugin, python, *flags, "-S", "-B", *arguments]
        return run(command, within_s=within_s, remedy="run it by hand to see more", environment=environment)


def board(suite: str, cpu: str) -> Board:
    """Give a board, fetching what it needs first.

    Raises UnavailableError where the archive does not answer, or there is no C compiler for the plugin.
    """
    tools = unpacked(_SUITE, architecture(), (_EMULATOR,))
    linker = next(iter(sorted(tools.glob("lib*/ld-linux-*.so.*"))), None)
    if linker is None:
        raise UnavailableError("has no dynamic linker", where=str(tools), remedy="remove that folder and try again")
    libraries = ":".join(sorted({str(path.parent) for path in tools.glob("**/lib*.so.*")}))
    root = unpacked(suite, "arm64", _PYTHON_PACKAGES)
    described = CPUS[cpu].description

    def make(folder: Path) -> None:
        for name in ("bin", "etc", "lib", "usr"):
            (folder / name).symlink_to(root / name)
        (folder / "proc").mkdir()
        (folder / "proc" / "cpuinfo").write_text(described)

    return Board(
        suite=suite,
        cpu=cpu,
        emulator=(str(linker), "--library-path", libraries, str(tools / "usr/bin/qemu-aarch64")),
        plugin=str(_compiled()),
        folder=str(kept(f"board-{suite}-{cpu}", f"{root}\n{described}", make)),
    )


def emulator_version() -> str:
    """Give the emulator's package and version."""
    return f"{_EMULATOR} {version(unpacked(_SUITE, architecture(), (_EMULATOR,)), _EMULATOR)}"


def _compiled() -> Path:
    source = _PLUGIN.read_text()

    def make(folder: Path) -> None:
        compiler = os.environ.get("CC", "cc")
        command = [compiler, "-O2", "-Wall", "-shared", "-fPIC", str(_PLUGIN), "-o", str(folder / "count.so")]
        run(command, within_s=60, remedy="apt-get install gcc libc6-dev")

    return kept("plugin", source, make) / "count.so"
