"""What the face detector is to say of each cell, and how wrong it is."""

import torch
from torch import Tensor
from torch.nn import functional

from tools.train.face_batches import Batch
from tools.train.face_net import STRIDES
from tools.train.face_settings import Settings
from tools.train.views import IGNORE


def cell_centres(width: int, height: int) -> tuple[Tensor, Tensor]:
    """Give the centre (x, y) of every cell in pixels, (cells, 2), and its stride, (cells, 1)."""
    centres, strides = [], []
    for stride in STRIDES:
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        centres.append((torch.stack([x, y], -1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((len(centres[-1]), 1), float(stride)))
    return torch.cat(centres), torch.cat(strides)


def generalized_iou(ours: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Give IoU and GIoU of pairs of boxes, (m, 4) each. Source: Rezatofighi 2019, algorithm 1."""
    low, high = torch.maximum(ours[:, :2], truth[:, :2]), torch.minimum(ours[:, 2:], truth[:, 2:])
    inner = (high - low).clamp(min=0).prod(1)
    union = (ours[:, 2:] - ours[:, :2]).prod(1) + (truth[:, 2:] - truth[:, :2]).prod(1) - inner
    low, high = torch.minimum(ours[:, :2], truth[:, :2]), torch.maximum(ours[:, 2:], truth[:, 2:])
    hull = (high - low).prod(1).clamp(min=1e-6)
    iou = inner / union.clamp(min=1e-6)
    return iou, iou - (hull - union) / hull


def loss_of(
    scores: Tensor, sides: Tensor, batch: Batch, centres: Tensor, strides: Tensor, s: Settings
) -> tuple[Tensor, dict[str, float]]:
    """Give the loss of a batch and its parts.

    scores (n, cells, 1), sides (n, cells, 4), as the net gives them. Quality focal loss: a cell is to say how well its
    box fits. Source: Li 2020, Generalized Focal Loss, equation 4.
    """
    count = max(1, len(batch.cells))
    here, stride = centres[batch.cells], strides[batch.cells]
    wanted = torch.cat([here - batch.boxes[:, :2], batch.boxes[:, 2:] - here], 1) / stride
    told = sides[batch.rows, batch.cells]
    open_sides = told.clamp(min=0) * stride
    ours = torch.cat([here - open_sides[:, :2], here + open_sides[:, 2:]], 1)
    iou, giou = generalized_iou(ours, batch.boxes)
    size = (batch.boxes[:, 2:] - batch.boxes[:, :2]).mean(1, keepdim=True) / stride
    side_loss = functional.smooth_l1_loss(told / size, wanted.clamp(min=0) / size, beta=0.1, reduction="sum") / count
    box_loss = (1 - giou).sum() / count

    logits = scores[..., 0]
    quality = torch.zeros_like(logits)
    quality[batch.rows, batch.cells] = iou.detach()
    weight = (quality - logits.sigmoid()).abs().square() * (batch.state != IGNORE)
    score_loss = (weight * functional.binary_cross_entropy_with_logits(logits, quality, reduction="none")).sum() / count
    total = score_loss + s.box_weight * box_loss + s.side_weight * side_loss
    parts = {"score": score_loss, "box": box_loss, "side": side_loss, "iou": iou.mean() if len(iou) else iou.sum()}
    return total, {name: float(value.detach()) for name, value in parts.items()}
