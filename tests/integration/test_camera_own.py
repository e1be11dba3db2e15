"""From a clip to what the training reads, with the real nets: cut, correct in a browser or an editor, pack, score."""

import csv
import json
import shutil
import signal
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest

from agent.camera import SceneCamera
from agent.seams import LABELS, Frame
from tests.integration.cli_scene import ROOT, clean_environ, scene_frames, write_clip
from tests.integration.page_browser import Chromium
from tests.integration.page_scene import Visitor
from tests.real import wait_for
from tools.camera.__main__ import main
from tools.train.data import load_faces

FPS = 15.0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames, _ = scene_frames()
    return write_clip(tmp_path_factory.mktemp("clip") / "door.avi", frames, FPS)


@pytest.fixture(scope="module")
def cut(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cut") / "faces"
    assert main(["cut", str(clip), "--out", str(folder), "--looks", "5"]) == 0
    return folder


@pytest.fixture
def folder(cut: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cut, tmp_path / "faces"))


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def correct(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_each_person_of_the_scene_is_cut_once_with_the_right_label_proposed(cut: Path) -> None:
    persons = {row["person"]: row["label"] for row in table(cut)}

    assert Counter(persons.values()) == Counter(walker.label for walker in SceneCamera().truth)
    assert max(Counter(row["person"] for row in table(cut)).values()) == 5
    assert {path.stem for path in (cut / "crops").iterdir()} == {row["crop"] for row in table(cut)}


def test_looks_at_a_person_are_of_different_sizes_and_moments(cut: Path) -> None:
    album = json.loads((cut / "cut.json").read_bytes())
    by_person: dict[str, list[dict[str, Any]]] = {}
    for crop in album["crops"]:
        by_person.setdefault(crop["person"], []).append(crop)
    growth = []
    for crops in by_person.values():
        times, sizes = [crop["t_s"] for crop in crops], [crop["native_px"] for crop in crops]
        assert max(times) - min(times) > 2
        growth.append(max(sizes) / min(sizes))
    assert max(growth) > 1.5  # some come nearer, some only cross


def test_nobody_else_may_read_what_was_cut_and_git_takes_none_of_it(cut: Path, tmp_path: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [cut, *cut.rglob("*")]}
    assert modes == {0o700, 0o600}
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    shutil.copytree(cut, tmp_path / "faces")
    status = subprocess.run(
        ["git", "-C", tmp_path, "status", "--porcelain"], capture_output=True, text=True, check=True
    )
    assert status.stdout == ""


def test_the_same_clip_cut_again_gives_the_same_names_so_that_labels_stay(
    cut: Path, clip: Path, tmp_path: Path
) -> None:
    assert main(["cut", str(clip), "--out", str(tmp_path / "again"), "--looks", "5"]) == 0

    assert (tmp_path / "again" / "labels.csv").read_bytes() == (cut / "labels.csv").read_bytes()


def test_labels_corrected_in_an_editor_are_packed_by_person_and_scored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table(folder)
    rows[0]["label"] = "not_a_face"
    correct(folder, rows)

    assert main(["pack", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"{len(rows) - 1} looks at 6 persons; 1 no face, 0 left out" in said

    faces = load_faces(folder / "packed", folder / "cache")
    who = dict.fromkeys((str(row["crop"]) for row in rows), "") | {row["crop"]: row["person"] for row in rows}
    splits = {(who[str(name)], str(split)) for name, split in zip(faces.id, faces.split, strict=True)}
    assert len(splits) == 6
    assert Counter(split for _, split in splits) == {"train": 2, "val": 2, "test": 2}
    labels = {row["crop"]: row["label"] for row in rows}
    assert [LABELS[label] for label in faces.label] == [labels[str(name)] for name in faces.id]

    assert main(["score", str(folder / "packed"), "--model", "mask-64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == ["net", "mask-64", "mask-64"]
    assert all("1 of 1" in line for line in lines[1:])


def test_labels_corrected_on_the_sheet_are_packed(folder: Path, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    preferences = tmp_path / "browser" / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text(json.dumps({"download": {"default_directory": str(downloads)}}))
    nobody = cast(Visitor, SimpleNamespace(port=0, cookies={}))
    with Chromium(tmp_path, nobody) as browser:
        browser.url = "file://"
        browser.open(str(folder / "sheet.html"))
        browser.wait_for("document.querySelectorAll('section').length == 6")
        browser.wait_for("document.querySelector('output').textContent.startsWith('6 persons')")
        browser.evaluate("document.querySelector('#p0001 ~ * input[value=incorrect]').click()")
        browser.evaluate(
            "(() => { const box = document.querySelectorAll('section')[4].querySelector('input[list]');"
            "box.value = 'p0002'; box.dispatchEvent(new Event('input', {bubbles: true})) })()"
        )
        browser.evaluate(
            "(() => { const list = document.querySelectorAll('section')[2].querySelectorAll('select')[1];"
            "list.value = 'leave_out'; list.dispatchEvent(new Event('input', {bubbles: true})) })()"
        )
        browser.wait_for("document.querySelector('output').textContent.includes('5 persons')")
        browser.wait_for("document.querySelector('output').textContent.includes('1 left out · not saved')")
        browser.evaluate("document.querySelector('button').click()")
        wait_for(lambda: (downloads / "labels.csv").exists(), 30, "the saved labels")
        assert browser.said == []
        assert {address.partition(":")[0] for address in browser.asked} <= {
            str(folder / "sheet.html"), "about", "data", "blob",
        }  # fmt: skip

    before, after = table(folder), table(downloads)
    persons = list(dict.fromkeys(row["person"] for row in before))
    expected = []
    for row in before:
        label = "incorrect" if row["person"] == persons[0] else row["label"]
        expected.append(
            {
                "crop": row["crop"],
                "person": persons[1] if row["person"] == persons[4] else row["person"],
                "label": label,
            }
        )
    third = [row for row in expected if row["person"] == persons[2]]
    third[1]["label"] = "leave_out"
    assert after == expected


def test_the_sheet_shows_labels_as_they_are_now(folder: Path) -> None:
    rows = table(folder)
    first, second = rows[0]["person"], next(row["person"] for row in rows if row["person"] != rows[0]["person"])
    merged = [row | {"person": first} if row["person"] == second else row for row in rows]
    correct(folder, merged)

    assert main(["sheet", str(folder)]) == 0

    text = (folder / "sheet.html").read_text()
    assert f'data-person="{first}"' in text
    assert f'data-person="{second}"' not in text


def test_what_cut_cannot_use_is_one_line_and_leaves_nothing(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    broken = tmp_path / "in" / "broken.mp4"
    broken.write_bytes(b"not a clip" * 100)
    picture = tmp_path / "in" / "one.png"
    assert cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    empty = write_clip(
        tmp_path / "in" / "empty.avi", [Frame(pixels=np.zeros((96, 128, 3), np.uint8), captured_ns=0, index=0)] * 9, FPS
    )
    (tmp_path / "taken").mkdir()
    for words, code, said in (
        ((str(tmp_path / "nowhere.mp4"),), 65, "nowhere.mp4: no such file or folder"),
        ((str(picture),), 65, "one.png: a picture, not a clip"),
        ((str(broken),), 65, "broken.mp4: damaged, truncated or not a picture or clip"),
        ((str(empty),), 65, "empty.avi: no face was followed in it"),
        (
            (str(clip), "--out", str(tmp_path / "taken")),
            2,
            "taken: is there already; delete it, or name another folder",
        ),
        ((str(clip), "--out", str(broken / "faces")), 65, "Not a directory"),
        ((str(clip), "--looks", "0"), 2, "give 1 to 99"),
        ((str(clip), "--set", "vision.min_face=9"), 78, "vision.min_face"),
    ):
        assert main(["cut", "--out", str(tmp_path / "out"), *words]) == code
        told = capfd.readouterr()
        assert said in told.err
        assert len(told.err.splitlines()) <= 2
        assert "Traceback" not in told.err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "taken"]


def test_a_damaged_clip_does_not_spoil_the_others(
    clip: Path, cut: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a clip" * 100)

    assert main(["cut", str(broken), str(clip), "--out", str(tmp_path / "out")]) == 65

    assert len(capfd.readouterr().err.splitlines()) == 1
    assert {row["person"] for row in table(tmp_path / "out")} == {row["person"] for row in table(cut)}
    assert {row["clip"] for row in table(tmp_path / "out")} == {"door.avi"}


def test_what_pack_and_score_cannot_use_is_one_line(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = table(folder)
    correct(tmp_path, [row | {"person": "one"} for row in rows])
    few = (tmp_path / "labels.csv").rename(tmp_path / "few.csv")
    for words, code, said in (
        (("pack", str(folder)), 65, "labels.csv: is as `cut` has proposed it"),
        (("pack", str(folder), "--labels", str(tmp_path / "none.csv")), 65, "none.csv: No such file or directory"),
        (("pack", str(folder), "--labels", str(few)), 65, "too few persons to learn from some and test with others"),
        (("pack", str(tmp_path)), 65, "name a folder that `cut` has made"),
        (("pack", str(folder), "--name", "../mine"), 2, "give letters, digits and _"),
        (("pack", str(folder), "--test", "0.9"), 2, "at most 0.4"),
        (("score", str(tmp_path), "--model", "mask-64"), 65, "few.csv: is no table of faces"),
        (("score", str(folder / "crops"), "--model", "mask-64"), 65, "holds no packed faces"),
        (("sheet", str(tmp_path)), 65, "name a folder that `cut` has made"),
        (("pack", str(folder), "--as-proposed"), 0, ""),
        (("pack", str(folder), "--as-proposed"), 2, "mine.csv: is there already"),
        (("score", str(folder / "packed"), "--model", "mask-65"), 65, "did you mean 'mask-64'?"),
    ):
        assert main(list(words)) == code
        told = capfd.readouterr().err
        assert said in told
        assert len(told.splitlines()) == (code != 0)


def test_a_cut_that_is_interrupted_leaves_no_pictures(clip: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.camera", "cut", str(clip), "--out", str(tmp_path / "out")],
        cwd=ROOT,
        env=clean_environ(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: any((tmp_path / "out.partial" / "crops").glob("*")), 60, "the first crop")
    process.send_signal(signal.SIGINT)

    assert process.wait(60) == 130
    assert list(tmp_path.iterdir()) == []
