"""A Debian root: named packages of one suite, built once with debootstrap, kept between runs, entered by chroot.

It needs root and debootstrap. The packages come from the mirror that this machine's own apt uses. A program runs in a
mount namespace of its own, so nothing stays mounted when it ends, however it ends; network and process ids are shared.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from agent.errors import UnavailableError

_LAYOUT = "3"  # part of the stamp: raise it when the way a root is built changes
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
_BUILD_S = 900.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_NEED = "apt-get install debootstrap, and run as root"


class DebianRoot(msgspec.Struct, frozen=True, kw_only=True):
    """What a root holds. Nobody writes to it once it is built: see tools.debian.machine for one that lives."""

    name: str
    suite: str
    packages: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()
    """Paths inside and texts, written once the packages are there."""
    setup: tuple[tuple[str, ...], ...] = ()
    """Command lines run inside once the files are there; they may use pip with this machine's index."""

    @property
    def folder(self) -> Path:
        """Where it is kept between runs."""
        return _cache() / self.name

    def ready(self) -> Path:
        """Give the folder, building the root first where there is none: a minute or two, 300 to 900 MB.

        Raises UnavailableError where it cannot be built.
        """
        if os.geteuid() != 0:
            raise UnavailableError("only root can build and enter a Debian root", where=str(self.folder), remedy=_NEED)
        if self._is_stamped():
            return self.folder
        program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise UnavailableError("debootstrap is missing", where=str(self.folder), remedy=_NEED)
        _cache().mkdir(parents=True, exist_ok=True)
        with (_cache() / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side; one builds, the others wait
            if not self._is_stamped():
                self._stamp.unlink(missing_ok=True)
                self._build(program)
                self._stamp.write_text(self._wanted)
        return self.folder

    @property
    def _stamp(self) -> Path:
        return _cache() / f"{self.name}.stamp"  # beside it: a board has no file of ours

    @property
    def _wanted(self) -> str:
        return f"{_LAYOUT} {hashlib.sha256(msgspec.json.encode(self)).hexdigest()}\n"

    def _is_stamped(self) -> bool:
        try:
            return self._stamp.read_text() == self._wanted and self.folder.is_dir()
        except OSError:
            return False

    def _build(self, debootstrap: str) -> None:
        partial = self.folder.with_name(self.name + ".partial")
        for old in (partial, self.folder):
            if old.exists():
                shutil.rmtree(old)
        keyring = [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
        alone = ["unshare", "--mount", "--propagation", "private"]  # it mounts; killed, it would leave that behind
        _run([*alone, debootstrap, *keyring, "--variant=minbase", self.suite, str(partial), _mirror()])
        refuse = partial / "usr/sbin/policy-rc.d"  # no service is started by its own package
        refuse.write_text("#!/bin/sh\nexit 101\n")
        refuse.chmod(0o755)
        names = Path("/etc/resolv.conf")
        if names.exists():
            shutil.copyfile(names, partial / "etc/resolv.conf")
        quiet = {"DEBIAN_FRONTEND": "noninteractive", **_reach()}
        install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *self.packages]
        _run(command(partial, install, environment=quiet))
        _run(command(partial, ["apt-get", "clean"]))
        for path, text in self.files:
            place = partial / path.removeprefix("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        trusted = {str(_AUTHORITIES): _AUTHORITIES} if (partial / str(_AUTHORITIES)[1:]).exists() else {}
        for step in self.setup:
            _run(command(partial, step, environment=quiet, folders=trusted))
        refuse.unlink()
        (partial / "etc/machine-id").write_text("")  # each machine makes its own
        (partial / "etc/hostname").write_text("raspberrypi\n")  # debootstrap copies that of this machine
        partial.rename(self.folder)


def command(
    place: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
    user: str = "root",
    scratch: Path | None = None,
) -> list[str]:
    """Give the command line that runs a program inside a root. Its process id is that of the program.

    folders: by their paths inside, the folders that are to lie there; without a scratch those paths must exist, and
    may be files. scratch: an empty folder that takes all it writes, so that the root stays as it is.
    """
    settings = [f"{key}={value}" for key, value in {"PATH": _PATH, "LC_ALL": "C.UTF-8", **(environment or {})}.items()]
    script = []
    if scratch is not None:
        names = {name: scratch / name for name in ("upper", "work", "root")}
        layers = f"lowerdir={place},upperdir={names['upper']},workdir={names['work']}"
        place = names["root"]
        script += [shlex.join(["mkdir", *map(str, names.values())])]
        script += [shlex.join(["mount", "-t", "overlay", "-o", layers, "overlay", str(place)])]
        script += [f"mkdir -p {shlex.quote(f'{place}{path}')}" for path in folders or {}]
    within = shlex.quote(str(place))
    script += [f"mount -t proc proc {within}/proc", f"mount --rbind /dev {within}/dev"]
    script += [f"mount --bind {shlex.quote(str(folder))} {within}{path}" for path, folder in (folders or {}).items()]
    script.append(f"exec chroot --userspec={user} {within} {shlex.join(['/usr/bin/env', '-i', *settings, *arguments])}")
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", " && ".join(script)]


def give_to(place: Path, user: str, folder: Path) -> None:
    """Make a folder with all in it a user's own, as the root numbers its users."""
    for line in (place / "etc/passwd").read_text().splitlines():
        name, _, uid, gid, *_ = line.split(":")
        if name == user:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, int(uid), int(gid))


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskwatch"


def _mirror() -> str:
    """Give the archive that this machine's own apt reads. Raises UnavailableError where it reads none."""
    wanted = ("Created-By: Packages", "Origin: Debian", "Component: main", "Label: Debian")
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted], capture_output=True, text=True, check=False
    )
    found = listed.stdout.split()
    if not found:
        remedy = "apt-get update, on a Debian whose sources.list names an archive"
        raise UnavailableError(
            "this machine's apt names no Debian archive", where="apt-get indextargets", remedy=remedy
        )
    return found[0]


def _reach() -> dict[str, str]:
    """Give what this machine's environment says of how packages are reached."""
    known = ("http_proxy", "https_proxy", "no_proxy", "pip_index_url", "pip_extra_index_url", "pip_cert")
    return {key: value for key, value in os.environ.items() if key.lower() in known}


def _run(arguments: Sequence[str]) -> None:
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=_BUILD_S, check=False)
    except subprocess.TimeoutExpired:
        remedy = "try again when the archive answers"
        raise UnavailableError(f"no end within {_BUILD_S:.0f} s", where=arguments[0], remedy=remedy) from None
    if done.returncode != 0:
        last = (done.stdout + done.stderr).strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        remedy = "the archive must be reachable; apt-get update shows whether it is"
        raise UnavailableError(last[0], where=arguments[0], remedy=remedy)
