"""An Edge TPU that is not there: a bus to plug it into, its process and its driver's library, each with faults."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from agent.vision.accelerator import Machine
from agent.vision.model import Net, models_folder

LIBRARY_SOURCE = Path(__file__).parent / "fake_edgetpu.c"
WORKER = (sys.executable, "-P", "-m", "tests.edge_tpu_worker")
_IDS = {"new": ("1a6e", "089a"), "used": ("18d1", "9302")}  # before and after its firmware is loaded


class FakeEdgeTpu:
    """A folder with a bus, a model with its compiled file beside it, and what the device is to do wrong."""

    def __init__(self, folder: Path, *, model: str = "face-320", plugged: bool = True) -> None:
        self._root = folder / "root"
        self._devices = self._root / "sys/bus/usb/devices"
        self._devices.mkdir(parents=True)
        (self._root / "dev").mkdir()
        self._fault = folder / "fault"
        self._fault.touch()
        self.manifest = compiled(folder, model)
        if plugged:
            self.plug()

    @property
    def machine(self) -> Machine:
        """Where the agent finds all of it, with the worker of the tests."""
        return Machine(root=self._root, library=str(self._fault), worker=WORKER)

    @property
    def answers_at_start(self) -> bool:
        """Tell whether a process that starts now says soon whether it has come up."""
        return not self._fault.read_text().startswith(("hang at", "half", "wrong number"))

    def fail(self, fault: str) -> None:
        """Let it do something wrong from now on; see edge_tpu_worker."""
        new = self._fault.with_suffix(".new")
        new.write_text(fault)
        new.replace(self._fault)  # who reads it meanwhile gets the one or the other

    def plug(self, state: str = "used") -> None:
        """Put it on the USB, healthy."""
        self.fail("")
        self._put("1-1", _IDS[state])

    def plug_other(self, port: str) -> None:
        """Put something else on the USB."""
        self._put(port, ("1d6b", "0002"))

    def _put(self, port: str, ids: tuple[str, str]) -> None:
        device = self._devices / port
        device.mkdir(exist_ok=True)
        for name, text in zip(("idVendor", "idProduct"), ids, strict=True):
            (device / name).write_text(f"{text}\n")

    def unplug(self) -> None:
        """Pull it out: its driver fails, and it is on no bus."""
        self.fail("exit")
        shutil.rmtree(self._devices / "1-1")


def compiled(folder: Path, model: str) -> Path:
    """Copy a shipped model with a file for the Edge TPU beside it; give its manifest's path."""
    manifest = Path(shutil.copy(models_folder() / f"{model}.json", folder))
    file = json.loads(manifest.read_text())["net"]["file"]
    content = (models_folder() / file).read_bytes()
    (folder / file).write_bytes(content)
    # What the compiler makes has this name in it; behind the model's end no interpreter looks at it.
    (folder / f"{Path(file).stem}_edgetpu.tflite").write_bytes(content + b"edgetpu-custom-op")
    return manifest


def build_library(folder: Path) -> str:
    """Compile the delegate that takes nothing, or skip the test; give its path."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler for the fake delegate: apt-get install gcc libc6-dev")
    path = folder / "libfake.so.1"
    command = [compiler, "-shared", "-fPIC", "-pthread", "-o", str(path), str(LIBRARY_SOURCE)]
    subprocess.run(command, check=True)
    return str(path)


def with_wrong_golden(net: Net) -> Net:
    """Give a net whose golden answers are none that it gives."""
    golden = net.golden[0]
    wrong = {name: [-value - 1 for value in values] for name, values in golden.outputs.items()}
    return msgspec.structs.replace(net, golden=[msgspec.structs.replace(golden, outputs=wrong)])
