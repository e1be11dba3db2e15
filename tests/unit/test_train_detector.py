"""The detector's training script: its net, its loss against plain formulas, and a whole run in seconds."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

pytest.importorskip("torch", reason="training needs torch: `make test-train` runs these")

import torch

from tools.train.detector import Run, finished, rate_at, start_from, train
from tools.train.face_batches import generated_pictures
from tools.train.face_loss import cell_centres, generalized_iou
from tools.train.face_net import STRIDES, face_net
from tools.train.face_settings import SMOKE, Settings, with_changes
from tools.train.graph import load_checkpoint, multiply_adds, parameter_count
from tools.train.torch_net import build_torch


def test_the_net_keeps_its_budget() -> None:
    net = face_net(320, 256)

    assert multiply_adds(net) <= 100e6
    assert parameter_count(net) <= 0.3e6


@pytest.mark.parametrize(("width", "height"), [(320, 256), (480, 384), (256, 192)])
def test_two_outputs_hold_all_cells_of_any_input_size(width: int, height: int) -> None:
    net = face_net(width, height)
    cells = sum((width // stride) * (height // stride) for stride in STRIDES)

    assert net.outputs == ("scores", "boxes")
    assert [net.shapes()[name] for name in net.outputs] == [(cells, 1), (cells, 4)]


def test_training_and_agent_agree_where_cells_are() -> None:
    from agent.vision.detector import cells

    centres, strides = cell_centres(96, 64)
    expected, sizes = cells(96, 64, STRIDES)

    np.testing.assert_array_equal(centres.numpy(), expected)
    np.testing.assert_array_equal(strides.numpy()[:, 0], sizes)


def test_giou_is_the_formula_of_the_paper() -> None:
    ours = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1]])
    truth = torch.tensor([[0.0, 0, 2, 2], [1, 1, 3, 3], [3, 0, 4, 1]])

    iou, giou = generalized_iou(ours, truth)

    assert iou.tolist() == pytest.approx([1, 1 / 7, 0])
    assert giou.tolist() == pytest.approx([1, 1 / 7 - 2 / 9, -2 / 4])


def test_the_rate_warms_up_and_ends_with_steps_or_minutes_whichever_is_first() -> None:
    settings = Settings(steps=1000, minutes=10, warm_up=100)

    assert rate_at(settings, Run(step=0)) < 0.02 * settings.rate
    assert rate_at(settings, Run(step=100)) > 0.9 * settings.rate
    assert rate_at(settings, Run(step=500, trained_s=600)) == pytest.approx(0.01 * settings.rate)
    assert finished(settings, Run(step=1000))
    assert finished(settings, Run(step=10, trained_s=600))
    assert not finished(settings, Run(step=999, trained_s=599))


def test_a_setting_is_changed_by_name_and_an_unknown_one_is_refused() -> None:
    changed = with_changes(Settings(), ["batch=8", "views.mosaic=0.5"])

    assert (changed.batch, changed.views.mosaic) == (8, 0.5)
    with pytest.raises(ValueError, match="bacth"):
        with_changes(Settings(), ["bacth=8"])


def test_a_smoke_run_writes_a_checkpoint_and_goes_on_from_it(tmp_path: Path) -> None:
    pictures = generated_pictures(4, np.random.default_rng(1))
    console = Console(quiet=True)

    first = train(SMOKE, pictures, "generated", tmp_path, resume=False, console=console)
    longer = with_changes(SMOKE, ["steps=15"])
    second = train(longer, pictures, "generated", tmp_path, resume=True, console=console)

    assert (first["step"], second["step"]) == (12, 15)
    checkpoint = load_checkpoint(tmp_path / "face.npz")
    assert checkpoint.graph == face_net(SMOKE.width, SMOKE.height)
    assert all(np.isfinite(values).all() for values in checkpoint.weights.values())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["settings"]["views"]["mosaic"] == SMOKE.views.mosaic
    assert metrics["pictures_seen"] == 15 * SMOKE.batch


def test_the_same_seed_trains_the_same_net(tmp_path: Path) -> None:
    pictures = generated_pictures(4, np.random.default_rng(1))
    few = with_changes(SMOKE, ["steps=4"])

    losses = [
        train(few, pictures, "generated", tmp_path / str(turn), resume=False, console=Console(quiet=True))["loss"]
        for turn in range(2)
    ]

    assert losses[0] == losses[1]


def test_a_deeper_net_that_begins_with_a_shallower_one_s_weights_answers_as_that_did() -> None:
    graph = face_net(96, 64)
    deeper, same = build_torch(graph).eval(), build_torch(graph).eval()
    shallow = {name: value for name, value in deeper.state_dict().items() if ".stage16_3_" not in name}
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))

    start_from(same, shallow)
    norm = deeper.layers["stage16_3_pw"][-1]
    torch.nn.init.zeros_(norm.weight)  # what the block adds is now nothing

    for ours, theirs in zip(same(picture), deeper(picture), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_two_processes_share_one_training(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tools.train.detector", "--smoke", "--out", tmp_path, "--set", "processes=2"],
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ran.returncode == 0, ran.stderr
    assert "48 pictures" in ran.stdout
    assert load_checkpoint(tmp_path / "face.npz").graph == face_net(SMOKE.width, SMOKE.height)
