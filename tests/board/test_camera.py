"""The picamera2 camera on the real picamera2 and libcamera, with cameras that libcamera itself makes up.

What they cannot show: a sensor's formats and timing, and the lock that libcamera puts on a real camera's device. Its
virtual cameras have no device, so a camera is taken here by another Picamera2 of the same process: from libcamera's
refusal onwards (EBUSY) everything is what a camera taken by another process does.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.board.camera_root import BARS, CameraRoot, VirtualCamera, write_pictures

pytestmark = [pytest.mark.board, pytest.mark.timeout(600)]

NEAR = 16  # levels: NV12 has fewer than RGB, and the virtual pipeline does not stretch a JPEG's as it ought to
GROWTH_KB = 3000


@pytest.fixture
def root(tmp_path: Path) -> CameraRoot:
    """Give a root with one camera that shows colour bars."""
    return CameraRoot(tmp_path / "root", VirtualCamera("bars"))


def near(colour: Sequence[int], other: Sequence[int]) -> bool:
    return max(abs(a - b) for a, b in zip(colour, other, strict=True)) < NEAR


def are_bars(colours: Sequence[Sequence[int]]) -> bool:
    """Tell whether these are the bars in their order; the pattern moves sideways, so any may be the first."""
    first = next((index for index, bar in enumerate(BARS) if near(colours[0], bar)), None)
    if first is None or len(colours) not in (8, 9):  # 9: one at both sides
        return False
    return all(near(colour, BARS[(first + index) % 8]) for index, colour in enumerate(colours))


def test_its_pictures_are_rgb_in_full_and_at_half_the_size_each_with_its_time(root: CameraRoot) -> None:
    told = root.tell("stream", "picamera2", "20")
    assert told["describe"] == "picamera2:0, 640x480 NV12"
    assert told["shapes"] == [[480, 640, 3]]
    assert told["lores"] == [[240, 320, 3]]
    for colours in (*told["colours"], *told["lores_colours"]):
        assert are_bars(colours), colours
    assert all(earlier < later for earlier, later in pairwise(told["stamps_ns"]))
    assert told["between_ns"][0] - 1_000_000_000 < told["stamps_ns"][0]
    assert told["stamps_ns"][-1] <= told["between_ns"][1]
    assert told["index"] == list(range(20))


def test_each_picture_of_a_camera_comes_out_as_it_is(tmp_path: Path) -> None:
    colours = [(200, 30, 40), (30, 180, 60), (40, 50, 210)]
    root = CameraRoot(tmp_path / "root", VirtualCamera("folder", pictures="/srv/test/pictures/"))
    write_pictures(root.work / "pictures", [np.full((480, 640, 3), colour, np.uint8) for colour in colours])
    told = root.tell("stream", "picamera2:0", "90")  # many: a busy machine takes the newest and leaves out some between
    assert all(len(seen) == 1 for seen in told["colours"]), told["colours"]
    shown = [[near(seen[0], colour) for colour in colours].index(True) for seen in told["colours"]]
    assert set(shown) == {0, 1, 2}


def test_a_size_that_the_camera_has_not_becomes_one_that_it_has(root: CameraRoot) -> None:
    told = root.tell("stream", "picamera2", "3", "500", "300")
    assert told["describe"] in ("picamera2:0, 640x480 NV12", "picamera2:0, 320x240 NV12")
    width, height = (int(side) for side in told["describe"].split()[1].split("x"))
    assert told["shapes"] == [[height, width, 3]]
    assert are_bars(told["colours"][0])


def test_cameras_are_told_apart_by_their_numbers(tmp_path: Path) -> None:
    root = CameraRoot(
        tmp_path / "root", VirtualCamera("a", pictures="/srv/test/pictures/"), VirtualCamera("b", sizes=((320, 240),))
    )
    write_pictures(root.work / "pictures", [np.full((480, 640, 3), 128, np.uint8)])
    shown = [root.tell("stream", f"picamera2:{number}", "1")["shapes"] for number in (0, 1)]
    assert sorted(shown) == [[[240, 320, 3]], [[480, 640, 3]]]


def test_ten_thousand_frames_cost_no_memory_and_no_files(root: CameraRoot) -> None:
    told = root.tell("grow", "picamera2", "10000")
    assert len(told) == 10
    assert {held["files"] for held in told} == {told[0]["files"]}
    assert {held["threads"] for held in told} == {told[0]["threads"]}
    assert told[-1]["rss_kb"] - told[0]["rss_kb"] < GROWTH_KB, told


def test_a_camera_that_falls_silent_is_opened_anew_until_it_speaks(root: CameraRoot) -> None:
    told = root.tell("stall", "picamera2", environment={"TEST_CAMERA_STALL": "/srv/test/stalled"})
    assert "no frame for 5 s" in told["why"]
    assert told["last"] > told["first"]
    assert are_bars(told["colours"])
    before, after = told["held"]
    assert (after["files"], after["threads"]) == (before["files"], before["threads"])


def test_forty_openings_cost_no_memory_and_no_files(root: CameraRoot) -> None:
    told = root.tell("again")
    assert {held["files"] for held in told} == {told[0]["files"]}
    assert told[-1]["rss_kb"] - told[0]["rss_kb"] < GROWTH_KB, told


def test_a_camera_that_is_not_there_is_told_in_one_line_and_trying_costs_nothing(root: CameraRoot) -> None:
    told = root.tell("missing", "7")
    assert told["line"].startswith("picamera2:7: there is no camera 7; libcamera lists 1; ")
    assert told["held"][0]["files"] == told["held"][1]["files"]


def test_a_board_without_any_camera_is_told_the_same(tmp_path: Path) -> None:
    told = CameraRoot(tmp_path / "root").tell("missing", "0")
    assert told["line"].startswith("picamera2:0: there is no camera 0; libcamera lists 0; ")
    assert told["held"][0]["files"] == told["held"][1]["files"]


def test_a_camera_that_is_taken_is_told_in_libcameras_words_and_can_be_had_when_it_is_free(root: CameraRoot) -> None:
    told = root.tell("taken")
    assert told["line"].startswith("picamera2:0: Failed to acquire camera: Device or resource busy; ")
    assert told["held"][0]["files"] == told["held"][1]["files"]
    assert told["still_owned"]
    assert told["then"]
