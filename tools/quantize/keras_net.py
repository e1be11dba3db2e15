"""The Keras builder: the same graph with folded weights, batch 1, for TensorFlow's converter."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: it logs to stderr while loading
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # plain kernels: calibration then gives the same file everywhere

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from tools.train.graph import INPUT, Activation, Graph, Node, Weights


def build_keras(graph: Graph, weights: Weights) -> keras.Model:
    """Build a graph with its folded weights: (1, H, W, C) float 0..1 in, the graph's outputs in its order, NHWC."""
    entry = keras.Input(graph.input_shape, batch_size=1, name=INPUT)
    known = {INPUT: entry}
    for node in graph.nodes:
        known[node.name] = _apply(node, [known[name] for name in node.inputs])
    model = keras.Model(entry, [known[name] for name in graph.outputs], name=graph.name.replace("-", "_"))
    for node in graph.nodes:
        if f"{node.name}/kernel" in weights:
            model.get_layer(node.name).set_weights([weights[f"{node.name}/kernel"], weights[f"{node.name}/bias"]])
    return model


class Twice(layers.Layer):  # type: ignore[misc]  # mypy runs where Keras is not installed
    """Nearest upsampling as the one operator that it is: Keras' own layer becomes TILE, which an Edge TPU has not."""

    def call(self, inputs: Any) -> Any:
        _, height, width, _ = inputs.shape
        return tf.raw_ops.ResizeNearestNeighbor(images=inputs, size=[2 * height, 2 * width])

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        batch, height, width, channels = input_shape
        return batch, 2 * height, 2 * width, channels


def _apply(node: Node, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
    first = inputs[0]
    match node.op:
        case "conv":
            layer = layers.Conv2D(
                node.channels,
                node.kernel,
                node.stride,
                padding=node.padding,
                activation=_activation(node.activation),
                name=node.name,
            )
            return layer(first)
        case "depthwise":
            layer = layers.DepthwiseConv2D(
                node.kernel, node.stride, padding=node.padding, activation=_activation(node.activation), name=node.name
            )
            return layer(first)
        case "dense":
            return layers.Dense(node.channels, activation=_activation(node.activation), name=node.name)(first)
        case "add":
            added = layers.Add(name=node.name)(inputs)
            return added if node.activation == "none" else _activation(node.activation)(added)
        case "concat":
            return layers.Concatenate(name=node.name)(inputs)
        case "upsample":
            return Twice(name=node.name)(first)
        case "max_pool":
            return layers.MaxPooling2D(node.kernel, node.stride, padding=node.padding, name=node.name)(first)
        case "mean":
            return layers.GlobalAveragePooling2D(name=node.name)(first)
        case "reshape":
            return layers.Reshape(node.shape, name=node.name)(first)


def _activation(name: Activation):  # type: ignore[no-untyped-def]
    return {"none": None, "relu": keras.ops.relu, "relu6": keras.ops.relu6}[name]
