"""The training script itself, with tiny numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is in the train extra only")

import torch

from agent.seams import LABELS, Box
from agent.vision.crop import crop
from tools.train.bank import Bank
from tools.train.classifier import Settings, batch_of, disagreement, main, rate_at
from tools.train.data import generated_faces
from tools.train.graph import Checkpoint, load_checkpoint, multiply_adds, parameter_count
from tools.train.judge import evaluation_crops, logits_of
from tools.train.nets import SHIPPED, mask_net
from tools.train.torch_net import build_torch, folded_weights, unfold_weights


def test_a_smoke_run_learns_and_writes_a_checkpoint_that_can_be_quantised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    report = main(["--smoke"])

    losses = [entry["loss"] for entry in report["history"]]
    checkpoint = load_checkpoint(tmp_path / ".work/train/smoke/mask-64.npz")
    assert losses[-1] < losses[0]
    assert checkpoint.graph == mask_net("mask-64", SHIPPED)
    assert checkpoint.notes["settings"]["seed"] == 1
    assert (tmp_path / ".work/train/smoke/course.png").read_bytes().startswith(b"\x89PNG")


def test_a_pupil_learns_what_its_teacher_says_beside_the_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--smoke"])
    taught = Path(".work/train/smoke/mask-64.npz").rename("teacher.npz")
    Path(".work/train/smoke/state.pt").unlink()

    main(["--smoke", "--teacher", str(taught), "--heed", "1", "--plan", "c8s4 d16s4"])

    told = torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 0.0]])
    assert float(disagreement(told, told)) == pytest.approx(0, abs=1e-6)
    assert float(disagreement(told, told + 5)) == pytest.approx(0, abs=1e-5)  # what all logits share says nothing
    assert float(disagreement(told, told.flip(0))) > 0.1
    pupil = load_checkpoint(Path(".work/train/smoke/mask-64.npz"))
    assert pupil.notes["settings"]["teacher"] == "teacher.npz"


def test_a_cut_off_run_ends_with_the_weights_of_an_uncut_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = []
    for place, cut in (("whole", False), ("cut", True)):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        if cut:
            with monkeypatch.context() as patched:
                # The second checkpoint is never written: what is left is the first, of half way.
                patched.setattr(Path, "rename", once(Path.rename))
                with pytest.raises(KeyboardInterrupt):
                    main(["--smoke"])
        report = main(["--smoke"])
        assert [entry["step"] for entry in report["history"]] == [12, 24]
        weights.append(load_checkpoint(Path(".work/train/smoke/mask-64.npz")).weights)

    for name, value in weights[0].items():
        np.testing.assert_allclose(weights[1][name], value, atol=1e-5)


def once(rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    calls: list[Path] = []

    def limited(source: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return rename(source, target)

    return limited


def test_a_run_goes_on_from_a_checkpoint_with_the_answers_that_it_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--smoke"])
    pictures = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), np.uint8)
    trained = load_checkpoint(Path(".work/train/smoke/mask-64.npz"))

    again = build_torch(trained.graph)
    unfold_weights(again, trained)

    folded = folded_weights(again)
    for name, value in trained.weights.items():
        np.testing.assert_allclose(folded[name], value, rtol=1e-5, atol=1e-6)
    assert np.isfinite(logits_of(again, pictures)).all()


def test_weights_of_another_plan_are_refused() -> None:
    torch.manual_seed(1)
    other = build_torch(mask_net("other", "c16s4 d16"))
    checkpoint = Checkpoint(graph=other.graph, weights=folded_weights(other), notes={})

    with pytest.raises(ValueError, match="another net"):
        unfold_weights(build_torch(mask_net("mine", SHIPPED)), checkpoint)


def test_the_net_is_within_the_products_limits() -> None:
    shipped = mask_net("mask-64", SHIPPED)

    assert parameter_count(shipped) <= 230_000  # 250 kB with what a file has beside its weights
    assert multiply_adds(shipped) <= 5_000_000
    assert shipped.shapes()[shipped.outputs[0]] == (len(LABELS),)


@pytest.mark.parametrize("word", ["x16", "c", "c16s", "16", "r96k55"])
def test_a_word_of_a_plan_that_is_no_block_is_named(word: str) -> None:
    with pytest.raises(ValueError, match=word):
        mask_net("any", f"c16s2 {word}")


def test_a_batch_depends_on_seed_and_step_alone_and_leaves_out_what_it_is_told() -> None:
    rng = np.random.default_rng(3)
    sources = np.array([("a", "a"), ("a", "b"), ("c", "c"), ("b", "c")] * 8)
    views = rng.integers(0, 256, (32, 64, 64, 3), np.uint8)
    bank = Bank(views=views, label=np.arange(32, dtype=np.int8), sources=sources)
    rows, settings = bank.without(["b"]), Settings(batch=6, seed=4)

    drawn = [batch_of(bank, rows, step, settings) for step in range(8)]

    assert rows.tolist() == [row for row in range(32) if row % 4 in (0, 2)]
    seen = np.concatenate([label for _, label in drawn])
    np.testing.assert_array_equal(np.unique(seen), rows)
    np.testing.assert_array_equal(batch_of(bank, rows, 5, settings)[0], drawn[5][0])
    for view, label in zip(drawn[0][0], drawn[0][1], strict=True):
        assert (view == views[label]).all() or (view == views[label][:, ::-1]).all()


def test_evaluation_sees_what_the_agent_cuts() -> None:
    faces = generated_faces(12, 2)

    cuts = evaluation_crops(faces, np.arange(12), 1.2)

    for row in range(12):
        np.testing.assert_array_equal(cuts[row], crop(faces.picture(row), faces.face_box(row), 1.2, 64))


def test_a_wide_box_shows_a_smaller_face_and_a_gray_picture_no_colour() -> None:
    faces = generated_faces(6, 2)
    picture, box = faces.picture(0), faces.face_box(0)
    (x, y), half = box.centre, 0.75 * max(box.width, box.height)

    wide = evaluation_crops(faces, np.arange(1), 1.2, "wide")[0]
    gray = evaluation_crops(faces, np.arange(1), 1.2, "gray")[0]

    np.testing.assert_array_equal(wide, crop(picture, Box(x - half, y - half, x + half, y + half), 1.2, 64))
    assert (gray == gray[..., :1]).all()


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    settings = Settings(steps=1000, learning_rate=1.0)

    assert rate_at(0, settings) < 0.05
    assert rate_at(30, settings) == pytest.approx(1.0, abs=0.01)
    assert rate_at(999, settings) < 1e-4
