"""The models run on the older interpreter too: tflite-runtime 2.14 with numpy 1, in an environment of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".work" / "tflite-runtime-2.14"
PACKAGES = ["tflite-runtime==2.14.0", "numpy<2", "msgspec>=0.19", "opencv-python-headless>=4.11,<4.12"]

SCRIPT = """
import json, numpy, tflite_runtime
from agent.vision.nets import load_classifier, load_detector
from agent.vision.runtime import interpreter_module
from agent.seams import Box

rows, columns = numpy.mgrid[:480, :640]
picture = numpy.stack([(rows + columns) % 256, rows * columns % 256, columns % 256], -1).astype(numpy.uint8)
detector, classifier = load_detector("face-320", "auto"), load_classifier("mask-64", "auto")
(look,) = classifier.net.look(picture, [Box(100, 100, 180, 200)])
print(json.dumps({
    "interpreter": interpreter_module().__name__, "numpy": numpy.__version__,
    "probs": look.probs, "faces": len(detector.net.find(picture)), "accelerator": detector.accelerator,
}))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """Give the interpreter of an environment with the older runtime, made at the first run and kept."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime 2.14 has wheels up to Python 3.11 only")
    made = VENV / "made"
    if not made.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        pip = [str(VENV / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
        installed = subprocess.run([*pip, *PACKAGES], capture_output=True, text=True, check=False)
        if installed.returncode:
            pytest.skip(f"cannot install tflite-runtime here: {installed.stderr.strip().splitlines()[-1][:200]}")
        made.touch()
    return VENV / "bin" / "python"


@pytest.mark.timeout(300)
def test_the_shipped_models_pass_their_golden_vectors_on_tflite_runtime(python: Path) -> None:
    done = subprocess.run([str(python), "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["interpreter"] == "tflite_runtime.interpreter"
    assert said["numpy"].startswith("1.")
    assert said["accelerator"] == "cpu"
    assert sum(said["probs"]) == pytest.approx(1)
