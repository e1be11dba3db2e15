"""The browser page's nets and numbers are the board's own: what is committed for it follows from models/ and agent/."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.cli import aim
from agent.clock import NS_PER_S
from agent.errors import ModelError
from agent.settings import VisionSettings
from agent.vision import detector, tiles
from agent.vision.detector import Letterbox
from agent.vision.model import golden_input
from agent.vision.runtime import interpreter_module
from tools.quantize import __main__ as command
from tools.quantize.web import WEB_FOLDER, with_float_doors

ROOT = Path(__file__).parents[2]
MODELS = sorted(path.stem for path in (ROOT / "models").glob("*.json"))


def interpreter(content: bytes) -> Any:
    made = interpreter_module().Interpreter(model_content=content, num_threads=1)
    made.allocate_tensors()
    return made


def answers(net: Any, batch: Any) -> dict[tuple[int, ...], Any]:
    """Give each output by its shape."""
    net.set_tensor(net.get_input_details()[0]["index"], batch)
    net.invoke()
    return {tuple(door["shape"]): net.get_tensor(door["index"]) for door in net.get_output_details()}


@pytest.mark.parametrize("name", MODELS)
def test_the_committed_twin_is_made_of_the_shipped_model(name: str) -> None:
    shipped = ROOT / "models" / f"{name}.tflite"
    twin = ROOT / WEB_FOLDER / f"{name}.tflite"

    assert twin.read_bytes() == with_float_doors(shipped.read_bytes(), name), "make model, or tools.quantize.web"


@pytest.mark.parametrize("name", MODELS)
def test_a_twin_gives_the_shipped_models_numbers_to_the_last_step(name: str) -> None:
    content = (ROOT / "models" / f"{name}.tflite").read_bytes()
    shipped, twin = interpreter(content), interpreter(with_float_doors(content, name))
    scales = {tuple(door["shape"]): door["quantization"] for door in shipped.get_output_details()}
    entry = shipped.get_input_details()[0]
    assert {door["dtype"] for door in twin.get_input_details() + twin.get_output_details()} == {np.float32}

    for seed in range(5):
        batch = golden_input(seed, tuple(entry["shape"]))
        real = (batch.astype(np.float32) + 128) * np.float32(entry["quantization"][0])
        exact, floats = answers(shipped, batch), answers(twin, real)
        for shape, (scale, zero_point) in scales.items():
            steps = np.rint(floats[shape] / scale) + zero_point
            assert (steps == exact[shape]).all(), (seed, shape)


def test_what_is_no_int8_model_is_refused_in_one_line() -> None:
    twin = (ROOT / WEB_FOLDER / "mask-64.tflite").read_bytes()

    with pytest.raises(ModelError, match="not a TFLite file"):
        with_float_doors(b"something else altogether", "x.tflite")
    with pytest.raises(ModelError, match="is not int8"):
        with_float_doors(twin, "twin.tflite")


def test_make_model_writes_a_twin_of_what_is_shipped_and_of_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "quantize", lambda job: {})
    for folder in ("models", "elsewhere"):
        (tmp_path / folder).mkdir()
        for suffix in ("json", "tflite", "npz"):
            shutil.copy(ROOT / "models" / f"mask-64.{suffix}", tmp_path / folder)

    assert command.main(["--models", "elsewhere"]) == 0
    assert not (tmp_path / WEB_FOLDER).exists()
    assert command.main([]) == 0
    assert (tmp_path / WEB_FOLDER / "mask-64.tflite").read_bytes() == (
        ROOT / WEB_FOLDER / "mask-64.tflite"
    ).read_bytes()


def test_the_pages_constants_are_the_agents() -> None:
    page = json.loads((ROOT / "tools/web/src/agent.json").read_text())
    grey, _ = Letterbox((1, 4, 8, 3)).fit(np.zeros((4, 4, 3), np.uint8))

    assert page == {
        "letterbox_grey": int(grey[0, 0, -1, 0]) + 128,
        "candidates_max": detector.CANDIDATES_MAX,
        "tile_overlap": tiles.OVERLAP,
        "tile_side_max_px": tiles.SIDE_MAX_PX,
        "tile_border_px": tiles.BORDER_PX,
        "tile_shrunk_min": tiles.SHRUNK_MIN,
        "tile_enlarged_max": tiles.ENLARGED_MAX,
        "tile_seen_part": tiles.SEEN_PART,
        "tile_same_iou": tiles.SAME_IOU,
        "tile_seen_px": tiles.SEEN_PX,
        "tile_large_px": tiles.LARGE_PX,
        "min_face_px": VisionSettings().min_face_px,
        "aim_remember_s": aim._REMEMBER_NS / NS_PER_S,
        "aim_looks_max": aim._LOOKS_MAX,
        "aim_smallest_px": aim._SMALLEST_PX,
    }
