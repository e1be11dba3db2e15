"""Evening out the channels between two linear layers before they are quantised."""

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")

from agent.vision.runtime import interpreter_module
from tools.quantize.balance import balanced, linear_pairs
from tools.quantize.convert import float_answers, to_int8
from tools.train.face_net import face_net
from tools.train.graph import INPUT, Checkpoint, Graph, Node, weight_shapes


@pytest.fixture
def uneven() -> Checkpoint:
    """A depthwise layer whose channels reach 1 to 1,000 times as far, and a 1x1 layer that makes that good."""
    graph = Graph(
        name="uneven",
        input_shape=(16, 16, 3),
        nodes=(
            Node(name="stem", op="conv", inputs=(INPUT,), channels=16, kernel=3, activation="relu6"),
            Node(name="dw", op="depthwise", inputs=("stem",), kernel=3, norm=False),
            Node(name="pw", op="conv", inputs=("dw",), channels=8),
        ),
        outputs=("pw",),
    )
    rng = np.random.default_rng(1)
    weights = {}
    for name, (kernel, bias) in weight_shapes(graph).items():
        weights[f"{name}/kernel"] = rng.normal(0, 0.3, kernel).astype(np.float32)
        weights[f"{name}/bias"] = rng.normal(0, 0.1, bias).astype(np.float32)
    reach = np.logspace(0, 3, 16, dtype=np.float32)
    weights["dw/kernel"] *= reach[:, None]
    weights["dw/bias"] *= reach
    weights["pw/kernel"] /= reach[:, None]
    return Checkpoint(graph=graph, weights=weights, notes={})


PICTURES = np.random.default_rng(2).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)


def answers_of(content: bytes) -> np.ndarray:
    interpreter = interpreter_module().Interpreter(model_content=content)
    interpreter.allocate_tensors()
    door, way_out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    scale, zero_point = way_out["quantization"]
    found = []
    for picture in PICTURES:
        interpreter.set_tensor(door["index"], (picture[None] ^ 0x80).view(np.int8))
        interpreter.invoke()
        found.append((interpreter.get_tensor(way_out["index"]).astype(np.float32) - zero_point) * scale)
    return np.concatenate(found)


def test_a_balanced_net_gives_the_very_same_answers(uneven: Checkpoint) -> None:
    even = balanced(uneven, PICTURES)

    assert not np.array_equal(even.weights["dw/kernel"], uneven.weights["dw/kernel"])
    np.testing.assert_array_equal(float_answers(even, PICTURES)[0], float_answers(uneven, PICTURES)[0])


def test_the_int8_file_of_a_balanced_net_is_nearer_to_its_float_net(uneven: Checkpoint) -> None:
    exact = float_answers(uneven, PICTURES)[0]

    plain, even = (answers_of(to_int8(net, PICTURES)) for net in (uneven, balanced(uneven, PICTURES)))

    assert np.abs(even - exact).mean() < 0.5 * np.abs(plain - exact).mean()


def test_every_depthwise_layer_of_the_detector_stands_before_one_1x1_layer() -> None:
    graph = face_net(96, 64)

    pairs = linear_pairs(graph)

    assert [first.name for first, _ in pairs] == [node.name for node in graph.nodes if node.op == "depthwise"]
    assert all(second.inputs == (first.name,) for first, second in pairs)


def test_an_activation_between_the_two_layers_leaves_them_alone(uneven: Checkpoint) -> None:
    stem, dw, pw = uneven.graph.nodes
    bent = Node(name="dw", op="depthwise", inputs=dw.inputs, kernel=3, norm=False, activation="relu6")
    graph = Graph(name="bent", input_shape=(16, 16, 3), nodes=(stem, bent, pw), outputs=("pw",))
    net = Checkpoint(graph=graph, weights=uneven.weights, notes={})

    assert balanced(net, PICTURES) is net
