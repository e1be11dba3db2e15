"""The Debian root for brokers: what it says where it cannot be had. That it can, the cluster's tests show."""

import os
from pathlib import Path

import pytest

from agent.errors import UnavailableError
from tools.fleet import trixie


@pytest.fixture(autouse=True)
def _not_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_without_root_it_says_what_is_needed_in_one_line() -> None:
    with pytest.raises(UnavailableError) as refused:
        trixie.root()
    assert str(refused.value).endswith("apt-get install debootstrap, and run as root")
    assert "\n" not in str(refused.value)


def test_a_root_that_was_built_for_something_else_is_not_taken() -> None:
    trixie.cache().mkdir(parents=True)
    (trixie.cache() / "maskwatch-stamp").write_text("trixie 0 something-else\n")
    with pytest.raises(UnavailableError):
        trixie.root()


def test_a_program_runs_inside_as_its_user_with_nothing_of_our_environment(tmp_path: Path) -> None:
    words = trixie.command(
        tmp_path / "a root", ["prog", "a b"], environment={"KEY": "x y"}, folders={"/etc/x": tmp_path}, user="rabbitmq"
    )
    script = words[-1]
    assert words[:4] == ["unshare", "--mount", "--propagation", "private"]
    assert f"mount --bind {tmp_path} '{tmp_path}/a root'/etc/x" in script
    assert f"exec chroot --userspec=rabbitmq '{tmp_path}/a root' /usr/bin/env -i " in script
    assert script.endswith("'KEY=x y' prog 'a b'")
