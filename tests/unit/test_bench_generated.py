"""The bench's clips and passes: what is measured is what the rows say."""

import importlib.util
from pathlib import Path

import pytest

from agent.camera.clip import ClipCamera
from agent.seams import End, Frame
from tools.bench import frames, generated
from tools.bench.agent import Pass, make_pipeline, open_outbox
from tools.bench.frames import _FourFaces

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None or importlib.util.find_spec("matplotlib") is None,
    reason="needs the demo extra: pip install -e '.[demo]'",
)


def test_the_clips_are_640x480_at_the_scenes_rate_and_undamaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "CLIP_S", 6.0)
    monkeypatch.setattr(generated, "PERSONS", 1)
    for make in (generated.people, generated.still):
        path = make(tmp_path)
        assert make(tmp_path) == path
        with ClipCamera(path, fps=1) as camera:
            count = 0
            while isinstance(frame := camera.read(0), Frame):
                assert frame.pixels.shape == (480, 640, 3)
                count += 1
        assert frame == End()
        assert count > 40
    assert sorted(file.name for file in tmp_path.iterdir()) == ["people.mp4", "still.mp4"]


def test_a_pass_counts_frames_and_stores_what_the_pipeline_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated, "CLIP_S", 4.0)
    path = generated.still(tmp_path)
    nets = _FourFaces()
    with open_outbox(tmp_path) as outbox:
        done = Pass(path, make_pipeline(nets, nets), outbox, loop=True, frames=90)
        assert done.frames == len(done.frame_ms) == 90
        assert done.events == outbox.last_sequence > 0
    assert done.frames_per_s == pytest.approx(90 / done.seconds)


def test_everything_else_is_measured_with_four_people_present(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "_PASSES", 1)
    row = frames._everything_else(tmp_path)
    assert row.measured is not None
    assert 0 < row.measured < 50
