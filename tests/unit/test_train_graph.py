"""One description, two builders: what torch trains is what TensorFlow converts."""

from pathlib import Path

import numpy as np
import pytest

from tools.train.graph import (
    Checkpoint,
    Graph,
    Node,
    load_checkpoint,
    multiply_adds,
    parameter_count,
    redrawn,
    same_padding,
    save_checkpoint,
    weight_shapes,
)

EVERY_OP = Graph(
    name="every-op",
    input_shape=(16, 24, 3),
    nodes=(
        Node(name="stem", op="conv", inputs=("input",), channels=8, kernel=3, stride=2, activation="relu6"),
        Node(name="wide", op="conv", inputs=("stem",), channels=8, kernel=5, norm=False, activation="relu"),
        Node(name="depth", op="depthwise", inputs=("wide",), kernel=3, activation="relu6"),
        Node(name="sum", op="add", inputs=("stem", "depth"), activation="relu"),
        Node(name="down", op="depthwise", inputs=("sum",), kernel=5, stride=2, activation="relu6"),
        Node(name="pool", op="max_pool", inputs=("sum",), kernel=3, stride=2),
        Node(name="both", op="concat", inputs=("down", "pool")),
        Node(name="up", op="upsample", inputs=("both",)),
        Node(name="head", op="conv", inputs=("up",), channels=4, norm=False),
        Node(name="flat", op="reshape", inputs=("head",), shape=(96, 4)),
        Node(name="inner", op="conv", inputs=("up",), channels=4, kernel=2, padding="valid", activation="relu"),
        Node(name="blunt", op="max_pool", inputs=("inner",), kernel=2, stride=2, padding="valid"),
        Node(name="row", op="reshape", inputs=("blunt",), shape=(60,)),
        Node(name="hidden", op="dense", inputs=("row",), channels=6, activation="relu"),
        Node(name="mean", op="mean", inputs=("both",)),
        Node(name="logits", op="dense", inputs=("mean",), channels=3),
    ),
    outputs=("flat", "logits", "up", "hidden"),
)


def random_weights(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    parts = {"kernel": 0, "bias": 1}
    return {
        f"{name}/{part}": rng.normal(0, 0.3, shapes[index]).astype(np.float32)
        for name, shapes in weight_shapes(graph).items()
        for part, index in parts.items()
    }


def test_torch_and_keras_give_the_same_numbers_for_every_op() -> None:
    torch = pytest.importorskip("torch", reason="torch is in the train extra only")
    pytest.importorskip("tensorflow", reason="tensorflow is in the train extra only")
    from tools.quantize.keras_net import build_keras
    from tools.train.torch_net import build_torch, folded_weights

    torch.manual_seed(7)
    net = build_torch(EVERY_OP).to(memory_format=torch.channels_last)
    rng = np.random.default_rng(7)
    net.train()
    for _ in range(3):  # batch norm must hold statistics worth folding
        net(torch.from_numpy(rng.random((4, 3, 16, 24), np.float32) * 3 - 1))
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.weight, 1.0, 0.2)
            torch.nn.init.normal_(layer.bias, 0.0, 0.2)
    net.eval()
    picture = rng.random((1, 16, 24, 3), np.float32)

    with torch.no_grad():
        trained = [part.numpy() for part in net(torch.from_numpy(picture).permute(0, 3, 1, 2))]
    converted = [np.asarray(part) for part in build_keras(EVERY_OP, folded_weights(net))(picture)]

    trained[2] = trained[2].transpose(0, 2, 3, 1)
    for ours, theirs in zip(trained, converted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert np.ptp(ours) > 0.01  # a dead net would agree with everything


def test_shapes_follow_the_padding() -> None:
    shapes = EVERY_OP.shapes()

    assert shapes["stem"] == (8, 12, 8)
    assert shapes["both"] == (4, 6, 16)
    assert shapes["up"] == (8, 12, 16)
    assert shapes["logits"] == (3,)
    assert shapes["inner"] == (7, 11, 4)
    assert shapes["blunt"] == (3, 5, 4)
    assert same_padding(64, 3, 2) == (0, 1)
    assert same_padding(64, 3, 1) == (1, 1)
    assert same_padding(7, 3, 2) == (1, 1)


def test_counts_agree_with_arithmetic_by_hand() -> None:
    small = Graph(
        name="small",
        input_shape=(8, 8, 3),
        nodes=(
            Node(name="a", op="conv", inputs=("input",), channels=4, kernel=3, stride=2),
            Node(name="b", op="depthwise", inputs=("a",), kernel=3),
            Node(name="m", op="mean", inputs=("b",)),
            Node(name="d", op="dense", inputs=("m",), channels=2),
        ),
        outputs=("d",),
    )

    assert parameter_count(small) == (3 * 3 * 3 * 4 + 4) + (3 * 3 * 4 + 4) + (4 * 2 + 2)
    assert multiply_adds(small) == 16 * 3 * 3 * 3 * 4 + 16 * 3 * 3 * 4 + 4 * 2


SLIDING = Graph(
    name="sliding",
    input_shape=(16, 32, 3),
    nodes=(
        Node(name="fine", op="conv", inputs=("input",), channels=4, kernel=3, stride=4, activation="relu6"),
        Node(name="coarse", op="depthwise", inputs=("fine",), kernel=3, stride=2),
        Node(name="finer", op="upsample", inputs=("coarse",)),
        Node(name="sum", op="add", inputs=("fine", "finer")),
        Node(name="fine_flat", op="reshape", inputs=("sum",), shape=(128,)),
        Node(name="coarse_flat", op="reshape", inputs=("coarse",), shape=(32,)),
        Node(name="both", op="concat", inputs=("fine_flat", "coarse_flat")),
        Node(name="cells", op="reshape", inputs=("both",), shape=(40, 4)),
    ),
    outputs=("cells",),
)


def test_a_net_drawn_at_another_size_has_the_same_weights_and_more_cells() -> None:
    larger = redrawn(SLIDING, 48, 24)

    assert redrawn(SLIDING, 32, 16) == SLIDING
    assert redrawn(larger, 32, 16) == SLIDING
    assert larger.input_shape == (24, 48, 3)
    assert weight_shapes(larger) == weight_shapes(SLIDING)
    assert larger.shapes()["cells"] == (12 * 6 + 6 * 3, 4)


def test_a_net_drawn_larger_says_of_a_picture_what_it_said_before() -> None:
    pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")
    from tools.quantize.keras_net import build_keras

    weights = random_weights(SLIDING, 5)
    picture = np.random.default_rng(5).random((1, 16, 32, 3), np.float32)
    wider = np.concatenate([picture, np.zeros_like(picture)], 2)

    alone = np.asarray(build_keras(SLIDING, weights)(picture))[0]
    beside = np.asarray(build_keras(redrawn(SLIDING, 64, 16), weights)(wider))[0]

    fine, coarse = beside[:64].reshape(4, 16, 4), beside[64:].reshape(2, 8, 4)
    inner = alone[:32].reshape(4, 8, 4)[:, :6], alone[32:].reshape(2, 4, 4)[:, :3]  # clear of the seam
    np.testing.assert_allclose(fine[:, :6], inner[0], atol=1e-5)
    np.testing.assert_allclose(coarse[:, :3], inner[1], atol=1e-5)
    assert np.ptp(inner[0]) > 0.01


def test_a_net_with_a_dense_layer_over_places_has_one_size() -> None:
    with pytest.raises(ValueError, match=r"every-op.hidden: its weights hold for \(16, 24, 3\) only"):
        redrawn(EVERY_OP, 32, 32)


def test_levels_that_do_not_meet_at_a_size_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        redrawn(SLIDING, 36, 20)


def test_a_checkpoint_survives_the_round_trip(tmp_path: Path) -> None:
    written = Checkpoint(graph=EVERY_OP, weights=random_weights(EVERY_OP, 1), notes={"seed": 1})

    save_checkpoint(tmp_path / "net.npz", written)
    read = load_checkpoint(tmp_path / "net.npz")

    assert read.graph == EVERY_OP
    assert read.notes == {"seed": 1}
    for name, value in written.weights.items():
        np.testing.assert_array_equal(read.weights[name], value)


def test_a_checkpoint_with_a_wrong_weight_is_refused(tmp_path: Path) -> None:
    weights = random_weights(EVERY_OP, 1)
    weights["logits/kernel"] = weights["logits/kernel"][:-1]
    save_checkpoint(tmp_path / "net.npz", Checkpoint(graph=EVERY_OP, weights=weights, notes={}))

    with pytest.raises(ValueError, match="logits/kernel is"):
        load_checkpoint(tmp_path / "net.npz")


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (Node(name="x", op="mean", inputs=("nowhere",)), "not an earlier node"),
        (Node(name="stem", op="mean", inputs=("stem",)), "used twice"),
        (Node(name="x", op="add", inputs=("stem", "input")), "equal shapes"),
        (Node(name="x", op="concat", inputs=("stem", "input")), "equal heights"),
        (Node(name="x", op="dense", inputs=("stem",), channels=2), "flat input"),
        (Node(name="x", op="reshape", inputs=("stem",), shape=(5, 5)), "does not fill"),
        (Node(name="x", op="conv", inputs=("stem",), channels=2, kernel=9, padding="valid"), "does not fit"),
    ],
)
def test_an_impossible_net_is_refused_with_its_place(node: Node, says: str) -> None:
    stem = Node(name="stem", op="conv", inputs=("input",), channels=8, kernel=3, stride=2)

    with pytest.raises(ValueError, match=says):
        Graph(name="bad", input_shape=(16, 16, 3), nodes=(stem, node), outputs=("stem",))
