"""The classifier's nets, spelt in one line each, so that a search is a list of words.

A plan is a row of blocks, each a letter, its channels and, where they differ from 3 and 1, kernel and stride:
`c16s2` a full convolution, `d96s2` a depthwise and a pointwise one, `r96k5` the same with its input added. Every block
is an operator that an Edge TPU maps; mean and one dense layer end every plan.
"""

import re
from typing import Any

from agent.seams import LABELS
from tools.train.graph import Graph, Node

INPUT_PX = 64
SHIPPED = "c16s2 c32s2 r32 c64s2 r64 r64 d176s2 r176 r176"
_BLOCK = re.compile(r"(?P<kind>[cdr])(?P<channels>\d+)(?:k(?P<kernel>\d))?(?:s(?P<stride>\d))?")


def mask_net(name: str, plan: str) -> Graph:
    """Give the graph of a plan, 64x64x3 to three logits. Raises ValueError for a word that is no block."""
    nodes: list[Node] = []
    last = "input"

    def add(op: Any, inputs: tuple[str, ...] = (), **attributes: Any) -> None:
        nonlocal last
        last_inputs = inputs or (last,)
        last = f"{op}_{len(nodes)}"
        nodes.append(Node(name=last, op=op, inputs=last_inputs, **attributes))

    for word in plan.split():
        block = _BLOCK.fullmatch(word)
        if block is None:
            raise ValueError(f"plan: {word!r} is no block; write them like c16s2, d96 or r96k5")
        channels, kernel, stride = (int(block[key] or default) for key, default in _DEFAULTS)
        entry = last
        if block["kind"] == "c":
            add("conv", channels=channels, kernel=kernel, stride=stride, activation="relu6")
            continue
        add("depthwise", kernel=kernel, stride=stride, activation="relu6")
        add("conv", channels=channels, activation="none" if block["kind"] == "r" else "relu6")
        if block["kind"] == "r":
            add("add", (entry, last))
    add("mean")
    add("dense", channels=len(LABELS))
    return Graph(name=name, input_shape=(INPUT_PX, INPUT_PX, 3), nodes=tuple(nodes), outputs=(last,))


_DEFAULTS = (("channels", 0), ("kernel", 3), ("stride", 1))
