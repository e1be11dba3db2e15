"""How often a float net is right about faces that it was not trained on, seen in several ways."""

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.seams import LABELS, Box
from agent.vision.crop import crop
from tools.train.data import Faces
from tools.train.degrade import INPUT_PX, shrink_face
from tools.train.examples import BARE, MASK

WAYS = ("own", "small", "wide", "gray")
SMALL_PX = 20.0
WIDE = 1.5  # side of a badly fitted box / side of a tight one


def evaluation_crops(faces: Faces, rows: NDArray[np.int64], scale: float, way: str = "own") -> NDArray[np.uint8]:
    """Cut rows as the agent does; a tight crop is a face from edge to edge. Returns (n, 64, 64, 3).

    way: `own` size and box, `small` shrunk to 20 px, `wide` with a box 1.5 times as large, `gray`.
    """
    cuts = [np.zeros((0, INPUT_PX, INPUT_PX, 3), np.uint8)]
    for row in rows:
        picture = faces.picture(row)
        box = faces.face_box(row) if faces.boxed[row] else Box(0, 0, picture.shape[1], picture.shape[0])
        if way == "small":
            picture, box = shrink_face(picture, box, SMALL_PX)
        cut: Any = crop(picture, box, scale * (WIDE if way == "wide" else 1.0), INPUT_PX)
        if way == "gray":
            cut = cv2.cvtColor(cv2.cvtColor(cut, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        cuts.append(cut[None])
    return np.concatenate(cuts)


def to_input(batch: NDArray[np.uint8] | Tensor) -> Tensor:
    """Give (N, 3, 64, 64) float 0..1 in channels_last from NHWC bytes, without a copy of the layout."""
    return torch.as_tensor(batch).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()  # type: ignore[untyped-decorator]
def logits_of(model: nn.Module, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give (n, 3) float32."""
    model.eval()
    parts = [model(to_input(pictures[start : start + 256]))[0].float() for start in range(0, len(pictures), 256)]
    return np.asarray(torch.cat(parts).numpy())


def scores(logits: NDArray[np.float32], faces: Faces, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Give two-way and strict balanced accuracy and what is called mask, in per cent, for all rows and by source."""

    def block(where: NDArray[np.bool_]) -> dict[str, float]:
        found: dict[str, float] = {"n": int(where.sum())}
        label, best = faces.label[rows][where], logits[where].argmax(1)
        worn = logits[where][:, MASK] > logits[where][:, BARE]
        pair = [worn[label == MASK], ~worn[label == BARE]]
        found["two_way"] = round(100 * float(np.mean([part.mean() for part in pair if part.size] or [np.nan])), 2)
        for index, name in enumerate(LABELS):
            if (label == index).any():
                found[f"recall_{name}"] = round(100 * float((best[label == index] == index).mean()), 2)
                found[f"{name}_called_mask"] = round(100 * float((best[label == index] == MASK).mean()), 2)
        return found

    source = faces.source[rows]
    return {"all": block(np.ones(len(rows), bool))} | {str(name): block(source == name) for name in np.unique(source)}
