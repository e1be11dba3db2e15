"""Debian roots: what they say where they cannot be had. That they can, the tests of the board and the cluster show."""

import os
from pathlib import Path

import pytest

from agent.errors import UnavailableError
from tools.debian.root import DebianRoot, command
from tools.debian.roots import BOARD_BOOKWORM, BOARD_TRIXIE, BROKERS, camera_trixie

ROOT = DebianRoot(name="some-root", suite="trixie", packages=("bash",))


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give an empty cache, on a machine that has no debootstrap and says that it is root."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    return tmp_path / "maskwatch"


def test_without_root_it_says_what_is_needed_in_one_line(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UnavailableError) as refused:
        ROOT.ready()
    assert str(refused.value).endswith("apt-get install debootstrap, and run as root")
    assert "\n" not in str(refused.value)


def test_a_root_that_is_built_is_taken_and_one_of_other_packages_is_not(cache: Path) -> None:
    with pytest.raises(UnavailableError, match="debootstrap is missing"):
        ROOT.ready()
    ROOT.folder.mkdir(parents=True)
    (cache / "some-root.stamp").write_text(ROOT._wanted)
    assert ROOT.ready() == cache / "some-root"
    other = DebianRoot(name="some-root", suite="trixie", packages=("bash", "dash"))
    with pytest.raises(UnavailableError, match="debootstrap is missing"):
        other.ready()


def test_a_stamp_without_its_root_is_no_root(cache: Path) -> None:
    cache.mkdir()
    (cache / "some-root.stamp").write_text(ROOT._wanted)
    with pytest.raises(UnavailableError):
        ROOT.ready()


def test_roots_are_kept_apart() -> None:
    assert len({root.name for root in (BROKERS, BOARD_TRIXIE, BOARD_BOOKWORM, camera_trixie())}) == 4


def test_a_program_runs_inside_as_its_user_with_nothing_of_our_environment(tmp_path: Path) -> None:
    words = command(
        tmp_path / "a root", ["prog", "a b"], environment={"KEY": "x y"}, folders={"/etc/x": tmp_path}, user="rabbitmq"
    )
    script = words[-1]
    assert words[:4] == ["unshare", "--mount", "--propagation", "private"]
    assert f"mount --bind {tmp_path} '{tmp_path}/a root'/etc/x" in script
    assert f"exec chroot --userspec=rabbitmq '{tmp_path}/a root' /usr/bin/env -i " in script
    assert script.endswith("'KEY=x y' prog 'a b'")
