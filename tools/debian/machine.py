"""A Debian root booted with its own systemd in a systemd-nspawn container, on a disk of its own that may lose power.

The root stays as it is: all that the machine writes goes to an ext4 in a file, laid over the root. Mounts live in a
mount namespace that ends with the machine. It shares this machine's network, so a server on loopback is in its reach.
Control groups: one of its own in each hierarchy that systemd uses, else machines side by side share theirs.
"""

import fcntl
import os
import secrets
import shlex
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from agent.errors import UnavailableError
from tools.debian.root import DebianRoot

_PROGRAMS = {"systemd-nspawn": "systemd-container", "mkfs.ext4": "e2fsprogs", "nsenter": "util-linux"}
_SBIN = "/usr/sbin:/usr/bin:/sbin:/bin"
_CGROUPS = Path("/sys/fs/cgroup")
_EXT4_IOC_SHUTDOWN, _NO_LOG_FLUSH = 0x8004587D, 2
_NEVER_LATER = "lazy_itable_init=0,lazy_journal_init=0"
_UP_S = 90.0
_DOWN_S = 60.0
_POLL_S = 0.05


class Machine:
    """One machine. It is off until `power_on`; as a context it is on, and is thrown away at the end.

    folder: holds the disk and what its console says. shown: by their paths inside, folders of this machine that are to
    be read there. disk: of another machine over the same root that is off; this one gets a copy and is its twin.
    """

    def __init__(
        self,
        root: DebianRoot,
        folder: Path,
        *,
        disk_mb: int = 3000,
        shown: Mapping[str, Path] | None = None,
        disk: Path | None = None,
    ) -> None:
        """Raises UnavailableError where this machine cannot boot one."""
        for program, package in _PROGRAMS.items():
            if shutil.which(program, path=_SBIN) is None:
                raise UnavailableError(f"{program} is missing", where=root.name, remedy=f"apt-get install {package}")
        self._lower = root.ready()
        self._folder = folder
        self._shown = dict(shown or {})
        self.name = f"maskwatch-{secrets.token_hex(4)}"
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        folder.mkdir(parents=True)
        (folder / "root").mkdir()
        self.disk = folder / "disk"
        if disk is not None:
            subprocess.run(["cp", "--sparse=always", disk, self.disk], check=True)
            return
        with self.disk.open("wb") as image:
            image.truncate(disk_mb * 1_000_000)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-E", _NEVER_LATER, "-F", self.disk], check=True)

    @property
    def console(self) -> str:
        """What its console has said."""
        log = self._folder / "console"
        return log.read_text(errors="replace") if log.exists() else ""

    @property
    def files(self) -> Path:
        """Its file system as its own processes see it, while it is on."""
        return Path(f"/proc/{self._leader}/root")

    @property
    def is_on(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    def power_on(self) -> None:
        """Boot, and wait until its systemd has started all there is. Raises UnavailableError when it does not."""
        assert not self.is_on
        for group in self._cgroups():
            group.mkdir(exist_ok=True)
        with (self._folder / "console").open("ab") as log:
            self._nspawn = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", "sh", "-ec", self._script()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait(self._has_leader, "its first process")
            self._wait(self._has_booted, "the end of its boot")
        except BaseException:
            self.close()
            raise

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        timeout_s: float = 60.0,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside, as root, and wait for its end. Raises subprocess.TimeoutExpired after timeout_s."""
        return subprocess.run(
            self.command(arguments, environment=environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def command(self, arguments: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> list[str]:
        """Give the command line that runs a program inside; its process is a child there of nobody."""
        assert self._leader, "the machine is off"
        inside = {"PATH": f"/usr/local/sbin:/usr/local/bin:{_SBIN}", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        settings = [f"{key}={value}" for key, value in {**inside, **(environment or {})}.items()]
        enter = ["nsenter", "--target", str(self._leader), *("-m", "-p", "-u", "-i", "-n", "-C", "--root", "--wd")]
        return [*enter, "/usr/bin/env", "-i", *settings, *map(str, arguments)]

    def power_off(self) -> None:
        """Let it shut down in order, and wait until it is off."""
        self.run(["systemctl", "poweroff", "--no-wall"])
        self._wait(lambda: not self.is_on, "its end", within_s=_DOWN_S)
        self._forget()

    def cut_power(self) -> None:
        """Take its power: what was not synced to its disk is lost, and no process of it says another word."""
        disk = os.open(f"/proc/{self._nspawn_pid()}/root{self._folder / 'card'}", os.O_RDONLY)
        try:
            fcntl.ioctl(disk, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(disk)
        self.close()

    def journal(self, *arguments: str) -> str:
        """Give what its journal holds, of this boot; arguments: further ones for journalctl."""
        return self.run(["journalctl", "--no-pager", "-o", "short-monotonic", "-b", *arguments]).stdout

    def close(self) -> None:
        """End it at once, if it is on. The disk stays as its kernel has it."""
        if self._nspawn is None:
            return
        if self._leader:
            with suppress(ProcessLookupError):
                os.kill(self._leader, signal.SIGKILL)  # the first process: all others inside end with it
        with suppress(ProcessLookupError):
            os.killpg(self._nspawn.pid, signal.SIGKILL)
        self._nspawn.wait(_DOWN_S)
        self._forget()

    def __enter__(self) -> Self:
        self.power_on()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self.disk.unlink()

    def _script(self) -> str:
        """Mount what it stands on, and become systemd-nspawn."""
        card, root = shlex.quote(str(self._folder / "card")), shlex.quote(str(self._folder / "root"))
        steps = [f"echo $$ > {group}/cgroup.procs" for group in self._cgroups()]
        steps += [f"mkdir -p {card}", f"mount -o loop {shlex.quote(str(self.disk))} {card}"]
        steps += [f"mkdir -p {card}/upper {card}/work"]
        layers = f"lowerdir={self._lower},upperdir={self._folder}/card/upper,workdir={self._folder}/card/work"
        steps += [f"mount -t overlay -o {shlex.quote(layers)} overlay {root}"]
        steps += ["mount -t tmpfs tmpfs /run"]  # nspawn keeps its propagation folder there
        nspawn = ["systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", f"--machine={self.name}"]
        nspawn += ["--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe"]
        nspawn += [f"--directory={self._folder / 'root'}"]
        nspawn += [f"--bind-ro={folder}:{path}" for path, folder in self._shown.items()]
        return "\n".join([*steps, f"exec {shlex.join(nspawn)}"])

    def _cgroups(self) -> list[Path]:
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / self.name]
        return [place / self.name for place in (_CGROUPS / "systemd", _CGROUPS / "unified") if place.is_dir()]

    def _nspawn_pid(self) -> int:
        assert self._nspawn is not None
        return self._nspawn.pid

    def _has_leader(self) -> bool:
        """Find its first process: it is the child of systemd-nspawn that has become systemd."""
        children = Path(f"/proc/{self._nspawn_pid()}/task/{self._nspawn_pid()}/children")
        for pid in children.read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                    self._leader = int(pid)
        return self._leader != 0

    def _has_booted(self) -> bool:
        told = self.run(["systemctl", "is-system-running"]).stdout.strip()
        return told in ("running", "degraded")

    def _wait(self, condition: Callable[[], bool], what: str, within_s: float = _UP_S) -> None:
        end = time.monotonic() + within_s
        while not condition():
            dead = self._nspawn is None or self._nspawn.poll() is not None
            if dead or time.monotonic() > end:
                why = "systemd-nspawn ended" if dead else f"it did not come within {within_s:.0f} s"
                tail = " | ".join(self.console.strip().splitlines()[-5:])
                raise UnavailableError(f"waited for {what}: {why}", where=self.name, remedy=f"its console: {tail}")
            time.sleep(_POLL_S)

    def _forget(self) -> None:
        """Wait until the kernel has let go of its disk, and remove its control groups."""
        self._nspawn, self._leader = None, 0
        attached = ["losetup", "--associated", str(self.disk), "--noheadings"]
        end = time.monotonic() + _DOWN_S
        while subprocess.run(attached, capture_output=True, check=True).stdout:
            if time.monotonic() > end:
                raise UnavailableError("its disk stays in use", where=self.name, remedy="losetup -a shows it")
            time.sleep(_POLL_S)
        for group in self._cgroups():
            for path, _, _ in os.walk(group, topdown=False):
                with suppress(OSError):
                    Path(path).rmdir()
