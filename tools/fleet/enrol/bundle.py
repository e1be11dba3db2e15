"""A bundle: the folder that goes onto a board's card. deploy/provision reads it."""

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import InputError
from tools.fleet.ca.files import told
from tools.fleet.enrol.wheelhouse import BOARD, ROOT, Target, Wheel, put, version_of

_SYSTEMD = ROOT / "systemd"
_PROVISION = ROOT / "deploy" / "provision"
_FIRST = b'import runpy\n\nrunpy.run_module("provision", run_name="__main__", alter_sys=True)\n'
_LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the same content is the same file


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What all bundles of a site have in common. wheels: of all targets; pip and ours: among what is installed."""

    site: str
    targets: Sequence[Target]
    wheels: Sequence[Wheel]
    pip: Wheel
    ours: Wheel
    ca: bytes
    config: str
    board: str
    provision: bytes


def provision(package: Path = _PROVISION) -> bytes:
    """Make the one file that a board runs: a line or two of shell, and behind it a zip file of the package.

    The shell says that Python is missing where it is, and else hands the file to it. Raises InputError where the
    package is not what it should be.
    """
    with told(package):
        prefix = (package / "start.sh").read_bytes()
        modules = sorted(path for path in package.rglob("*.py") if "__pycache__" not in path.parts)
        if not (prefix.startswith(b"#!") and prefix.endswith(b"\n") and package / "__main__.py" in modules):
            raise InputError("no package to provision with", where=str(package), remedy="bring back the checkout")
        archive = io.BytesIO()
        files = {"__main__.py": _FIRST}
        files |= {f"provision/{module.relative_to(package)}": module.read_bytes() for module in modules}
        with zipfile.ZipFile(archive, "w") as content:
            for name, text in files.items():
                content.writestr(zipfile.ZipInfo(name, _LONG_AGO), text, zipfile.ZIP_DEFLATED)
    return prefix + archive.getvalue()


def write(folder: Path, contents: Contents, *, claim: Mapping[str, str] | None, now: datetime) -> None:
    """Write a bundle; the folder is there when it is whole. claim: what claim.json says; None: without one.

    Raises InputError where the folder is there already, StorageError.
    """
    with told(folder):
        if folder.exists():
            raise InputError("is there already", where=str(folder), remedy="name another --out, or move it away")
        fresh = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)  # of a run that was cut short
        fresh.mkdir(parents=True)
        _fill(fresh, contents, claim)
        digests = {wheel.name: wheel.sha256 for wheel in (*contents.wheels, contents.pip, contents.ours)}
        files = sorted(path for path in fresh.rglob("*") if path.is_file())
        manifest = _manifest(contents, now) | {
            "files": {
                str(path.relative_to(fresh)): digests.get(path.name) or hashlib.sha256(path.read_bytes()).hexdigest()
                for path in files
            }
        }
        (fresh / "bundle.json").write_text(json.dumps(manifest, indent=1) + "\n")
        fresh.rename(folder)


def _fill(folder: Path, contents: Contents, claim: Mapping[str, str] | None) -> None:
    (folder / "wheels").mkdir()
    put([*contents.wheels, contents.pip, contents.ours], folder / "wheels")
    shutil.copyfile(BOARD, folder / "board.txt")
    shutil.copytree(_SYSTEMD, folder / "systemd")
    (folder / "ca.pem").write_bytes(contents.ca)
    (folder / "config.toml").write_text(contents.config, encoding="utf-8")
    (folder / "board.toml").write_text(contents.board, encoding="utf-8")
    (folder / "provision").write_bytes(contents.provision)
    (folder / "provision").chmod(0o755)
    if claim is not None:
        secret = folder / "claim.json"
        secret.touch(mode=0o600)
        secret.write_text(json.dumps(claim, indent=1) + "\n")


def _manifest(contents: Contents, now: datetime) -> dict[str, Any]:
    return {
        "format": 1,
        "version": version_of(contents.ours),
        "wheel": contents.ours.name,
        "pip": contents.pip.name,
        "site": contents.site,
        "machines": sorted({target.machine for target in contents.targets}),
        "pythons": sorted({target.python for target in contents.targets}),
        "made": f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }
