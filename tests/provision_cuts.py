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
    """Give a board that was just flashed, on which every certificate is good: what is tried here is the rest."""
    scene = Scene(tmp_path / "scene")
    scene.bundle = scene.another_bundle(url="https://localhost:1")
    monkeypatch.setattr("deploy.provision.certificate.ask_certificate", lambda *arguments: "a certificate")
    monkeypatch.setattr("deploy.provision.openssl.fault", lambda *arguments, **more: "")
    monkeypatch.setattr("deploy.provision.openssl.is_key", lambda *arguments: True)
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
    start: Path, scratch: Path, words: list[str], healthy: Callable[[str], bool] = lambda version: True
) -> int:
    """Run a command on copies of a board, cut before each change in turn, and again. Returns how often.

    Raises AssertionError where the second run ends otherwise than a run that nothing cut, or leaves anything else.
    """
    whole, root = scratch / "whole", scratch / "cut"
    shutil.copytree(start, whole, symlinks=True)
    code = main(words, CutBoard(whole, System(whole, healthy=healthy), 0))
    wanted = settled(whole)
    number = 0
    while True:
        number += 1
        shutil.copytree(start, root, symlinks=True)
        try:
            main(words, CutBoard(root, System(root, healthy=healthy), number))
        except Cut:
            assert main(words, CutBoard(root, System(root, healthy=healthy), 0)) == code, f"cut at change {number}"
            assert settled(root) == wanted, f"cut at change {number}"
            shutil.rmtree(root)
        else:
            return number - 1


def copy_installed(fresh: Path, root: Path, bundle: Path) -> Path:
    """Give a copy of a fresh board, provisioned."""
    shutil.copytree(fresh, root, symlinks=True)
    assert main(["--bundle", str(bundle)], CutBoard(root, System(root), 0)) == 0
    return root
