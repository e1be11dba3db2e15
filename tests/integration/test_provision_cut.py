"""The power goes before each single change, one after the other: the same command again completes every time."""

from pathlib import Path

from tests.provision_cuts import copy_installed, cut_everywhere, fresh_board, settled
from tests.provision_parts import Scene

__all__ = ["fresh_board"]  # the fixture `fresh`


def test_an_installation(fresh: Scene, tmp_path: Path) -> None:
    assert cut_everywhere(fresh.root, tmp_path, ["--bundle", str(fresh.bundle)]) > 60


def test_an_uninstallation(fresh: Scene, tmp_path: Path) -> None:
    start = copy_installed(fresh.root, tmp_path / "start", fresh.bundle)
    assert cut_everywhere(start, tmp_path, ["--uninstall", "--discard-events"]) > 20
    assert settled(tmp_path / "whole") == settled(fresh.root)
