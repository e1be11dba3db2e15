"""What int8 nets say of sources that they were trained without: every face, in every condition, through the agent."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.vision.classifier import MaskClassifier
from agent.vision.crop import crop
from agent.vision.model import Abstain, ClassifierManifest
from agent.vision.runtime import CpuRuntime
from tools.quantize.classifier import calibration_faces, crop_scale, left_out_sources
from tools.quantize.conditions import CONDITIONS, show
from tools.quantize.convert import float_answers, to_int8
from tools.quantize.describe import describe_classifier, write_model
from tools.train.data import Faces
from tools.train.graph import load_checkpoint

LOOKS = "looks.npz"  # in the folder of the checkpoints
ALWAYS = Abstain(confidence=0.0, face_px=0.0, sharpness=0.0, brightness=0.0)


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Looks at faces of sources that the net never saw. Columns of length n, one row a face and condition.

    label: index into LABELS. native_px: of the data. face_px: size of face that the shown picture really holds; box_px:
    of the box that the agent was told, which an enlarged picture makes larger. logits: (n, 3), the int8 net's, less a
    constant a row. exact: (n, 3), the float net's, where the condition is "crop", else not a number.
    """

    id: NDArray[np.str_]
    source: NDArray[np.str_]
    label: NDArray[np.int8]
    flags: NDArray[np.str_]
    native_px: NDArray[np.float32]
    condition: NDArray[np.str_]
    face_px: NDArray[np.float32]
    box_px: NDArray[np.float32]
    sharpness: NDArray[np.float32]
    brightness: NDArray[np.float32]
    logits: NDArray[np.float32]
    exact: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.id)

    def only(self, where: NDArray[np.bool_]) -> "Unseen":
        return self.take(np.flatnonzero(where))

    def take(self, rows: NDArray[np.int64]) -> "Unseen":
        return Unseen(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def save(self, path: Path) -> None:
        np.savez_compressed(path, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Unseen":
        with np.load(path) as stored:
            return cls(**{field.name: stored[field.name] for field in fields(cls)})


def joined(parts: Sequence[Unseen]) -> Unseen:
    names = [field.name for field in fields(Unseen)]
    return Unseen(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def nets_by_source(folder: Path, shipped: Path, faces: Faces) -> dict[str, Path]:
    """Find the float checkpoint for each source: of the folder the one whose training left that source out.

    The shipped net stands for sources that have nothing to train or choose with: all of their rows are of split test.
    Raises ModelError if no checkpoint is there, or two leave out the same source.
    """
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.glob("*.npz") if path.name != LOOKS):
        for source in left_out_sources(load_checkpoint(path)):
            if source in found:
                raise ModelError(
                    f"leaves out {source}, as {found[source].name} does", where=str(path), remedy="remove one of them"
                )
            found[source] = path
    if not found:
        raise ModelError(
            "no float checkpoint that leaves a source out",
            where=str(folder),
            remedy=f"python -m tools.train.classifier --leave-out k853 --out {folder}/k853.npz",
        )
    for source in np.unique(faces.source):
        if (faces.split[faces.source == source] == "test").all():
            found.setdefault(str(source), shipped)
    return {source: found[source] for source in sorted(found) if (faces.source == source).any()}


def quantize_unseen(checkpoint_file: Path, folder: Path, faces: Faces, seed: int) -> ClassifierManifest:
    """Quantise a net as the shipped one is, without the faces that it was trained without; gives its manifest.

    Its temperature is 1 and it answers always: what to believe is what is about to be measured.
    """
    checkpoint = load_checkpoint(checkpoint_file)
    content = to_int8(checkpoint, calibration_faces(faces, seed, left_out_sources(checkpoint)))
    manifest = ClassifierManifest(
        name=checkpoint_file.stem,
        version=1,
        net=describe_classifier(content, f"{checkpoint_file.stem}.tflite"),
        labels=("mask", "no_mask", "incorrect"),
        temperature=1.0,
        crop_scale=crop_scale(checkpoint),
        abstain=ALWAYS,
    )
    write_model(folder, manifest, content)
    return manifest


def look_at_source(manifest: ClassifierManifest, content: bytes, faces: Faces, source: str) -> Unseen:
    """Let the agent's classifier look at every face of a source in every condition, as `inspect --crops` does."""
    classifier = MaskClassifier(manifest, CpuRuntime(content, manifest.net, where=manifest.name))
    assert manifest.temperature == 1, "logarithms of the probabilities are the logits then"
    columns: dict[str, list[object]] = {field.name: [] for field in fields(Unseen) if field.name != "exact"}
    for row in np.flatnonzero(faces.source == source):
        for condition in CONDITIONS:
            shown = show(faces, int(row), condition)
            if shown is None:
                continue
            (look,) = classifier.look(shown.pixels, [shown.box])
            values = {
                "id": faces.id[row],
                "source": source,
                "label": faces.label[row],
                "flags": faces.flags[row],
                "native_px": faces.native_px[row],
                "condition": condition,
                "face_px": shown.face_px,
                "box_px": look.face_px,
                "sharpness": look.sharpness,
                "brightness": look.brightness,
                "logits": np.log(look.probs),
            }
            for name, value in values.items():
                columns[name].append(value)
    types = {"label": np.int8} | dict.fromkeys(("id", "source", "flags", "condition"), np.str_)
    arrays: dict[str, Any] = {name: np.array(values, types.get(name, np.float32)) for name, values in columns.items()}
    return Unseen(**arrays, exact=np.full((len(arrays["id"]), 3), np.nan, np.float32))


def with_float(seen: Unseen, checkpoint_file: Path, faces: Faces) -> Unseen:
    """Add what the float net says of the same tensors, in the condition "crop"."""
    checkpoint = load_checkpoint(checkpoint_file)
    row_of = {str(name): row for row, name in enumerate(faces.id)}
    at = np.flatnonzero(seen.condition == "crop")
    shown = [show(faces, row_of[str(name)], "crop") for name in seen.id[at]]
    pictures = [crop(one.pixels, one.box, crop_scale(checkpoint), 64) for one in shown if one is not None]
    exact = seen.exact.copy()
    exact[at] = float_answers(checkpoint, np.stack(pictures))[0]
    columns: dict[str, Any] = {field.name: getattr(seen, field.name) for field in fields(seen)}
    return Unseen(**(columns | {"exact": exact}))
