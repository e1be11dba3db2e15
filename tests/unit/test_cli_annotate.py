"""Drawn copies: boxes where the faces are, words in reach, clips of the same length and pace."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.cli.annotate import ClipWriter, Mark, draw, save_picture
from agent.errors import StorageError
from agent.seams import Box, Frame

GREY = np.full((480, 640, 3), 128, np.uint8)


def test_a_box_is_drawn_where_it_is_and_the_original_stays() -> None:
    drawn = draw(GREY, [Mark(box=Box(100, 100, 200, 220), label="no_mask", confidence=0.9)])
    assert drawn.shape == GREY.shape
    assert (GREY == 128).all()
    assert drawn[150, 100].tolist() == [215, 58, 73]
    assert drawn[219, 150].tolist() == [215, 58, 73]
    assert drawn[160, 150].tolist() == [128, 128, 128]
    assert (drawn[85:98, 100:200] != 128).any(), "the words stand above the box"


@pytest.mark.parametrize(
    "box", [Box(0, 0, 640, 480), Box(600, 0, 640, 40), Box(0, 440, 30, 480), Box(610, 450, 640, 480)]
)
def test_words_stay_inside_the_picture(box: Box) -> None:
    inside = draw(GREY, [Mark(box=box, label="incorrect", confidence=1.0, note="#12")])
    plate = np.all(inside == (214, 136, 0), axis=-1)
    plate[round(box.y0) : round(box.y1), round(box.x0)] = False
    assert plate.sum() > 500


def test_a_mark_without_a_decision_has_no_words() -> None:
    drawn = draw(GREY, [Mark(box=Box(100, 100, 200, 220))])
    assert (drawn[:100] == 128).all()
    assert (draw(GREY, [Mark(box=Box(100, 100, 200, 220), note="#3")])[:100] != 128).any()


def test_a_small_picture_is_enlarged_by_a_whole_number() -> None:
    assert draw(np.zeros((90, 120, 3), np.uint8), []).shape == (360, 480, 3)


def test_a_saved_picture_has_its_colours(tmp_path: Path) -> None:
    red = np.zeros((480, 640, 3), np.uint8)
    red[..., 0] = 200
    save_picture(tmp_path / "deep" / "a.png", red, [])
    assert cv2.imread(str(tmp_path / "deep" / "a.png"))[0, 0].tolist() == [0, 0, 200]


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be made"):
        save_picture(tmp_path / "file" / "a.png", GREY, [])
    (tmp_path / "a.png").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        save_picture(tmp_path / "a.png", GREY, [])
    (tmp_path / "c.mp4").mkdir()
    with pytest.raises(StorageError, match="cannot be written"), ClipWriter(tmp_path / "c.mp4") as writer:
        writer.add(Frame(pixels=GREY, captured_ns=0, index=0), [])


@pytest.mark.parametrize(("frames", "fps"), [(1, 15.0), (5, 10.0)])
def test_a_clip_has_every_frame_at_the_pace_of_the_first_two(tmp_path: Path, frames: int, fps: float) -> None:
    with ClipWriter(tmp_path / "c.mp4") as writer:
        for index in range(frames):
            writer.add(Frame(pixels=GREY, captured_ns=index * 100_000_000, index=index), [])
    clip = cv2.VideoCapture(str(tmp_path / "c.mp4"))
    assert clip.get(cv2.CAP_PROP_FPS) == fps
    assert clip.get(cv2.CAP_PROP_FRAME_COUNT) == frames


def test_no_path_and_no_frames_write_nothing(tmp_path: Path) -> None:
    with ClipWriter(None) as writer:
        writer.add(Frame(pixels=GREY, captured_ns=0, index=0), [])
    with ClipWriter(tmp_path / "c.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
