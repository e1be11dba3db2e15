"""The lines of `inspect`: a stable contract, and a table for people."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.findings import PictureFinding, crop_finding, face_finding, person_finding, to_json, to_rows
from agent.events.types import CameraBack, Event
from agent.seams import Box, Decision, Face, Look
from tests.unit.cli_messages import end, new, update

FACE = Face(box=Box(10.123, 20, 30.5, 45), score=0.1234567)
SURE = Decision(label="no_mask", confidence=0.9)


def look(mask: float = 0.05, no_mask: float = 0.9) -> Look:
    return Look(probs=(mask, no_mask, 1 - mask - no_mask), sharpness=90.0, brightness=120.0, face_px=24.0)


def test_a_picture_is_one_line_of_the_contract() -> None:
    finding = PictureFinding(
        path="a/b.jpg", width=640, height=480, faces=[face_finding(FACE, look(), SURE, accepted=True)]
    )
    assert json.loads(to_json(finding)) == {
        "path": "a/b.jpg",
        "width": 640,
        "height": 480,
        "faces": [
            {
                "box": [10.12, 20.0, 30.5, 45.0],
                "score": 0.123457,
                "accepted": True,
                "label": "no_mask",
                "confidence": 0.9,
                "p": {"mask": 0.05, "no_mask": 0.9, "incorrect": 0.05},
                "reason": None,
            }
        ],
    }


def test_a_crop_is_one_line_of_the_contract() -> None:
    unsure = Decision(label="unsure", confidence=0.5, reason="blurred")
    assert json.loads(to_json(crop_finding("c.png", look(0.5, 0.3), unsure))) == {
        "path": "c.png",
        "label": "unsure",
        "confidence": 0.5,
        "p": {"mask": 0.5, "no_mask": 0.3, "incorrect": 0.2},
        "reason": "blurred",
    }


@given(st.floats(0, 1), st.floats(0, 1))
def test_probabilities_sum_to_one_however_they_are_rounded(first: float, second: float) -> None:
    mask, no_mask = sorted((first, second))[0], abs(first - second)
    said = json.loads(to_json(crop_finding("c.png", look(mask, no_mask), SURE)))["p"]
    assert sum(said.values()) == pytest.approx(1, abs=2e-6)
    assert min(said.values()) >= 0


@pytest.mark.parametrize(("data", "name"), [(new("clip1-1"), "new"), (update(), "update"), (end(), "end")])
def test_a_person_in_a_clip_is_the_event_with_frame_and_time(data: object, name: str) -> None:
    finding = person_finding("a.mp4", Event(at_ns=1_234_567_890, data=data), 37)  # type: ignore[arg-type]
    assert finding is not None
    said = json.loads(to_json(finding))
    assert (said["path"], said["event"], said["frame"], said["t"]) == ("a.mp4", name, 37, 1.235)
    assert {"person", "label", "confidence", "looks", "seen_s", "face_px", "box"} <= set(said)
    assert "data" not in said


def test_what_is_about_nobody_is_no_line() -> None:
    assert person_finding("a.mp4", Event(at_ns=0, data=CameraBack(reason="black", blind_s=1)), 0) is None


def test_a_table_shows_accepted_faces_only() -> None:
    weak = face_finding(FACE, look(), Decision(label="mask", confidence=0.6), accepted=False)
    strong = face_finding(FACE, look(), SURE, accepted=True)
    rows = to_rows(PictureFinding(path="p.jpg", width=9, height=9, faces=[weak, strong]), width=80)
    assert len(rows) == 1
    assert "no mask       90%   23 px at 10,20" in rows[0].plain
    (nobody,) = to_rows(PictureFinding(path="p.jpg", width=9, height=9, faces=[weak]), width=80)
    assert "no face" in nobody.plain


def test_rows_fit_eighty_columns_and_keep_the_end_of_a_long_path() -> None:
    path = "/a/very/long/path/" * 5 + "the-picture.jpg"
    unsure = Decision(label="unsure", confidence=1.0, reason="undecided")
    face = Face(box=Box(1000, 1000, 1120, 1120), score=0.9)
    finding = PictureFinding(path=path, width=9, height=9, faces=[face_finding(face, look(), unsure, accepted=True)])
    for row in (*to_rows(finding, width=80), *to_rows(crop_finding(path, look(), unsure), width=80)):
        assert len(row.plain) <= 80
        assert "picture.jpg" in row.plain
        assert "looks disagree" in row.plain
    person = person_finding(path, Event(at_ns=0, data=new(label="unsure", reason="dark")), 0)
    assert person is not None
    assert "too dark" in to_rows(person, width=80)[0].plain
