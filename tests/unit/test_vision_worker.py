"""The process of the Edge TPU's driver from inside, and with it a delegate library that was compiled here."""

import socket
import sys
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.clock import SystemClock
from agent.errors import ModelError
from agent.vision.driver import EdgeTpuDriver, EdgeTpuLost
from agent.vision.model import ClassifierManifest, Net, golden_input, load_manifest, models_folder
from agent.vision.runtime import CpuRuntime, DelegateRuntime
from agent.vision.talk import ANSWER, CALL, receive, receive_text, send_text
from agent.vision.worker import serve
from tests.edge_tpu import build_library, with_wrong_golden
from tests.real import wait_for

NET: Net = load_manifest("mask-64", ClassifierManifest)[0].net
MODEL = models_folder() / NET.file
PICTURE = golden_input(7, NET.input.shape)
EXPECTED = CpuRuntime(MODEL.read_bytes(), NET, where="here").invoke(PICTURE)["logits"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_library(tmp_path_factory.mktemp("delegate"))


@pytest.fixture(autouse=True)
def _no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FAKE_EDGETPU", "FAKE_EDGETPU_LATER"):
        monkeypatch.delenv(name, raising=False)


def start(library: str, net: Net = NET) -> EdgeTpuDriver:
    return EdgeTpuDriver(net, MODEL, library=library, clock=SystemClock(), call_timeout_s=0.3)


def why_not(driver: EdgeTpuDriver) -> str:
    """Wait until the driver gives up; say why it did."""
    try:
        with pytest.raises(EdgeTpuLost) as lost:
            wait_for(driver.poll)
        return str(lost.value)
    finally:
        driver.end()
        assert driver.gone(10)


def test_it_answers_until_the_agent_closes(library: str) -> None:
    ours, theirs = socket.socketpair()
    child = threading.Thread(target=serve, args=(theirs, MODEL, library))
    child.start()
    with ours, theirs:
        send_text(ours, msgspec.json.encode(NET))
        assert receive_text(ours) == b""
        ours.sendall(CALL.pack(77) + PICTURE.tobytes())
        assert ANSWER.unpack(receive(ours, ANSWER.size)) == (77, 3)
        np.testing.assert_array_equal(np.frombuffer(receive(ours, 3), np.int8), EXPECTED[0])
        ours.shutdown(socket.SHUT_RDWR)
        child.join(timeout=10)
        assert not child.is_alive()


def test_it_says_what_is_wrong_and_ends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send_text(ours, msgspec.json.encode(NET))
        serve(theirs, MODEL, "libedgetpu-absent.so")
        assert b"install libedgetpu" in receive_text(ours)


def test_a_process_with_a_library_of_its_own_answers(library: str) -> None:
    driver = start(library)
    wait_for(driver.poll)
    np.testing.assert_array_equal(driver.call(PICTURE)["logits"], EXPECTED)
    driver.end()
    assert driver.gone(10)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("no device", "no Edge TPU is plugged in"),
        ("prepare fails", "delegate application failure"),
        ("crash", "crashed (signal 11) while starting"),
    ],
)
def test_a_library_that_finds_no_device_or_crashes_says_why(
    library: str, monkeypatch: pytest.MonkeyPatch, fault: str, why: str
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", fault)
    assert why in why_not(start(library))


def test_a_library_that_hangs_while_starting_is_not_waited_for(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_EDGETPU", "prepare hangs")
    driver = start(library)
    assert not driver.poll()
    driver.end()
    assert driver.gone(10)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("abort", "crashed (signal 6) in a call"),
        ("crash", "crashed (signal 11) in a call"),
        ("exit", "ended (exit code 1) in a call"),
        ("stop", "did not answer in time in a call"),
    ],
)
def test_a_librarys_own_thread_that_ends_or_stops_the_process_is_found_by_the_next_call(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, why: str
) -> None:
    later = tmp_path / "later"
    monkeypatch.setenv("FAKE_EDGETPU_LATER", str(later))
    driver = start(library)
    wait_for(driver.poll)
    driver.call(PICTURE)
    later.write_text(fault)
    with pytest.raises(EdgeTpuLost) as lost:
        wait_for(lambda: driver.call(PICTURE) is None)
    assert str(lost.value) == f"Edge TPU process {why}"
    driver.end()
    assert driver.gone(10)


def test_a_library_that_is_not_installed_says_so() -> None:
    assert "libedgetpu-absent.so: not usable" in why_not(start("libedgetpu-absent.so"))


def test_wrong_answers_are_refused(library: str) -> None:
    assert "steps off" in why_not(start(library, with_wrong_golden(NET)))


def test_googles_pycoral_makes_the_interpreter_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utils = tmp_path / "pycoral" / "utils"
    utils.mkdir(parents=True)
    (tmp_path / "pycoral" / "__init__.py").touch()
    (utils / "__init__.py").touch()
    (utils / "edgetpu.py").write_text(
        "import pathlib\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "def make_interpreter(path):\n"
        f"    pathlib.Path({str(tmp_path / 'made')!r}).write_text(path)\n"
        "    return Interpreter(model_path=path)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    driver = start("libedgetpu.so.1")
    wait_for(driver.poll)
    assert (tmp_path / "made").read_text() == str(MODEL)
    np.testing.assert_array_equal(driver.call(PICTURE)["logits"], EXPECTED)
    driver.end()
    assert driver.gone(10)


def test_the_other_pycoral_of_pypi_is_as_good_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pycoral").mkdir()
    (tmp_path / "pycoral" / "__init__.py").write_text("name = 'Coral Atlas'\n")
    for name in [name for name in sys.modules if name.split(".")[0] == "pycoral"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"libedgetpu\.so\.1: not usable"):
        DelegateRuntime(MODEL, NET, library="libedgetpu.so.1")
