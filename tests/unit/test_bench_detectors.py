"""The net that others are timed beside: its file, its work, its kernels; and the rows about the detectors."""

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from agent.vision.model import golden_input
from agent.vision.runtime import interpreter_module
from tools.bench import detectors
from tools.bench.reference_net import reference_multiply_adds, reference_net


def interpreter(**more: Any) -> Any:
    made = interpreter_module().Interpreter(model_content=reference_net(), num_threads=1, **more)
    made.allocate_tensors()
    return made


def answer(net: Any, seed: int) -> Any:
    door = net.get_input_details()[0]
    net.set_tensor(door["index"], golden_input(seed, tuple(door["shape"])))
    net.invoke()
    return net.get_tensor(net.get_output_details()[0]["index"])


def test_the_reference_net_is_the_same_bytes_at_each_call() -> None:
    assert reference_net() == reference_net()


def test_the_reference_nets_work_is_what_its_tensors_say() -> None:
    graph = schema.ModelT.InitFromPackedBuf(reference_net(), 0).subgraphs[0]

    work = 0
    for operator in graph.operators:
        _, kernel, _ = (graph.tensors[index] for index in operator.inputs)
        cells = np.prod(graph.tensors[operator.outputs[0]].shape[1:3])
        work += int(cells * np.prod(kernel.shape))

    assert work == reference_multiply_adds()
    assert work == pytest.approx(100e6, rel=0.1)


def test_the_reference_net_gives_what_the_reference_kernels_give() -> None:
    plain = interpreter_module().OpResolverType.BUILTIN_REF

    ours, theirs = answer(interpreter(), 1), answer(interpreter(experimental_op_resolver_type=plain), 1)

    assert ours.dtype == np.int8
    apart = np.abs(ours.astype(int) - theirs.astype(int))
    assert np.percentile(apart, 99) <= 2
    assert len(np.unique(ours)) > 10  # neither all clamped nor all the same


def test_every_size_of_the_detector_has_its_rows_and_the_look_of_inspect_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detectors, "_TURNS", 2)
    monkeypatch.setattr(detectors, "_CALLS", 1)

    rows = detectors.detectors("face-320", np.full((480, 640, 3), 90, np.uint8))

    assert [row.name for row in rows[:2]] == [
        "face-320: bare invoke, of the reference net's",
        "face-320: frame to faces, beyond 1.2 x bare invoke",
    ]
    assert rows[-1].name == "inspect: a picture"
    assert "320x256" in rows[-1].note
    assert rows[0].measured is not None
    assert rows[0].measured > 0
    assert [row.budget for row in rows[:2]] == [None, 0.4]


def test_a_net_drawn_larger_has_more_work() -> None:
    own, larger = (detectors.million_multiply_adds("face-320", size) for size in (None, (480, 384)))

    assert larger == pytest.approx(2.25 * own)
