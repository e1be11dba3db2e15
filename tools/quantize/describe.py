"""The manifest's part that any net has: digest, doors and golden answers, read from the file itself."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.vision.model import Golden, Manifest, Net, Tensor, golden_input
from agent.vision.runtime import interpreter_module

GOLDEN_SEEDS = (1, 2, 3)
# Reference kernels, plain ones and XNNPACK were up to 5 steps apart on 200 generated inputs; wrong ones are dozens off.
CLASSIFIER_TOLERANCE = 6
GOLDEN_VALUES = 400  # of an output are kept at most: a wrong kernel shows in any hundred of them


def describe_net(content: bytes, file: str, names: Sequence[str]) -> Net:
    """Give the manifest's net. names: of the outputs, in the graph's order.

    Golden answers come from the reference kernels, the only ones with the same bits on every machine.
    """
    module = interpreter_module()
    interpreter = module.Interpreter(
        model_content=content, experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    door, entry = next(iter(runner.get_input_details().items()))
    # The file's order of outputs says nothing; the signature's names count them as the graph does.
    keys = sorted(runner.get_output_details(), key=lambda key: int(key.rsplit("_", 1)[-1]))
    details = {name: runner.get_output_details()[key] for name, key in zip(names, keys, strict=True)}
    shape = tuple(int(size) for size in entry["shape"])
    stride = max(max(1, int(np.prod(detail["shape"])) // GOLDEN_VALUES) for detail in details.values())

    def answers(seed: int) -> dict[str, list[int]]:
        raw = runner(**{door: golden_input(seed, shape)})
        return {name: raw[key].reshape(-1)[::stride].tolist() for name, key in zip(names, keys, strict=True)}

    return Net(
        file=file,
        sha256=hashlib.sha256(content).hexdigest(),
        input=_tensor(entry),
        outputs={name: _tensor(detail) for name, detail in details.items()},
        golden=[Golden(seed=seed, every=stride, outputs=answers(seed)) for seed in GOLDEN_SEEDS],
    )


def describe_classifier(content: bytes, file: str) -> Net:
    """Give the net of a classifier's manifest: one output, `logits`, and how far its golden answers may be off."""
    return msgspec.structs.replace(describe_net(content, file, ["logits"]), golden_tolerance=CLASSIFIER_TOLERANCE)


def write_model(folder: Path, manifest: Manifest, content: bytes) -> Path:
    """Write the model and then its manifest; gives the manifest's path. A cut in between is seen by the sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / manifest.net.file).write_bytes(content)
    path = folder / f"{manifest.name}.json"
    path.write_bytes(_readable(msgspec.json.encode(manifest)))
    return path


def _tensor(detail: dict[str, Any]) -> Tensor:
    scale, zero_point = detail["quantization"]
    return Tensor(
        shape=tuple(int(size) for size in detail["shape"]), scale=float(np.float32(scale)), zero_point=int(zero_point)
    )


def _readable(encoded: bytes) -> bytes:
    """Indent objects but keep a list of numbers on one line: golden answers are long."""
    lines: list[str] = []
    depth = 0
    for line in msgspec.json.format(encoded, indent=1).decode().splitlines():
        text = line.strip()
        if depth:
            lines[-1] += text if text.startswith("]") else f" {text}" if not lines[-1].endswith("[") else text
        else:
            lines.append(line)
        depth += text.endswith("[") - text.startswith("]")
    return ("\n".join(lines) + "\n").encode()
