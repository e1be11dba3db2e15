"""The command that makes models: what it takes, what it rebuilds, what it says when something is missing."""

import shutil
from pathlib import Path

import pytest

from agent.vision.model import models_folder
from tools.quantize.__main__ import main, shipped


def test_every_shipped_checkpoint_is_rebuilt_with_the_numbers_of_its_manifest(tmp_path: Path) -> None:
    for name in ("mask-64", "face-320"):
        shutil.copy(models_folder() / f"{name}.json", tmp_path)
        (tmp_path / f"{name}.npz").touch()

    jobs = {job.name: job for job in shipped(tmp_path, seed=7)}

    assert {name: job.kind for name, job in jobs.items()} == {"mask-64": "classifier", "face-320": "detector"}
    assert 0 < jobs["face-320"].threshold < 1
    assert all(job.seed == 7 and job.checkpoint.parent == job.folder == tmp_path for job in jobs.values())


def test_a_checkpoint_without_a_manifest_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.npz").touch()

    code = main(["--models", str(tmp_path)])

    said = capsys.readouterr().err
    assert code == 65
    assert said.startswith(f"{tmp_path / 'new.json'}: no manifest to go by")
    assert said.count("\n") == 1


def test_a_kind_without_a_checkpoint_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["classifier"])

    assert ended.value.code == 2
    assert "name the float checkpoint" in capsys.readouterr().err
