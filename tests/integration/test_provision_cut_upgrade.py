"""The power goes before each single change of an upgrade, a way back or an adoption, and the same command completes."""

from pathlib import Path

from tests.provision_cuts import copy_installed, cut_everywhere, fresh_board
from tests.provision_parts import Scene

__all__ = ["fresh_board"]  # the fixture `fresh`


def test_an_upgrade(fresh: Scene, tmp_path: Path) -> None:
    start = copy_installed(fresh.root, tmp_path / "start", fresh.bundle)
    bundle = fresh.another_bundle(version="2.0", config="# two\n", url="https://localhost:1")
    assert cut_everywhere(start, tmp_path, ["--bundle", str(bundle), "--upgrade"]) > 15


def test_an_upgrade_that_is_rolled_back(fresh: Scene, tmp_path: Path) -> None:
    start = copy_installed(fresh.root, tmp_path / "start", fresh.bundle)
    options = "[board]\nreboot = true\njournal = 'persistent'\n"
    bundle = fresh.another_bundle(version="2.0", config="# two\n", url="https://localhost:1", options=options)
    words = ["--bundle", str(bundle), "--upgrade"]
    assert cut_everywhere(start, tmp_path, words, lambda version: version != "2.0", ends=69) > 20


def test_the_adoption_of_a_copied_card(fresh: Scene, tmp_path: Path) -> None:
    start = copy_installed(fresh.root, tmp_path / "start", fresh.bundle)
    (start / "proc/device-tree/serial-number").write_text("10000000aaaaaaaa\0")
    (start / "var/lib/maskwatch/outbox.db").write_text("the other board's events")
    assert cut_everywhere(start, tmp_path, ["--bundle", str(fresh.bundle), "--adopt"]) > 15
