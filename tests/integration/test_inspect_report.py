"""`maskwatch inspect --report`: one file that tells what was found, and holds pictures only when asked."""

import base64
import json
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.cli.main import main
from tests.disks import in_memory
from tests.integration.cli_scene import scene_frames, write_clip, write_picture


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, rows of tables, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == [], "an element was not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            return
        self.text += data
        if "td" in self._open or "th" in self._open:
            self.rows[-1][-1] += data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("found")
    frames, _ = scene_frames()
    write_clip(folder / "walk.avi", frames[:240], 15.0)
    write_picture(folder / "<b>&amp;.png", frames[60])
    (folder / "torn.png").write_bytes(b"no picture")
    return folder


def report(found: Path, target: Path, *words: str) -> Page:
    assert main(["inspect", str(found), "--report", str(target), *words]) == 65
    return Page(target.read_text(encoding="utf-8"))


def test_the_report_tells_the_same_persons_and_faces_as_the_lines(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = report(found, tmp_path / "out.html")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    words = {"mask": "mask", "no_mask": "no mask", "incorrect": "worn wrongly", "unsure": "unsure"}
    ends = {line["person"]: words[line["label"]] for line in lines if line.get("event") == "end"}
    faces = [words[face["label"]] for line in lines for face in line.get("faces", []) if face["accepted"]]
    (head,) = [place for place, row in enumerate(page.rows) if row[:3] == ["File", "Who", "Says"]]
    told = {row[1]: row[2].strip() for row in page.rows[head + 1 :]}
    assert len(ends) >= 3
    assert len(faces) >= 2
    assert told == ends | {f"face-{number + 1}": label for number, label in enumerate(faces)}


def test_nothing_is_loaded_from_anywhere_and_nothing_runs(found: Path, tmp_path: Path) -> None:
    page = report(found, tmp_path / "out.html")
    assert not page.named("script")
    assert not page.named("img")
    assert not [attributes for _, attributes in page.elements if {"src", "href"} & set(attributes)]
    assert "No picture of anybody is in this file" in page.text


def test_pictures_are_in_it_only_when_asked_and_it_says_so(found: Path, tmp_path: Path) -> None:
    page = report(found, tmp_path / "out.html", "--with-crops")
    pictures = page.named("img")
    assert f"This file holds pictures of {len(pictures)} faces" in page.text
    assert len(pictures) >= 5
    for picture in pictures:
        kind, data = (picture["src"] or "").split(",")
        assert kind == "data:image/jpeg;base64"
        pixels = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert max(pixels.shape[:2]) == 96


def test_a_name_that_looks_like_markup_is_shown_and_not_obeyed(found: Path, tmp_path: Path) -> None:
    page = report(found, tmp_path / "out.html")
    assert "<b>&amp;.png" in page.text
    assert "<b>&amp;.png" not in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_what_could_not_be_read_is_in_the_report(found: Path, tmp_path: Path) -> None:
    page = report(found, tmp_path / "out.html")
    assert "torn.png: damaged, truncated or not a picture" in page.text
    assert "1 could not be read" in page.text


def test_the_timeline_draws_each_person_from_first_to_last_sighting(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = report(found, tmp_path / "out.html")
    ends = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if line.get("event") == "end"]
    drawn = [one for one in page.named("rect") if one["class"] != "open"]
    assert len(drawn) == len(ends)
    last = max(float(one["x"] or 0) + float(one["width"] or 0) for one in drawn)
    assert last == pytest.approx(1000, abs=0.1)


def test_pictures_without_a_report_are_refused(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(found), "--with-crops"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--with-crops: there is no report for the pictures; add --report FILE"
    ]


@pytest.mark.parametrize(
    ("target", "words"),
    [("absent/out.html", "{}/absent: there is no such folder; make it"), (".", "{}: is a folder; name a file")],
)
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str, words: str
) -> None:
    assert main(["inspect", str(found), "--report", str(tmp_path / target)]) == 74
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith(words.format(tmp_path))


def test_a_report_on_a_full_disk_is_one_line_and_leaves_nothing(
    found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_memory(tmp_path, megabytes=0.004) as disk:
        target = disk.at / "out.html"
        assert main(["inspect", str(found / "<b>&amp;.png"), "--report", str(target), "--with-crops"]) == 74
        assert list(disk.at.iterdir()) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{target}: cannot be written: No space left on device; make room")


def test_a_folder_without_anybody_says_nobody(tmp_path: Path) -> None:
    picture = tmp_path / "gray.png"
    cv2.imwrite(str(picture), np.full((240, 320, 3), 128, np.uint8))
    assert main(["inspect", str(picture), "--report", str(tmp_path / "out.html")]) == 0
    assert "Nobody was seen." in Page((tmp_path / "out.html").read_text()).text
