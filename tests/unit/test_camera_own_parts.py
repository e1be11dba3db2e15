"""Faces of one's own camera: what is kept, what is read back, who may be in which split."""

import itertools
import math
import re
import shlex
import stat
from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import NS_PER_S
from agent.errors import InputError, UsageError
from agent.seams import LABELS, Box, Pixels
from agent.seams import Look as Seen
from agent.vision.classifier import MaskClassifier
from agent.vision.crop import crop
from tools.camera.__main__ import parser
from tools.camera.album import Album, Crop, Line, labels_csv, read_labels
from tools.camera.cut import CONTEXT, cut_out
from tools.camera.pack import SPLITS, Row, archive, split_persons, table, used
from tools.camera.private import for_owner_only, new_folder
from tools.camera.score import interval, load_packed, score
from tools.camera.sheet import page
from tools.camera.varied import GAP_NS, Look, Varied
from tools.train.data import load_faces

FRAME = np.random.default_rng(5).integers(0, 256, (90, 120, 3), np.uint8)
BARE, WORN = (0.1, 0.8, 0.1), (0.9, 0.05, 0.05)


def album(*persons: tuple[float, float, float], looks: int = 2) -> Album:
    """Give a cut of persons p0001, p0002, ..., each with the same probabilities in each look."""
    crops = [
        Crop(
            id=f"0a1b2c3d_{number:04d}_{look:02d}",
            person=f"p{number:04d}",
            clip=0,
            t_s=float(look),
            box=(8.25, 9.5, 40.0, 48.75),
            native_px=35.3,
            probs=probs,
        )
        for number, probs in enumerate(persons, 1)
        for look in range(1, looks + 1)
    ]
    return Album(token="0a1b2c3d", clips=["door & hall.mp4"], models=["face 1", "mask 2"], crops=crops)


def pictures(of: Album) -> dict[str, bytes]:
    """Draw noise for each crop, as lossless WebP."""
    rng = np.random.default_rng(1)
    noise = {one.id: rng.integers(0, 256, (56, 48, 3), np.uint8) for one in of.crops}
    return {
        name: cv2.imencode(".webp", one, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes() for name, one in noise.items()
    }


@settings(max_examples=300, deadline=None)
@given(
    x0=st.floats(-20, 110),
    y0=st.floats(-20, 80),
    width=st.floats(4, 60),
    height=st.floats(4, 60),
    scale=st.floats(1, CONTEXT),
)
def test_the_net_sees_the_same_in_a_crop_as_in_the_frame(
    x0: float, y0: float, width: float, height: float, scale: float
) -> None:
    box = Box(x0, y0, x0 + width, y0 + height)
    if not (0 <= box.centre[0] < 120 and 0 <= box.centre[1] < 90):
        return  # no face that is followed has its middle outside

    pixels, inside = cut_out(FRAME, box)

    on_quarters = Box(*(round(edge * 4) / 4 for edge in box))
    assert (inside.width, inside.height) == (on_quarters.width, on_quarters.height)
    assert np.array_equal(crop(pixels, inside, scale, 64), crop(FRAME, on_quarters, scale, 64))


def test_looks_that_are_kept_are_spread_over_the_stay() -> None:
    for stay_s in (1.0, 6.0, 60.0, 3600.0):
        varied: Varied[None] = Varied()
        for at_ns in range(0, round(stay_s * NS_PER_S) + 1, NS_PER_S // 5):
            if varied.is_due(at_ns):
                varied.add(Look(at_ns, 40.0, 100.0, None))

        parts = [look.at_ns / NS_PER_S / stay_s for look in varied.choose(5)]
        assert len(parts) == 5
        assert parts == sorted(parts)
        assert max(b - a for a, b in itertools.pairwise([0, *parts, 1])) <= 2 / 4


def test_the_one_blurred_and_the_one_large_look_are_kept() -> None:
    varied: Varied[int] = Varied()
    for number in range(300):
        at_ns = number * NS_PER_S
        if varied.is_due(at_ns) or number in (40, 70):
            varied.add(Look(at_ns, 90.0 if number == 40 else 30.0, 4.0 if number == 70 else 400.0, number))

    assert {40, 70} <= {look.kept for look in varied.choose(3)}


def test_pictures_of_the_same_moment_are_one_look() -> None:
    varied: Varied[None] = Varied()
    assert varied.is_due(0)
    varied.add(Look(0, 40.0, 100.0, None))
    assert not varied.is_due(GAP_NS - 1)
    assert varied.is_due(GAP_NS)


def test_what_is_proposed_is_what_all_looks_at_a_person_say_together() -> None:
    crops = [
        *(
            Crop(id=f"a_{n}", person="p0001", clip=0, t_s=n, box=(0, 0, 1, 1), native_px=1, probs=BARE)
            for n in range(2)
        ),
        Crop(id="a_9", person="p0001", clip=0, t_s=9, box=(0, 0, 1, 1), native_px=1, probs=WORN),
    ]
    proposed = Album(token="a", clips=["c"], models=[], crops=crops).proposals()

    assert [(line.person, line.label) for line in proposed.values()] == [("p0001", "no_mask")] * 3


def test_a_table_as_proposed_is_read_back_as_proposed(tmp_path: Path) -> None:
    cut = album(WORN, BARE)
    (tmp_path / "labels.csv").write_text(labels_csv(cut), encoding="utf-8-sig")  # as a spreadsheet saves it

    assert read_labels(tmp_path / "labels.csv", cut) == cut.proposals()


def test_a_crop_whose_line_was_deleted_is_left_out(tmp_path: Path) -> None:
    cut = album(WORN, BARE)
    lines = labels_csv(cut).splitlines(keepends=True)
    (tmp_path / "labels.csv").write_text("".join(lines[:-1]))

    assert list(read_labels(tmp_path / "labels.csv", cut)) == [one.id for one in cut.crops[:-1]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("crop,person,label\n0a1b2c3d_0001_01,p0001,no mask\n", "csv:2: no label 'no mask' (did you mean 'no_mask'?)"),
        ("crop,person,label\n99999999_0001_01,p0001,mask\n", "csv:2: 99999999_0001_01 is of another cut"),
        ("crop,person,label\n0a1b2c3d_0009_01,p0001,mask\n", "csv:2: 0a1b2c3d_0009_01 is not in this cut"),
        ("crop,person,label\n" + 2 * "0a1b2c3d_0001_01,p0001,mask\n", "csv:3: 0a1b2c3d_0001_01 is there twice"),
        ("crop,person,label\n0a1b2c3d_0001_01,a b,mask\n", "csv:2: 'a b' is no person"),
        ("crop,person\n0a1b2c3d_0001_01,p0001\n", "csv:2: no label"),
        ("crop;person;label\n0a1b2c3d_0001_01;p0001;mask\n", "csv:2: no crop"),
        ("crop,person,label\n", "csv: has no line"),
        ("", "csv: has no line"),
        ("\x00\xff", "csv: not a CSV file"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("latin-1"))

    with pytest.raises(InputError) as caught:
        read_labels(path, album(WORN))

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    persons=st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4), min_size=3, max_size=40),
    val=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
    seed=st.integers(0, 99),
)
def test_nobody_is_in_two_splits_and_a_label_of_three_persons_is_in_each(
    persons: list[list[Any]], val: float, test: float, seed: int
) -> None:
    rows = [
        Row(crop=f"{number}_{look}", person=f"p{number}", label=label)
        for number, labels in enumerate(persons)
        for look, label in enumerate(labels)
    ]
    of_one_label = {f"p{n}": labels[0] for n, labels in enumerate(persons) if len(set(labels)) == 1}
    try:
        splits = split_persons(rows, val=val, test=test, seed=seed)
    except InputError:
        assert max(sum(label == one for one in of_one_label.values()) for label in LABELS) < 3
        return

    assert splits.keys() == {row.person for row in rows}
    assert splits == split_persons(rows[::-1], val=val, test=test, seed=seed)
    for label in LABELS:
        found = {splits[name] for name, one in of_one_label.items() if one == label}
        if len(of_one_label) == len(persons) and sum(one == label for one in of_one_label.values()) >= 3:
            assert found == set(SPLITS)


def test_the_shares_are_those_asked_for() -> None:
    rows = [Row(crop=f"{n}", person=f"p{n}", label="mask") for n in range(100)]
    splits = list(split_persons(rows, val=0.1, test=0.2, seed=1).values())

    assert [splits.count(split) for split in SPLITS] == [70, 10, 20]
    assert splits != list(split_persons(rows, val=0.1, test=0.2, seed=2).values())


def test_too_few_persons_are_refused_with_their_number() -> None:
    rows = [Row(crop=f"{n}", person=f"p{n % 2}", label="mask") for n in range(50)]

    with pytest.raises(InputError, match=r"too few persons .*\(2 mask, 0 no_mask, 0 incorrect\)"):
        split_persons(rows, val=0.1, test=0.2, seed=1)


def packed(folder: Path, cut: Album, lines: dict[str, Line]) -> list[Row]:
    rows = used(lines)
    splits = split_persons(rows, val=0.1, test=0.2, seed=1)
    (folder / "mine.csv").write_bytes(table(cut, rows, splits))
    (folder / "mine.tar").write_bytes(archive(rows, pictures(cut)))
    return rows


def test_the_training_reads_what_was_packed_to_the_byte(tmp_path: Path) -> None:
    cut = album(WORN, BARE, WORN, WORN, BARE)
    lines = cut.proposals()
    lines[cut.crops[0].id] = Line(crop=cut.crops[0].id, person="p0001", label="not_a_face")
    rows = packed(tmp_path, cut, lines)

    faces = load_faces(tmp_path, tmp_path / "cache")

    assert [str(name) for name in faces.id] == [row.crop for row in rows] == [one.id for one in cut.crops[1:]]
    assert [LABELS[label] for label in faces.label] == [row.label for row in rows]
    assert set(faces.source) == {"mine"}
    assert faces.boxed.all()
    for place, one in enumerate(cut.crops[1:]):
        drawn = np.frombuffer(pictures(cut)[one.id], np.uint8)
        assert np.array_equal(faces.picture(place), cv2.imdecode(drawn, cv2.IMREAD_COLOR_RGB))
        assert faces.face_box(place) == Box(*one.box)
        assert faces.native_px[place] == pytest.approx(one.native_px)


def test_somebody_in_two_splits_is_not_scored(tmp_path: Path) -> None:
    cut = album(*[WORN] * 3)
    packed(tmp_path, cut, cut.proposals())
    text = (tmp_path / "mine.csv").read_text()
    (tmp_path / "mine.csv").write_text(text.replace(",test,", ",train,", 1))

    with pytest.raises(InputError, match=r"0a1b2c3d_p000\d is in train and in test"):
        load_packed(tmp_path)


class Scripted:
    """A classifier that says `mask` in its first looks, else `no_mask`."""

    def __init__(self, worn: int) -> None:
        self._worn = worn

    def look(self, pixels: Pixels, boxes: Sequence[Box]) -> list[Seen]:
        self._worn -= 1
        probs = WORN if self._worn >= 0 else BARE
        return [Seen(probs=probs, sharpness=1, brightness=1, face_px=1, reason=None if self._worn >= 0 else "dark")]


def test_a_score_counts_persons_by_all_their_looks_and_looks_one_by_one(tmp_path: Path) -> None:
    cut = album(*[WORN] * 5, looks=3)
    packed(tmp_path, cut, cut.proposals())
    faces, persons = load_packed(tmp_path)

    (one,) = score(cast(MaskClassifier, Scripted(worn=5)), faces, persons, "train")

    assert (one.label, one.persons, one.looks) == ("mask", 3, 9)
    assert (one.persons_right, one.looks_right) == (2, 5)  # three looks at the first, two of three at the second
    assert (one.looks_answered, one.answered_right) == (5, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "mine.tar"]


def test_the_interval_is_wilsons() -> None:
    assert interval(8, 10) == pytest.approx((0.490, 0.943), abs=5e-4)  # Newcombe 1998's method 3
    assert interval(0, 10)[0] == 0
    assert interval(10, 10)[1] == 1
    for right, count in ((3, 7), (81, 263), (1, 29)):  # where the score test of a share just does not reject it
        for edge in interval(right, count):
            assert abs(right / count - edge) == pytest.approx(1.96 * math.sqrt(edge * (1 - edge) / count))


def test_a_sheet_asks_nobody_for_anything_and_names_are_text() -> None:
    cut = album(WORN, BARE)
    cut.clips[0] = "</script><img src=x onerror=alert(1)>.mp4"
    text = page(cut, cut.proposals(), pictures(cut))

    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert f"script-src &#x27;sha256-{b64encode(sha256(script.encode()).digest()).decode()}&#x27;" in text
    assert "default-src &#x27;none&#x27;" in text
    assert "<img" not in text
    assert "://" not in text
    assert set(re.findall(r'href="([^":]*:?)', text)) == {"data:"}
    assert re.findall(r'data-crop="([^"]+)"', text) == [one.id for one in cut.crops]


def test_what_is_written_is_for_its_owner_alone(tmp_path: Path) -> None:
    with for_owner_only(), new_folder(tmp_path / "new") as folder:
        (folder / "crops").mkdir()
        (folder / "crops" / "one").write_bytes(b"face")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert modes == {".gitignore": 0o600, "crops": 0o700, "one": 0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"


def test_nothing_stays_of_a_folder_that_was_not_finished(tmp_path: Path) -> None:
    def cut_off() -> None:
        with new_folder(tmp_path / "new") as folder:
            (folder / "one").write_bytes(b"face")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["new", "new.partial"])
def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()

    with pytest.raises(UsageError, match="delete it, or name another"), new_folder(tmp_path / "new"):
        pass

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_every_command_of_the_page_about_it_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "own-camera.md").read_text()
    found = re.findall(r"python -m tools\.camera ([a-z][^#`\n]*)", text)

    assert {line.split()[0] for line in found} == {"cut", "sheet", "pack", "score"}
    for line in found:
        assert parser().parse_args(shlex.split(line)).run
