"""The twins for the browser: the shipped int8 nets behind float32 doors.

LiteRT.js refuses int8 inputs and outputs. A twin is the shipped file with a QUANTIZE before its input and a DEQUANTIZE
behind each output: not converted anew, so every weight, scale and operator between the doors is the board's own. The
page divides the scale out again and has the board's int8 numbers.
"""

import copy
from pathlib import Path
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
from ai_edge_litert import schema_py_generated as schema

from agent.errors import ModelError

WEB_FOLDER = Path("tools/web/public/models")
"""Beside the page and not in models/: the board's wheel has no use for them."""


def with_float_doors(content: bytes, where: str) -> bytes:
    """Give the twin of a full int8 model file. Equal files give equal twins.

    where: for messages. Raises ModelError if the file is no model of one graph, or a door is not int8.
    """
    if not schema.Model.ModelBufferHasIdentifier(content, 0):
        raise ModelError("not a TFLite file", where=where, remedy="name a .tflite of tools/quantize")
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if len(model.subgraphs) != 1:
        raise ModelError(
            f"has {len(model.subgraphs)} graphs, not one", where=where, remedy="make it with tools/quantize"
        )
    graph = model.subgraphs[0]
    doors = {int(index): graph.tensors[index] for index in (*graph.inputs, *graph.outputs)}
    for tensor in doors.values():
        if tensor.type != schema.TensorType.INT8:
            raise ModelError(f"door {_name(tensor)} is not int8", where=where, remedy="make it with tools/quantize")
    quantize = _code(model, schema.BuiltinOperator.QUANTIZE, version=1)
    dequantize = _code(model, schema.BuiltinOperator.DEQUANTIZE, version=2)  # 2: from int8
    floats = {index: _float_door(graph, tensor) for index, tensor in doors.items()}
    entries = [_operator(quantize, floats[int(index)], int(index)) for index in graph.inputs]
    exits = [_operator(dequantize, int(index), floats[int(index)]) for index in graph.outputs]
    graph.operators = [*entries, *graph.operators, *exits]
    graph.inputs = [floats[int(index)] for index in graph.inputs]
    graph.outputs = [floats[int(index)] for index in graph.outputs]
    for signature in model.signatureDefs or []:
        for named in (*signature.inputs, *signature.outputs):
            named.tensorIndex = floats[int(named.tensorIndex)]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write_twin(model: Path, folder: Path = WEB_FOLDER) -> Path:
    """Write the twin of a model file, under the same name; gives its path. Raises ModelError as `with_float_doors`."""
    twin = folder / model.name
    folder.mkdir(parents=True, exist_ok=True)
    twin.write_bytes(with_float_doors(model.read_bytes(), str(model)))
    return twin


def _code(model: Any, builtin: int, version: int) -> int:
    """Give the index of an operator code that is added to the model's."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin  # both are below 127, where the old field must agree
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _float_door(graph: Any, tensor: Any) -> int:
    """Add a float32 tensor of a door's shape; gives its index."""
    door = copy.copy(tensor)
    door.type = schema.TensorType.FLOAT32
    door.quantization = None
    door.buffer = 0  # the empty one
    door.name = tensor.name + b"_float"
    graph.tensors.append(door)
    return len(graph.tensors) - 1


def _operator(code: int, source: int, target: int) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex = code
    operator.inputs, operator.outputs = [source], [target]
    return operator


def _name(tensor: Any) -> str:
    return bytes(tensor.name).decode(errors="replace")
