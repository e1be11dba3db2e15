"""`maskwatch inspect` on pictures, crops and clips of the generated scene, with the real nets."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from agent.camera.walk import Walker
from agent.cli.main import main
from agent.seams import Box, Frame
from tests.integration.cli_scene import ROOT, clean_environ, scene_frames, use_terminal, write_clip, write_picture

Scene = tuple[list[Frame], tuple[Walker, ...]]
FPS = 15.0


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scene_frames()


@pytest.fixture(scope="module")
def crowded(scene: Scene) -> tuple[Frame, list[tuple[Walker, Box]]]:
    """The frame in which most faces of 40 px and more are in view, and who they are."""

    def large(frame: Frame) -> list[tuple[Walker, Box]]:
        boxes = [(walker, walker.box_at(frame.captured_ns)) for walker in scene[1]]
        return [(walker, box) for walker, box in boxes if box is not None and box.size_px >= 40]

    best = max(scene[0], key=lambda frame: len(large(frame)))
    return best, large(best)


def inspect(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> list[dict[str, Any]]:
    assert main(["inspect", *words]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def overlap(a: list[float], b: Box) -> float:
    inner = Box(max(a[0], b.x0), max(a[1], b.y0), min(a[2], b.x1), min(a[3], b.y1))
    area = inner.area if inner.x1 > inner.x0 and inner.y1 > inner.y0 else 0.0
    return area / (Box(*a).area + b.area - area)


def test_each_face_in_a_picture_gets_its_box_and_its_label(
    crowded: tuple[Frame, list[tuple[Walker, Box]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, truth = crowded
    (said,) = inspect(capsys, str(write_picture(tmp_path / "one.png", frame)))

    assert (said["path"], said["width"], said["height"]) == (str(tmp_path / "one.png"), 640, 480)
    assert len(truth) >= 2
    for walker, box in truth:
        found = [face for face in said["faces"] if face["accepted"] and overlap(face["box"], box) > 0.4]
        assert [face["label"] for face in found] == [walker.label]
        assert sum(found[0]["p"].values()) == pytest.approx(1, abs=2e-6)


def test_faces_below_the_threshold_are_listed_and_not_accepted(
    crowded: tuple[Frame, list[tuple[Walker, Box]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(write_picture(tmp_path / "one.png", crowded[0]))
    (said,) = inspect(capsys, picture)
    manifest = json.loads((ROOT / "models" / "face-320.json").read_bytes())
    scores = [face["score"] for face in said["faces"]]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) < manifest["score_threshold"]
    assert min(scores) >= manifest["report_floor"] - 0.01
    assert all(face["accepted"] == (face["score"] >= manifest["score_threshold"]) for face in said["faces"])

    (strict,) = inspect(capsys, picture, "--set", "vision.min_face_px=300")
    assert not any(face["accepted"] for face in strict["faces"])
    (corner,) = inspect(capsys, picture, "--set", "vision.region=[0, 0, 0.01, 0.01]")
    assert not any(face["accepted"] for face in corner["faces"])


def test_small_faces_in_a_large_picture_need_the_closer_look(
    crowded: tuple[Frame, list[tuple[Walker, Box]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, truth = crowded
    large = np.full((1080, 1920, 3), 128, np.uint8)
    large[840:1080, 1600:1920] = cv2.resize(frame.pixels, (320, 240), interpolation=cv2.INTER_AREA)
    picture = str(write_picture(tmp_path / "large.png", Frame(pixels=large, captured_ns=0, index=0)))

    (near,) = inspect(capsys, picture)
    (once,) = inspect(capsys, picture, "--single-pass")

    accepted = [[face for face in said["faces"] if face["accepted"]] for said in (near, once)]
    assert len(accepted[0]) >= len(truth) > len(accepted[1])


def test_a_crop_is_one_face(
    crowded: tuple[Frame, list[tuple[Walker, Box]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame, truth = crowded
    paths, labels = [], []
    for number, (walker, box) in enumerate(truth):
        x0, y0, x1, y1 = (max(0, round(side)) for side in box)
        crop = Frame(pixels=frame.pixels[y0:y1, x0:x1], captured_ns=0, index=0)
        paths.append(str(write_picture(tmp_path / f"{number}.png", crop)))
        labels.append(walker.label)

    said = inspect(capsys, "--crops", "--annotate", str(tmp_path / "drawn"), *paths)

    assert [line["path"] for line in said] == paths
    assert [max(line["p"], key=line["p"].get) for line in said] == labels
    assert all(line["label"] in (label, "unsure") for line, label in zip(said, labels, strict=True))
    assert all(sum(line["p"].values()) == pytest.approx(1, abs=2e-6) for line in said)
    assert len(list((tmp_path / "drawn").iterdir())) == len(paths)


def test_a_clip_tells_each_person_once_with_the_right_label(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, truth = scene
    clip = write_clip(tmp_path / "scene.avi", frames, FPS)

    said = inspect(capsys, str(clip), "--annotate", str(tmp_path / "drawn"))

    new = [line for line in said if line["event"] == "new"]
    ended = [line for line in said if line["event"] == "end"]
    assert Counter(line["label"] for line in ended) == Counter(walker.label for walker in truth)
    assert len({line["person"] for line in new}) == len(new) == len(ended)
    assert [line["frame"] for line in said] == sorted(line["frame"] for line in said)
    assert all(abs(line["t"] - line["frame"] / FPS) < 0.1 for line in new)
    drawn = cv2.VideoCapture(str(tmp_path / "drawn" / "scene.mp4"))
    assert drawn.get(cv2.CAP_PROP_FRAME_COUNT) == len(frames)
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(FPS, rel=0.01)


def test_a_clip_twice_is_told_the_same_way(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(write_clip(tmp_path / "part.avi", scene[0][:100], FPS))
    assert inspect(capsys, clip) == inspect(capsys, clip)


def test_what_cannot_be_read_is_a_line_and_the_rest_goes_on(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(tmp_path / "good.png", scene[0][0])
    (tmp_path / "bad.jpg").write_text("no picture")
    clip = write_clip(tmp_path / "whole.avi", scene[0][:60], FPS).read_bytes()
    (tmp_path / "cut.avi").write_bytes(clip[: len(clip) // 2])

    assert main(["inspect", str(tmp_path), str(tmp_path / "gone.png")]) == 65
    printed = capsys.readouterr()

    assert [json.loads(line)["path"] for line in printed.out.splitlines() if '"faces"' in line] == [
        str(tmp_path / "good.png")
    ]
    assert [line.split(":")[0] for line in printed.err.splitlines()] == [
        str(tmp_path / name) for name in ("bad.jpg", "cut.avi", "gone.png")
    ]


def test_annotated_pictures_keep_their_folder(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(tmp_path / "in" / "a" / "1.png", scene[0][100])
    write_picture(tmp_path / "in" / "b" / "1.jpg", scene[0][150])
    inspect(capsys, str(tmp_path / "in"), "--annotate", str(tmp_path / "out"))
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")) == [
        "a/1.png",
        "b/1.jpg",
    ]


def test_annotating_into_the_pictures_own_folder_is_refused(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = write_picture(tmp_path / "1.png", scene[0][0])
    before = picture.read_bytes()
    assert main(["inspect", str(picture), "--annotate", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert picture.read_bytes() == before


def test_paths_on_stdin_are_answered_one_by_one(scene: Scene, tmp_path: Path) -> None:
    pictures = [write_picture(tmp_path / f"{n}.png", scene[0][n]) for n in range(2)]
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli.main", "inspect", "--single-pass", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean_environ(),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for picture in pictures:
        process.stdin.write(f"{picture}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["path"] == str(picture), (
            "the answer comes before the next question"
        )
    process.stdin.close()
    process.stdout.close()
    assert process.wait(20) == 0


def test_a_reader_that_has_seen_enough_ends_it_quietly(scene: Scene, tmp_path: Path) -> None:
    for number in range(6):
        write_picture(tmp_path / f"{number}.png", scene[0][100 + number])
    process = subprocess.Popen(
        [sys.executable, "-m", "agent.cli.main", "inspect", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=clean_environ(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


def test_a_terminal_gets_a_table_with_a_last_line(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = use_terminal(monkeypatch)
    write_picture(tmp_path / "1.png", scene[0][150])
    (tmp_path / "2.jpg").write_text("no picture")
    write_clip(tmp_path / "3.avi", scene[0][:120], FPS)
    assert main(["inspect", str(tmp_path)]) == 65
    text = terminal.text
    assert "{" not in text
    for words in ("1.png", "3.avi", "2 files: ", "1 could not be read"):
        assert words in text


def test_a_terminal_gets_json_when_it_is_asked_for(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = use_terminal(monkeypatch)
    picture = write_picture(tmp_path / "1.png", scene[0][150])
    (tmp_path / "2.jpg").write_text("no picture")
    use_terminal(monkeypatch, "stderr")
    assert main(["inspect", "--json", "--crops", str(picture), str(tmp_path / "2.jpg")]) == 65
    lines = [line[line.index("{") :] for line in terminal.text.splitlines() if "{" in line]
    assert json.loads(lines[0][: lines[0].rindex("}") + 1])["path"] == str(picture)
    assert "2.jpg: damaged" in terminal.text


def test_a_progress_bar_stands_on_stderr_when_results_go_elsewhere(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = write_picture(tmp_path / "1.png", scene[0][0])
    screen = use_terminal(monkeypatch, "stderr")
    assert main(["inspect", "--crops", str(picture)]) == 0
    assert "inspecting" in screen.text
    assert json.loads(capsys.readouterr().out)["path"] == str(picture)


def test_crops_are_counted_in_a_terminal(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    picture = write_picture(tmp_path / "1.png", scene[0][0])
    assert main(["inspect", "--crops", str(picture)]) == 0
    assert "1 file: 1 " in terminal.text
