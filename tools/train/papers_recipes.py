"""Which nets of the papers are trained, how, and what the thesis says of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from tools.train.papers_nets import AlexNet, MobileNetV2, Net3, ResNet18, Vgg16, small_net

# Accuracy in per cent and mean loss at 30, 50 and 80 epochs, as the thesis has them
Thesis = dict[str, tuple[float, float]]


def _said(*figures: float) -> Thesis:
    return dict(zip(("30", "50", "80"), zip(figures[:3], figures[3:], strict=True), strict=True))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One net and how it is trained. points: the epochs after which it is measured; the last one ends the run."""

    name: str
    title: str
    build: Callable[[], nn.Module]
    input_px: int = 224
    optimizer: Literal["sgd", "adam"] = "sgd"  # at 1e-3, without momentum: the thesis names none
    points: tuple[int, ...] = (30, 50, 80)
    full_set: bool = False
    two_phases: bool = False  # the course work's way: head, then last layers; ends when validation says so
    thesis: Thesis = field(default_factory=dict)


def recipes(large_px: int) -> tuple[Recipe, ...]:
    """Give all of them in the order of the table. large_px: input of nets 1 and 2, 224 but in tests."""
    return (
        Recipe(
            name="model-1-batch-group",
            title="1, BatchGroup",
            build=lambda: small_net(1, "batch-group", large_px),
            thesis=_said(80.94, 85.31, 82.50, 0.431, 0.344, 0.482),
        ),
        Recipe(
            name="model-1-batch-group-ws",
            title="1, BatchGroup + weight standardisation",
            build=lambda: small_net(1, "batch-group-ws", large_px),
            thesis=_said(90.94, 92.50, 88.13, 0.284, 0.339, 0.320),
        ),
        Recipe(
            name="model-1-batch-norm",
            title="1, batch norm",
            build=lambda: small_net(1, "batch", large_px),
            thesis=_said(91.56, 92.50, 89.38, 0.445, 0.195, 0.433),
        ),
        Recipe(
            name="model-2-batch-group",
            title="2, BatchGroup",
            build=lambda: small_net(2, "batch-group", large_px),
            thesis=_said(89.69, 82.50, 89.38, 0.573, 0.637, 0.628),
        ),
        Recipe(
            name="model-2-batch-group-ws",
            title="2, BatchGroup + weight standardisation",
            build=lambda: small_net(2, "batch-group-ws", large_px),
            thesis=_said(95.00, 82.50, 82.19, 0.381, 0.571, 0.502),
        ),
        Recipe(
            name="model-2-batch-norm",
            title="2, batch norm",
            build=lambda: small_net(2, "batch", large_px),
            thesis=_said(90.62, 91.88, 94.56, 0.562, 0.514, 0.406),
        ),
        Recipe(
            name="model-3",
            title="3 (64x64)",
            build=Net3,
            input_px=64,
            optimizer="adam",
            thesis=_said(99.10, 99.10, 98.40, 0.031, 0.076, 0.129),
        ),
        Recipe(
            name="model-3-full",
            title="3 (64x64), full training set",
            build=Net3,
            input_px=64,
            optimizer="adam",
            points=(30,),
            full_set=True,
        ),
        Recipe(name="vgg-16", title="VGG-16", build=Vgg16, thesis=_said(90.31, 90.31, 90.94, 0.388, 0.383, 0.394)),
        Recipe(
            name="resnet18", title="ResNet18", build=ResNet18, thesis=_said(89.38, 80.00, 82.81, 0.442, 0.520, 0.511)
        ),
        Recipe(name="alexnet", title="AlexNet", build=AlexNet, thesis=_said(95.31, 94.38, 93.44, 0.167, 0.175, 0.171)),
        Recipe(
            name="mobilenet-v2",
            title="MobileNetV2, two phases",
            build=MobileNetV2,
            optimizer="adam",
            points=(80,),
            two_phases=True,
        ),
    )
