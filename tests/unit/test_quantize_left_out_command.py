"""The command that measures sources left out, on drawn faces: what it writes, and what takes it up."""

import json
import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from agent.vision.model import ClassifierManifest, load_manifest, models_folder
from tools.train.data import Faces, generated_faces
from tools.train.graph import Checkpoint, load_checkpoint, save_checkpoint

pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")
pytest.importorskip("matplotlib", reason="matplotlib is in the train extra only")

from tools.quantize import left_out
from tools.quantize.classifier import quantize_classifier
from tools.quantize.left_out import MARKS, look, main, tell
from tools.quantize.page import put_between

PNG_BYTES_MAX = 60_000


@pytest.fixture(scope="module")
def faces() -> Faces:
    """Three sources: two to leave out, and one that any net may be calibrated with."""
    drawn = generated_faces(96, seed=21)
    return replace(drawn, source=np.array(["k853", "macwin", "other"])[np.arange(96) // 12 % 3])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, faces: Faces) -> Path:
    """A folder with a shipped net, one that leaves two sources out, what was seen through it, and what it came to."""
    root = tmp_path_factory.mktemp("left-out")
    (root / "models").mkdir()
    shipped = root / "models" / "own.npz"
    shutil.copy(models_folder() / "mask-64.npz", shipped)
    (root / "models" / "MODEL_CARD.md").write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n")
    net = load_checkpoint(shipped)
    settings = dict(net.notes["settings"]) | {"leave_out": "k853,macwin"}
    save_checkpoint(
        root / "nets" / "both.npz",
        Checkpoint(graph=net.graph, weights=net.weights, notes=dict(net.notes) | {"settings": settings}),
    )
    look(root / "nets", shipped, faces, seed=1)
    tell(root / "nets", shipped, root / "models")
    return root


def test_report_page_and_plots_are_written_small(place: Path) -> None:
    reports = place / "models" / "reports"
    told = json.loads((reports / "own-left-out.json").read_text())

    assert set(told["sources"]) == {"k853", "macwin"}
    assert told["nets"]["k853"]["trained_without"] == "k853,macwin"
    assert told["checkpoint_sha256"] == sha256((place / "models" / "own.npz").read_bytes()).hexdigest()
    plots = sorted(path.name for path in reports.glob("*.png"))
    assert plots == ["own-left-out-reliability.png", "own-left-out-risk.png", "own-left-out-sizes.png"]
    assert all((reports / name).stat().st_size < PNG_BYTES_MAX for name in plots)


def test_the_card_gets_the_tables_and_keeps_the_rest(place: Path) -> None:
    card, page = ((place / "models" / name).read_text() for name in ("MODEL_CARD.md", "reports/own-left-out.md"))

    assert card.startswith(f"before\n{MARKS[0]}\n")
    assert card.endswith(f"{MARKS[1]}\nafter\n")
    assert "old" not in card
    assert page in card
    assert put_between(card, MARKS, page) == card  # twice is once
    assert "Not measured yet: concordia_a" in page


def test_the_figures_are_told_again_from_what_was_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = place / "models" / "reports" / "own-left-out.json"
    before = report.read_bytes()
    report.unlink()

    code = main(
        [str(place / "nets"), "--shipped", str(place / "models/own.npz"), "--models", str(place / "models"), "--kept"]
    )

    assert code == 0
    assert report.read_bytes() == before
    assert capsys.readouterr().out.strip() == (place / "models/reports/own-left-out.md").read_text().strip()


def test_the_nets_left_behind_answer_as_the_shipped_one_will(place: Path) -> None:
    told = json.loads((place / "models" / "reports" / "own-left-out.json").read_text())

    manifest, _ = load_manifest(str(place / "nets" / "int8" / "both.json"), ClassifierManifest)

    assert manifest.temperature == told["temperature"]
    assert manifest.abstain.confidence == told["abstain"]["confidence"]


def test_a_manifest_takes_what_was_measured_and_another_nets_its_validation_faces(place: Path, faces: Faces) -> None:
    told = json.loads((place / "models" / "reports" / "own-left-out.json").read_text())

    taken = quantize_classifier(place / "models" / "own.npz", place / "models", "own", 1, faces, 1)
    manifest, first = load_manifest(str(place / "models" / "own.json"), ClassifierManifest)
    other = quantize_classifier(place / "models" / "own.npz", place / "models", "other", 1, faces, 1)

    assert (manifest.temperature, manifest.abstain.confidence) == (told["temperature"], told["abstain"]["confidence"])
    assert taken["fitted_on"] == "sources left out, reports/own-left-out.json"
    assert other["fitted_on"].startswith("validation split")
    assert "quantisation in the loop" in (place / "models/reports/own.md").read_text()
    for path in (place / "models" / "reports").glob("*.png"):
        assert path.stat().st_size < PNG_BYTES_MAX

    # Neither data left out nor their nets are asked again: the file is made from checkpoint, seed and report alone.
    shutil.rmtree(place / "nets" / "int8")
    quantize_classifier(place / "models" / "own.npz", place / "models", "own", 1, faces, 1)
    assert load_manifest(str(place / "models" / "own.json"), ClassifierManifest) == (manifest, first)


def test_no_checkpoint_is_one_line_that_says_how_to_make_one(
    tmp_path: Path, faces: Faces, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(left_out, "load_faces", lambda: faces)

    code = main([str(tmp_path), "--models", str(tmp_path)])

    said = capsys.readouterr().err
    assert code == 65
    assert said.startswith(f"{tmp_path}: no float checkpoint that leaves a source out")
    assert said.count("\n") == 1
