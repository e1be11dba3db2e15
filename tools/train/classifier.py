"""Train the mask / no_mask / incorrect net: settings, net, batches, loop, evaluation, export, read from top to bottom.

    python -m tools.train.classifier                        # the shipped recipe, from ../shared/data
    python -m tools.train.classifier --leave-out k853       # the same without a source: what it never saw is the test
    python -m tools.train.classifier --smoke                # seconds, on drawn faces, without any data

Batch i depends on (seed, i) alone, so a run that was cut off goes on where its checkpoint in .work/ ends.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning barriers make a busy machine ten times slower
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from agent.seams import LABELS, Box, Pixels
from agent.vision.crop import crop
from tools.train.data import Faces, data_digest, draw_weights, generated_faces, load_faces
from tools.train.degrade import DegradeSettings, Overlays, drawn_overlays, hold_object, load_overlays, view, wear_mask
from tools.train.graph import Checkpoint, Graph, Node, multiply_adds, parameter_count, save_checkpoint
from tools.train.torch_net import build_torch, folded_weights

MASK, BARE, INCORRECT = range(3)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run. Every field is an option of the same name."""

    name: str = "mask-64"  # of the run's folder under .work/train/
    out: str = "models/mask-64.npz"  # the float checkpoint that tools/quantize takes
    leave_out: str = ""  # sources, comma-separated, that the net must not see
    seed: int = 1
    steps: int = 9000
    batch: int = 128
    learning_rate: float = 4e-3  # peak; warm-up over 3 %, then a cosine to nothing
    weight_decay: float = 0.03
    label_smoothing: float = 0.05
    average: float = 0.998  # of the weights that are evaluated and shipped: an exponential mean over the last steps
    share_mask: float = 0.37  # of real faces drawn, before synthesis turns some bare ones into masked ones
    share_incorrect: float = 0.06
    wear: float = 0.20  # bare faces that get a mask of overlays/, from every source alike
    wear_incorrect: float = 0.02  # and that get one under the nose or on the chin
    hold: float = 0.22  # bare faces that get an object before mouth or nose
    crop_scale: float = 1.2  # for evaluation and for the manifest: side of the crop / longer side of the box
    evaluate_every: int = 1000
    threads: int = 2
    smoke: bool = False


def net(name: str) -> Graph:
    """Give the shipped net: depthwise-separable, 64x64 down to 4x4, residual where the shape stays."""
    nodes: list[Node] = []
    last = "input"

    def add(op: Any, inputs: tuple[str, ...] = (), **attributes: Any) -> str:
        nonlocal last
        last = f"{op}_{len(nodes)}"
        nodes.append(Node(name=last, op=op, inputs=inputs, **attributes))
        return last

    add("conv", (last,), channels=16, kernel=3, stride=2, activation="relu6")
    for channels, kernel, stride, residual in (
        (24, 3, 1, False),  # 32x32
        (48, 3, 2, False),  # 16x16
        (48, 3, 1, True),
        (96, 3, 2, False),  # 8x8
        (96, 5, 1, True),  # a mask's edge against a cheek needs a wide view; cheap here
        (96, 5, 1, True),
        (144, 3, 2, False),  # 4x4
        (144, 3, 1, True),
    ):
        entry = last
        add("depthwise", (last,), kernel=kernel, stride=stride, activation="relu6")
        add("conv", (last,), channels=channels, activation="none" if residual else "relu6")
        if residual:
            add("add", (entry, last))
    add("mean", (last,))
    add("dense", (last,), channels=len(LABELS))
    return Graph(name=name, input_shape=(64, 64, 3), nodes=tuple(nodes), outputs=(last,))


class Batches(Dataset[Any]):  # type: ignore[misc]  # mypy runs where torch is not installed
    """Batch i of a run: (batch, 64, 64, 3) uint8 and (batch,) labels, drawn, dressed and degraded."""

    def __init__(self, faces: Faces, overlays: Overlays, settings: Settings) -> None:
        self.faces, self.overlays, self.settings = faces, overlays, settings
        self.degrade = DegradeSettings()
        self.rows = faces.rows(split="train", without=[name for name in settings.leave_out.split(",") if name])
        bare = 1 - settings.share_mask - settings.share_incorrect
        weights = draw_weights(faces, self.rows, (settings.share_mask, bare, settings.share_incorrect))
        self.cumulative = np.cumsum(weights)

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, step: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.settings.seed, step])
        drawn = np.searchsorted(self.cumulative, rng.random(self.settings.batch) * self.cumulative[-1])
        made = [self.example(int(row), rng) for row in self.rows[np.minimum(drawn, len(self.rows) - 1)]]
        return np.stack([picture for picture, _ in made]), np.array([label for _, label in made])

    def example(self, row: int, rng: np.random.Generator) -> tuple[Pixels, int]:
        faces, s = self.faces, self.settings
        picture, box, label = faces.picture(row), faces.face_box(row), int(faces.label[row])
        if label == BARE:
            # Faces that hide something already (all of mafa, flagged ones) and unclear ones stay as they are.
            plain = (
                faces.source[row] != "mafa" and "occluder" not in faces.flags[row] and "diff" not in faces.flags[row]
            )
            fate = rng.random() if plain else 1.0
            if fate < s.wear:
                picture, label = wear_mask(picture, box, self.overlays, rng, incorrect=False), MASK
            elif fate < s.wear + s.wear_incorrect:
                picture, label = wear_mask(picture, box, self.overlays, rng, incorrect=True), INCORRECT
            elif fate < s.wear + s.wear_incorrect + s.hold:
                picture = hold_object(picture, box, self.overlays, rng)
        return view(picture, box, self.degrade, float(faces.native_px[row]), rng), label


def evaluation_crops(faces: Faces, rows: NDArray[np.int64], scale: float) -> NDArray[np.uint8]:
    """Cut rows as the agent does; a tight crop is a face from edge to edge. Returns (n, 64, 64, 3)."""
    cuts = [np.zeros((0, 64, 64, 3), np.uint8)]
    for row in rows:
        picture = faces.picture(row)
        whole = Box(0, 0, picture.shape[1], picture.shape[0])
        cuts.append(crop(picture, faces.face_box(row) if faces.boxed[row] else whole, scale, 64)[None])
    return np.concatenate(cuts)


def to_input(batch: NDArray[np.uint8] | Tensor) -> Tensor:
    """Give (N, 3, 64, 64) float 0..1 in channels_last from NHWC bytes, without a copy of the layout."""
    return torch.as_tensor(batch).permute(0, 3, 1, 2).float() / 255


@torch.inference_mode()  # type: ignore[untyped-decorator]
def logits_of(model: nn.Module, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    model.eval()
    parts = [model(to_input(pictures[start : start + 256]))[0].float() for start in range(0, len(pictures), 256)]
    return np.asarray(torch.cat(parts).numpy())


def scores(logits: NDArray[np.float32], faces: Faces, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Give two-way and strict balanced accuracy in per cent, for all rows and by source."""

    def block(where: NDArray[np.bool_]) -> dict[str, float]:
        found: dict[str, float] = {"n": int(where.sum())}
        label, best = faces.label[rows][where], logits[where].argmax(1)
        worn = logits[where][:, MASK] > logits[where][:, BARE]
        pair = [worn[label == MASK], ~worn[label == BARE]]
        found["two_way"] = round(100 * float(np.mean([part.mean() for part in pair if part.size] or [np.nan])), 2)
        for index, name in enumerate(LABELS):
            if (label == index).any():
                found[f"recall_{name}"] = round(100 * float((best[label == index] == index).mean()), 2)
        return found

    source = faces.source[rows]
    return {"all": block(np.ones(len(rows), bool))} | {str(name): block(source == name) for name in np.unique(source)}


def rate_at(step: int, settings: Settings) -> float:
    warm = max(1, settings.steps * 3 // 100)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    return settings.learning_rate * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, settings.steps - warm))))


def train(settings: Settings) -> dict[str, Any]:
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    folder = Path(".work/train") / settings.name
    folder.mkdir(parents=True, exist_ok=True)
    faces = generated_faces(240, settings.seed) if settings.smoke else load_faces()
    overlays = drawn_overlays() if settings.smoke else load_overlays()

    graph = net(Path(settings.out).stem)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_torch(graph).to(device, memory_format=torch.channels_last)
    averaged = {name: value.clone() for name, value in model.state_dict().items()}
    gains = [p for p in model.parameters() if p.ndim == 1]
    kernels = [p for p in model.parameters() if p.ndim > 1]
    optimizer = torch.optim.AdamW(
        [{"params": kernels, "weight_decay": settings.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=settings.label_smoothing)

    start, history = 0, []
    state_file = folder / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        if state["settings"] == asdict(settings):
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            averaged, start, history = state["averaged"], state["step"], state["history"]
        else:
            print(f"{state_file} is of other settings: starting from the beginning")

    shadow = build_torch(graph).to(device, memory_format=torch.channels_last)
    left_out = [name for name in settings.leave_out.split(",") if name]
    rows = faces.rows(split="val", without=left_out)
    pictures = evaluation_crops(faces, rows, settings.crop_scale)
    batches = DataLoader(
        Batches(faces, overlays, settings),
        batch_size=None,
        sampler=range(start, settings.steps),
        num_workers=0 if settings.smoke else 1,
        prefetch_factor=None if settings.smoke else 8,
    )
    print(f"{graph.name}: {parameter_count(graph):,} parameters, {multiply_adds(graph):,} multiply-adds; step {start}")
    losses: list[float] = []  # since the last evaluation
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("training", total=settings.steps, completed=start)
        for step, (batch, labels) in enumerate(batches, start):
            model.train()
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, settings)
            with torch.autocast(device, torch.bfloat16):
                loss = loss_of(model(to_input(batch).to(device))[0].float(), labels.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            keep = min(settings.average, (step + 1) / (step + 10))
            for name, value in model.state_dict().items():
                if value.is_floating_point():
                    averaged[name].lerp_(value, 1 - keep)
            losses.append(loss.item())
            progress.update(bar, advance=1, description=f"training, loss {losses[-1]:.3f}")
            if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.steps:
                shadow.load_state_dict(averaged)
                measured = scores(logits_of(shadow.cpu(), pictures), faces, rows)
                shadow.to(device)
                mean_loss = round(float(np.mean(losses)), 4)
                losses.clear()
                history.append({"step": step + 1, "loss": mean_loss, "val": measured})
                progress.console.print(f"step {step + 1} loss {mean_loss} val {measured['all']}")
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "averaged": averaged}
                state |= {"step": step + 1, "history": history, "settings": asdict(settings)}
                torch.save(state, partial := state_file.with_suffix(".partial"))
                partial.rename(state_file)  # a cut-off run finds a whole checkpoint, old or new

    shadow.load_state_dict(averaged)
    report: dict[str, Any] = {
        "settings": asdict(settings),
        "data_sha256": "drawn" if settings.smoke else data_digest(),
        "parameters": parameter_count(graph),
        "multiply_adds": multiply_adds(graph),
        "history": history,
    }
    if left_out:
        unseen = np.flatnonzero(np.isin(faces.source, left_out))
        logits = logits_of(shadow.cpu(), evaluation_crops(faces, unseen, settings.crop_scale))
        report["left_out"] = scores(logits, faces, unseen)
    (folder / "metrics.json").write_text(json.dumps(report, indent=1))
    notes = {key: value for key, value in report.items() if key != "history"} | {"val": history[-1]["val"]}
    weights = folded_weights(shadow.cpu().float())
    save_checkpoint(Path(settings.out), Checkpoint(graph=graph, weights=weights, notes=notes))
    print(f"{settings.out} written; history in {folder / 'metrics.json'}")
    return report


def smoke(settings: Settings) -> Settings:
    """Give a run of seconds: drawn faces, a few steps, nothing near models/."""
    tiny: dict[str, Any] = {"steps": 24, "batch": 24, "evaluate_every": 12, "threads": 1}
    return replace(settings, smoke=True, name="smoke", out=".work/train/smoke/mask-64.npz", **tiny)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for field in fields(Settings):
        option = f"--{field.name.replace('_', '-')}"
        if field.type is bool:
            parser.add_argument(option, action="store_true")
        else:
            parser.add_argument(option, type=field.type, default=field.default)
    settings = Settings(**vars(parser.parse_args(arguments)))
    return train(smoke(settings) if settings.smoke else settings)


if __name__ == "__main__":
    main()
