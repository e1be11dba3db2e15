"""What the face detector learns from, batch by batch, and in which shares."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from tools.train.face_net import STRIDES
from tools.train.face_settings import Settings
from tools.train.paste import Portrait
from tools.train.pictures import BARE_SOURCES, EMPTY_SOURCES, MASKED_SOURCES, Picture
from tools.train.views import Pasted, assign, make_view

ORDINARY_SHARES = {"wider": 0.37, "wider_more": 0.33, "wider_events": 0.17, "scutb": 0.13}
MASKED_SHARES = {"k853": 0.45, "adi920": 0.13, "street": 0.05, "mafa": 0.22, "macwin": 0.15}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """pictures (n, h, w, 3) uint8; state (n, cells) uint8; rows, cells (m,) and boxes (m, 4) pixels: what to learn."""

    pictures: Tensor
    state: Tensor
    rows: Tensor
    cells: Tensor
    boxes: Tensor


class Batches(IterableDataset[Batch]):  # type: ignore[misc]  # mypy runs where torch is not installed
    """Endless batches; batch i is the same for the same seed and pictures, whoever makes it and when."""

    def __init__(
        self,
        pictures: list[Picture],
        settings: Settings,
        first: int,
        peer: int = 0,
        portraits: Sequence[Portrait] = (),
    ) -> None:
        """peer: which process this is for; the parts of a batch differ. portraits: to paste, where there are any."""
        self.settings, self.first, self.peer = settings, first, peer
        scraps = [picture for picture in pictures if picture.source in EMPTY_SOURCES]
        self.pasted = Pasted(portraits=portraits, scraps=scraps) if portraits and scraps else None
        self.groups = [[p for p in pictures if p.source == source] for source in shares(settings)]
        weights = [share if group else 0.0 for share, group in zip(shares(settings).values(), self.groups, strict=True)]
        self.weights = np.array(weights) / sum(weights)

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(0)
        torch.set_num_threads(1)
        index = self.first
        while True:
            yield self.make(index)
            index += 1

    def make(self, index: int) -> Batch:
        s, rng = self.settings, np.random.default_rng((self.settings.seed, index, self.peer))
        count = s.batch // s.processes
        views, targets = [], []
        for _ in range(count):
            groups = rng.choice(len(self.groups), 4, p=self.weights)
            chosen = [self.groups[group][rng.integers(len(self.groups[group]))] for group in groups]
            views.append(make_view(chosen, s.width, s.height, s.views, rng, self.pasted))
            targets.append(assign(views[-1], STRIDES))
        return Batch(
            pictures=torch.from_numpy(np.stack([view.pixels for view in views])),
            state=torch.from_numpy(np.stack([target.state for target in targets])),
            rows=torch.from_numpy(np.repeat(np.arange(count), [len(target.cells) for target in targets])),
            cells=torch.from_numpy(np.concatenate([target.cells for target in targets])),
            boxes=torch.from_numpy(np.concatenate([target.boxes for target in targets])),
        )


def shares(s: Settings) -> dict[str, float]:
    """Give the share of each source in a batch."""
    parts = {source: s.masked_share * MASKED_SHARES[source] for source in MASKED_SOURCES}
    ordinary = 1 - s.masked_share - s.empty_share
    parts |= {source: ordinary * ORDINARY_SHARES[source] for source in BARE_SOURCES}
    return parts | {source: s.empty_share / len(EMPTY_SOURCES) for source in EMPTY_SOURCES}


def generated_pictures(count: int, rng: np.random.Generator) -> list[Picture]:
    """Make pictures of skin-coloured ovals on noise, so that the smoke run needs no data."""
    pictures = []
    for index in range(count):
        pixels = rng.integers(0, 120, (120, 160, 3), np.uint8)
        centre, axes = (int(rng.integers(40, 120)), int(rng.integers(40, 80))), (int(rng.integers(8, 24)), 26)
        cv2.ellipse(pixels, centre, axes, 0, 0, 360, (224, 172, 150), -1)
        box = (centre[0] - axes[0], centre[1] - axes[1], centre[0] + axes[0], centre[1] + axes[1])
        pictures.append(
            Picture(
                name=f"oval{index}",
                source="k853",
                split="train",
                pixels=pixels,
                boxes=np.array([box], np.float32),
                ignore=np.zeros(1, bool),
                pseudo=np.zeros(1, bool),
                labels=("face",),
            )
        )
    return pictures
