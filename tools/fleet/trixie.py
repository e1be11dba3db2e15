"""A Debian 13 root with the brokers that Debian 12 has only in versions too old: built once, kept, run by chroot.

It needs root and debootstrap. The packages come from the mirror that this machine's own apt uses. A program runs in a
mount namespace of its own, so nothing stays mounted when it ends, however it ends; network and process ids are shared.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.errors import UnavailableError

PACKAGES = ("rabbitmq-server", "mosquitto", "ca-certificates")
_SUITE = "trixie"
_LAYOUT = "1"  # part of the stamp: raise it when the way a root is built changes
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_BUILD_S = 900.0
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_NEED = "apt-get install debootstrap, and run as root"


def cache() -> Path:
    """Where the root is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskwatch" / "trixie-brokers"


def root() -> Path:
    """Give the root, building it first where there is none: a minute, 500 MB.

    Raises UnavailableError where it cannot be built.
    """
    place = cache()
    stamp = place / "maskwatch-stamp"
    if _stamped(stamp):
        return place
    if os.geteuid() != 0:
        raise UnavailableError("only root can build and enter a Debian root", where=str(place), remedy=_NEED)
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise UnavailableError("debootstrap is missing", where=str(place), remedy=_NEED)
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / "trixie-brokers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side; one builds, the others wait
        if not _stamped(stamp):
            _build(place, program)
            stamp.write_text(_wanted())
    return place


def command(
    place: Path,
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
    user: str = "root",
) -> list[str]:
    """Give the command line that runs a program inside the root. Its process id is that of the program.

    folders: by their paths inside, which must exist in the root, the folders that are to lie there.
    """
    settings = [f"{key}={value}" for key, value in {"PATH": _PATH, "LC_ALL": "C.UTF-8", **(environment or {})}.items()]
    within = shlex.quote(str(place))
    script = [f"mount -t proc proc {within}/proc", f"mount --rbind /dev {within}/dev"]
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


def _stamped(stamp: Path) -> bool:
    try:
        return stamp.read_text() == _wanted()
    except OSError:
        return False


def _wanted() -> str:
    return f"{_SUITE} {_LAYOUT} {' '.join(PACKAGES)}\n"


def _build(place: Path, debootstrap: str) -> None:
    partial = place.with_name(place.name + ".partial")
    for old in (partial, place):
        if old.exists():
            shutil.rmtree(old)
    keyring = [f"--keyring={_KEYRING}"] if _KEYRING.exists() else []
    _run([debootstrap, *keyring, "--variant=minbase", _SUITE, str(partial), _mirror()])
    refuse = partial / "usr/sbin/policy-rc.d"  # no service is started by its own package
    refuse.write_text("#!/bin/sh\nexit 101\n")
    refuse.chmod(0o755)
    if Path("/etc/resolv.conf").exists():
        shutil.copyfile("/etc/resolv.conf", partial / "etc/resolv.conf")
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    _run(command(partial, install, environment={"DEBIAN_FRONTEND": "noninteractive", **_proxy()}))
    partial.rename(place)


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


def _proxy() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.lower() in ("http_proxy", "https_proxy", "no_proxy")}


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
