"""Debian packages of any suite and architecture, by this machine's apt with a state of its own: nothing is installed.

Packages are only unpacked, no script of theirs runs. That is enough for Python and an emulator, takes seconds instead
of an hour of emulated dpkg, and needs no root.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from agent.errors import UnavailableError
from tools.arm.cache import kept, run

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_REMEDY = "the Debian archive must be reachable; apt-get update shows whether it is"
_NEED = "apt-get install apt debian-archive-keyring, on Debian"
_FETCH_S = 300.0


def unpacked(suite: str, architecture: str, packages: Sequence[str]) -> Path:
    """Give a folder with these packages and all that they depend on, unpacked.

    Raises UnavailableError where apt is missing or the archive does not answer.
    """
    recipe = f"{suite} {architecture} {' '.join(packages)}\n"

    def make(folder: Path) -> None:
        for archive in _fetch(suite, architecture, packages, folder / "apt"):
            run(["dpkg-deb", "-x", archive, folder], within_s=_FETCH_S, remedy=_NEED)
            archive.unlink()

    return kept(f"root-{suite}-{architecture}", recipe, make)


def version(root: Path, package: str) -> str:
    """Give the version of a package that was unpacked there."""
    found = (root / "apt" / "fetched").read_text().split()
    name = next(name for name in found if name.startswith(f"{package}_"))
    return name.split("_")[1].replace("%3a", ":")


def architecture() -> str:
    """Give this machine's own, as Debian calls it."""
    return run(["dpkg", "--print-architecture"], within_s=10, remedy=_NEED).strip()


def _fetch(suite: str, architecture: str, packages: Sequence[str], state: Path) -> list[Path]:
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()  # nothing is there yet, so that every dependency is fetched
    signed = f" signed-by={_KEYRING}" if _KEYRING.exists() else ""
    (state / "sources.list").write_text(f"deb [arch={architecture}{signed}] {_mirror()} {suite} main\n")
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",  # apt's own user may not read the cache of ours
        "Dir::State": state / "state",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Debug::NoLocking": "true",  # apt's locks are root's
    }
    (state / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    apt = {"APT_CONFIG": str(state / "apt.conf")}
    run(["apt-get", "update", "-qq"], within_s=_FETCH_S, remedy=_REMEDY, environment=apt)
    install = ["apt-get", "install", "-y", "-qq", "--download-only", *packages]
    run(install, within_s=_FETCH_S, remedy=_REMEDY, environment=apt)
    archives = sorted((state / "cache/archives").glob("*.deb"))
    (state / "fetched").write_text("".join(f"{archive.name}\n" for archive in archives))
    return archives


def _mirror() -> str:
    """Give the archive that this machine's own apt reads."""
    wanted = ("Created-By: Packages", "Origin: Debian", "Component: main", "Label: Debian")
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except FileNotFoundError:
        listed = []
    if not listed:
        raise UnavailableError("this machine's apt names no Debian archive", where="apt-get", remedy=_NEED)
    return listed[0]
