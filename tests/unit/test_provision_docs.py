"""What deploy/README.md says of the command is what the command does."""

import re
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy.provision.command import main
from deploy.provision.options import Options
from deploy.provision.problem import Exit
from tests.provision_parts import REPOSITORY, Scene

README = (REPOSITORY / "deploy/README.md").read_text()


def test_every_option_of_a_board_is_listed_with_its_default() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.S)
    assert tomllib.loads(text) == {"board": asdict(Options())}


def test_every_exit_code_is_listed_and_no_other() -> None:
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.M)}
    assert listed == {int(code) for code in Exit} | {1}


def test_every_option_of_the_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    helped = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert helped - {"--bundle"} == set(re.findall(r"^\| `(--[a-z-]+)` \|", README, re.M))


def test_every_step_is_listed_in_its_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Scene(tmp_path).provision("--check")
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines()[:-1] if line[0] != " "]
    (table,) = re.findall(r"\| step \|.*?\n\n", README, re.S)
    assert re.findall(r"^\| (\w+) \|", table, re.M) == ["step", *said, "check"]


def test_the_clean_way_back_by_hand_is_the_link_that_provisioning_makes(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.installed()
    assert (scene.root / "opt/maskwatch/current").readlink() == Path("releases/1.0")
    assert "ln -sfn releases/VERSION /opt/maskwatch/current" in README
