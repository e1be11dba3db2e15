"""One net a group of sources, each trained in a process of its own without them."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is in the train extra only")

from tools.train.classifier import main as train
from tools.train.data import SHARED_CROPS, sources
from tools.train.graph import load_checkpoint
from tools.train.leave_out import GROUPS, main


def test_a_net_is_trained_for_each_group_and_one_that_is_there_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "left/there.npz"
    there.parent.mkdir()
    there.write_bytes(b"as it is")

    status = main(["--only", "there", "sketched", "--out", "left", "--", "--smoke"])

    assert status == 0
    assert there.read_bytes() == b"as it is"
    assert capfd.readouterr().out == "sketched: done\n"
    assert "step 24" in Path("left/sketched.txt").read_text()
    assert load_checkpoint(Path(".work/train/smoke/mask-64.npz")).notes["settings"]["leave_out"] == "sketched"
    measured = json.loads(Path(".work/train/smoke/metrics.json").read_text())
    assert measured["left_out_gray"]["sketched"]["n"] == 120
    assert measured["history"][-1]["val"]["all"]["n"] < 60


def test_a_training_that_fails_is_named_with_where_its_words_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)

    assert main(["--only", "k853", "--out", "left"]) != 0

    assert "k853: failed, see left/k853.txt" in capfd.readouterr().out
    words = Path("left/k853.txt").read_text()
    assert "no crops here" in words
    assert len(words.splitlines()) == 1


def test_a_source_that_nobody_has_is_named_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ValueError, match="no source is named k852"):
        train(["--smoke", "--leave-out", "k852"])


def test_no_source_is_left_out_twice_and_hands_never_together() -> None:
    groups = [group.split(",") for group in GROUPS]
    named = [name for group in groups for name in group]

    assert len(named) == len(set(named))
    assert not any({"mafa", "fer_hands"} <= set(group) for group in groups)
    if SHARED_CROPS.exists():
        assert set(named) <= set(sources())
