"""Train the nets of the papers on one small subset and show how they do on sources that none of them saw.

    python -m tools.train.papers                         # every net that has no result yet; go on where it was cut off
    python -m tools.train.papers --only model-3 --only model-3-full
    python -m tools.train.papers --measure               # time a few steps of whatever has no result, train nothing
    python -m tools.train.papers --weights resnet18=resnet18.pth --only resnet18
    python -m tools.train.papers --ours without-three.npz  # a net of tools.train.classifier beside them
    python -m tools.train.papers --smoke                 # seconds, on drawn faces

Each epoch of each net depends on (seed, epoch) alone and ends with a checkpoint in .work/papers/. The report is
models/reports/papers.json, its tables are those of docs/experiments.md.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning barriers make a busy machine ten times slower

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from agent.errors import MaskwatchError, ModelError
from tools.train.data import data_digest, load_faces
from tools.train.graph import load_checkpoint, parameter_count, save_checkpoint
from tools.train.papers_faces import OUT_OF_SOURCE, Settings, Task, blank, choose, cut, drawn_faces, turned
from tools.train.papers_nets import DEVIATION, MEAN, Net3, for_the_agent, load_pretrained
from tools.train.papers_recipes import Recipe, recipes
from tools.train.papers_score import PAGE, REPORT, Row, known, score, write

BATCH = 64
CROP_SCALE = 1.2  # side of the crop / longer side of the box, as the agent cuts
PRETRAINED = ("vgg-16", "resnet18", "alexnet", "mobilenet-v2")


def to_input(pictures: NDArray[np.uint8], device: str) -> Tensor:
    """Give (N, 3, H, W) float, normalised, in channels_last from NHWC bytes."""
    maps = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255
    mean, deviation = (torch.tensor(values, device=device)[:, None, None] for values in (MEAN, DEVIATION))
    return (maps - mean) / deviation


@torch.inference_mode()  # type: ignore[untyped-decorator]
def logits_of(model: nn.Module, pictures: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    model.eval()
    parts = [model(to_input(pictures[i : i + BATCH], device)).float().cpu() for i in range(0, len(pictures), BATCH)]
    return np.asarray(torch.cat(parts).numpy())


def measured(answer: Callable[[NDArray[np.int64]], NDArray[np.float32]], task: Task) -> dict[str, Any]:
    """Score what `answer` gives for the test rows and the unseen ones."""
    found = {}
    for name, rows in (("in_source", task.test), ("out_of_source", task.unseen)):
        # Some hundreds at a time: all of them at 224 px would be a gigabyte.
        logits = np.concatenate([answer(rows[i : i + 512]) for i in range(0, len(rows), 512)])
        faces = task.faces
        found[name] = score(logits, faces.label[rows], faces.native_px[rows], faces.source[rows])
    return found


def optimizer_of(recipe: Recipe, model: nn.Module, rate: float) -> Any:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.Adam(learning, rate) if recipe.optimizer == "adam" else torch.optim.SGD(learning, rate)


def step(model: nn.Module, optimizer: Any, pictures: NDArray[np.uint8], label: Tensor, device: str) -> float:
    with torch.autocast(device, torch.bfloat16):
        loss = functional.cross_entropy(model(to_input(pictures, device)).float(), label.to(device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.item())


def train_mode(model: nn.Module) -> None:
    """Let layers that learn see batches; batch norm of frozen ones keeps its statistics."""
    for layer in model.modules():
        own = list(layer.parameters(recurse=False))
        layer.training = not own or any(parameter.requires_grad for parameter in own)


@dataclass(kw_only=True)
class Run:
    """How far one training has come; all of it is in its checkpoint. phase 2: ended."""

    epoch: int = 0
    phase: int = 0
    points: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = float("inf")
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    waited: int = 0
    seconds: float = 0.0


def learning(model: nn.Module, phase: int, pretrained: bool) -> float:
    """Say which layers of the two-phase recipe learn in a phase and give the rate.

    Without pre-trained weights there is nothing worth keeping: everything learns, only the rate falls.
    """
    if pretrained:
        parts = [model.classifier] if phase == 0 else [model.classifier, *list(model.features)[-4:]]
        chosen = {id(parameter) for part in parts for parameter in part.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad = id(parameter) in chosen
    return 1e-3 if phase == 0 else 1e-4


def heed(run: Run, model: nn.Module, optimizer: Any, val_loss: float, head_epochs: int, last_epoch: int) -> bool:
    """Keep the best weights, halve the rate every 3 epochs without better ones, end the phase after 8.

    Returns whether a phase has ended, with its best weights in the model.
    """
    if val_loss < run.best_loss:
        run.best_loss, run.waited = val_loss, 0
        run.best_weights = {name: value.clone() for name, value in model.state_dict().items()}
    else:
        run.waited += 1
        if run.waited % 3 == 0:
            for group in optimizer.param_groups:
                group["lr"] /= 2
    is_last = run.epoch == last_epoch
    if run.waited < 8 and not is_last and not (run.phase == 0 and run.epoch >= head_epochs):
        return False
    model.load_state_dict(run.best_weights)
    run.phase, run.waited = 2 if is_last else run.phase + 1, 0
    return True


def train(recipe: Recipe, task: Task, settings: Settings, weights: Path | None, console: Console) -> Iterator[Row]:
    """Train one net to its last epoch, or take up where it was cut off; gives its row whenever it is measured."""
    torch.manual_seed(settings.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = task.full if recipe.full_set else task.train
    pictures = cut(task.faces, rows, recipe.input_px, CROP_SCALE)
    label = torch.from_numpy(task.faces.label[rows].astype(np.int64))
    val = cut(task.faces, task.val, recipe.input_px, CROP_SCALE)
    val_label = torch.from_numpy(task.faces.label[task.val].astype(np.int64))
    model = recipe.build()
    if weights is not None:
        load_pretrained(model, weights)
    model = model.to(device, memory_format=torch.channels_last)
    pretrained = weights is not None
    optimizer = optimizer_of(recipe, model, learning(model, 0, pretrained) if recipe.two_phases else 1e-3)

    run = Run()
    digest = hashlib.sha256("".join(task.faces.id[rows]).encode()).hexdigest()
    made_with = {"seed": settings.seed, "head_epochs": settings.head_epochs, "rows": digest, "weights": str(weights)}
    made_with["batch"] = BATCH
    state_file = Path(settings.work) / recipe.name / "state.pt"
    state_file.parent.mkdir(parents=True, exist_ok=True)
    if state_file.exists():
        state = torch.load(state_file, weights_only=True, map_location=device)
        if state["made_with"] == made_with:
            run = Run(**state["run"])
            if run.phase:
                optimizer = optimizer_of(recipe, model, learning(model, 1, pretrained))
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        else:
            console.print(f"{state_file} is of another run: starting from the beginning")

    def row() -> Row:
        steps = run.epoch * -(-len(rows) // BATCH)
        found = described(recipe, model, len(rows), pretrained) | {"device": device}
        is_ended = run.epoch == recipe.points[-1] or run.phase == 2
        return found | {"seconds_a_step": round(run.seconds / steps, 3), "ended": is_ended, "points": run.points}

    while run.epoch < recipe.points[-1] and run.phase < 2:
        started = time.monotonic()
        rng = np.random.default_rng([settings.seed, run.epoch])
        torch.manual_seed(settings.seed * 1000 + run.epoch)  # dropout's, the same after a run was cut off
        order = rng.permutation(len(rows))
        train_mode(model)
        losses = []
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            seen = turned(pictures[chosen], rng, shift=recipe.two_phases)
            losses.append(step(model, optimizer, seen, label[chosen], device))
        run.epoch += 1
        val_loss = float(functional.cross_entropy(torch.from_numpy(logits_of(model, val, device)), val_label))
        if recipe.two_phases and heed(run, model, optimizer, val_loss, settings.head_epochs, recipe.points[-1]):
            optimizer = optimizer_of(recipe, model, learning(model, 1, pretrained))
        run.seconds += time.monotonic() - started
        if run.epoch in recipe.points or run.phase == 2:
            found = measured(
                lambda part: logits_of(model, cut(task.faces, part, recipe.input_px, CROP_SCALE), device), task
            )
            run.points.append({"epoch": run.epoch, "train_loss": round(float(np.mean(losses)), 4)} | found)
        console.print(f"{recipe.name} epoch {run.epoch}: loss {np.mean(losses):.3f}, val {val_loss:.3f}")
        state = {"made_with": made_with, "run": vars(run), "model": model.state_dict()}
        torch.save(state | {"optimizer": optimizer.state_dict()}, partial := state_file.with_suffix(".partial"))
        partial.rename(state_file)  # a cut-off run finds a whole checkpoint, old or new
        if run.points and run.points[-1]["epoch"] == run.epoch:
            yield row()

    if isinstance(model, Net3):
        notes = {
            "settings": made_with | {"crop_scale": CROP_SCALE, "leave_out": ",".join(OUT_OF_SOURCE)},
            "data_sha256": "drawn" if settings.smoke else data_digest(),
        }
        path = Path(settings.work) / f"papers-{recipe.name}.npz"
        save_checkpoint(path, for_the_agent(model.cpu(), notes))
        console.print(f"{path} written")
    yield row()


def timed(recipe: Recipe, task: Task, settings: Settings) -> Row:
    """Time three steps after a first one; gives the row of a net that is not run."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = task.full if recipe.full_set else task.train
    pictures = cut(task.faces, rows[:BATCH], recipe.input_px, CROP_SCALE)
    label = torch.from_numpy(task.faces.label[rows[:BATCH]].astype(np.int64))
    model = recipe.build().to(device, memory_format=torch.channels_last)
    optimizer = optimizer_of(recipe, model, 1e-3)
    rng = np.random.default_rng(settings.seed)
    train_mode(model)
    seconds = []
    for _ in range(4):
        started = time.monotonic()
        step(model, optimizer, turned(pictures, rng, shift=recipe.two_phases), label, device)
        seconds.append(time.monotonic() - started)
    cost: Row = {"seconds_a_step": round(float(np.median(seconds[1:])), 3), "epochs": recipe.points[-1]}
    cost |= {"steps": recipe.points[-1] * -(-len(rows) // BATCH), "threads": settings.threads}
    return described(recipe, model, len(rows), False) | {"device": device, "not_run": cost}


def described(recipe: Recipe, model: nn.Module, faces: int, pretrained: bool) -> Row:
    start = (", pre-trained" if pretrained else ", from scratch") if recipe.name in PRETRAINED else ""
    return {
        "name": recipe.name,
        "title": recipe.title + start,
        "input_px": recipe.input_px,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "recipe": {"optimizer": recipe.optimizer, "rate": 1e-3, "batch": BATCH, "faces": faces},
        "pretrained": pretrained,
        "thesis": {epoch: list(figures) for epoch, figures in recipe.thesis.items()},
    }


def ours(path: Path, task: Task) -> Row:
    """Score a checkpoint of tools.train.classifier on the same faces, by the likelier of mask and no_mask.

    Raises ModelError if the net saw one of the sources that it is measured on.
    """
    from tools.quantize.convert import float_answers  # TensorFlow takes seconds to load

    checkpoint = load_checkpoint(path)
    settings = checkpoint.notes["settings"]
    if seen := set(OUT_OF_SOURCE) - set(settings["leave_out"].split(",")):
        raise ModelError(
            f"was trained with {', '.join(sorted(seen))}",
            where=str(path),
            remedy=f"name a net trained with --leave-out {','.join(OUT_OF_SOURCE)}",
        )
    size_px = checkpoint.graph.input_shape[0]

    def answer(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return float_answers(checkpoint, cut(task.faces, rows, size_px, settings["crop_scale"]))[0][:, :2]

    return {
        "name": "ours",
        "title": f"ours ({size_px}x{size_px}), full training set",
        "input_px": size_px,
        "parameters": parameter_count(checkpoint.graph),
        "recipe": settings,
        "thesis": {},
        "points": [{"epoch": "-"} | measured(answer, task)],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.train.papers", description=(__doc__ or "").splitlines()[0])
    names = [recipe.name for recipe in recipes(224)]
    parser.add_argument("--only", action="append", choices=names, help="again for more; default: all without a result")
    parser.add_argument("--weights", action="append", default=[], metavar="NET=FILE", help="pre-trained state_dict")
    parser.add_argument("--ours", type=Path, help="score this checkpoint of tools.train.classifier, train nothing")
    parser.add_argument("--measure", action="store_true", help="time steps of nets without a result, train nothing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="drawn faces, two epochs, nothing outside .work/")
    chosen = parser.parse_args(arguments)
    weights = {name: Path(file) for name, _, file in (text.partition("=") for text in chosen.weights)}
    if wrong := [name for name in weights if name not in PRETRAINED]:
        parser.error(f"--weights {wrong[0]}: nets with published weights are {', '.join(PRETRAINED)}")
    torch.set_num_threads(chosen.threads)
    settings, out, page = Settings(threads=chosen.threads), REPORT, PAGE
    if chosen.smoke:
        folder = Path(".work/papers/smoke")
        settings = replace(settings, smoke=True, counts=(32, 8, 8), large_px=64, head_epochs=1, work=str(folder))
        out, page = folder / "papers.json", folder / "experiments.md"
    console = Console()
    try:
        faces = drawn_faces(settings.seed) if chosen.smoke else load_faces()
        task = choose(faces, settings)
        empty = blank(task, settings)
        order = [*names, "ours"]
        if chosen.ours:
            write(out, page, empty, ours(chosen.ours, task), order)
            return 0
        rows = {row["name"]: row for row in known(out, empty)}
        for recipe in recipes(settings.large_px):
            name, before = recipe.name, rows.get(recipe.name, {})
            is_done = "points" in before if chosen.measure else before.get("ended") and not chosen.only
            if is_done or name not in (chosen.only or names):
                continue
            if chosen.smoke:
                recipe = replace(recipe, points=(1, 2), input_px=64)
            if chosen.measure:
                write(out, page, empty, timed(recipe, task, settings), order)
            else:
                for row in train(recipe, task, settings, weights.get(name), console):
                    write(out, page, empty, row, order)
            console.print(f"{name}: in {out}")
    except MaskwatchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return ModelError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
