"""The Edge TPU in a process of its own: found, proved, lost. The library is a fake one, compiled here; no device is."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.errors import ModelError
from agent.vision.accelerator import EdgeTpuLost, EdgeTpuRuntime, SafeRuntime, place, serve
from agent.vision.model import ClassifierManifest, Net, golden_input, load_manifest, models_folder
from agent.vision.nets import load_classifier, load_detector
from agent.vision.runtime import CpuRuntime, DelegateRuntime

SOURCE = Path(__file__).parent.parent / "fake_edgetpu.c"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler for the fake delegate: apt-get install gcc libc6-dev")
    path = tmp_path_factory.mktemp("delegate") / "libfake.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(path), str(SOURCE)], check=True)
    return str(path)


@pytest.fixture(autouse=True)
def _no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAKE_EDGETPU", raising=False)


@pytest.fixture
def net() -> Net:
    return load_manifest("mask-64", ClassifierManifest)[0].net


@pytest.fixture
def model(net: Net) -> Path:
    return models_folder() / net.file


@pytest.fixture
def edge_tpu(model: Path, net: Net, library: str) -> Iterator[EdgeTpuRuntime]:
    runtime = EdgeTpuRuntime(model, net, library=library)
    yield runtime
    runtime.close()


def folder_with_compiled(tmp_path: Path) -> Path:
    """Give a copy of the classifier with a file for the Edge TPU beside it; the fake delegate takes any."""
    manifest, content = load_manifest("mask-64", ClassifierManifest)
    shutil.copy(models_folder() / "mask-64.json", tmp_path)
    (tmp_path / manifest.net.file).write_bytes(content)
    (tmp_path / f"{Path(manifest.net.file).stem}_edgetpu.tflite").write_bytes(content)
    return tmp_path / "mask-64.json"


def test_the_other_process_gives_the_same_answers(edge_tpu: EdgeTpuRuntime, model: Path, net: Net) -> None:
    cpu = CpuRuntime(model.read_bytes(), net, where="here")
    for seed in range(20, 25):
        picture = golden_input(seed, net.input.shape)
        for name, expected in cpu.invoke(picture).items():
            np.testing.assert_array_equal(expected, edge_tpu.invoke(picture)[name])


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("no device", "no Edge TPU is plugged in"),
        ("prepare fails", "delegate application failure"),
        ("crash", "Edge TPU driver crashed while starting"),
    ],
)
def test_a_device_that_cannot_be_used_says_why(
    model: Path, net: Net, library: str, monkeypatch: pytest.MonkeyPatch, fault: str, why: str
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", fault)
    with pytest.raises(EdgeTpuLost, match=why):
        EdgeTpuRuntime(model, net, library=library)


def test_a_driver_that_hangs_while_starting_is_given_up(
    model: Path, net: Net, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", "prepare hangs")
    with pytest.raises(EdgeTpuLost, match="did not answer in time while starting"):
        EdgeTpuRuntime(model, net, library=library, start_timeout_s=1.5)


def test_a_library_that_is_not_installed_says_so(model: Path, net: Net) -> None:
    with pytest.raises(EdgeTpuLost, match=r"libedgetpu-absent\.so.*install libedgetpu"):
        EdgeTpuRuntime(model, net, library="libedgetpu-absent.so")


def test_wrong_answers_are_refused(model: Path, net: Net, library: str) -> None:
    golden = net.golden[0]
    wrong = {name: [min(127, value + 9) for value in values] for name, values in golden.outputs.items()}
    other = msgspec.structs.replace(net, golden=[msgspec.structs.replace(golden, outputs=wrong)])
    with pytest.raises(EdgeTpuLost, match="steps off"):
        EdgeTpuRuntime(model, other, library=library)


@pytest.mark.parametrize(
    ("fault", "why"), [(signal.SIGSTOP, "did not answer in time in a call"), (signal.SIGKILL, "crashed in a call")]
)
def test_a_device_lost_on_the_way_leaves_the_net_on_the_cpu(
    model: Path, net: Net, library: str, fault: signal.Signals, why: str
) -> None:
    cpu = CpuRuntime(model.read_bytes(), net, where="here")
    edge_tpu = EdgeTpuRuntime(model, net, library=library, call_timeout_s=0.3)
    runtime = SafeRuntime(cpu, edge_tpu, "its golden answers are right")
    picture = golden_input(7, net.input.shape)
    expected = cpu.invoke(picture)["logits"].tolist()
    assert (runtime.place, runtime.invoke(picture)["logits"].tolist()) == ("edgetpu", expected)
    os.kill(edge_tpu.pid, fault)
    assert runtime.invoke(picture)["logits"].tolist() == expected
    assert (runtime.place, runtime.why) == ("cpu", f"Edge TPU driver {why}")
    assert runtime.invoke(picture)["logits"].tolist() == expected
    with pytest.raises(ProcessLookupError):
        os.kill(edge_tpu.pid, 0)


def test_a_net_goes_where_the_settings_want_it(tmp_path: Path, library: str) -> None:
    path = folder_with_compiled(tmp_path)
    manifest, content = load_manifest(str(path), ClassifierManifest)
    on_tpu = place(manifest.net, content, path, "auto", library)
    assert (on_tpu.place, on_tpu.why) == ("edgetpu", "its golden answers are right")
    on_tpu.close()
    on_tpu.close()
    assert on_tpu.place == "cpu"
    on_cpu = place(manifest.net, content, path, "cpu", library)
    assert (on_cpu.place, on_cpu.why) == ("cpu", "configured")


def test_without_a_usable_device_a_net_goes_on_the_cpu_and_says_why(
    tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", "no device")
    path = folder_with_compiled(tmp_path)
    manifest, content = load_manifest(str(path), ClassifierManifest)
    runtime = place(manifest.net, content, path, "edgetpu", library)
    assert runtime.place == "cpu"
    assert "no Edge TPU is plugged in" in runtime.why


def test_the_shipped_models_say_that_they_have_no_edge_tpu_file() -> None:
    detector = load_detector("face-320", "auto")
    classifier = load_classifier("mask-64", "edgetpu")
    assert (detector.accelerator, detector.why) == ("cpu", "no face-320_edgetpu.tflite beside the model")
    assert (classifier.accelerator, classifier.why) == ("cpu", "no mask-64_edgetpu.tflite beside the model")
    classifier.close()
    assert classifier.accelerator == "cpu"


def test_the_child_serves_until_the_parent_closes(model: Path, net: Net, library: str) -> None:
    ours, theirs = socket.socketpair()
    child = threading.Thread(target=serve, args=(theirs, model, library))
    child.start()
    encoded = msgspec.json.encode(net)
    ours.sendall(len(encoded).to_bytes(4, "little") + encoded)
    assert ours.recv(4, socket.MSG_WAITALL) == bytes(4)
    picture = golden_input(3, net.input.shape)
    ours.sendall(picture.tobytes())
    answer = np.frombuffer(ours.recv(3, socket.MSG_WAITALL), np.int8)
    ours.close()
    child.join(timeout=10)
    theirs.close()
    assert not child.is_alive()
    np.testing.assert_array_equal(CpuRuntime(model.read_bytes(), net, where="x").invoke(picture)["logits"][0], answer)


def test_the_child_says_what_is_wrong_and_ends(model: Path, net: Net) -> None:
    ours, theirs = socket.socketpair()
    encoded = msgspec.json.encode(net)
    ours.sendall(len(encoded).to_bytes(4, "little") + encoded)
    serve(theirs, model, "libedgetpu-absent.so")
    length = int.from_bytes(ours.recv(4, socket.MSG_WAITALL), "little")
    assert b"install libedgetpu" in ours.recv(length, socket.MSG_WAITALL)
    ours.close()
    theirs.close()


def test_googles_pycoral_makes_the_interpreter_where_it_is_installed(
    model: Path, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utils = tmp_path / "pycoral" / "utils"
    utils.mkdir(parents=True)
    (tmp_path / "pycoral" / "__init__.py").touch()
    (utils / "__init__.py").touch()
    (utils / "edgetpu.py").write_text(
        "from ai_edge_litert.interpreter import Interpreter\n"
        "made = []\n"
        "def make_interpreter(path):\n"
        "    made.append(path)\n"
        "    return Interpreter(model_path=path)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    DelegateRuntime(model, net, library="libedgetpu.so.1")
    import pycoral.utils.edgetpu

    assert pycoral.utils.edgetpu.made == [str(model)]


def test_the_other_pycoral_of_pypi_is_as_good_as_none(
    model: Path, net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pycoral").mkdir()
    (tmp_path / "pycoral" / "__init__.py").write_text("name = 'Coral Atlas'\n")
    for name in [name for name in __import__("sys").modules if name.split(".")[0] == "pycoral"]:
        monkeypatch.delitem(__import__("sys").modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"libedgetpu\.so\.1: not usable"):
        DelegateRuntime(model, net, library="libedgetpu.so.1")
