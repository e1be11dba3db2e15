"""The manifest: every number that belongs to a model file, and the proof that the file is the right one.

A model is two files in models/: NAME.json (this manifest) and the .tflite that it names. Code has no threshold of its
own. A manifest is read strictly: an unknown key or a wrong type is an error.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from agent.errors import ModelError, nearest

Probability = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]


class Tensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An int8 door of the net. value = scale * (raw - zero_point)."""

    shape: tuple[int, ...]
    scale: Positive
    zero_point: Annotated[int, Meta(ge=-128, le=127)]


class Golden(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the net answers to `golden_input(seed)`: each output flattened, every `every`-th value."""

    seed: int
    every: Annotated[int, Meta(ge=1)]
    outputs: dict[str, list[int]]


class Net(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What any model file has: its name beside the manifest, its digest, its doors, its golden answers."""

    file: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    input: Tensor
    outputs: dict[str, Tensor]
    golden: list[Golden]
    golden_tolerance: Annotated[int, Meta(ge=0, le=20)] = 2
    """Steps by which correct kernel sets differ: 2 in a shallow net; in a deep one with sums some tens of layers add up
    to about ten. A wrong kernel or file is off by dozens."""


class Abstain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When one look alone is no answer. sharpness and brightness as measured by vision.crop."""

    confidence: Probability
    face_px: Annotated[float, Meta(ge=0)]
    sharpness: Annotated[float, Meta(ge=0)]
    brightness: Annotated[float, Meta(ge=0, le=255)]


class ClassifierManifest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="classifier"
):
    """A net that says mask, no_mask or incorrect of one face crop: output `logits`, (1, 3) in the order of labels."""

    name: str
    version: int
    net: Net
    labels: tuple[Literal["mask"], Literal["no_mask"], Literal["incorrect"]]
    temperature: Positive
    crop_scale: Annotated[float, Meta(ge=1, le=2, description="side of the square crop / longer side of the box")]
    abstain: Abstain


class DetectorManifest(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="detector"
):
    """An anchor-free face detector: outputs `scores` (1, N, 1) logits and `boxes` (1, N, 4).

    N runs over the cells of all levels, row by row, in the order of strides. A box is left, top, right, bottom from
    the cell's centre, in units of the level's stride, negative values taken as 0.
    """

    name: str
    version: int
    net: Net
    strides: tuple[int, ...]
    score_threshold: Probability
    follow_threshold: (
        Annotated[Probability, Meta(description="from here on a face tells that somebody followed is still there")]
        | None
    ) = None
    report_floor: Probability
    nms_iou: Probability


Manifest = ClassifierManifest | DetectorManifest
M = TypeVar("M", ClassifierManifest, DetectorManifest)


def models_folder() -> Path:
    """Give the folder of the models that came with us: inside the wheel, or beside agent/ in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def load_manifest(name: str, kind: type[M]) -> tuple[M, bytes]:
    """Read a manifest and its model file, and check that the one belongs to the other.

    name: a model of models/ (`mask-64`) or the path of a manifest (anything with a slash or ending in .json).
    Returns the manifest and the bytes of the .tflite.
    Raises ModelError if either is missing, damaged or of the wrong kind, or if the sha256 differs.
    """
    path = manifest_path(name)
    manifest = _read_manifest(path, kind)
    model = path.with_name(manifest.net.file)
    try:
        content = model.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot be read: {error.strerror}", where=str(model), remedy=f"restore the file that {path.name} names"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != manifest.net.sha256:
        raise ModelError(
            f"sha256 is {digest[:12]}..., not {manifest.net.sha256[:12]}...",
            where=str(model),
            remedy="restore the file, or make its manifest anew with tools/quantize",
        )
    return manifest, content


def golden_input(seed: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Make the picture of a golden vector: three layers of seeded blocks, integer arithmetic only.

    shape: (1, h, w, 3). Returns int8 of that shape. A linear congruential generator (Numerical Recipes' ranqd1) and
    not numpy's, so that the bytes are the same in every numpy there will be.
    """
    _, height, width, channels = shape
    picture = np.zeros((height, width, channels), np.int64)
    state = np.uint32(seed)
    for cells in (4, 12, 32):
        values = np.empty(cells * cells * channels, np.int64)
        for index in range(values.size):
            state = np.uint32((int(state) * 1_664_525 + 1_013_904_223) & 0xFFFF_FFFF)
            values[index] = int(state) >> 24
        rows = np.arange(height) * cells // height
        columns = np.arange(width) * cells // width
        picture += values.reshape(cells, cells, channels)[rows][:, columns]
    return (picture // 3 - 128).astype(np.int8)[None]


def manifest_path(name: str) -> Path:
    """Give the file of a manifest by its name: a model of models/, or a path (a slash in it, or .json at its end).

    Raises ModelError if models/ has none of this name.
    """
    if "/" in name or name.endswith(".json"):
        return Path(name)
    path = models_folder() / f"{name}.json"
    if not path.is_file():
        known = sorted(file.stem for file in models_folder().glob("*.json"))
        raise ModelError(
            f"no model of this name{nearest(name, known)}",
            where=name,
            remedy=f"name one of {', '.join(known) or 'none installed'}, or the path of a manifest",
        )
    return path


def other_sizes(name: str, manifest: DetectorManifest) -> list[str]:
    """Give the manifests of the same detector at other input sizes, as paths: `face-480` beside `face-320`.

    They lie in the same folder, are called the same up to the last dash, and have the same version. name: as in
    `load_manifest`; manifest: what it gave. What cannot be read there is none of them.
    """
    path = manifest_path(name)
    family = path.stem.rpartition("-")[0]
    found = []
    for other in sorted(path.parent.glob(f"{family}-*.json")) if family else []:
        try:
            described = msgspec.json.decode(other.read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError):
            continue
        if isinstance(described, DetectorManifest) and described.version == manifest.version and other != path:
            found.append(str(other))
    return found


def _read_manifest(path: Path, kind: type[M]) -> M:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise ModelError(
            f"cannot be read: {error.strerror}", where=str(path), remedy="name a model of models/ or a manifest's path"
        ) from error
    except msgspec.DecodeError as error:
        raise ModelError(
            f"not a {kind.__name__}: {error}", where=str(path), remedy="make it anew with tools/quantize"
        ) from error
