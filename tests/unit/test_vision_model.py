"""Manifests: read strictly, bound to their file by its digest."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision import model
from agent.vision.model import (
    ClassifierManifest,
    DetectorManifest,
    golden_input,
    load_manifest,
    manifest_path,
    models_folder,
    other_sizes,
)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in ("mask-64.json", "mask-64.tflite"):
        shutil.copy(models_folder() / name, tmp_path)
    return tmp_path / "mask-64.json"


def edit(manifest: Path, **changes: object) -> None:
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


def test_a_shipped_model_is_found_by_name_and_any_by_path(copied: Path) -> None:
    assert load_manifest("mask-64", ClassifierManifest) == load_manifest(str(copied), ClassifierManifest)
    assert manifest_path("mask-64") == models_folder() / "mask-64.json"
    assert manifest_path("here/mine.json") == Path("here/mine.json")


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ModelError, match=r"mask-46: no model of this name \(did you mean 'mask-64'\?\); name one of"):
        load_manifest("mask-46", ClassifierManifest)


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.json: cannot be read: No such file"):
        load_manifest(str(tmp_path / "none.json"), ClassifierManifest)


def test_a_damaged_manifest_is_named(copied: Path) -> None:
    copied.write_text(copied.read_text()[:100])
    with pytest.raises(ModelError, match="not a ClassifierManifest"):
        load_manifest(str(copied), ClassifierManifest)


def test_an_unknown_key_is_an_error(copied: Path) -> None:
    edit(copied, temprature=1.0)
    with pytest.raises(ModelError, match="unknown field `temprature`"):
        load_manifest(str(copied), ClassifierManifest)


def test_a_detector_is_no_classifier() -> None:
    with pytest.raises(ModelError, match="not a ClassifierManifest"):
        load_manifest("face-320", ClassifierManifest)
    with pytest.raises(ModelError, match="not a DetectorManifest"):
        load_manifest("mask-64", DetectorManifest)


def test_a_missing_model_file_is_named(copied: Path) -> None:
    copied.with_suffix(".tflite").unlink()
    with pytest.raises(ModelError, match=r"mask-64\.tflite: cannot be read.*restore the file that mask-64\.json names"):
        load_manifest(str(copied), ClassifierManifest)


def test_a_model_of_another_digest_is_refused(copied: Path) -> None:
    copied.with_suffix(".tflite").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"sha256 is d9298a10d1b0\.\.\., not") as caught:
        load_manifest(str(copied), ClassifierManifest)
    assert caught.value.exit_code == 65


def test_in_a_wheel_the_models_lie_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "agent" / "models"
    inside.mkdir(parents=True)
    monkeypatch.setattr(model, "__file__", str(tmp_path / "agent" / "vision" / "model.py"))
    assert models_folder() == inside


def test_golden_pictures_never_change() -> None:
    """The numbers are part of every manifest: whoever changes the generator breaks all models there are."""
    picture = golden_input(1, (1, 64, 64, 3))
    assert (picture.shape, picture.dtype) == ((1, 64, 64, 3), np.int8)
    assert picture[0, ::21, ::21, 0].tolist() == [
        [-6, -10, 12, 12],
        [9, -6, 0, 2],
        [-48, 19, 71, 32],
        [-19, -11, -50, -47],
    ]
    assert (golden_input(1, (1, 8, 8, 3)) != golden_input(2, (1, 8, 8, 3))).any()


def test_a_detector_at_other_sizes_is_known_by_name_kind_and_version(tmp_path: Path) -> None:
    content = json.loads((models_folder() / "face-320.json").read_text())
    for name, changes in {
        "own-320": {},
        "own-480": {},
        "own-640": {"version": content["version"] + 1},
        "other-480": {},
        "own": {},
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content | {"name": name} | changes))
    shutil.copy(models_folder() / "mask-64.json", tmp_path / "own-64.json")
    (tmp_path / "own-notes.json").write_text("[]")

    def others(name: str) -> list[str]:
        path = tmp_path / f"{name}.json"
        described = msgspec.json.decode(path.read_bytes(), type=DetectorManifest)
        return [Path(other).stem for other in other_sizes(str(path), described)]

    assert others("own-320") == ["own-480"]
    assert others("own-480") == ["own-320"]
    assert others("own-640") == others("other-480") == others("own") == []
