"""Train the face detector: python -m tools.train.detector [--smoke] [--resume] [--set name=value ...]

A small anchor-free net of four levels (strides 4 to 32). Each cell says how sure it is of a face round it and how far
away the face's four sides are, in units of the stride; all levels come out as two tensors, `scores` and `boxes`, as
agent.vision.model.DetectorManifest describes them. Read this file from top to bottom.

Writes into --out: state.pt (to resume), face.npz (averaged weights, folded: what tools.quantize takes), metrics.json.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_type_hints

import cv2
import msgspec
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

from tools.train.data import SHARED_CROPS, load_faces
from tools.train.face_net import STRIDES, face_net
from tools.train.graph import Checkpoint, multiply_adds, parameter_count, save_checkpoint
from tools.train.paste import Portrait, portraits_of
from tools.train.pictures import BARE_SOURCES, EMPTY_SOURCES, MASKED_SOURCES, Picture, load_pictures
from tools.train.torch_net import TorchNet, build_torch, folded_weights
from tools.train.views import IGNORE, Pasted, ViewSettings, assign, make_view

# --- settings -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides what comes out; stored in every checkpoint and metrics file."""

    width: int = 320
    """Input, pixels; a multiple of the coarsest stride. 320x256 for 640x480 cameras, 480x384 for far faces."""
    height: int = 256
    seed: int = 1
    batch: int = 32
    steps: int = 15_000
    """Length of the learning-rate schedule, unless `minutes` is up first."""
    minutes: float = 0.0
    """Wall-clock budget, resumed runs added up; 0 = none. The schedule ends with whichever is nearer its end."""
    rate: float = 3e-3
    """Peak learning rate of AdamW; warmed up linearly, then a cosine down to a hundredth."""
    warm_up: int = 300
    decay: float = 0.02
    average: float = 0.9995
    """Weight averaging: share of the old average that is kept each step, less in the first steps."""
    masked_share: float = 0.3
    """Share of pictures from sources with masks; they are few, and what the product is about."""
    empty_share: float = 0.08
    """Share of pictures without any face."""
    box_weight: float = 2.0
    side_weight: float = 0.5
    """Weight of the L1 of the sides beside GIoU, which says little while a box is degenerate."""
    processes: int = 1
    """Each learns from its part of a batch and they share what they learnt: three of one thread are twice as fast as
    one of three, whose threads mostly wait for one another at so small a net."""
    threads: int = 2
    """Of each process."""
    loads_ahead: bool = True
    """Views are made in a process beside each one that trains."""
    checkpoint_s: float = 120.0
    views: ViewSettings = field(default_factory=ViewSettings)


SMOKE = Settings(width=96, height=64, batch=4, steps=12, warm_up=2, threads=1, loads_ahead=False, checkpoint_s=0.0)
"""The same script in seconds, on generated pictures."""

ORDINARY_SHARES = {"wider": 0.37, "wider_more": 0.33, "wider_events": 0.17, "scutb": 0.13}
MASKED_SHARES = {"k853": 0.45, "adi920": 0.13, "street": 0.05, "mafa": 0.22, "macwin": 0.15}


# --- the net ---------------------------------------------------------------------------------------------------------


def start_from(net: TorchNet, stored: dict[str, Tensor]) -> None:
    """Take the layers that another training's net has too; blocks that it lacks begin by changing nothing."""
    ours = net.state_dict()
    known = {name: value for name, value in stored.items() if name in ours and value.shape == ours[name].shape}
    net.load_state_dict(known, strict=False)
    for node in net.graph.nodes:
        if node.op == "add" and f"layers.{node.name}_pw.0.weight" not in known and f"{node.name}_pw" in net.layers:
            norm = next(part for part in net.layers[f"{node.name}_pw"].children() if isinstance(part, nn.BatchNorm2d))
            nn.init.zeros_(norm.weight)


def start_heads(net: TorchNet) -> None:
    """Begin with "no face anywhere" and with boxes of a usual size, or the first steps teach nothing else."""
    for stride in STRIDES:
        for what, value in (("scores", -4.6), ("boxes", 1.5)):
            layer = next(part for part in net.layers[f"{what}{stride}"].children() if isinstance(part, nn.Conv2d))
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, value)


# --- data -----------------------------------------------------------------------------------------------------------


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


# --- the loss -------------------------------------------------------------------------------------------------------


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


# --- the loop -------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Run:
    """What a resumed run needs beside weights."""

    step: int = 0
    trained_s: float = 0.0


def rate_at(s: Settings, run: Run) -> float:
    """Give the learning rate: linear warm-up, then half a cosine over the steps or minutes, whichever is further."""
    done = run.step / s.steps
    if s.minutes:
        done = max(done, run.trained_s / (60 * s.minutes))
    return (
        s.rate * min(1.0, (run.step + 1) / s.warm_up) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
    )


def finished(s: Settings, run: Run) -> bool:
    return run.step >= s.steps or (s.minutes > 0 and run.trained_s >= 60 * s.minutes)


@torch.no_grad()  # type: ignore[untyped-decorator]
def move_average(average: TorchNet, net: TorchNet, share: float) -> None:
    """Move the averaged weights and norm statistics towards the net's."""
    ours, theirs = average.state_dict(), net.state_dict()
    names = [name for name, value in ours.items() if value.dtype.is_floating_point]
    torch._foreach_lerp_([ours[name] for name in names], [theirs[name] for name in names], 1 - share)


def train(
    s: Settings,
    pictures: list[Picture],
    data: str,
    out: Path,
    *,
    resume: bool,
    console: Console,
    start: Path | None = None,
    peer: int = 0,
    portraits: Sequence[Portrait] = (),
) -> dict[str, Any]:
    """Train until the schedule ends; give the metrics. Everything that is needed to go on lies in out/state.pt.

    start: the state.pt of another training to begin with. portraits: faces to paste into views.
    peer: which of s.processes this is, in a torch.distributed group of so many; the first one alone writes and prints.
    """
    torch.manual_seed(s.seed)
    torch.set_num_threads(s.threads)
    graph = face_net(s.width, s.height)
    net, average = build_torch(graph), build_torch(graph)
    start_heads(net)
    if start is not None:
        start_from(net, torch.load(start, weights_only=True)["average"])
    average.load_state_dict(net.state_dict())
    for each in (net, average):
        each.to(memory_format=torch.channels_last)
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": s.decay}, {"params": plain, "weight_decay": 0.0}]
    )
    shared: nn.Module = DistributedDataParallel(net) if s.processes > 1 else net
    run = Run()
    state = out / "state.pt"
    if resume and state.exists():
        stored = torch.load(state, weights_only=True)
        net.load_state_dict(stored["net"])
        average.load_state_dict(stored["average"])
        optimizer.load_state_dict(stored["optimizer"])
        run = Run(**stored["run"])
        if peer == 0:
            console.print(f"resumed at step {run.step}, {run.trained_s / 60:.1f} min trained")

    def save() -> dict[str, Any]:
        metrics = {
            "settings": asdict(s),
            "data": data,
            "parameters": parameter_count(graph),
            "multiply_adds": multiply_adds(graph),
            "step": run.step,
            "pictures_seen": run.step * s.batch,
            "trained_s": round(run.trained_s, 1),
            "loss": {name: round(value, 4) for name, value in smooth.items()},
        }
        if peer > 0:
            return metrics
        out.mkdir(parents=True, exist_ok=True)
        whole = {
            "net": net.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "run": asdict(run),
        }
        torch.save(whole, state.with_suffix(".new"))
        state.with_suffix(".new").replace(state)  # a run that is killed while it writes can still be resumed
        save_checkpoint(out / "face.npz", Checkpoint(graph=graph, weights=folded_weights(average), notes=metrics))
        (out / "metrics.json").write_bytes(msgspec.json.format(msgspec.json.encode(metrics), indent=2))
        return metrics

    ahead = {
        "num_workers": 1,
        "prefetch_factor": 6,
        "multiprocessing_context": "fork",
    }  # the pictures stay where they are
    workers: dict[str, Any] = ahead if s.loads_ahead else {"num_workers": 0}
    loader = DataLoader(Batches(pictures, s, run.step, peer, portraits), batch_size=None, **workers)
    centres, strides = cell_centres(s.width, s.height)
    smooth: dict[str, float] = {}
    began, began_step = time.monotonic(), run.step
    before, saved = began, began
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn(),
        console=console,
    )  # fmt: skip
    with bar if console.is_terminal and peer == 0 else nullcontext():
        task = bar.add_task("training", total=s.steps, completed=run.step)
        for batch in loader:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(s, run)
            picture = batch.pictures.permute(0, 3, 1, 2)  # an NHWC array seen as NCHW is channels_last already
            with torch.autocast("cpu", torch.bfloat16):
                scores, sides = shared(picture.to(torch.bfloat16) / 255)
            loss, parts = loss_of(scores.float(), sides.float(), batch, centres, strides, s)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            move_average(average, net, min(s.average, (1 + run.step) / (10 + run.step)))

            now = time.monotonic()
            run.step, run.trained_s, before = run.step + 1, agreed(run.trained_s + now - before, s), now
            smooth = {name: 0.98 * smooth.get(name, value) + 0.02 * value for name, value in parts.items()}
            told = " ".join(f"{name} {value:.3f}" for name, value in smooth.items())
            bar.update(task, completed=run.step, description=told)
            if peer == 0 and not console.is_terminal and run.step % 100 == 0:
                speed = (run.step - began_step) * s.batch / (now - began)
                console.print(
                    f"step {run.step} {told} rate {rate_at(s, run):.5f}",
                    f"{speed:.0f} pictures/s {run.trained_s / 60:.1f} min",
                    soft_wrap=True,
                )
            if finished(s, run):
                return save()
            if now - saved >= s.checkpoint_s:
                saved = now
                save()
    raise AssertionError("the loader is endless")


def agreed(value: float, s: Settings) -> float:
    """Give the first process's value to all: clocks differ, and all are to stop at the same step."""
    told = torch.tensor([value], dtype=torch.float64)
    if s.processes > 1:
        distributed.broadcast(told, src=0)
    return float(told)


# --- command line ---------------------------------------------------------------------------------------------------


def with_changes(s: Settings, changes: list[str]) -> Settings:
    """Apply `name=value` (a field of Settings) or `views.name=value`. Raises ValueError for an unknown name."""
    for change in changes:
        name, _, value = change.partition("=")
        owner = s.views if name.startswith("views.") else s
        short = name.removeprefix("views.")
        if short == "views" or short not in get_type_hints(type(owner)):
            raise ValueError(f"--set {change}: no setting {name!r}; the settings are the fields of Settings")
        new = replace(owner, **{short: get_type_hints(type(owner))[short](value)})
        s = new if isinstance(new, Settings) else replace(s, views=new)
    return s


def work(peer: int, options: argparse.Namespace, settings: Settings, meeting: str) -> None:
    """Train as one of the processes. meeting: a file that does not exist yet, where they find one another."""
    console = Console()
    if settings.processes > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=peer, world_size=settings.processes
        )
    portraits: list[Portrait] = []
    if options.smoke:
        pictures, digest = generated_pictures(8, np.random.default_rng(settings.seed)), "generated"
    else:
        everything, digest = load_pictures(options.data, options.cache)
        pictures = [picture for picture in everything if picture.split == "train"]
        portraits = portraits_of(load_faces(options.crops))
    ways = {"resume": options.resume, "start": options.start, "peer": peer, "portraits": portraits}
    metrics = train(settings, pictures, digest, options.out, console=console, **ways)
    if peer == 0:
        console.print(f"{options.out}: {metrics['pictures_seen']} pictures in {metrics['trained_s'] / 60:.1f} min")
    if settings.processes > 1:
        distributed.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the face detector.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/pictures"))
    parser.add_argument("--crops", type=Path, default=SHARED_CROPS)
    parser.add_argument("--cache", type=Path, default=Path(".work/pictures"))
    parser.add_argument("--out", type=Path, default=Path(".work/detector"))
    parser.add_argument("--resume", action="store_true", help="go on from --out/state.pt")
    parser.add_argument("--start", type=Path, metavar="STATE.PT", help="begin with another training's weights")
    parser.add_argument("--smoke", action="store_true", help="seconds on generated pictures")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    settings = with_changes(SMOKE if options.smoke else Settings(), options.changes)
    with TemporaryDirectory(prefix="maskwatch-train-") as folder:
        meeting = str(Path(folder) / "meeting")
        if settings.processes > 1:
            multiprocessing.spawn(work, (options, settings, meeting), nprocs=settings.processes)
        else:
            work(0, options, settings, meeting)


if __name__ == "__main__":
    main()
