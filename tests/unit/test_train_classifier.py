"""The training script itself, with tiny numbers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is in the train extra only")

from agent.seams import LABELS
from agent.vision.crop import crop
from tools.train.classifier import Batches, Settings, evaluation_crops, main, net, rate_at
from tools.train.data import generated_faces
from tools.train.degrade import drawn_overlays
from tools.train.graph import load_checkpoint, multiply_adds, parameter_count


def test_a_smoke_run_learns_and_writes_a_checkpoint_that_can_be_quantised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    report = main(["--smoke"])

    losses = [entry["loss"] for entry in report["history"]]
    checkpoint = load_checkpoint(tmp_path / ".work/train/smoke/mask-64.npz")
    assert losses[-1] < losses[0]
    assert checkpoint.graph == net("mask-64")
    assert checkpoint.notes["settings"]["seed"] == 1


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


def test_the_net_is_within_the_products_limits() -> None:
    shipped = net("mask-64")

    assert 40_000 <= parameter_count(shipped) <= 90_000
    assert multiply_adds(shipped) <= 5_000_000
    assert shipped.shapes()[shipped.outputs[0]] == (len(LABELS),)


def test_batch_i_depends_on_seed_and_i_alone() -> None:
    faces = generated_faces(60, 1)
    ours, theirs = (Batches(faces, drawn_overlays(), Settings(batch=8, seed=4)) for _ in range(2))
    ours[0], ours[1]

    np.testing.assert_array_equal(ours[7][0], theirs[7][0])
    assert (ours[7][0] != ours[8][0]).any()


def test_evaluation_sees_what_the_agent_cuts() -> None:
    faces = generated_faces(12, 2)

    cuts = evaluation_crops(faces, np.arange(12), 1.2)

    for row in range(12):
        np.testing.assert_array_equal(cuts[row], crop(faces.picture(row), faces.face_box(row), 1.2, 64))


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    settings = Settings(steps=1000, learning_rate=1.0)

    assert rate_at(0, settings) < 0.05
    assert rate_at(30, settings) == pytest.approx(1.0, abs=0.01)
    assert rate_at(999, settings) < 1e-4
