"""One description of a net, read by every builder: torch trains it, Keras quantises it, the report counts it.

A net is a flat list of nodes in the order in which they run. Shapes are known from the start, (height, width,
channels) or (channels,), always without the batch, because an int8 file for an Edge TPU has static shapes. Padding is
TensorFlow's: "same" unless a node says "valid"; on even sizes and stride 2 "same" is one row and one column at the
bottom right, so the converted file needs no PAD operator.

The torch builder is `tools.train.torch_net.build_torch`, the Keras one `tools.quantize.keras_net.build_keras`.
A float checkpoint is one .npz: the graph as JSON, the weights with batch norm folded in TensorFlow's layouts, and what
the training wants to say about itself.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Op = Literal["conv", "depthwise", "add", "concat", "upsample", "max_pool", "mean", "dense", "reshape"]
Activation = Literal["none", "relu", "relu6"]
Padding = Literal["same", "valid"]
Shape = tuple[int, ...]
Weights = dict[str, NDArray[np.float32]]

INPUT = "input"
WITH_WEIGHTS: tuple[Op, ...] = ("conv", "depthwise", "dense")


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation. Only the attributes of its op count; the others keep their defaults.

    conv, depthwise: kernel, stride, padding, norm (batch norm while training, folded afterwards), activation; conv:
    channels.
    add, concat (over channels): two or more inputs; add: activation. upsample: nearest, twice as large.
    max_pool: kernel, stride, padding. mean: over height and width. dense: channels, activation. reshape: shape, in
    NHWC order.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    channels: int = 0
    kernel: int = 1
    stride: int = 1
    padding: Padding = "same"
    norm: bool = True
    activation: Activation = "none"
    shape: Shape = ()


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A whole net: `input_shape` is (height, width, channels), `outputs` names nodes in the order of the answers.

    The input is called "input" and is real values 0..1 (pixel / 255).
    """

    name: str
    input_shape: Shape
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        self.shapes()  # an impossible net is refused where it is written, not where it is built

    def shapes(self) -> dict[str, Shape]:
        """Give the output shape of every node, without the batch; raises ValueError for a net that cannot be."""
        known: dict[str, Shape] = {INPUT: self.input_shape}
        for node in self.nodes:
            where = f"{self.name}.{node.name}"
            if node.name in known:
                raise ValueError(f"{where}: the name is used twice")
            if missing := [name for name in node.inputs if name not in known]:
                raise ValueError(f"{where}: input {missing[0]!r} is not an earlier node")
            known[node.name] = _output_shape(node, [known[name] for name in node.inputs], where)
        if missing := [name for name in self.outputs if name not in known]:
            raise ValueError(f"{self.name}: output {missing[0]!r} is not a node")
        return known

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Graph":
        raw = json.loads(text)
        nodes = tuple(
            Node(**(node | {"inputs": tuple(node["inputs"]), "shape": tuple(node["shape"])})) for node in raw["nodes"]
        )
        return cls(name=raw["name"], input_shape=tuple(raw["input_shape"]), nodes=nodes, outputs=tuple(raw["outputs"]))


def redrawn(graph: Graph, width: int, height: int) -> Graph:
    """Give the same net for an input of another size: what slides over a picture has no size of its own.

    Weights stay those of `graph`. Of a reshape the first axis follows the picture, the others stay.
    Raises ValueError where that cannot be: a dense layer over places, levels that no longer meet.
    """
    nodes: list[Node] = []
    known: dict[str, Shape] = {INPUT: (height, width, graph.input_shape[2])}
    for node in graph.nodes:
        inputs = [known[name] for name in node.inputs]
        if node.op == "reshape":
            node = replace(node, shape=(prod(inputs[0]) // prod(node.shape[1:]), *node.shape[1:]))
        known[node.name] = _output_shape(node, inputs, f"{graph.name}.{node.name}")
        nodes.append(node)
    resized = replace(graph, input_shape=known[INPUT], nodes=tuple(nodes))
    for name, shapes in weight_shapes(graph).items():
        if weight_shapes(resized)[name] != shapes:
            raise ValueError(f"{graph.name}.{name}: its weights hold for {graph.input_shape} only")
    return resized


def _output_shape(node: Node, inputs: list[Shape], where: str) -> Shape:
    first = inputs[0]
    match node.op:
        case "conv":
            return (*_window(node, first, where), node.channels)
        case "depthwise" | "max_pool":
            return (*_window(node, first, where), first[2])
        case "add":
            if len(inputs) < 2 or any(shape != first for shape in inputs):
                raise ValueError(f"{where}: add needs two or more equal shapes, not {inputs}")
            return first
        case "concat":
            if len(inputs) < 2 or any(shape[:-1] != first[:-1] for shape in inputs):
                raise ValueError(f"{where}: concat needs two or more equal heights and widths, not {inputs}")
            return (*first[:-1], sum(shape[-1] for shape in inputs))
        case "upsample":
            return (2 * first[0], 2 * first[1], first[2])
        case "mean":
            return (first[2],)
        case "dense":
            if len(first) != 1:
                raise ValueError(f"{where}: dense needs a flat input, not {first}")
            return (node.channels,)
        case "reshape":
            if prod(node.shape) != prod(first):
                raise ValueError(f"{where}: {first} does not fill {node.shape}")
            return node.shape


def _window(node: Node, shape: Shape, where: str) -> tuple[int, int]:
    """Give height and width of what a sliding window leaves."""
    if node.padding == "same":
        return ceil(shape[0] / node.stride), ceil(shape[1] / node.stride)
    if min(shape[:2]) < node.kernel:
        raise ValueError(f"{where}: a kernel of {node.kernel} does not fit into {shape}")
    return (shape[0] - node.kernel) // node.stride + 1, (shape[1] - node.kernel) // node.stride + 1


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Give TensorFlow's "same" padding before and after one axis. Source: tf.nn, section on padding."""
    total = max((ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def weight_shapes(graph: Graph) -> dict[str, tuple[Shape, Shape]]:
    """Give (kernel, bias) shapes of every node with weights, in TensorFlow's layouts.

    conv (kernel, kernel, in, out); depthwise (kernel, kernel, channels, 1); dense (in, out).
    """
    shapes = graph.shapes()
    found: dict[str, tuple[Shape, Shape]] = {}
    for node in graph.nodes:
        channels_in, channels_out = shapes[node.inputs[0]][-1], shapes[node.name][-1]
        if node.op == "conv":
            found[node.name] = ((node.kernel, node.kernel, channels_in, channels_out), (channels_out,))
        elif node.op == "depthwise":
            found[node.name] = ((node.kernel, node.kernel, channels_in, 1), (channels_out,))
        elif node.op == "dense":
            found[node.name] = ((channels_in, channels_out), (channels_out,))
    return found


def parameter_count(graph: Graph) -> int:
    """Count weights and biases as they are in the int8 file, batch norm folded."""
    return sum(prod(kernel) + prod(bias) for kernel, bias in weight_shapes(graph).values())


def multiply_adds(graph: Graph) -> int:
    """Count the multiply-adds of one picture in convolutions and dense layers."""
    shapes, weights = graph.shapes(), weight_shapes(graph)
    return sum(
        prod(weights[node.name][0]) * prod(shapes[node.name][:-1]) for node in graph.nodes if node.name in weights
    )


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained float net. `weights` has "<node>/kernel" and "<node>/bias"; `notes` is what the training says of it."""

    graph: Graph
    weights: Weights
    notes: Mapping[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = json.dumps({"graph": json.loads(checkpoint.graph.to_json()), "notes": dict(checkpoint.notes)})
    arrays: dict[str, Any] = {"meta": np.frombuffer(meta.encode(), np.uint8), **checkpoint.weights}
    np.savez_compressed(path, **arrays)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a float checkpoint; raises ValueError when a weight is missing or of another shape than its graph says."""
    with np.load(path) as stored:
        meta = json.loads(stored["meta"].tobytes().decode())
        weights: Weights = {name: stored[name] for name in stored.files if name != "meta"}
    graph = Graph.from_json(json.dumps(meta["graph"]))
    for name, (kernel, bias) in weight_shapes(graph).items():
        for part, shape in (("kernel", kernel), ("bias", bias)):
            found = weights.get(f"{name}/{part}")
            if found is None or found.shape != shape:
                raise ValueError(f"{path}: {name}/{part} is {None if found is None else found.shape}, not {shape}")
    return Checkpoint(graph=graph, weights=weights, notes=meta["notes"])
