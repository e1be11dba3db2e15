"""What may be shipped: the file that is, and files that must be refused."""

import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision.model import ClassifierManifest, load_manifest, models_folder
from tools.quantize.checks import check_int8, compile_for_edge_tpu
from tools.quantize.describe import describe_classifier, write_model


@pytest.fixture(scope="module")
def shipped() -> bytes:
    return (models_folder() / "mask-64.tflite").read_bytes()


def test_the_shipped_classifier_is_full_int8_small_and_for_the_edge_tpu(shipped: bytes) -> None:
    anatomy = check_int8(shipped, "mask-64.tflite")

    assert set(anatomy.dtypes) == {"int8", "int32"}
    assert anatomy.bytes <= 250_000
    assert anatomy.not_on_edge_tpu == ()
    assert anatomy.ops["FULLY_CONNECTED"] == 1


def test_a_damaged_file_is_refused_in_one_line(shipped: bytes) -> None:
    with pytest.raises(ModelError) as refused:
        check_int8(shipped[:1000], "short.tflite")

    assert str(refused.value).startswith("short.tflite: not a model")
    assert "\n" not in str(refused.value)


def test_an_input_that_is_not_a_byte_less_128_is_refused(shipped: bytes) -> None:
    # The input's scale is the first 1/255 among the file's floats; a calibration without white gives a smaller one.
    patched = shipped.replace(np.float32(1 / 255).tobytes(), np.float32(1 / 300).tobytes())
    assert patched != shipped

    with pytest.raises(ModelError, match="not 1/255 and -128"):
        check_int8(patched, "dim.tflite")


def test_the_manifest_says_what_the_file_is(shipped: bytes) -> None:
    manifest, content = load_manifest("mask-64", ClassifierManifest)

    assert content == shipped
    assert describe_classifier(content, "mask-64.tflite") == manifest.net


def test_a_written_model_is_read_back_the_same(tmp_path: Path, shipped: bytes) -> None:
    manifest, _ = load_manifest("mask-64", ClassifierManifest)

    path = write_model(tmp_path, manifest, shipped)

    assert load_manifest(str(path), ClassifierManifest) == (manifest, shipped)
    assert max(map(len, path.read_text().splitlines())) < 1000  # golden answers share a line, but stay readable


def test_without_the_compiler_one_line_says_so(tmp_path: Path, shipped: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    said = compile_for_edge_tpu(tmp_path / "mask-64.tflite", check_int8(shipped, "x"))

    assert "edgetpu_compiler is not on PATH" in said


@pytest.mark.parametrize(("code", "outcome"), [(0, "compiled to mask-64_edgetpu.tflite"), (1, "ended with 1: no luck")])
def test_the_compiler_is_run_where_it_is_installed(
    tmp_path: Path, shipped: bytes, monkeypatch: pytest.MonkeyPatch, code: int, outcome: str
) -> None:
    program = tmp_path / "edgetpu_compiler"
    program.write_text(f"#!/bin/sh\necho no luck\nexit {code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    anatomy = check_int8(shipped, "x")

    if code:
        with pytest.raises(ModelError, match=outcome):
            compile_for_edge_tpu(tmp_path / "mask-64.tflite", anatomy)
    else:
        assert outcome in compile_for_edge_tpu(tmp_path / "mask-64.tflite", anatomy)


def test_operators_that_would_end_the_edge_tpu_part_are_named(tmp_path: Path, shipped: bytes) -> None:
    anatomy = replace(check_int8(shipped, "x"), not_on_edge_tpu=("TRANSPOSE",))

    assert "TRANSPOSE would run on the CPU" in compile_for_edge_tpu(tmp_path / "x.tflite", anatomy)
