"""The interpreter: what it refuses, and that it gives copies."""

import importlib
from types import ModuleType

import msgspec
import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision.model import ClassifierManifest, DetectorManifest, Net, Tensor, golden_input, load_manifest
from agent.vision.runtime import CpuRuntime, check_golden, interpreter_module


@pytest.fixture(scope="module")
def classifier() -> tuple[Net, bytes]:
    manifest, content = load_manifest("mask-64", ClassifierManifest)
    return manifest.net, content


def changed(net: Net, **fields: object) -> Net:
    return msgspec.structs.replace(net, **fields)


def test_the_shipped_models_give_their_golden_answers() -> None:
    for name, kind in (("mask-64", ClassifierManifest), ("face-320", DetectorManifest)):
        manifest, content = load_manifest(name, kind)
        assert (
            check_golden(CpuRuntime(content, manifest.net, where=name), manifest.net, name)
            <= manifest.net.golden_tolerance
        )


def test_answers_are_copies_that_the_next_call_does_not_change(classifier: tuple[Net, bytes]) -> None:
    net, content = classifier
    runtime = CpuRuntime(content, net, where="mask-64")
    first = runtime.invoke(golden_input(1, net.input.shape))["logits"]
    kept = first.copy()
    runtime.invoke(golden_input(2, net.input.shape))
    np.testing.assert_array_equal(kept, first)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 5000])
def test_garbage_is_not_a_model(classifier: tuple[Net, bytes], content: bytes) -> None:
    with pytest.raises(ModelError, match=r"x\.tflite: not a model that this interpreter reads") as caught:
        CpuRuntime(content, classifier[0], where="x.tflite")
    assert caught.value.exit_code == 65


def test_a_truncated_model_is_not_a_model(classifier: tuple[Net, bytes]) -> None:
    net, content = classifier
    with pytest.raises(ModelError, match="not a model"):
        CpuRuntime(content[: len(content) // 2], net, where="x.tflite")


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (Tensor(shape=(1, 96, 96, 3), scale=1 / 255, zero_point=-128), r"int8 \[1, 96, 96, 3\]"),
        (Tensor(shape=(1, 64, 64, 3), scale=0.5, zero_point=-128), r"scale 0\.5"),
        (Tensor(shape=(1, 64, 64, 3), scale=1 / 255, zero_point=0), "zero 0"),
    ],
)
def test_another_input_than_the_manifests_is_refused(classifier: tuple[Net, bytes], tensor: Tensor, said: str) -> None:
    net, content = classifier
    with pytest.raises(ModelError, match=rf"input is int8 \[1, 64, 64, 3\].*not .*{said}"):
        CpuRuntime(content, changed(net, input=tensor), where="x.tflite")


def test_another_output_than_the_manifests_is_refused(classifier: tuple[Net, bytes]) -> None:
    net, content = classifier
    four = {"logits": msgspec.structs.replace(net.outputs["logits"], shape=(1, 4))}
    with pytest.raises(ModelError, match=r"no output is int8 \[1, 4\].*\(logits\); it has int8 \[1, 3\]"):
        CpuRuntime(content, changed(net, outputs=four), where="x.tflite")


def test_a_model_that_answers_otherwise_is_refused(classifier: tuple[Net, bytes]) -> None:
    net, content = classifier
    golden = net.golden[0]
    outputs = {name: [-value for value in values] for name, values in golden.outputs.items()}
    with pytest.raises(ModelError, match=f"steps off, {net.golden_tolerance} are allowed"):
        CpuRuntime(content, changed(net, golden=[msgspec.structs.replace(golden, outputs=outputs)]), where="x.tflite")


def test_the_terminal_hears_nothing_of_the_interpreter(
    classifier: tuple[Net, bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    CpuRuntime(classifier[1], classifier[0], where="mask-64")
    assert capfd.readouterr().err == ""


def test_without_an_interpreter_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ModelError, match="pip install ai-edge-litert"):
        interpreter_module()


def test_the_older_runtime_is_taken_where_there_is_no_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    older = ModuleType("tflite_runtime.interpreter")

    def only_older(name: str) -> ModuleType:
        if name == older.__name__:
            return older
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", only_older)
    assert interpreter_module() is older
