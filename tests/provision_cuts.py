"""A command whose power goes before each of its changes in turn, and which is then run again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.provision.command import main
from tests.provision_parts import Cut, CutBoard, Scene, System, listing

_OWN = {"etc/maskwatch/secrets/key.pem", "var/lib/maskwatch/device.pem"}  # of a new key each time
_BACKUPS = ("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-")  # of the last but one writing


@pytest.fixture(name="fresh")
def fresh_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Give a board that was just flashed. What takes time and is tried elsewhere, each program that is run and each
    wait for the disk, is a stand-in here: there are hundreds of runs."""
    scene = Scene(tmp_path / "scene")
    scene.bundle = scene.another_bundle(url="https://localhost:1")
    monkeypatch.setattr("deploy.provision.certificate.ask_certificate", lambda *arguments: "a certificate")
    monkeypatch.setattr("deploy.provision.openssl.fault", lambda *arguments, **more: "")
    monkeypatch.setattr("deploy.provision.openssl.is_key", lambda *arguments: True)
    monkeypatch.setattr("deploy.provision.openssl.make_key", lambda *arguments: b"a key")
    monkeypatch.setattr("deploy.provision.openssl.make_request", lambda *arguments: "a request")
    monkeypatch.setattr("os.fsync", lambda file: None)
    monkeypatch.setattr("os.sync", lambda: None)
    return scene


def settled(root: Path) -> dict[str, str]:
    """Give what is on a board, without what differs from key to key and what other programs keep of the past."""
    found = listing(root)
    for name in _OWN & found.keys():
        found[name] = found[name].rsplit(" ", 1)[0]
    for name in _BACKUPS:
        found.pop(name, None)
    file = root / "etc/maskwatch/installed.json"
    if file.exists():
        table = json.loads(file.read_text())
        assert (table["unfinished"], table["restart"]) == ([], False)
        found["etc/maskwatch/installed.json"] = json.dumps(table | {"absent": []})
    return found


def cut_everywhere(
    start: Path,
    scratch: Path,
    words: list[str],
    healthy: Callable[[str], bool] = lambda version: True,
    *,
    ends: int = 0,
) -> int:
    """Run a command on copies of a board, cut before each change in turn, and again. Returns how often.

    ends: the exit code, cut or not.

    Raises AssertionError where the second run ends otherwise than a run that nothing cut, or leaves anything else.
    """
    whole, root = scratch / "whole", scratch / "cut"
    shutil.copytree(start, whole, symlinks=True)
    assert main(words, _board(whole, healthy)) == ends
    wanted = settled(whole)
    number = 0
    while True:
        number += 1
        shutil.copytree(start, root, symlinks=True)
        try:
            main(words, _board(root, healthy, number))
        except Cut:
            assert main(words, _board(root, healthy)) == ends, f"cut at change {number}"
            assert settled(root) == wanted, f"cut at change {number}"
            shutil.rmtree(root)
        else:
            return number - 1


def copy_installed(fresh: Path, root: Path, bundle: Path) -> Path:
    """Give a copy of a fresh board, provisioned."""
    shutil.copytree(fresh, root, symlinks=True)
    assert main(["--bundle", str(bundle)], _board(root)) == 0
    return root


def _board(root: Path, healthy: Callable[[str], bool] = lambda version: True, cut_at: int = 0) -> CutBoard:
    system = System(root, healthy=healthy)
    system.canned = {
        "systemd-sysusers": _make_user,
        "systemd-tmpfiles": lambda root: (root / "etc/maskwatch/secrets").mkdir(mode=0o700, exist_ok=True),
        "userdel": _remove_user,
    }
    return CutBoard(root, system, cut_at)


def _make_user(root: Path) -> None:
    passwd, group = root / "etc/passwd", root / "etc/group"
    if "maskwatch:" not in passwd.read_text():
        passwd.write_text(passwd.read_text() + "maskwatch:x:998:998::/var/lib/maskwatch:/usr/sbin/nologin\n")
        group.write_text(group.read_text().replace("video:x:44:", "video:x:44:maskwatch") + "maskwatch:x:998:\n")


def _remove_user(root: Path) -> None:
    for name in ("passwd", "group"):
        file = root / "etc" / name
        lines = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith("maskwatch:")]
        file.write_text("".join(lines).replace("video:x:44:maskwatch", "video:x:44:"))
