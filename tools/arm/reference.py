"""`python -m tools.arm.reference FOLDER`: MobileNet v2 1.0 at 224x224, a net whose time on boards is published.

reference.tflite is int8, reference-float.tflite float. Weights are random: a kernel's work does not depend on them.
Runs where TensorFlow is (`.venv-train`), the rest of this package where the agent is. Source: Sandler et al. 2018,
table 2.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.train.graph import Checkpoint, Graph, Node, Weights, weight_shapes

_STEM, _LAST, _CLASSES = 32, 1280, 1000
_BLOCKS = (  # expansion, channels, how often, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_PICTURES = 8


def graph() -> Graph:
    """Give the net: 300 million multiply-adds in inverted residuals."""
    nodes = [Node(name="stem", op="conv", inputs=("input",), channels=_STEM, kernel=3, stride=2, activation="relu6")]
    last, channels = "stem", _STEM
    for number, (expansion, width, count, stride) in enumerate(_BLOCKS):
        for index in range(count):
            name = f"block{number}_{index}"
            step = stride if index == 0 else 1
            before, inside = last, last
            if expansion > 1:
                wide = channels * expansion
                inside = f"{name}_expand"
                nodes.append(Node(name=inside, op="conv", inputs=(last,), channels=wide, activation="relu6"))
            nodes.append(
                Node(name=f"{name}_depth", op="depthwise", inputs=(inside,), kernel=3, stride=step, activation="relu6")
            )
            last = f"{name}_project"
            nodes.append(Node(name=last, op="conv", inputs=(f"{name}_depth",), channels=width))
            if step == 1 and channels == width:
                nodes.append(Node(name=f"{name}_add", op="add", inputs=(before, last)))
                last = f"{name}_add"
            channels = width
    nodes += [
        Node(name="last", op="conv", inputs=(last,), channels=_LAST, activation="relu6"),
        Node(name="mean", op="mean", inputs=("last",)),
        Node(name="classes", op="dense", inputs=("mean",), channels=_CLASSES),
    ]
    return Graph(name="mobilenet-v2", input_shape=(224, 224, 3), nodes=tuple(nodes), outputs=("classes",))


def checkpoint(net: Graph, seed: int = 1) -> Checkpoint:
    """Give random weights that keep activations within range from layer to layer (He et al. 2015)."""
    random = np.random.default_rng(seed)
    weights: Weights = {}
    for name, (kernel, bias) in weight_shapes(net).items():
        inputs = np.prod(kernel[:2]) if name.endswith("_depth") else np.prod(kernel[:-1])
        weights[f"{name}/kernel"] = random.normal(0, np.sqrt(2 / inputs), kernel).astype(np.float32)
        weights[f"{name}/bias"] = np.zeros(bias, np.float32)
    return Checkpoint(graph=net, weights=weights, notes={})


def pictures(net: Graph, seed: int = 2) -> NDArray[np.uint8]:
    """Give noise to calibrate with."""
    return np.random.default_rng(seed).integers(0, 256, (_PICTURES, *net.input_shape)).astype(np.uint8)


def main() -> int:
    # TensorFlow takes seconds to load, and is not where the tests run.
    from tools.quantize.convert import to_int8
    from tools.quantize.keras_net import build_keras

    import tensorflow as tf  # isort: skip  # keras_net sets what it reads while it is imported

    folder, net = Path(sys.argv[1]), graph()
    made = checkpoint(net)
    (folder / "reference.tflite").write_bytes(to_int8(made, pictures(net)))
    converter = tf.lite.TFLiteConverter.from_keras_model(build_keras(net, made.weights))
    (folder / "reference-float.tflite").write_bytes(converter.convert())
    return 0


if __name__ == "__main__":
    sys.exit(main())
