"""The nets of the two documents that this project starts from, for two labels: mask and no_mask.

Nets 1 and 2 are given by their kinds of layers only. What is ours: channels 8-16-32 (net 2 stays at 32), 64 units in
the first dense layer, ReLU behind every layer but the last, no padding. Net 3's channels and dense layers are those
that give about 853,000 weights. The published families have the layers and the names of their usual weights files, so
that a state_dict which the user has loads as it is; torchvision itself needs a torch of its own build, CUDA or not.

Every net takes (N, 3, H, W) normalised as `MEAN` and `DEVIATION` say, and gives (N, 2) logits.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from agent.errors import ModelError
from tools.train.graph import Checkpoint, Graph, Node, Weights
from tools.train.torch_net import TorchNet, build_torch, folded_weights

Norm = Literal["batch-group", "batch-group-ws", "batch"]

LABEL_COUNT = 2
MEAN = (0.485, 0.456, 0.406)  # of ImageNet's pictures in 0..1: what the families' weights were trained with
DEVIATION = (0.229, 0.224, 0.225)
GROUPS = 4  # of batch group normalisation; the paper tunes it, neither document names it
NEVER = -20.0  # the logit of a label that was never taught


class BatchGroupNorm(nn.Module):  # type: ignore[misc]  # mypy runs where torch is not installed
    """Normalise over the batch and groups of features at once; scale and shift are per channel.

    Channels, height and width are one dimension, cut into GROUPS; mean and variance are of the batch and one group, and
    running means of them serve evaluation. Source: Zhou et al., Batch Group Normalization, 2020, section 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.statistics = nn.BatchNorm1d(GROUPS, affine=False)
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, maps: Tensor) -> Tensor:
        grouped = maps.contiguous().view(maps.shape[0], GROUPS, -1)
        normal: Tensor = self.statistics(grouped).view(maps.shape)
        return normal * self.gain + self.shift


class StandardizedConv(nn.Conv2d):  # type: ignore[misc]  # as above
    """A convolution whose kernels have mean 0 and variance 1 whenever they are used. Source: Qiao et al., 2019."""

    def forward(self, maps: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        kernel = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        result: Tensor = self._conv_forward(maps, kernel, self.bias)
        return result


def small_net(depth: Literal[1, 2], norm: Norm, input_px: int = 224) -> nn.Module:
    """Give net 1 (three convolutions) or net 2 (five); the one normalised layer, or the two, as in the document."""
    layers: list[nn.Module] = []
    channels, side = 3, input_px
    # (channels, kernel, normalised): each is followed by a pool of 2
    plan = [(8, 5, False), (16, 3, True), (32, 3, False)]
    if depth == 2:
        plan += [(32, 3, True), (32, 3, False)]
    for width, kernel, normalised in plan:
        layers.append((StandardizedConv if norm == "batch-group-ws" else nn.Conv2d)(channels, width, kernel))
        if normalised:
            layers.append(nn.BatchNorm2d(width) if norm == "batch" else BatchGroupNorm(width))
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = width, (side - kernel + 1) // 2
    layers += [nn.Flatten(), nn.Linear(channels * side * side, 64), nn.ReLU(), nn.Linear(64, LABEL_COUNT)]
    return nn.Sequential(*layers)


class Net3(nn.Module):  # type: ignore[misc]  # as above
    """Net 3: 64x64, three convolutions and pools of 2, three dense layers; as a graph, so that it can be quantised."""

    def __init__(self) -> None:
        super().__init__()
        self.net: TorchNet = build_torch(net3_graph(LABEL_COUNT))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.net(pictures)[0]


def net3_graph(labels: int) -> Graph:
    nodes: list[Node] = []
    last, side = "input", 64
    for index, channels in enumerate((32, 64, 128), 1):
        conv = Node(
            name=f"conv_{index}",
            op="conv",
            inputs=(last,),
            channels=channels,
            kernel=2,
            padding="valid",
            norm=False,
            activation="relu",
        )
        last, side = f"pool_{index}", (side - 1) // 2
        nodes += [conv, Node(name=last, op="max_pool", inputs=(conv.name,), kernel=2, stride=2, padding="valid")]
    nodes += [
        Node(name="flat", op="reshape", inputs=(last,), shape=(side * side * 128,)),
        Node(name="dense_1", op="dense", inputs=("flat",), channels=128, activation="relu"),
        Node(name="dense_2", op="dense", inputs=("dense_1",), channels=64, activation="relu"),
        Node(name="logits", op="dense", inputs=("dense_2",), channels=labels),
    ]
    return Graph(name="papers-model-3", input_shape=(64, 64, 3), nodes=tuple(nodes), outputs=("logits",))


def for_the_agent(net: Net3, notes: Mapping[str, Any]) -> Checkpoint:
    """Give net 3 as tools/quantize takes it: pixels 0..1 in, logits of mask, no_mask and incorrect out.

    The normalisation goes into the first kernels, exactly, because nothing is padded. What both logits have in common
    is taken out, which no softmax sees: then the larger one is never negative, and a constant `NEVER` for `incorrect`
    is never the answer.
    """
    weights: Weights = folded_weights(net.net)
    kernel = torch.from_numpy(weights["conv_1/kernel"]).double() / torch.tensor(DEVIATION).double()[:, None]
    bias = torch.from_numpy(weights["conv_1/bias"]).double()
    bias = bias - (kernel * torch.tensor(MEAN).double()[:, None]).sum((0, 1, 2))
    weights |= {"conv_1/kernel": kernel.float().numpy(), "conv_1/bias": bias.float().numpy()}
    for part, constant in (("kernel", 0.0), ("bias", NEVER)):
        two = torch.from_numpy(weights[f"logits/{part}"])
        centred = two - two.mean(-1, keepdim=True)
        weights[f"logits/{part}"] = functional.pad(centred, (0, 1), value=constant).numpy()
    return Checkpoint(graph=net3_graph(LABEL_COUNT + 1), weights=weights, notes=notes)


def _convolution(channels_in: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    pad = (kernel - 1) // 2
    conv = nn.Conv2d(channels_in, channels, kernel, stride, pad, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


class Vgg16(nn.Module):  # type: ignore[misc]  # as above
    """Source: Simonyan and Zisserman, Very Deep Convolutional Networks, 2014, table 1, column D."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        hidden = [nn.Linear(512 * 7 * 7, 4096), nn.ReLU(inplace=True), nn.Dropout()]
        hidden += [nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout()]
        self.classifier = nn.Sequential(*hidden, nn.Linear(4096, LABEL_COUNT))
        _even_starts(self)

    def forward(self, pictures: Tensor) -> Tensor:
        maps = functional.adaptive_avg_pool2d(self.features(pictures), 7)
        result: Tensor = self.classifier(maps.flatten(1))
        return result


class AlexNet(nn.Module):  # type: ignore[misc]  # as above
    """Source: Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)]
        layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)]
        for channels, width in ((192, 384), (384, 256), (256, 256)):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers, nn.MaxPool2d(3, 2))
        hidden = [nn.Dropout(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(inplace=True)]
        hidden += [nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(inplace=True)]
        self.classifier = nn.Sequential(*hidden, nn.Linear(4096, LABEL_COUNT))

    def forward(self, pictures: Tensor) -> Tensor:
        maps = functional.adaptive_avg_pool2d(self.features(pictures), 6)
        result: Tensor = self.classifier(maps.flatten(1))
        return result


class BasicBlock(nn.Module):  # type: ignore[misc]  # as above
    """Two convolutions and a way round them. Source: He et al., Deep Residual Learning, 2015, figure 5, left."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(channels_in, channels, 3, stride)
        self.conv2, self.bn2 = _convolution(channels, channels, 3)
        same = stride == 1 and channels_in == channels
        self.downsample = None if same else nn.Sequential(*_convolution(channels_in, channels, 1, stride))

    def forward(self, maps: Tensor) -> Tensor:
        round_it = maps if self.downsample is None else self.downsample(maps)
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(maps)))))
        return functional.relu(inner + round_it)


class ResNet18(nn.Module):  # type: ignore[misc]  # as above
    """Source: He et al., Deep Residual Learning, 2015, table 1, 18 layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(3, 64, 7, 2)
        channels = 64
        for stage, width in enumerate((64, 128, 256, 512), 1):
            blocks = [BasicBlock(channels, width, 1 if stage == 1 else 2), BasicBlock(width, width, 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            channels = width
        self.fc = nn.Linear(512, LABEL_COUNT)
        _even_starts(self)

    def forward(self, pictures: Tensor) -> Tensor:
        maps = functional.relu(self.bn1(self.conv1(pictures)))
        maps = functional.max_pool2d(maps, 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps = stage(maps)
        result: Tensor = self.fc(maps.mean((2, 3)))
        return result


class InvertedResidual(nn.Module):  # type: ignore[misc]  # as above
    """Widen, filter each channel, narrow. Source: Sandler et al., MobileNetV2, 2018, table 1."""

    def __init__(self, channels_in: int, channels: int, stride: int, widen: int) -> None:
        super().__init__()
        wide = channels_in * widen
        parts: list[nn.Module] = []
        if widen > 1:
            parts.append(nn.Sequential(*_convolution(channels_in, wide, 1), nn.ReLU6(inplace=True)))
        parts.append(nn.Sequential(*_convolution(wide, wide, 3, stride, groups=wide), nn.ReLU6(inplace=True)))
        self.conv = nn.Sequential(*parts, *_convolution(wide, channels, 1))
        self.residual = stride == 1 and channels_in == channels

    def forward(self, maps: Tensor) -> Tensor:
        inner: Tensor = self.conv(maps)
        return maps + inner if self.residual else inner


class MobileNetV2(nn.Module):  # type: ignore[misc]  # as above
    """Source: Sandler et al., MobileNetV2, 2018, table 2, at width 1."""

    def __init__(self) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Sequential(*_convolution(3, 32, 3, 2), nn.ReLU6(inplace=True))]
        channels = 32
        for widen, width, count, stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for index in range(count):
                parts.append(InvertedResidual(channels, width, stride if index == 0 else 1, widen))
                channels = width
        self.features = nn.Sequential(*parts, nn.Sequential(*_convolution(320, 1280, 1), nn.ReLU6(inplace=True)))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, LABEL_COUNT))
        _even_starts(self)

    def forward(self, pictures: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.features(pictures).mean((2, 3)))
        return result


def _even_starts(net: nn.Module) -> None:
    """Start convolutions so that signals keep their size through many layers. Source: He et al., 2015, section 2.2."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def load_pretrained(net: nn.Module, path: Path) -> None:
    """Load a state_dict of the family's usual names, all but the last layer, which has other labels.

    Raises ModelError if the file is missing, is no state_dict or does not fit the net.
    """
    remedy = "name the state_dict of this net, trained on ImageNet, as torchvision publishes it"
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ModelError("no weights file that torch reads", where=str(path), remedy=remedy) from error
    last = [name for name, _ in net.named_parameters()][-2:]
    # Files of before 2017 do not count the batches that batch norm saw.
    own = {name: value for name, value in net.state_dict().items() if not name.endswith("num_batches_tracked")}
    if not isinstance(stored, dict) or (missing := sorted(set(own) - set(stored))):
        found = f"holds no {missing[0]}" if isinstance(stored, dict) else "is no state_dict"
        raise ModelError(found, where=str(path), remedy=remedy)
    fitting = {name: stored[name] for name in own if name not in last}
    for name, value in fitting.items():
        if value.shape != own[name].shape:
            raise ModelError(
                f"{name} is {tuple(value.shape)}, not {tuple(own[name].shape)}", where=str(path), remedy=remedy
            )
    net.load_state_dict(net.state_dict() | fitting)
