"""Even out the channels between a depthwise convolution and the 1x1 convolution behind it, before quantising.

What lies between them has one scale for all channels in an int8 file, so a channel that is a hundredth of the largest
has two steps left. Both are linear: dividing a channel in the first and multiplying it in the second changes no answer.
Source: Nagel 2019, Data-Free Quantization, section 4.1, here with ranges of real pictures.
"""

from dataclasses import replace

import keras
import numpy as np
from numpy.typing import NDArray

from tools.quantize.keras_net import build_keras
from tools.train.graph import Checkpoint, Graph, Node

_TINY = 1e-6


def balanced(checkpoint: Checkpoint, pictures: NDArray[np.uint8]) -> Checkpoint:
    """Give the same net, answer for answer, with evener channels. pictures: (n, h, w, 3) uint8 to see the ranges of."""
    pairs = linear_pairs(checkpoint.graph)
    if not pairs:
        return checkpoint
    whole = build_keras(checkpoint.graph, checkpoint.weights)
    between = keras.Model(whole.inputs, [whole.get_layer(first.name).output for first, _ in pairs])
    ranges = [np.full(checkpoint.weights[f"{first.name}/bias"].shape, _TINY) for first, _ in pairs]
    for picture in pictures:
        seen = between(picture[None].astype(np.float32) / np.float32(255))
        parts = seen if isinstance(seen, list | tuple) else [seen]
        for old, part in zip(ranges, parts, strict=True):
            np.maximum(old, np.abs(np.asarray(part)).max((0, 1, 2)), out=old)
    weights = dict(checkpoint.weights)
    for (first, second), reach in zip(pairs, ranges, strict=True):
        kernel = weights[f"{second.name}/kernel"]  # (1, 1, c, out), quantised per output
        share = np.abs(kernel[0, 0]) / np.maximum(np.abs(kernel[0, 0]).max(0), _TINY)
        # A power of two is exact in floats, and the same on every machine.
        divisor = np.exp2(np.round(np.log2(reach / np.maximum(share.max(1), _TINY)) / 2)).astype(np.float32)
        weights[f"{first.name}/kernel"] = weights[f"{first.name}/kernel"] / divisor[:, None]
        weights[f"{first.name}/bias"] = weights[f"{first.name}/bias"] / divisor
        weights[f"{second.name}/kernel"] = kernel * divisor[:, None]
    return replace(checkpoint, weights=weights)


def linear_pairs(graph: Graph) -> list[tuple[Node, Node]]:
    """Give each depthwise convolution without activation that goes into one 1x1 convolution and nowhere else."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    pairs = []
    for node in graph.nodes:
        behind = readers.get(node.name, [])
        plain = node.op == "depthwise" and node.activation == "none" and node.name not in graph.outputs
        if plain and len(behind) == 1 and behind[0].op == "conv" and behind[0].kernel == 1:
            pairs.append((node, behind[0]))
    return pairs
