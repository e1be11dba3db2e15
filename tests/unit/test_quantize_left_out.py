"""Sources left out: which net stands for which, what it is shown, and what is measured through the agent."""

import csv
import json
import runpy
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.cli.main import main as maskwatch
from agent.errors import ModelError
from agent.seams import LABELS
from agent.vision.model import ClassifierManifest, load_manifest, models_folder
from tests.shared import shared
from tools.quantize.conditions import AT_SIZE, CONDITIONS, DARK, SIZES_PX, show
from tools.quantize.looks import own_px
from tools.train.data import Faces, generated_faces, load_faces
from tools.train.graph import Checkpoint, load_checkpoint, save_checkpoint

pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")

from tools.quantize.figures import full
from tools.quantize.left_out import export
from tools.quantize.looks import softmax
from tools.quantize.unseen import LOOKS, look_at_source, nets_by_source, with_float

SHIPPED = models_folder() / "mask-64.npz"


@pytest.fixture(scope="module")
def faces() -> Faces:
    return generated_faces(24, seed=11)


def write_net(path: Path, leave_out: str) -> None:
    net = load_checkpoint(SHIPPED)
    notes = dict(net.notes) | {"settings": dict(net.notes["settings"]) | {"leave_out": leave_out}}
    save_checkpoint(path, Checkpoint(graph=net.graph, weights=net.weights, notes=notes))


def test_each_condition_changes_one_thing_and_the_same_each_time(faces: Faces) -> None:
    crop = show(faces, 0, "crop")
    assert crop is not None

    for condition in CONDITIONS:
        shown, again = show(faces, 0, condition), show(faces, 0, condition)
        if shown is None:
            assert condition in AT_SIZE
            assert own_px(faces, 0) <= SIZES_PX[AT_SIZE.index(condition)]
            continue
        assert again is not None
        np.testing.assert_array_equal(shown.pixels, again.pixels)
        if condition in AT_SIZE:
            assert shown.box.size_px == pytest.approx(shown.face_px, rel=0.1)
        elif condition in ("frame", "wide"):
            assert shown.pixels.size > crop.pixels.size
        else:
            assert shown.pixels.shape == crop.pixels.shape
        if condition in DARK:
            assert shown.pixels.mean() == pytest.approx(crop.pixels.mean() / DARK[condition], abs=1.5)


def test_the_wide_box_is_half_as_large_again_as_far_as_the_picture_goes(faces: Faces) -> None:
    wide = show(faces, 1, "wide")
    assert wide is not None
    box, (height, width) = faces.face_box(1), faces.picture(1).shape[:2]

    assert wide.box.width == pytest.approx(min(width, 1.5 * box.width), abs=1)
    assert wide.box.height == pytest.approx(min(height, 1.5 * box.height), abs=1)


def test_a_tight_crop_has_no_surroundings_to_show(faces: Faces) -> None:
    tight = replace(faces, boxed=np.zeros(len(faces), bool))

    assert show(tight, 0, "frame") is None
    assert show(tight, 0, "wide") is None
    assert show(tight, 0, "crop") is not None


def test_a_source_is_told_by_the_net_that_was_trained_without_it(tmp_path: Path, faces: Faces) -> None:
    named = replace(faces, source=np.array(["a", "b", "c"] * 8), split=np.array(["train", "test", "test"] * 8))
    write_net(tmp_path / "x.npz", "a")
    (tmp_path / LOOKS).touch()

    nets = nets_by_source(tmp_path, SHIPPED, named)

    # b and c are of split test only: the shipped net has never seen them either.
    assert nets == {"a": tmp_path / "x.npz", "b": SHIPPED, "c": SHIPPED}


def test_two_nets_for_one_source_and_none_at_all_are_refused(tmp_path: Path, faces: Faces) -> None:
    with pytest.raises(ModelError, match="no float checkpoint"):
        nets_by_source(tmp_path, SHIPPED, faces)

    write_net(tmp_path / "one.npz", "drawn")
    write_net(tmp_path / "two.npz", "other,drawn")
    with pytest.raises(ModelError, match=r"leaves out drawn, as one\.npz does"):
        nets_by_source(tmp_path, SHIPPED, faces)


def test_int8_and_float_are_asked_about_the_same_tensors(faces: Faces) -> None:
    manifest, content = load_manifest("mask-64", ClassifierManifest)
    plain = msgspec.structs.replace(manifest, temperature=1.0)

    seen = with_float(look_at_source(plain, content, faces, "drawn"), SHIPPED, faces)

    crops = seen.condition == "crop"
    assert crops.sum() == len(faces)
    assert np.isnan(seen.exact[~crops]).all()
    assert np.abs(softmax(seen.exact[crops]) - softmax(seen.logits[crops])).max() < 0.1


def test_our_figures_are_those_of_inspect_and_the_projects_measure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way: pictures on disk, `maskwatch inspect --crops`, the project's measure; and ours beside it."""
    measure, crops = shared("eval/score_crops.py"), shared("data/crops")
    folder = tmp_path / "data"
    folder.mkdir()
    for ending in ("csv", "tar"):
        (folder / f"k210cam.{ending}").symlink_to(crops / f"k210cam.{ending}")
    faces = load_faces(folder, tmp_path / "cache")
    export("k210cam", tmp_path / "crops", faces)

    assert maskwatch(["inspect", "--crops", "--json", str(tmp_path / "crops")]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text("\n".join(json.dumps(one | {"id": Path(one["path"]).stem}) for one in said))
    theirs = runpy.run_path(str(measure))["main"]([str(folder / "k210cam.csv")], str(predictions))

    manifest, content = load_manifest("mask-64", ClassifierManifest)
    plain = msgspec.structs.replace(manifest, temperature=1.0)
    seen = look_at_source(plain, content, faces, "k210cam")
    here = seen.condition == "crop"
    ours = full(softmax(seen.logits[here]), seen.label[here], seen.native_px[here])
    # Steps of int8 make ties, counted half by us and broken by the last bits of a probability by the measure.
    assert_agrees(ours, theirs, auc_off=2 / (29 * 34))


def test_our_figures_are_those_of_the_projects_measure_whatever_the_answers(tmp_path: Path) -> None:
    measure = shared("eval/score_crops.py")
    rng = np.random.default_rng(8)
    label = rng.choice(3, 700, p=(0.6, 0.3, 0.1)).astype(np.int8)
    native_px = rng.uniform(10, 120, 700).astype(np.float32).round(1)
    native_px[:3] = (24, 32, 64)  # the edges belong to the bin below
    probs = softmax((rng.normal(0, 1, (700, 3)) + 1.5 * (np.arange(3) == label[:, None])).astype(np.float32))
    table, predictions = tmp_path / "faces.csv", tmp_path / "predictions.jsonl"
    with table.open("w", newline="") as out:
        writer = csv.DictWriter(out, ["id", "label", "split", "native_px", "flags"])
        writer.writeheader()
        for i, one in enumerate(label):
            writer.writerow({"id": i, "label": LABELS[one], "split": "test", "native_px": native_px[i], "flags": ""})
    predictions.write_text(
        "\n".join(
            json.dumps({"id": str(i), "p": dict(zip(LABELS, map(float, row), strict=True)), "label": "unsure"})
            for i, row in enumerate(probs)
        )
    )

    theirs = runpy.run_path(str(measure))["main"]([str(table)], str(predictions))

    assert_agrees(full(probs, label, native_px), theirs, auc_off=1.01e-4)


def assert_agrees(ours: dict, theirs: dict, *, auc_off: float) -> None:
    assert ours["two_way"] == theirs["all"]["balanced"]
    assert ours["strict"] == theirs["all"]["strict"]
    assert ours["auc"] == pytest.approx(theirs["all"]["auc"], abs=auc_off)
    assert ours["no_mask_called_mask"] == theirs["bare_called_mask"]["pct"]
    assert ours["no_mask"]["called_mask_interval"] == pytest.approx(theirs["bare_called_mask"]["ci"])
    if "incorrect" in theirs:
        assert ours["incorrect_called_mask"] == theirs["incorrect"]["called_mask"]
    for name, block in ours.get("by_native_px", {}).items():
        if "balanced" in theirs[name]:
            assert block["two_way"] == theirs[name]["balanced"]
            assert block["strict"] == theirs[name]["strict"]
            assert block["auc"] == pytest.approx(theirs[name]["auc"], abs=auc_off)
