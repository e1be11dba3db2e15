"""The only module that knows an interpreter: bytes of a model in, int8 arrays in and out, copies only.

Whoever makes a net here gets one that has just given its manifest's golden answers; a wrong but well-formed model, a
kernel set that computes otherwise or an accelerator gone mad is refused before it sees a face.
"""

import contextlib
import ctypes
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.errors import ModelError
from agent.vision.model import Golden, Net, Tensor, golden_input

EDGETPU_LIBRARY = "libedgetpu.so.1"
_RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")  # the successor first


class Runtime(Protocol):
    """A net that is ready to run."""

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        """Run once. batch: int8 of the manifest's input shape. Returns the outputs by the manifest's names, copied."""


class _InterpreterRuntime:
    """An interpreter that has been proved to be the manifest's net."""

    def __init__(self, interpreter: Any, net: Net, where: str) -> None:
        self._interpreter = interpreter
        self._input = _match_input(interpreter.get_input_details(), net.input, where)
        self._outputs = _match_outputs(interpreter.get_output_details(), net.outputs, where)
        check_golden(self, net, where)

    def invoke(self, batch: NDArray[np.int8]) -> dict[str, NDArray[np.int8]]:
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


class CpuRuntime(_InterpreterRuntime):
    """A net on the CPU, one thread: boards have better uses for the other cores than spinning on 0.1 ms kernels."""

    def __init__(self, content: bytes, net: Net, *, where: str) -> None:
        """Load and prove the net.

        Raises ModelError if the bytes are no model, its doors are not the manifest's, or its answers to the golden
        inputs are more than golden_tolerance steps away.
        """
        try:
            with _quiet_stderr():
                interpreter = interpreter_module().Interpreter(model_content=content, num_threads=1)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"not a model that this interpreter reads: {error}",
                where=where,
                remedy="restore the file, or make it anew with tools/quantize",
            ) from error
        super().__init__(interpreter, net, where)


class DelegateRuntime(_InterpreterRuntime):
    """A net on an Edge TPU, in this process: a driver that hangs or crashes takes the process with it."""

    def __init__(self, model: Path, net: Net, *, library: str) -> None:
        """Load and prove the net. model: compiled for the Edge TPU; library: the delegate's shared library.

        Raises ModelError if there is no such library, no device, a delegate that does not fit this interpreter, or
        wrong answers to the golden inputs.
        """
        try:
            interpreter = _edge_tpu_interpreter(model, library)
            interpreter.allocate_tensors()
        except (OSError, ValueError, RuntimeError) as error:
            # In this order: no library; no device, or not a model; the delegate could not take the graph.
            raise ModelError(
                f"not usable: {error}", where=library, remedy="install libedgetpu and plug the device in"
            ) from error
        super().__init__(interpreter, net, str(model))


def _edge_tpu_interpreter(model: Path, library: str) -> Any:
    """Make the interpreter by pycoral where that is installed, else by the delegate's library."""
    if library == EDGETPU_LIBRARY:
        # PyPI has another pycoral, without this module: then it is as if there were none.
        with contextlib.suppress(ImportError):
            return importlib.import_module("pycoral.utils.edgetpu").make_interpreter(str(model))
    ctypes.CDLL(library)  # an absent library is one OSError here; load_delegate would leave a half-made object behind
    module = interpreter_module()
    # The interpreter keeps the delegate alive as long as itself.
    return module.Interpreter(
        model_path=str(model), num_threads=1, experimental_delegates=[module.load_delegate(library)]
    )


def interpreter_module() -> ModuleType:
    """Import the interpreter that is installed: ai-edge-litert, else tflite-runtime."""
    for name in _RUNTIMES:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    raise ModelError("no interpreter is installed", where="python environment", remedy="pip install ai-edge-litert")


def check_golden(runtime: Runtime, net: Net, where: str) -> int:
    """Compare a net with its golden answers. Returns the largest difference in steps.

    Raises ModelError if it is beyond the manifest's tolerance.
    """
    worst = max(steps_off(runtime.invoke(golden_input(golden.seed, net.input.shape)), golden) for golden in net.golden)
    if worst > net.golden_tolerance:
        raise ModelError(
            f"answers its golden inputs {worst} steps off, {net.golden_tolerance} are allowed",
            where=where,
            remedy="restore model and manifest together, or switch the accelerator off",
        )
    return worst


def steps_off(answers: dict[str, NDArray[np.int8]], golden: Golden) -> int:
    """Give the largest difference, in steps, between what a net answers to a golden input and what it should."""
    return max(
        int(np.abs(answers[name].reshape(-1)[:: golden.every].astype(np.int16) - np.asarray(expected, np.int16)).max())
        for name, expected in golden.outputs.items()
    )


def _match_input(details: list[dict[str, Any]], expected: Tensor, where: str) -> int:
    if len(details) != 1 or not _fits(details[0], expected):
        raise ModelError(
            f"input is {_describe(details[0])}, not {_describe_tensor(expected)}",
            where=where,
            remedy="quantize it with tools/quantize, or name the manifest that belongs to it",
        )
    return int(details[0]["index"])


def _match_outputs(details: list[dict[str, Any]], expected: dict[str, Tensor], where: str) -> dict[str, int]:
    """Find each named output by shape and quantisation: the order of the file says nothing."""
    found: dict[str, int] = {}
    left = list(details)
    for name, tensor in expected.items():
        fitting = [detail for detail in left if _fits(detail, tensor)]
        if not fitting:
            raise ModelError(
                f"no output is {_describe_tensor(tensor)} ({name}); it has {', '.join(map(_describe, left))}",
                where=where,
                remedy="quantize it with tools/quantize, or name the manifest that belongs to it",
            )
        found[name] = int(fitting[0]["index"])
        left.remove(fitting[0])
    return found


def _fits(detail: dict[str, Any], expected: Tensor) -> bool:
    scale, zero_point = detail["quantization"]
    return (
        detail["dtype"] is np.int8
        and tuple(map(int, detail["shape"])) == expected.shape
        and bool(np.isclose(scale, expected.scale, rtol=1e-4))
        and zero_point == expected.zero_point
    )


def _describe(detail: dict[str, Any]) -> str:
    scale, zero_point = detail["quantization"]
    return f"{np.dtype(detail['dtype']).name} {list(map(int, detail['shape']))} scale {scale:.6g} zero {zero_point}"


def _describe_tensor(tensor: Tensor) -> str:
    return f"int8 {list(tensor.shape)} scale {tensor.scale:.6g} zero {tensor.zero_point}"


@contextlib.contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Keep the interpreter's own lines (delegates created, ...) off the terminal; ours are the only ones there."""
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
