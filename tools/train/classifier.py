"""Train the mask / no_mask / incorrect net: settings, views, loop, evaluation, export, read from top to bottom.

    python -m tools.train.classifier                        # the shipped recipe, from ../shared/data
    python -m tools.train.classifier --leave-out k853       # the same without a source: what it never saw is the test
    python -m tools.train.classifier --smoke                # seconds, on drawn faces, without any data
    python -m tools.train.classifier --start models/mask-64.npz --also my-camera --steps 1500 --learning-rate 5e-4

Views are drawn once into a bank (tools/train/bank.py). A run that was cut off goes on where its checkpoint ends.
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

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from agent.errors import ModelError
from tools.train.bank import Bank, open_bank
from tools.train.crowds import load_crowds
from tools.train.curve import plot_course
from tools.train.data import Faces, data_digest, generated_faces, joined, load_faces, sources
from tools.train.dress import drawn_overlays, load_overlays
from tools.train.examples import Recipe
from tools.train.graph import Checkpoint, load_checkpoint, multiply_adds, parameter_count, save_checkpoint
from tools.train.judge import WAYS, evaluation_crops, logits_of, scores, to_input
from tools.train.nets import SHIPPED, mask_net
from tools.train.torch_net import build_torch, folded_weights, unfold_weights

WARM = 2.0  # temperature at which teacher and pupil are compared


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run. Every field is an option of the same name."""

    name: str = "mask-64"  # of the run's folder under .work/train/
    out: str = "models/mask-64.npz"  # the float checkpoint that tools/quantize takes
    plan: str = SHIPPED  # of the net, see tools/train/nets.py
    leave_out: str = ""  # sources, comma-separated, that the net must not see
    also: str = ""  # a folder of further sources, in the format of ../shared/data/crops
    start: str = ""  # a float checkpoint of the same plan, to go on from
    teacher: str = ""  # a float checkpoint of any plan, whose answers are learnt beside the labels
    heed: float = 0.6  # of the loss: what the teacher has of it
    seed: int = 1
    views: int = 800_000  # in the bank
    steps: int = 16_000
    batch: int = 128
    learning_rate: float = 4e-3  # peak; warm-up over 3 %, then a cosine to nothing
    weight_decay: float = 0.03
    label_smoothing: float = 0.05
    average: float = 0.998  # of the weights that are evaluated and shipped: an exponential mean over the last steps
    crop_scale: float = 1.2  # for evaluation and for the manifest: side of the crop / longer side of the box
    evaluate_every: int = 1000
    threads: int = 2
    smoke: bool = False

    @property
    def left_out(self) -> list[str]:
        return [name for name in self.leave_out.split(",") if name]


def bank_and_faces(settings: Settings) -> tuple[Bank, Faces]:
    """Give what is learnt from, and the faces with labels that somebody gave, to be judged by."""
    recipe = Recipe()
    if settings.smoke:
        drawn = generated_faces(240, settings.seed)
        faces = learnt = replace(drawn, source=np.where(np.arange(len(drawn)) % 2, "drawn", "sketched"))
        overlays = drawn_overlays()
    else:
        faces = joined([load_faces(), load_faces(Path(settings.also))]) if settings.also else load_faces()
        learnt, overlays = joined([faces, load_crowds()]), load_overlays()
        recipe = replace(recipe, favour=tuple(sources(Path(settings.also))) if settings.also else ())
    bank = open_bank(
        learnt,
        overlays,
        recipe,
        seed=settings.seed,
        count=settings.views,
        folder=Path(".work/bank"),
        processes=settings.threads,
    )
    return bank, faces


def batch_of(bank: Bank, rows: NDArray[np.int64], step: int, settings: Settings) -> tuple[Any, Any]:
    """Give batch `step`: views in the bank's order, which is chance's, mirrored by chance in every epoch."""
    order = (np.arange(settings.batch) + step * settings.batch) % len(rows)
    chosen = rows[order]
    views = np.array(bank.views[chosen])
    mirrored = np.random.default_rng([settings.seed, step]).random(settings.batch) < 0.5
    views[mirrored] = views[mirrored, :, ::-1]
    return views, bank.label[chosen].astype(np.int64)


def disagreement(answers: Tensor, told: Tensor) -> Tensor:
    """Give how far a net's logits are from its teacher's, (n, 3) both. Source: Hinton et al. 2015, temperature 2."""
    wise = (told / WARM).log_softmax(1)
    return WARM**2 * nn.functional.kl_div((answers / WARM).log_softmax(1), wise, reduction="batchmean", log_target=True)


def rate_at(step: int, settings: Settings) -> float:
    warm = max(1, settings.steps * 3 // 100)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    return settings.learning_rate * 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, settings.steps - warm))))


def train(settings: Settings) -> dict[str, Any]:
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    if settings.also:
        os.umask(0o077)  # what is kept of one's own camera shows people
    folder = Path(".work/train") / settings.name
    folder.mkdir(parents=True, exist_ok=True)
    bank, faces = bank_and_faces(settings)
    if unknown := set(settings.left_out) - set(faces.source.tolist()):
        raise ValueError(f"--leave-out: no source is named {', '.join(sorted(unknown))}")
    rows = bank.without(settings.left_out)

    graph = mask_net(Path(settings.out).stem, settings.plan)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = build_torch(graph).to(device, memory_format=torch.channels_last)
    if settings.start:
        unfold_weights(model, load_checkpoint(Path(settings.start)))
    teacher = None
    if settings.teacher:
        taught = load_checkpoint(Path(settings.teacher))
        unfold_weights(teacher := build_torch(taught.graph), taught)
        teacher.to(device, memory_format=torch.channels_last).eval()
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
    judged = faces.rows(split="val", without=settings.left_out)
    pictures = evaluation_crops(faces, judged, settings.crop_scale)
    print(f"{graph.name}: {parameter_count(graph):,} parameters, {multiply_adds(graph):,} multiply-adds; step {start}")
    print(f"{len(rows):,} views of {len(bank.label):,}")
    losses: list[float] = []  # since the last evaluation
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("training", total=settings.steps, completed=start)
        for step in range(start, settings.steps):
            batch, labels = batch_of(bank, rows, step, settings)
            model.train()
            if settings.start:  # folded weights have their normalisation in them: batch statistics would undo it
                for norm in (part for part in model.modules() if isinstance(part, nn.BatchNorm2d)):
                    norm.eval()
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, settings)
            with torch.autocast(device, torch.bfloat16):
                pictures_in = to_input(batch).to(device)
                answers = model(pictures_in)[0].float()
                loss = loss_of(answers, torch.as_tensor(labels).to(device))
                if teacher is not None:
                    with torch.no_grad():
                        told = teacher(pictures_in)[0].float()
                    loss = (1 - settings.heed) * loss + settings.heed * disagreement(answers, told)
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
                measured = scores(logits_of(shadow.cpu(), pictures), faces, judged)
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
    if settings.also:
        report["also_sha256"] = data_digest(Path(settings.also))
    if settings.left_out:
        unseen = np.flatnonzero(np.isin(faces.source, settings.left_out))
        shadow.cpu()
        for way in WAYS:
            cuts = evaluation_crops(faces, unseen, settings.crop_scale, way)
            report[f"left_out_{way}"] = scores(logits_of(shadow, cuts), faces, unseen)
    (folder / "metrics.json").write_text(json.dumps(report, indent=1))
    plot_course(history, folder / "course.png")
    notes = {key: value for key, value in report.items() if key != "history"} | {"val": history[-1]["val"]}
    weights = folded_weights(shadow.cpu().float())
    save_checkpoint(Path(settings.out), Checkpoint(graph=graph, weights=weights, notes=notes))
    print(f"{settings.out} written; history in {folder / 'metrics.json'}")
    return report


def smoke(settings: Settings) -> Settings:
    """Give a run of seconds: drawn faces, a few steps, nothing near models/."""
    tiny: dict[str, Any] = {"views": 600, "steps": 24, "batch": 24, "evaluate_every": 12, "threads": 1}
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
    try:
        main()
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(ModelError.exit_code)
