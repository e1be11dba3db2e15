"""The face detector's net as a graph, for any input size: four levels, and two tensors that hold all their cells."""

from typing import Any

from tools.train.graph import INPUT, Graph, Node

STRIDES = (4, 8, 16, 32)


def face_net(width: int, height: int) -> Graph:
    """Describe the net for one input size.

    A separable block is a depthwise 3x3 without norm or activation and a 1x1 convolution with both: one norm a block
    trains a third faster than two, and nothing stands between the two convolutions that quantisation could not balance.
    """
    nodes: list[Node] = []

    def conv(name: str, source: str, channels: int, **more: Any) -> str:
        nodes.append(Node(name=name, op="conv", inputs=(source,), channels=channels, **more))
        return name

    def separable(name: str, source: str, channels: int, *, stride: int = 1, activation: Any = "relu6") -> str:
        nodes.append(Node(name=f"{name}_dw", op="depthwise", inputs=(source,), kernel=3, stride=stride, norm=False))
        return conv(f"{name}_pw", f"{name}_dw", channels, activation=activation)

    def residual(name: str, source: str, channels: int) -> str:
        inner = separable(name, source, channels, activation="none")
        nodes.append(Node(name=name, op="add", inputs=(source, inner), activation="relu6"))
        return name

    at = conv("stem", INPUT, 16, kernel=3, stride=2, activation="relu6")
    stages: dict[int, str] = {}
    for stride, channels, depth in ((4, 32, 2), (8, 64, 3), (16, 96, 4), (32, 128, 3)):
        at = separable(f"down{stride}", at, channels, stride=2)
        for index in range(depth):
            at = residual(f"stage{stride}_{index}", at, channels)
        stages[stride] = at

    # From coarse to fine: each level adds what the coarser one knows to its own finer features.
    fused: dict[int, str] = {}
    for stride in reversed(STRIDES):
        channels = 32 if stride == 4 else 48
        side = stages[stride]
        if stride > 4:  # the finest has as many channels already, and is half of the net's work
            side = conv(f"side{stride}", side, channels, activation="relu6")
        if stride < STRIDES[-1]:
            coarse = fused[2 * stride]
            if stride == 4:
                coarse = conv("narrow", coarse, channels, activation="relu6")
            nodes.append(Node(name=f"up{stride}", op="upsample", inputs=(coarse,)))
            nodes.append(Node(name=f"sum{stride}", op="add", inputs=(side, f"up{stride}")))
            side = f"sum{stride}"
        fused[stride] = separable(f"fuse{stride}", side, channels)

    cells = 0
    for stride in STRIDES:
        here = (height // stride) * (width // stride)
        head = separable(f"head{stride}", fused[stride], 32 if stride == 4 else 48)
        for what, channels in (("scores", 1), ("boxes", 4)):
            conv(f"{what}{stride}", head, channels, norm=False)
            nodes.append(
                Node(name=f"{what}{stride}_flat", op="reshape", inputs=(f"{what}{stride}",), shape=(here * channels,))
            )
        cells += here
    for what, channels in (("scores", 1), ("boxes", 4)):
        flat = tuple(f"{what}{stride}_flat" for stride in STRIDES)
        nodes.append(Node(name=f"{what}_flat", op="concat", inputs=flat))
        nodes.append(Node(name=what, op="reshape", inputs=(f"{what}_flat",), shape=(cells, channels)))
    return Graph(name=f"face-{width}", input_shape=(height, width, 3), nodes=tuple(nodes), outputs=("scores", "boxes"))
