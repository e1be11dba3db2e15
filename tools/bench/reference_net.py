"""A net of known work to measure others beside: written as a TFLite file here, from a seed, with no TensorFlow.

A stem and four depthwise-separable blocks of 64 channels on 80x64 cells, full int8: the operators that the shipped nets
spend their time in. Weights are random, because a kernel's work does not depend on them. Its milliseconds tell a
machine from another, and a loaded from an idle one; the shipped nets' milliseconds over its own can be compared.
"""

from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

WIDTH, HEIGHT, CHANNELS, BLOCKS = 160, 128, 64, 4
_SEED = 1
_CODES = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
_STEP = 6 / 255  # activations end at 6


def reference_net() -> bytes:
    """Give the file: the same bytes at each call."""
    return _Writer().write()


def reference_multiply_adds() -> int:
    """Count the multiply-adds of one pass: about a hundred million."""
    cells = (HEIGHT // 2) * (WIDTH // 2)
    return cells * CHANNELS * (3 * 3 * 3 + BLOCKS * (3 * 3 + CHANNELS))


class _Writer:
    """Collects tensors, buffers and operators in the order in which they run."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(_SEED)
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first is the empty one, by convention
        self._operators: list[Any] = []

    def write(self) -> bytes:
        entry = last = self._activation("input", (1, HEIGHT, WIDTH, 3))
        last = self._layer("stem", last, (1, HEIGHT // 2, WIDTH // 2, CHANNELS), (CHANNELS, 3, 3, 3), stride=2)
        for number in range(BLOCKS):
            shape = (1, HEIGHT // 2, WIDTH // 2, CHANNELS)
            last = self._layer(f"block{number}_depth", last, shape, (1, 3, 3, CHANNELS), depthwise=True)
            last = self._layer(f"block{number}_point", last, shape, (CHANNELS, 1, 1, CHANNELS))
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [entry], [last]
        model = schema.ModelT()
        model.version = 3
        model.operatorCodes = [_code(code) for code in _CODES]
        model.subgraphs, model.buffers = [graph], self._buffers
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _layer(
        self,
        name: str,
        source: int,
        shape: tuple[int, ...],
        kernel: tuple[int, ...],
        *,
        stride: int = 1,
        depthwise: bool = False,
    ) -> int:
        """Add a convolution with ReLU6; gives its output's tensor. kernel: in TFLite's layout, channels out first."""
        axis = 3 if depthwise else 0
        values = self._rng.integers(-127, 128, kernel).astype(np.int8)
        # Activations keep their size from layer to layer (He et al. 2015): neither all clamped nor all zero.
        step = float(np.sqrt(2 * CHANNELS / values.size) / values.std())
        weights = self._constant(f"{name}/kernel", values, [step] * CHANNELS, axis)
        offsets = np.zeros(CHANNELS, np.int32)
        biases = self._constant(f"{name}/bias", offsets, [step * _STEP] * CHANNELS, 0)
        result = self._activation(name, shape)
        operator = schema.OperatorT()
        operator.opcodeIndex = int(depthwise)
        operator.inputs, operator.outputs = [source, weights, biases], [result]
        options: Any = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        if depthwise:
            options.depthMultiplier = 1
            operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
        else:
            operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        options.padding = schema.Padding.SAME
        options.strideW = options.strideH = stride
        options.dilationWFactor = options.dilationHFactor = 1
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        operator.builtinOptions = options
        self._operators.append(operator)
        return result

    def _activation(self, name: str, shape: tuple[int, ...]) -> int:
        return self._tensor(name, shape, schema.TensorType.INT8, 0, [_STEP], [-128], 0)

    def _constant(self, name: str, values: NDArray[Any], steps: list[float], axis: int) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self._buffers.append(buffer)
        kind = schema.TensorType.INT8 if values.dtype == np.int8 else schema.TensorType.INT32
        return self._tensor(name, values.shape, kind, len(self._buffers) - 1, steps, [0] * len(steps), axis)

    def _tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: int,
        buffer: int,
        steps: list[float],
        zero_points: list[int],
        axis: int,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), kind, buffer
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = steps, zero_points
        tensor.quantization.quantizedDimension = axis
        self._tensors.append(tensor)
        return len(self._tensors) - 1


def _code(operator: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = 3  # int8 weights, per channel
    return code
