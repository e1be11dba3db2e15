"""The thesis' net 3 and ours, through the quantiser's builder: what the agent would run of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is in the train extra only")
pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")

import torch
from rich.console import Console

from agent.errors import ModelError
from agent.vision.model import ClassifierManifest, load_manifest
from tools.quantize import classifier
from tools.quantize.convert import float_answers  # first: it sets what TensorFlow reads while it is imported
from tools.train.data import generated_faces
from tools.train.graph import save_checkpoint
from tools.train.papers import main, to_input, train
from tools.train.papers_faces import OUT_OF_SOURCE, Settings, choose, drawn_faces
from tools.train.papers_nets import Net3, for_the_agent
from tools.train.papers_recipes import recipes

SMALL = Settings(counts=(32, 8, 8), large_px=64, smoke=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_the_agents_form_of_net_3_takes_plain_pixels_and_says_the_same() -> None:
    torch.manual_seed(4)
    net = Net3().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2.0)  # answers that differ from picture to picture
    pictures = np.random.default_rng(4).integers(0, 256, (6, 64, 64, 3), np.uint8)

    made = for_the_agent(net, {})

    with torch.no_grad():
        expected = torch.softmax(net(to_input(pictures, "cpu")), 1).numpy()
    logits = float_answers(made, pictures)[0]
    raised = np.exp(logits - logits.max(1, keepdims=True))
    found = raised / raised.sum(1, keepdims=True)
    assert np.ptp(expected[:, 0]) > 0.01
    np.testing.assert_allclose(found[:, :2], expected, atol=1e-4)
    assert (found[:, 2] < 1e-6).all()


def test_ours_is_a_row_beside_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notes = {"settings": {"leave_out": ",".join(OUT_OF_SOURCE), "crop_scale": 1.2, "steps": 1}}
    save_checkpoint(Path("ours.npz"), for_the_agent(Net3(), notes))

    assert main(["--smoke", "--ours", "ours.npz"]) == 0

    row = json.loads(Path(".work/papers/smoke/papers.json").read_text())["rows"][-1]
    assert row["name"] == "ours"
    assert row["points"][0]["in_source"]["n"] == 8


def test_a_large_net_is_quantised_for_a_trial_but_not_to_be_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = next(recipe for recipe in recipes(64) if recipe.name == "model-3")
    *_, row = train(replace(recipe, points=(25,)), choose(drawn_faces(1), SMALL), SMALL, None, Console(quiet=True))
    assert row["ended"]
    made, faces = Path(".work/papers/papers-model-3.npz"), generated_faces(48, 1)

    classifier.quantize_classifier(made, tmp_path / "trial", "papers-model-3", 1, faces, 1)

    manifest, content = load_manifest(str(tmp_path / "trial/papers-model-3.json"), ClassifierManifest)
    assert len(content) > 800_000
    assert manifest.net.outputs["logits"].shape == (1, 3)
    monkeypatch.setattr(classifier, "models_folder", lambda: tmp_path / "shipped")
    with pytest.raises(ModelError, match="at most 250,000"):
        classifier.quantize_classifier(made, tmp_path / "shipped", "papers-model-3", 1, faces, 1)
    assert not (tmp_path / "shipped").exists()
