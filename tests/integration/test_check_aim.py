"""Aiming a camera by words."""

import io
import json
from pathlib import Path

import numpy as np
import pytest

from agent.cli import aim as aiming
from agent.cli import promise as promising
from agent.cli.aim import Aim, aim
from agent.cli.promise import Promise
from agent.clock import NS_PER_S, SystemClock
from agent.errors import InputError
from agent.pipeline import InView
from agent.seams import Box, Frame, Look, Silence, Track
from agent.settings import CameraSettings, Settings
from agent.vision.model import Abstain

_ABSTAIN = Abstain(confidence=0.8, face_px=12, sharpness=10, brightness=30)


def frame(at_s: float, level: int = 100) -> Frame:
    return Frame(pixels=np.full((48, 64, 3), level, np.uint8), captured_ns=round(at_s * NS_PER_S), index=0)


def face(size: float, *, sharpness: float = 500, brightness: float = 120) -> InView:
    track = Track(id=1, box=Box(0, 0, size, size), seen=True, first_seen_ns=0, last_seen_ns=0)
    look = Look(probs=(1, 0, 0), sharpness=sharpness, brightness=brightness, face_px=size)
    return InView(track=track, silenced=False, look=look)


def verdict(*views: InView, blind: str | None = None) -> str:
    judge = Aim(_ABSTAIN, Promise({10: 95.0, 24: 97.5}), min_face_px=16)
    judge.take(frame(0), list(views), blind)
    return judge.line()


def test_a_good_position_is_called_good_with_what_was_measured_at_that_size() -> None:
    line = verdict(face(20), face(40), face(30))
    assert line.startswith("GOOD")
    assert "3 in sight" in line
    assert "faces 20 to 40 px, mostly 30" in line
    assert "measured at this size: 97.5 % right" in line


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (face(15), "TOO SMALL: faces need 16 px"),
        (face(40, brightness=20), "TOO DARK"),
        (face(40, sharpness=3), "BLURRED"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(view: InView, expected: str) -> None:
    assert verdict(view).startswith(expected)


def test_a_blind_camera_and_an_empty_scene_are_two_things() -> None:
    assert verdict(blind="black").startswith("BLIND (black)")
    assert "light 100/255 · no face yet" in verdict()


def test_faces_of_long_ago_count_no_more() -> None:
    judge = Aim(_ABSTAIN, Promise({}), min_face_px=16)
    judge.take(frame(0), [face(10)], None)
    judge.take(frame(6), [], None)
    assert "no face yet" in judge.line()


def test_a_promise_is_that_of_the_largest_measured_size_that_fits() -> None:
    promise = Promise({10: 95.0, 24: 97.5})
    assert [promise.at(px) for px in (9.9, 10, 23, 24, 500)] == [None, 95.0, 95.0, 97.5, 97.5]


def test_the_shipped_classifier_has_a_promise_and_an_unknown_one_has_none() -> None:
    assert Promise.of("mask-64").at(200) is not None
    assert Promise.of("nobodys-model").at(200) is None


def test_a_report_of_another_shape_promises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/x.json").write_text(json.dumps({"val": {}}))
    monkeypatch.setattr(promising, "models_folder", lambda: tmp_path)
    assert Promise.of("x").at(200) is None


def settings(source: str) -> Settings:
    return Settings(camera=CameraSettings(source=source, fps=5))


def test_a_scene_is_told_line_by_line_until_its_end() -> None:
    out = io.StringIO()
    assert aim(settings("scene"), SystemClock(), out) == 0
    lines = out.getvalue().splitlines()
    assert len(lines) > 20
    assert any(line.startswith("GOOD") and "% right" in line for line in lines)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class InterruptedCamera:
    """Silent once, then Ctrl-C."""

    live = True

    def __init__(self) -> None:
        self.reads = 0

    def __enter__(self) -> "InterruptedCamera":
        return self

    def __exit__(self, *error: object) -> None: ...

    def read(self, timeout_s: float) -> Silence:
        self.reads += 1
        if self.reads > 1:
            raise KeyboardInterrupt
        return Silence(since_ns=0, why="unplugged")


def test_a_terminal_has_one_line_that_changes_and_ctrl_c_is_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiming, "open_camera", lambda *_: InterruptedCamera())
    out = Terminal()
    assert aim(settings("scene"), SystemClock(), out) == 0
    assert out.getvalue() == "\r\x1b[KNO PICTURE: unplugged\n"


def test_a_damaged_clip_is_an_error_at_its_end(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        aim(settings(str(tmp_path / "none.mp4")), SystemClock(), io.StringIO())
