"""The torch builder: a graph as a module that trains on pictures in channels_last."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tools.train.graph import INPUT, Checkpoint, Graph, Node, Shape, Weights, same_padding


class TorchNet(nn.Module):  # type: ignore[misc]  # mypy runs where torch is not installed
    """A graph as a torch module.

    Takes (N, C, H, W) float 0..1, best in channels_last. Returns a tuple in the order of graph.outputs: maps are
    (N, C, H, W); what mean, dense and reshape give keeps the graph's own shape behind the batch.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self._shapes = graph.shapes()
        self.layers = nn.ModuleDict()
        for node in graph.nodes:
            if (layer := _layer(node, self._shapes[node.inputs[0]])) is not None:
                self.layers[node.name] = layer

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        known = {INPUT: pictures}
        for node in self.graph.nodes:
            known[node.name] = self._step(node, [known[name] for name in node.inputs])
        return tuple(known[name] for name in self.graph.outputs)

    def _step(self, node: Node, inputs: list[Tensor]) -> Tensor:
        first = inputs[0]
        match node.op:
            case "conv" | "depthwise" | "dense":
                result: Tensor = self.layers[node.name](first)
            case "add":
                result = inputs[0]
                for other in inputs[1:]:
                    result = result + other
            case "concat":
                result = torch.cat(inputs, dim=1)
            case "upsample":
                result = functional.interpolate(first, scale_factor=2, mode="nearest")
            case "max_pool":
                pad = _padding(self._shapes[node.inputs[0]], node)
                result = functional.max_pool2d(
                    functional.pad(first, pad, value=float("-inf")), node.kernel, node.stride
                )
            case "mean":
                result = first.mean((2, 3))
            case "reshape":
                if first.ndim == 4:
                    first = first.permute(0, 2, 3, 1)
                result = first.reshape(first.shape[0], *node.shape)
        if node.activation == "relu":
            return functional.relu(result)
        return functional.relu6(result) if node.activation == "relu6" else result


class WideDepthwise(nn.Conv2d):  # type: ignore[misc]  # as above
    """A depthwise convolution that leaves bfloat16 aside.

    On CPUs the backward pass of strided and of large depthwise kernels has no fast bfloat16 path: it took ten times
    as long as in float32, and two thirds of a whole training step.
    """

    def forward(self, pictures: Tensor) -> Tensor:
        with torch.autocast(pictures.device.type, enabled=False):
            wide: Tensor = super().forward(pictures.float())
        return wide


def build_torch(graph: Graph) -> TorchNet:
    """Build the trainable module of a graph; its weights are drawn from torch's current seed."""
    return TorchNet(graph)


def _padding(shape: Shape, node: Node) -> tuple[int, int, int, int]:
    """Give F.pad's left, right, top, bottom."""
    if node.padding == "valid":
        return 0, 0, 0, 0
    top, bottom = same_padding(shape[0], node.kernel, node.stride)
    left, right = same_padding(shape[1], node.kernel, node.stride)
    return left, right, top, bottom


def _layer(node: Node, shape: Shape) -> nn.Module | None:
    if node.op == "dense":
        return nn.Linear(shape[-1], node.channels)
    if node.op not in ("conv", "depthwise"):
        return None
    channels = node.channels if node.op == "conv" else shape[-1]
    groups = 1 if node.op == "conv" else shape[-1]
    left, right, top, bottom = _padding(shape, node)
    even = left == right and top == bottom
    parts: list[nn.Module] = [] if even else [nn.ZeroPad2d((left, right, top, bottom))]
    slow = node.op == "depthwise" and (node.stride > 1 or node.kernel > 3)
    convolution = WideDepthwise if slow else nn.Conv2d
    parts.append(
        convolution(
            shape[-1],
            channels,
            node.kernel,
            node.stride,
            padding=(top, left) if even else 0,
            groups=groups,
            bias=not node.norm,
        )
    )
    if node.norm:
        parts.append(nn.BatchNorm2d(channels))
    return nn.Sequential(*parts)


def folded_weights(net: TorchNet) -> Weights:
    """Give the weights of a checkpoint: batch norm folded into the convolution before it, in TensorFlow's layouts."""
    weights: Weights = {}
    for node in net.graph.nodes:
        if node.name not in net.layers:
            continue
        layer = net.layers[node.name]
        if isinstance(layer, nn.Linear):
            kernel, bias = layer.weight.detach().double().T, layer.bias.detach().double()
        else:
            conv = next(part for part in layer.children() if isinstance(part, nn.Conv2d))
            kernel = conv.weight.detach().double()
            bias = torch.zeros(kernel.shape[0]).double() if conv.bias is None else conv.bias.detach().double()
            for norm in (part for part in layer.children() if isinstance(part, nn.BatchNorm2d)):
                gain = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
                kernel, bias = (
                    kernel * gain[:, None, None, None],
                    norm.bias.detach().double() - norm.running_mean * gain,
                )
            # OIHW to HWIO; a depthwise kernel is (C, 1, H, W) here and (H, W, C, 1) there.
            kernel = kernel.permute(2, 3, 1, 0) if node.op == "conv" else kernel.permute(2, 3, 0, 1)
        weights[f"{node.name}/kernel"] = np.ascontiguousarray(kernel.numpy(), np.float32)
        weights[f"{node.name}/bias"] = np.ascontiguousarray(bias.numpy(), np.float32)
    return weights


def unfold_weights(net: TorchNet, checkpoint: Checkpoint) -> None:
    """Set a net's weights from a checkpoint of the same graph: batch norms start as the identity behind them.

    Raises ValueError if the checkpoint is of another graph.
    """
    if checkpoint.graph.nodes != net.graph.nodes:
        raise ValueError("the checkpoint is of another net; give the plan that it was trained with")
    for node in net.graph.nodes:
        if node.name not in net.layers:
            continue
        layer = net.layers[node.name]
        kernel = torch.tensor(checkpoint.weights[f"{node.name}/kernel"])
        bias = torch.tensor(checkpoint.weights[f"{node.name}/bias"])
        if isinstance(layer, nn.Linear):
            layer.weight.data.copy_(kernel.T)
            layer.bias.data.copy_(bias)
            continue
        parts = list(layer.children())
        conv = next(part for part in parts if isinstance(part, nn.Conv2d))
        conv.weight.data.copy_(kernel.permute(3, 2, 0, 1) if node.op == "conv" else kernel.permute(2, 3, 0, 1))
        norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
        for norm in norms:
            norm.weight.data.fill_(float(np.sqrt(1 + norm.eps)))  # running variance is 1
            norm.bias.data.copy_(bias)
        if not norms:
            conv.bias.data.copy_(bias)
