"""The papers' nets: their layers against formulas and published counts, the subset, whole runs in seconds."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: `make test-train` runs these")

import torch
from torch import nn

from agent.errors import ModelError
from agent.vision.crop import crop
from tools.train.data import Faces, generated_faces
from tools.train.graph import load_checkpoint, parameter_count
from tools.train.papers import Run as Progress
from tools.train.papers import heed, learning, main, to_input, train_mode
from tools.train.papers_faces import OUT_OF_SOURCE, Settings, choose, cut, drawn_faces, turned
from tools.train.papers_nets import (
    DEVIATION,
    GROUPS,
    MEAN,
    AlexNet,
    BatchGroupNorm,
    MobileNetV2,
    Net3,
    ResNet18,
    StandardizedConv,
    Vgg16,
    for_the_agent,
    load_pretrained,
    small_net,
)
from tools.train.papers_recipes import recipes

SMALL = Settings(counts=(32, 8, 8), large_px=64, smoke=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_batch_group_norm_is_the_formula_of_its_paper() -> None:
    torch.manual_seed(1)
    layer = BatchGroupNorm(8).train()
    nn.init.normal_(layer.gain)
    nn.init.normal_(layer.shift)
    maps = torch.randn(5, 8, 3, 7) * 4 + 2

    found = layer(maps)

    for group in range(GROUPS):
        channels = slice(group * 2, group * 2 + 2)
        part = maps[:, channels]
        normal = (part - part.mean()) / torch.sqrt(part.var(correction=0) + 1e-5)
        expected = normal * layer.gain[channels] + layer.shift[channels]
        torch.testing.assert_close(found[:, channels], expected, atol=1e-5, rtol=1e-5)


def test_batch_group_norm_answers_alike_for_one_picture_and_for_many_once_trained() -> None:
    torch.manual_seed(2)
    layer = BatchGroupNorm(8).train()
    for _ in range(5):
        layer(torch.randn(4, 8, 6, 6) + 3)
    layer.eval()
    maps = torch.randn(4, 8, 6, 6) + 3

    torch.testing.assert_close(layer(maps)[:1], layer(maps[:1]))


def test_a_standardised_kernel_ignores_its_own_scale_and_offset() -> None:
    torch.manual_seed(3)
    layer = StandardizedConv(3, 4, 3)
    maps = torch.randn(2, 3, 8, 8)
    before = layer(maps)

    with torch.no_grad():
        layer.weight.mul_(7).add_(0.5)

    torch.testing.assert_close(layer(maps), before, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("build", "published", "last", "own"),
    [
        (Vgg16, 138_357_544, 4096, 2),
        (ResNet18, 11_689_512, 512, 2),
        (AlexNet, 61_100_840, 4096, 2),
        (MobileNetV2, 3_504_872, 1280, 2),
    ],
)
def test_a_family_has_as_many_weights_as_published_but_for_its_last_layer(
    build: Callable[[], nn.Module], published: int, last: int, own: int
) -> None:
    with torch.device("meta"):
        net = build()

    count = sum(parameter.numel() for parameter in net.parameters())

    assert count == published - (1000 - own) * (last + 1)


def test_net_3_has_the_weights_that_the_thesis_net_has() -> None:
    net = Net3()

    assert 852_000 < sum(parameter.numel() for parameter in net.parameters()) < 854_000


@pytest.mark.parametrize("norm", ["batch-group", "batch-group-ws", "batch"])
@pytest.mark.parametrize("depth", [1, 2])
def test_nets_1_and_2_have_the_layers_of_the_thesis(depth: int, norm: str) -> None:
    net = small_net(depth, norm)  # type: ignore[arg-type]
    kinds = [type(layer) for layer in net]
    wanted_norm = nn.BatchNorm2d if norm == "batch" else BatchGroupNorm

    kernels = [layer.kernel_size[0] for layer in net if isinstance(layer, nn.Conv2d)]
    assert kernels == ([5, 3, 3] if depth == 1 else [5, 3, 3, 3, 3])
    assert kinds.count(wanted_norm) == depth
    assert kinds.count(nn.Linear) == 2
    assert (StandardizedConv in kinds) == (norm == "batch-group-ws")
    assert net(torch.rand(2, 3, 224, 224)).shape == (2, 2)


def test_the_subset_is_real_even_and_no_picture_of_it_is_elsewhere() -> None:
    faces = with_flags(drawn_faces(1))

    task = choose(faces, SMALL)

    parts = (task.train, task.val, task.test, task.unseen)
    for part, split, count in zip(parts[:3], ("train", "val", "test"), SMALL.counts, strict=True):
        assert np.bincount(faces.label[part]).tolist() == [count // 2] * 2
        assert set(faces.split[part]) == {split}
    for rows in (*parts[:3], task.full):
        assert not np.isin(faces.source[rows], OUT_OF_SOURCE).any()
    for rows in (*parts, task.full):
        assert not (faces.flags[rows] == "synthetic").any()
        assert set(faces.label[rows]) <= {0, 1}
    assert set(faces.source[task.unseen]) == {OUT_OF_SOURCE[0]}
    assert len(np.unique(np.concatenate(parts))) == sum(len(part) for part in parts)
    assert np.isin(task.train, task.full).all()


def with_flags(faces: Faces) -> Faces:
    return replace(faces, flags=np.where(np.arange(len(faces)) % 24 == 0, "synthetic", ""))


def test_the_subset_depends_on_the_seed_alone() -> None:
    faces = drawn_faces(1)

    assert (choose(faces, SMALL).train == choose(faces, SMALL).train).all()
    assert (choose(faces, SMALL).train != choose(faces, replace(SMALL, seed=2)).train).any()


def test_too_few_faces_are_refused_with_what_is_missing() -> None:
    with pytest.raises(ModelError, match="real faces of label 0 in train, not 800"):
        choose(drawn_faces(1), Settings())


def test_the_nets_see_what_the_agent_cuts() -> None:
    faces = generated_faces(6, 2)

    cuts = cut(faces, np.arange(6), 224, 1.2)

    for row in range(6):
        np.testing.assert_array_equal(cuts[row], crop(faces.picture(row), faces.face_box(row), 1.2, 224))


def test_turning_keeps_the_middle_and_changes_the_rest() -> None:
    pictures = np.zeros((20, 65, 65, 3), np.uint8)
    pictures[:, 28:37, 28:37] = 200
    pictures[:, 30:35, 50:55] = 100

    done = turned(pictures, np.random.default_rng(1), shift=False)

    assert (done[:, 32, 32] == 200).all()
    sides = [picture[:, 40:].sum() > picture[:, :25].sum() for picture in done]
    assert {True, False} == set(sides)  # some mirrored, some not


def test_the_input_is_normalised_as_published_weights_want_it() -> None:
    grey = np.full((1, 4, 4, 3), 51, np.uint8)

    maps = to_input(grey, "cpu")

    for channel in range(3):
        assert maps[0, channel, 0, 0].item() == pytest.approx((0.2 - MEAN[channel]) / DEVIATION[channel], abs=1e-5)


def test_the_head_learns_first_and_then_the_last_layers_and_the_rest_keeps_its_statistics() -> None:
    torch.manual_seed(5)
    net = MobileNetV2()

    rates = []
    for phase, first in ((0, 19), (1, 15)):
        rates.append(learning(net, phase, pretrained=True))
        train_mode(net)
        frozen = [any(p.requires_grad for p in layer.parameters()) for layer in net.features]
        assert frozen == [index >= first for index in range(19)]
        assert net.classifier[1].weight.requires_grad
        norms = [layer for layer in net.features[14].modules() if isinstance(layer, nn.BatchNorm2d)]
        assert norms
        assert not any(layer.training for layer in norms)
    assert rates[1] < rates[0]


def test_without_pretrained_weights_every_layer_learns() -> None:
    net = MobileNetV2()

    learning(net, 0, pretrained=False)

    assert all(parameter.requires_grad for parameter in net.parameters())


def test_a_phase_halves_its_rate_when_it_stalls_and_ends_with_its_best_weights() -> None:
    net = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    run, rates, ended = Progress(), [], []
    for epoch, loss in enumerate([1.0, 0.5] + [0.6] * 8, 1):
        with torch.no_grad():
            net.weight.fill_(float(epoch))
        run.epoch = epoch
        ended.append(heed(run, net, optimizer, loss, head_epochs=20, last_epoch=80))
        rates.append(optimizer.param_groups[0]["lr"])

    assert ended == [False] * 9 + [True]
    assert rates[3:9] == [1e-3, 5e-4, 5e-4, 5e-4, 2.5e-4, 2.5e-4]
    assert net.weight.item() == 2.0
    assert run.phase == 1


def test_pretrained_weights_are_taken_all_but_the_last_layer(tmp_path: Path) -> None:
    torch.manual_seed(6)
    net = ResNet18()
    stored = {name: value + 1 for name, value in net.state_dict().items() if "num_batches" not in name}
    stored |= {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(stored, tmp_path / "resnet18.pth")
    last = net.fc.weight.clone()

    load_pretrained(net, tmp_path / "resnet18.pth")

    torch.testing.assert_close(net.layer3[1].conv2.weight, stored["layer3.1.conv2.weight"])
    torch.testing.assert_close(net.fc.weight, last)


def test_a_family_with_the_users_weights_keeps_its_early_layers_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(7)
    stored = MobileNetV2().state_dict()
    torch.save(stored, "mobilenet.pth")

    main(["--smoke", "--only", "mobilenet-v2", "--weights", "mobilenet-v2=mobilenet.pth"])

    row = json.loads(Path(".work/papers/smoke/papers.json").read_text())["rows"][0]
    assert row["pretrained"]
    assert row["title"].endswith(", pre-trained")
    learnt = torch.load(".work/papers/smoke/mobilenet-v2/state.pt", weights_only=True)["model"]
    for name, value in stored.items():
        if name.startswith("features.0."):
            torch.testing.assert_close(learnt[name], value)
    assert not torch.equal(learnt["classifier.1.weight"], stored["classifier.1.weight"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no weights file that torch reads"),
        (b"not a zip", "no weights file that torch reads"),
        ([1, 2], "is no state_dict"),
        ({"conv1.weight": torch.zeros(2)}, "holds no bn1.bias"),
    ],
)
def test_a_wrong_weights_file_is_named_in_one_line(tmp_path: Path, content: object, says: str) -> None:
    path = tmp_path / "resnet18.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)

    with pytest.raises(ModelError, match=says) as refused:
        load_pretrained(ResNet18(), path)

    assert str(refused.value).startswith(str(path))


def test_a_smoke_run_trains_reports_and_gives_net_3_to_the_quantiser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["--smoke", "--only", "model-3", "--only", "model-1-batch-group-ws"]) == 0

    report = json.loads(Path(".work/papers/smoke/papers.json").read_text())
    rows = {row["name"]: row for row in report["rows"]}
    assert list(rows) == ["model-1-batch-group-ws", "model-3"]
    for row in rows.values():
        assert [point["epoch"] for point in row["points"]] == [1, 2]
        assert row["points"][-1]["out_of_source"]["n"] == report["out_of_source"]["faces"]
        assert row["pretrained"] is False
    made = load_checkpoint(Path(".work/papers/smoke/papers-model-3.npz"))
    assert made.graph.shapes()["logits"] == (3,)
    assert parameter_count(made.graph) == rows["model-3"]["parameters"] + 65
    assert made.notes["settings"]["leave_out"].split(",") == list(OUT_OF_SOURCE)


def test_a_cut_off_run_ends_as_an_uncut_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = []
    for place, cut_off in (("whole", False), ("cut", True)):
        (tmp_path / place).mkdir()
        monkeypatch.chdir(tmp_path / place)
        if cut_off:
            with monkeypatch.context() as patched:
                patched.setattr(Path, "rename", once(Path.rename))  # the second checkpoint is never written
                with pytest.raises(KeyboardInterrupt):
                    main(["--smoke", "--only", "mobilenet-v2"])
        main(["--smoke", "--only", "mobilenet-v2"])
        row = json.loads(Path(".work/papers/smoke/papers.json").read_text())["rows"][0]
        points.append([(point["train_loss"], point["out_of_source"]["loss"]) for point in row["points"]])

    assert len(points[0]) == 2
    np.testing.assert_allclose(points[0], points[1], atol=2e-3)


def once(rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    calls: list[Path] = []

    def limited(source: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return rename(source, target)

    return limited


def test_measuring_fills_the_row_of_a_net_that_is_not_run_and_leaves_results_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["--smoke", "--only", "model-3"])

    main(["--smoke", "--measure", "--only", "model-3", "--only", "resnet18"])

    rows = {row["name"]: row for row in json.loads(Path(".work/papers/smoke/papers.json").read_text())["rows"]}
    assert "points" in rows["model-3"]
    assert rows["resnet18"]["not_run"]["seconds_a_step"] > 0
    assert rows["resnet18"]["not_run"]["steps"] == 2


def test_a_net_that_saw_the_sources_it_is_measured_on_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    from tools.train.graph import save_checkpoint

    made = for_the_agent(Net3(), {"settings": {"leave_out": "k853", "crop_scale": 1.2, "steps": 1}})
    save_checkpoint(Path("seen.npz"), made)

    code = main(["--smoke", "--ours", "seen.npz"])

    assert code == 65
    assert capsys.readouterr().err == (
        "seen.npz: was trained with adi920, macwin; name a net trained with --leave-out k853,adi920,macwin\n"
    )


def test_only_families_take_weights(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--weights", "model-3=x.pth"])

    assert "nets with published weights are vgg-16, resnet18, alexnet, mobilenet-v2" in capsys.readouterr().err


def test_every_recipe_of_the_thesis_has_its_figures() -> None:
    told = {recipe.name for recipe in recipes(224) if recipe.thesis}

    assert told == {recipe.name for recipe in recipes(224)} - {"model-3-full", "mobilenet-v2"}
