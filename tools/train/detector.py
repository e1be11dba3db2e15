"""Train the face detector: python -m tools.train.detector [--smoke] [--resume] [--set name=value ...]

A small anchor-free net of four levels (strides 4 to 32). Each cell says how sure it is of a face round it and how far
away the face's four sides are, in units of the stride; all levels come out as two tensors, `scores` and `boxes`, as
agent.vision.model.DetectorManifest describes them. The settings are in face_settings.py, the net in face_net.py, what
it learns from in face_batches.py, the loss in face_loss.py.

Writes into --out: state.pt (to resume), face.npz (averaged weights, folded: what tools.quantize takes), metrics.json.
"""

import argparse
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, multiprocessing, nn
from torch.utils.data import DataLoader

from tools.train.data import SHARED_CROPS, load_faces
from tools.train.face_batches import Batches, generated_pictures
from tools.train.face_loss import cell_centres, loss_of
from tools.train.face_net import STRIDES, face_net
from tools.train.face_settings import SMOKE, Settings, with_changes
from tools.train.graph import Checkpoint, multiply_adds, parameter_count, save_checkpoint
from tools.train.paste import Portrait, portraits_of
from tools.train.peers import Peers
from tools.train.pictures import Picture, load_pictures
from tools.train.torch_net import TorchNet, build_torch, folded_weights

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
    peers: Peers | None = None,
    portraits: Sequence[Portrait] = (),
) -> dict[str, Any]:
    """Train until the schedule ends; give the metrics. Everything that is needed to go on lies in out/state.pt.

    start: the state.pt of another training to begin with. portraits: faces to paste into views.
    peer: which of s.processes this is, of those that peers joins; the first one alone writes and prints.
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
                scores, sides = net(picture.to(torch.bfloat16) / 255)
            loss, parts = loss_of(scores.float(), sides.float(), batch, centres, strides, s)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            now = time.monotonic()
            run.trained_s, before = run.trained_s + now - before, now
            if peers is not None:
                run.trained_s = peers.agree(peer, net, run.trained_s)
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            move_average(average, net, min(s.average, (1 + run.step) / (10 + run.step)))

            run.step += 1
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


# --- command line ---------------------------------------------------------------------------------------------------


def work(peer: int, options: argparse.Namespace, settings: Settings, peers: Peers | None = None) -> None:
    """Train as one of the processes."""
    console = Console()
    portraits: list[Portrait] = []
    if options.smoke:
        pictures, digest = generated_pictures(8, np.random.default_rng(settings.seed)), "generated"
    else:
        everything, digest = load_pictures(options.data, options.cache)
        pictures = [picture for picture in everything if picture.split == "train"]
        portraits = portraits_of(load_faces(options.crops))
    ways = {"resume": options.resume, "start": options.start, "peer": peer, "peers": peers, "portraits": portraits}
    metrics = train(settings, pictures, digest, options.out, console=console, **ways)
    if peer == 0:
        console.print(f"{options.out}: {metrics['pictures_seen']} pictures in {metrics['trained_s'] / 60:.1f} min")


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
    if settings.processes > 1:
        peers = Peers(settings.processes, build_torch(face_net(settings.width, settings.height)))
        multiprocessing.spawn(work, (options, settings, peers), nprocs=settings.processes)
    else:
        work(0, options, settings)


if __name__ == "__main__":
    main()
