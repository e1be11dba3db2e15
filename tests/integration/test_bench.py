"""`maskwatch bench` measures for real, and says what it missed."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from agent.cli.bench import _print
from agent.cli.measure import Figure, label_gap, measure_edge_tpu, run_clip
from agent.clock import SystemClock
from agent.settings import Settings
from agent.vision.nets import load_classifier, load_detector
from tests.integration.cli_scene import Terminal, maskwatch, scene_frames, write_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("bench") / "walk.avi", scene_frames()[0][:120], 15.0)


def test_bench_measures_nets_agent_memory_and_disk(clip: Path, tmp_path: Path) -> None:
    result = maskwatch("bench", str(clip), "--json", "--set", f"outbox.directory={tmp_path}")
    assert (result.returncode, result.stderr) == (0, "")
    report = json.loads(result.stdout)
    figures = {figure["name"]: figure for figure in report["figures"]}
    assert report["machine"]["detect_every"] == 2
    assert set(figures) == {
        "agent: walk.avi",
        "agent: all but decode and nets",
        "memory: resident",
        "memory: growth",
        "classifier: crop to probabilities",
        "classifier: model file",
        "detector: 640x480 to faces",
        "nets: off their golden answers",
        "disk: an event alone",
        "disk: an event in a burst",
    }
    assert figures["agent: walk.avi"]["note"].startswith("2 persons, detector in ")
    assert 20 < figures["memory: resident"]["measured"] < 400
    assert 0 < figures["classifier: crop to probabilities"]["measured"] < 100
    assert figures["classifier: model file"]["ok"] is True
    assert list(tmp_path.iterdir()) == [], "what was measured on the disk is gone from it"


def test_bench_makes_its_clips_from_the_scene_and_prints_a_table(tmp_path: Path) -> None:
    result = maskwatch("bench", "--set", f"outbox.directory={tmp_path}", COLUMNS="80")
    assert (result.returncode, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    for words in ("agent: people.avi", "6 persons, ", "agent: still.avi", "frames/s", "bare invoke"):
        assert words in result.stdout


def test_a_missed_budget_is_said_and_a_figure_without_one_is_not_judged() -> None:
    figures = [
        Figure(name="slow", measured=3.0, unit="ms", budget=2.0),
        Figure(name="fast", measured=3.0, unit="frames/s", budget=2.0, at_least=True),
        Figure(name="free", measured=3.0, unit="kB"),
    ]
    assert [figure.ok for figure in figures] == [False, True, None]
    screen = Terminal()
    _print(Console(file=screen, width=80), {"board": "x"}, figures)
    rows = {line.split()[0]: line for line in screen.text.splitlines() if line.strip()}
    assert "missed" in rows["slow"]
    assert "ok" in rows["fast"]
    assert rows["free"].split() == ["free", "3", "kB"]


def test_labels_on_an_accelerator_are_compared_with_the_cpus_by_their_shares(clip: Path) -> None:
    assert label_gap({"mask": 90, "no_mask": 10}, {"mask": 178, "no_mask": 20, "incorrect": 2}) == pytest.approx(1.0)
    assert label_gap({}, {}) == 0
    settings, clock = Settings(), SystemClock()
    detector, classifier = load_detector("face-320", "cpu"), load_classifier("mask-64", "cpu")
    ran = run_clip(clip, settings, detector.net, classifier.net, clock)
    figure = measure_edge_tpu(clip, settings, ran, clock)
    assert (figure.measured, figure.ok) == (0, True)
    assert set(ran.labels) >= {"mask", "no_mask"}
