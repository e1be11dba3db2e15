"""The command that makes models: what it takes, what it rebuilds, what it says when something is missing."""

import shutil
from pathlib import Path

import msgspec
import pytest

from agent.vision.model import DetectorManifest, models_folder
from tools.quantize.__main__ import input_size, main, shipped


def test_every_shipped_checkpoint_is_rebuilt_with_the_numbers_of_its_manifest(tmp_path: Path) -> None:
    for name in ("mask-64", "face-320"):
        shutil.copy(models_folder() / f"{name}.json", tmp_path)
        (tmp_path / f"{name}.npz").touch()

    jobs = {job.name: job for job in shipped(tmp_path, seed=7)}

    assert {name: job.kind for name, job in jobs.items()} == {"mask-64": "classifier", "face-320": "detector"}
    assert 0 < jobs["face-320"].threshold < 1
    assert all(job.seed == 7 and job.checkpoint.parent == job.folder == tmp_path for job in jobs.values())


def test_a_net_drawn_at_another_size_is_rebuilt_from_the_same_checkpoint(tmp_path: Path) -> None:
    for name in ("mask-64", "face-320"):
        shutil.copy(models_folder() / f"{name}.json", tmp_path)
        (tmp_path / f"{name}.npz").touch()
    manifest = msgspec.json.decode((tmp_path / "face-320.json").read_bytes(), type=DetectorManifest)
    door = msgspec.structs.replace(manifest.net.input, shape=(1, 384, 480, 3))
    net = msgspec.structs.replace(manifest.net, input=door)
    larger = msgspec.structs.replace(manifest, name="face-480", score_threshold=0.47, net=net)
    (tmp_path / "face-480.json").write_bytes(msgspec.json.encode(larger))

    jobs = {job.name: job for job in shipped(tmp_path, seed=7)}

    assert set(jobs) == {"mask-64", "face-320", "face-480"}
    assert (jobs["face-480"].checkpoint.name, jobs["face-480"].size) == ("face-320.npz", (480, 384))
    assert (jobs["face-480"].kind, jobs["face-480"].threshold) == ("detector", 0.47)
    assert jobs["face-320"].size == (320, 256)


def test_a_size_is_width_by_height(capsys: pytest.CaptureFixture[str]) -> None:
    assert input_size("480x384") == (480, 384)
    with pytest.raises(SystemExit) as ended:
        main(["detector", "net.npz", "--size", "large"])

    assert ended.value.code == 2
    assert "--size" in capsys.readouterr().err


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
