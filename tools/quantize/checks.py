"""What an int8 file must be before anybody ships it, and what an Edge TPU will say of it."""

import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.errors import ModelError
from agent.vision.runtime import interpreter_module

# Source: coral.ai/docs/edgetpu/models-intro, "Supported operations"; TRANSPOSE and GATHER are not.
EDGE_TPU_OPS = frozenset(
    (
        "ADD",
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "EXPAND_DIMS",
        "FULLY_CONNECTED",
        "L2_NORMALIZATION",
        "LOGISTIC",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MEAN",
        "MINIMUM",
        "MUL",
        "PACK",
        "PAD",
        "PRELU",
        "QUANTIZE",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "RELU",
        "RELU6",
        "RELU_N1_TO_1",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "SQUEEZE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE_CONV",
    )
)
_REMEDY = "change the net or the conversion; such a file is not shipped"


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """What a file consists of. ops: how often each operator occurs; per_channel: tensors with a scale a channel."""

    ops: dict[str, int]
    dtypes: dict[str, int]
    per_channel: int
    bytes: int
    not_on_edge_tpu: tuple[str, ...]


def check_int8(content: bytes, where: str) -> Anatomy:
    """Take a file apart and refuse what is not full int8.

    Raises ModelError if it does not load, a tensor is floating point, an input is not scale 1/255 and zero point -128,
    a door is not int8, a shape is not static with batch 1, or a dense layer is quantised per channel.
    """
    module = interpreter_module()
    # Without the default delegate, which would show as one operator in place of those that it took.
    resolver = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = module.Interpreter(model_content=content, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise ModelError(f"not a model that the interpreter reads: {error}", where=where, remedy=_REMEDY) from error
    tensors = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    for detail in tensors.values():
        if np.issubdtype(detail["dtype"], np.floating):
            raise ModelError(f"tensor {detail['name']} is {detail['dtype'].__name__}", where=where, remedy=_REMEDY)
    for detail in interpreter.get_input_details() + interpreter.get_output_details():
        if detail["dtype"] is not np.int8 or detail["shape"][0] != 1 or (detail["shape_signature"] < 1).any():
            raise ModelError(f"door {detail['name']} is not int8 of batch 1", where=where, remedy=_REMEDY)
    for detail in interpreter.get_input_details():
        scale, zero_point = detail["quantization"]
        if np.float32(scale) != np.float32(1 / 255) or zero_point != -128:
            raise ModelError(
                f"input has scale {scale:.8f} and zero point {zero_point}, not 1/255 and -128",
                where=where,
                remedy="calibrate with pictures that hold 0 and 255",
            )
    # A delegated interpreter has no public list of its operators; this one has been in every release since 2.1.
    ops: list[dict[str, Any]] = interpreter._get_ops_details()
    for op in (op for op in ops if op["op_name"] == "FULLY_CONNECTED"):
        if len(tensors[op["inputs"][1]]["quantization_parameters"]["scales"]) > 1:
            raise ModelError("a dense layer is quantised per channel", where=where, remedy=_REMEDY)
    names = Counter(str(op["op_name"]) for op in ops)
    return Anatomy(
        ops=dict(sorted(names.items())),
        dtypes=dict(sorted(Counter(detail["dtype"].__name__ for detail in tensors.values()).items())),
        per_channel=sum(len(detail["quantization_parameters"]["scales"]) > 1 for detail in tensors.values()),
        bytes=len(content),
        not_on_edge_tpu=tuple(sorted(set(names) - EDGE_TPU_OPS)),
    )


def compile_for_edge_tpu(model: Path, anatomy: Anatomy) -> str:
    """Run Google's compiler where it is installed; gives one line on what happened."""
    if anatomy.not_on_edge_tpu:
        return f"Edge TPU: {', '.join(anatomy.not_on_edge_tpu)} would run on the CPU, and all that comes after"
    program = shutil.which("edgetpu_compiler")
    if program is None:
        return (
            "Edge TPU: every operator is in the published table; edgetpu_compiler is not on PATH, "
            f"so no {model.stem}_edgetpu.tflite (x86-64 Debian package of coral.ai)"
        )
    done = subprocess.run(
        [program, "-s", "-o", str(model.parent), str(model)], capture_output=True, text=True, timeout=300, check=False
    )
    said = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode:
        raise ModelError(
            f"edgetpu_compiler ended with {done.returncode}: {said[-1] if said else 'no word'}",
            where=str(model),
            remedy="run it by hand to see all of its output",
        )
    return f"Edge TPU: compiled to {model.stem}_edgetpu.tflite"
