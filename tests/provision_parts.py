"""A board to provision: a folder as its root, real files, openssl, users and tmpfiles, and a stand-in for systemd.

systemctl and what else needs a booted system is answered by a small model of it that remembers on the disk of the root,
so that it survives whatever is done to the program under test.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deploy.provision.board import Board, Done, run_command
from deploy.provision.command import main
from tests.real import need

REPOSITORY = Path(__file__).parents[1]
SYSTEMD = REPOSITORY / "systemd"
SERIAL = "100000003d1f2a3b"
MADE = "2026-01-02T03:04:05Z"
CONFIG = """\
[device]
site = "a"
id = "@DEVICE@"

[mqtt]
url = "mqtts://broker.example:8883"
ca_file = "/etc/maskwatch/ca.pem"
cert_file = "/var/lib/maskwatch/device.pem"
key_file = "/etc/maskwatch/secrets/key.pem"
"""
FSTAB = """\
proc            /proc           proc    defaults          0       0
PARTUUID=0a-01  /boot/firmware  vfat    defaults          0       2
PARTUUID=0a-02  /               ext4    defaults,relatime 0       1
# a swapfile is not a swap partition, no line here
"""
_PASSWD = "root:x:0:0:root:/root:/bin/bash\n"
_GROUP = "root:x:0:\nvideo:x:44:\n"


def need_root() -> None:
    """Skip where files cannot be given to other users."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give files to the users of a board: sudo make test")
    for program in ("systemd-sysusers", "systemd-tmpfiles"):
        need(program, "systemd")
    need("openssl", "openssl")


def make_root(root: Path) -> Path:
    """Make what a freshly flashed Raspberry Pi has of what provisioning looks at."""
    for folder in ("etc/udev/rules.d", "etc/systemd/system", "etc/NetworkManager/conf.d", "usr/lib/sysusers.d"):
        (root / folder).mkdir(parents=True)
    for folder in ("usr/lib/tmpfiles.d", "usr/local/bin", "var/lib", "opt", "run/systemd/system", "proc/self", "dev"):
        (root / folder).mkdir(parents=True)
    (root / "proc/device-tree").mkdir()
    for path, text in {
        "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\nVERSION_ID="13"\n',
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "etc/passwd": _PASSWD,
        "etc/group": _GROUP,
        "etc/fstab": FSTAB,
        "proc/self/mounts": "/dev/root / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n",
        "proc/meminfo": "MemTotal:         430000 kB\n",
        "proc/device-tree/serial-number": f"{SERIAL}\0",
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
    }.items():
        (root / path).write_text(text)
    (root / "etc/shadow").touch(0o640)
    (root / "etc/gshadow").touch(0o640)
    return root


def listing(root: Path) -> dict[str, str]:
    """Give every path below a root with its kind, rights, owner and content, but for what a system keeps in memory."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.split("/")[0] in ("run", "proc", "model"):
            continue
        status = path.lstat()
        what = f"-> {path.readlink()}" if path.is_symlink() else ""
        if not what and path.is_file():
            what = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        found[name] = f"{status.st_mode:o} {status.st_uid}:{status.st_gid} {what}"
    return found


class Authority:
    """A root, an issuing authority below it, and what they sign; all by the openssl command, as an oracle."""

    def __init__(self, folder: Path, name: str = "test fleet") -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.root = folder / "root.pem"
        self.issuing = folder / "issuing.pem"
        (folder / "ca.ext").write_text("basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n")
        self._openssl("req", "-x509", *_KEY, "-keyout", "root.key", "-out", "root.pem", "-subj", f"/CN={name}")
        self._openssl("req", *_KEY, "-keyout", "issuing.key", "-out", "issuing.csr", "-subj", f"/CN={name} issuing")
        self._sign("issuing", by="root", extensions="ca.ext")

    def certificate(self, request: str, name: str, *, days: int = 90, host: str = "") -> str:
        """Sign a request for a name. Returns leaf and issuing authority, PEM."""
        (self._folder / "leaf.csr").write_text(request)
        usage = "serverAuth" if host else "clientAuth"
        names = f"subjectAltName=DNS:{host or name}"
        (self._folder / "leaf.ext").write_text(f"{names}\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n")
        self._sign("leaf", by="issuing", extensions="leaf.ext", days=days)
        return (self._folder / "leaf.pem").read_text() + self.issuing.read_text()

    def server(self, host: str) -> Path:
        """Give a file with key and chain for a TLS server."""
        self._openssl("req", *_KEY, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={host}")
        chain = self.certificate((self._folder / "server.csr").read_text(), host, host=host)
        file = self._folder / "server.both"
        file.write_text((self._folder / "server.key").read_text() + chain)
        return file

    def _sign(self, name: str, *, by: str, extensions: str, days: int = 90) -> None:
        words = ["x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-CA", f"{by}.pem", "-CAkey", f"{by}.key"]
        words += ["-CAcreateserial", "-extfile", extensions, "-days", str(days)]
        self._openssl(*words)

    def _openssl(self, *words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=self._folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_bundle(
    folder: Path,
    ca: Path,
    *,
    version: str = "1.0",
    config: str = CONFIG,
    url: str = "",
    options: str = "",
    wheels: Sequence[Path] = (),
    pip: str = "pip-0-py3-none-any.whl",
    board: str = "",
) -> Path:
    """Make a bundle. url: of the enrolment server; none: the request is carried by hand. wheels: none are dummies."""
    (folder / "wheels").mkdir(parents=True)
    wheel = f"maskwatch-{version}-py3-none-any.whl"
    if wheels:
        for file in wheels:
            (folder / "wheels" / file.name).write_bytes(file.read_bytes())
    else:
        for name in (pip, wheel):
            (folder / "wheels" / name).write_text(name)
    (folder / "ca.pem").write_bytes(ca.read_bytes())
    (folder / "config.toml").write_text(config)
    (folder / "board.txt").write_text(board)
    if options:
        (folder / "board.toml").write_text(options)
    if url:
        claim = {"url": url, "claim": "c1.secret", "expires": "2099-01-01T00:00:00Z"}
        (folder / "claim.json").write_text(json.dumps(claim))
    for file in sorted(SYSTEMD.rglob("*")):
        if file.is_file() and file.suffix != ".md":
            place = folder / "systemd" / file.relative_to(SYSTEMD)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
    seal(folder, version=version, wheel=wheel, pip=pip)
    return folder


def seal(folder: Path, *, version: str, wheel: str, pip: str) -> None:
    """Write bundle.json for what lies in a folder."""
    files = {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != "bundle.json"
    }
    table = {
        "format": 1,
        "version": version,
        "wheel": wheel,
        "pip": pip,
        "site": "a",
        "machines": [os.uname().machine],
        "pythons": [f"{sys.version_info.major}.{sys.version_info.minor}"],
        "made": MADE,
        "files": files,
    }
    (folder / "bundle.json").write_text(json.dumps(table))


class System:
    """Runs the commands of a board whose root is a folder: what needs a booted system is modelled, the rest is real.

    The model keeps its state in the root's folder `model`: which units are active, what was run. quick: a release is
    made of one file instead of by venv and pip. healthy: tells whether the agent of a version gets an event through.
    """

    def __init__(
        self, root: Path, *, quick: bool = True, healthy: Callable[[str], bool] = lambda version: True
    ) -> None:
        self.root = root
        self.quick = quick
        self.healthy = healthy
        self.trial_says = ""
        self.canned: dict[str, Callable[[Path], None]] = {}
        self.version = 257
        (root / "model").mkdir(exist_ok=True)

    @property
    def ran(self) -> list[str]:
        """What was run so far, of what the model answers, and was no question."""
        file = self.root / "model/ran"
        return file.read_text().splitlines() if file.exists() else []

    def forget(self) -> None:
        (self.root / "model/ran").unlink(missing_ok=True)

    @property
    def active(self) -> str:
        """The version of the agent that runs, or nothing."""
        file = self.root / "model/active"
        return file.read_text() if file.exists() else ""

    def __call__(self, words: Sequence[str], *, timeout_s: float, keep: Sequence[int]) -> Done:
        name = Path(words[0]).name
        if name == "systemctl":
            return self._systemctl(list(words[1:]))
        if name == "maskwatch" and self.quick:
            return self._agent(Path(words[0]), list(words[1:]))
        if name in ("udevadm", "mount", "iw"):
            self._note(words)
            return _said("")
        if name == "journalctl":
            return _said("the journal's last line\n")
        if self.canned and name in self.canned:
            self.canned[name](self.root)
            return _said("")
        if name in ("systemd-sysusers", "systemd-tmpfiles"):
            words = [words[0], f"--root={self.root}", *words[1:]]
        if name in ("userdel", "groupdel"):
            words = [words[0], "--prefix", str(self.root), *words[1:]]
        if self.quick and "venv" in words:
            (Path(words[-1]) / "bin").mkdir(parents=True)
            return _said("")
        if self.quick and "install" in words:
            (Path(words[0]).parent / "maskwatch").write_text("#!/bin/sh\n")
            return _said("")
        return run_command(words, timeout_s=timeout_s, keep=keep)

    def _systemctl(self, words: list[str]) -> Done:
        unit = self.root / "etc/systemd/system/maskwatch.service"
        wants = self.root / "etc/systemd/system/multi-user.target.wants"
        active = self.root / "model/active"
        match words:
            case ["--version"]:
                return _said(f"systemd {self.version} (257.8-1)\n")
            case ["is-enabled", "maskwatch.service"]:
                return _said("enabled\n" if (wants / unit.name).is_symlink() else "disabled\n")
            case ["is-enabled", *_]:
                return _said("not-found\n", 1)
            case ["is-active", "maskwatch.service"]:
                return _said("active\n" if active.exists() else "inactive\n")
            case ["is-active", _]:
                return _said("inactive\n", 3)
        self._note(["systemctl", *words])
        match words:
            case ["enable", _]:
                wants.mkdir(exist_ok=True)
                (wants / unit.name).unlink(missing_ok=True)
                (wants / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")
            case ["disable", "--now", _]:
                (wants / unit.name).unlink(missing_ok=True)
                if wants.is_dir() and not list(wants.iterdir()):
                    wants.rmdir()
                active.unlink(missing_ok=True)
            case ["stop", _]:
                active.unlink(missing_ok=True)
            case ["restart", _]:
                assert unit.exists()
                active.write_text((self.root / "opt/maskwatch/current").readlink().name)
                state = self.root / "var/lib/maskwatch/outbox.db"
                state.touch()
        return _said("")

    def _agent(self, program: Path, words: list[str]) -> Done:
        if not program.exists():
            raise FileNotFoundError(program)
        if words[0] == "config":
            return Done(code=78 if self.trial_says else 0, out="", err=self.trial_says)
        if words[-1] == "0":
            return Done(code=69, out="board   ok    here\nmodels  ok    golden\n", err="agent   FAIL  none\n")
        if self.active and self.healthy(self.active):
            return _said("agent   ok    1 events acknowledged, camera ok\n")
        return Done(code=69, out="", err=f"agent   FAIL  no event acknowledged by {self.active}\n")

    def _note(self, words: Sequence[str]) -> None:
        with (self.root / "model/ran").open("a") as file:
            file.write(" ".join(words) + "\n")


def _said(out: str, code: int = 0) -> Done:
    return Done(code=code, out=out, err="")


class FolderBoard(Board):
    """A board in a folder, whose waiting takes no time."""

    def __init__(self, root: Path, system: System) -> None:
        super().__init__(root, system)
        self.system = system
        self.slept_s = 0.0
        self.room_mb = 10_000.0

    def is_root(self) -> bool:
        return True

    def free_mb(self, path: str) -> float:
        return self.room_mb

    def now_s(self) -> float:
        return self.slept_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


def sign_by_hand(authority: Authority, bundle: Path, device: str = SERIAL) -> None:
    """Do what the authority's owner does with the request that lies beside the bundle."""
    request = (bundle / f"{device}.csr").read_text()
    (bundle / f"{device}.pem").write_text(authority.certificate(request, device))


class Scene:
    """A fresh board, a bundle without a claim, and the authority behind it."""

    def __init__(self, folder: Path) -> None:
        need_root()
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.root = make_root(folder / "root")
        self.authority = Authority(folder / "ca")
        self.bundle = make_bundle(folder / "bundle", self.authority.root)
        self.system = System(self.root)
        self.board = FolderBoard(self.root, self.system)

    def provision(self, *words: str, bundle: Path | None = None) -> int:
        return main(["--bundle", str(bundle or self.bundle), *words], self.board)

    def installed(self) -> None:
        """Provision it to the end."""
        assert self.provision() == 75
        sign_by_hand(self.authority, self.bundle)
        assert self.provision() == 0

    def another_bundle(self, **changes: str) -> Path:
        """Make a further bundle of the same authority."""
        place = self.folder / f"bundle-{len(list(self.folder.iterdir()))}"
        return make_bundle(place, self.authority.root, **changes)  # type: ignore[arg-type]


class Cut(BaseException):
    """The power goes. Nothing of the program under test catches it."""


class CutBoard(FolderBoard):
    """A board whose power goes before the n-th change, the file of an interrupted writing left behind half."""

    def __init__(self, root: Path, system: System, cut_at: int) -> None:
        super().__init__(root, system)
        self.changes = 0
        self._cut_at = cut_at

    def _tick(self) -> None:
        self.changes += 1
        if self.changes == self._cut_at:
            raise Cut

    def write(self, path: str, data: bytes, *, mode: int = 0o644, owner: str = "root") -> None:
        place = self.path(path)
        try:
            self._tick()
        except Cut:
            place.with_name(f".{place.name}.new").write_bytes(data[: len(data) // 2])
            raise
        super().write(path, data, mode=mode, owner=owner)

    def folder(self, path: str, *, mode: int = 0o755, owner: str = "root") -> None:
        self._tick()
        super().folder(path, mode=mode, owner=owner)

    def link(self, path: str, target: str) -> None:
        self._tick()
        super().link(path, target)

    def move(self, path: str, to: str) -> None:
        self._tick()
        super().move(path, to)

    def remove(self, path: str) -> None:
        self._tick()
        super().remove(path)

    def remove_tree(self, path: str) -> None:
        try:
            self._tick()
        except Cut:
            for file in sorted(self.path(path).rglob("*"))[::2]:  # half of it is gone already
                if file.is_file():
                    file.unlink()
            raise
        super().remove_tree(path)

    def run(self, *words: str, timeout_s: float = 120.0, may_fail: bool = False) -> Done:
        self._tick()
        return super().run(*words, timeout_s=timeout_s, may_fail=may_fail)
