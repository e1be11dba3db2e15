"""The street drawn and watched: with drawn faces, and with nets that know the truth before the agent's pipeline."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest

from agent.seams import LABELS, Box
from tools.bench.street import __main__ as command
from tools.bench.street.__main__ import plan_scenes, watch_scene
from tools.bench.street.figure import Sprite
from tools.bench.street.figures import sum_up
from tools.bench.street.material import Backdrop, Material, Portrait, portraits_of
from tools.bench.street.paint import Painter
from tools.bench.street.plan import BASE_FPS, Deck, Person, Scene, Step, View, make_scene
from tools.bench.street.truth import sights_at
from tools.train.data import generated_faces


def drawn_material() -> Material:
    faces = generated_faces(36, seed=3)
    portraits = portraits_of(faces, range(36), seed=3)
    plain = np.full((240, 320, 3), (120, 130, 110), np.uint8)
    plain[::8] = 150
    return Material(portraits=portraits, backdrops=[Backdrop(name="drawn", frames=[plain, plain[::-1]])])


def enlarged(material: Material) -> Material:
    portraits = [
        Portrait(
            id=one.id,
            label=one.label,
            pixels=one.pixels.repeat(2, axis=0).repeat(2, axis=1),
            face=Box(*(2 * value for value in one.face)),
        )
        for one in material.portraits
    ]
    return Material(portraits=portraits, backdrops=material.backdrops)


@pytest.fixture(scope="module")
def material() -> Material:
    return drawn_material()


@pytest.fixture(scope="module")
def scene(material: Material) -> Scene:
    deck = Deck([one.label for one in material.portraits], [80.0] * 36, np.random.default_rng(1))
    return make_scene(0, 1, (640, 480), deck, duration_s=16.0)


def lone(material: Material, z_m: float = 3.0) -> Scene:
    way = (Step(at_s=0, x_m=0, z_m=z_m), Step(at_s=4, x_m=0, z_m=z_m))
    person = Person(
        number=0,
        look=0,
        label=material.portraits[0].label,
        way=way,
        turns=((2.0, 4.0),),
        below_m=0.0,
        tilt_deg=0.0,
        phase=0.0,
        flip=False,
        clothes=(200, 30, 30),
    )
    view = View(width=320, height=240, focal_px=600, horizon_px=120)
    return Scene(
        number=0, seed=1, view=view, duration_s=4.0, persons=(person,), poster=None, shakes=(), lights=((0.0, 1.0),)
    )


def test_frames_are_the_same_in_any_order_and_noise_is_each_frames_own(material: Material, scene: Scene) -> None:
    aspects = [one.aspect for one in material.portraits]
    timeline = [sights_at(scene, aspects, frame) for frame in range(12)]
    forth = Painter(scene, material.portraits, material.backdrops[0])
    back = Painter(scene, material.portraits, material.backdrops[0])

    drawn = [forth.draw(frame, timeline[frame]) for frame in range(12)]

    for frame in reversed(range(12)):
        assert (back.draw(frame, timeline[frame]) == drawn[frame]).all()
    assert not (drawn[0] == drawn[1]).all()
    assert drawn[0].shape == (480, 640, 3)


def test_the_face_is_drawn_where_the_truth_says(material: Material) -> None:
    scene = lone(material)
    (sight,) = sights_at(scene, [material.portraits[0].aspect], 10)
    painter = Painter(scene, material.portraits, material.backdrops[0])

    changed = (np.abs(painter.draw(10, [sight]).astype(int) - painter.draw(10, [])).max(axis=2) > 12).nonzero()

    box = sight.head.box
    assert changed[0].min() == pytest.approx(box.y0, abs=0.3 * box.height)
    head = changed[1][changed[0] < box.y1]
    assert (head.min() + head.max() + 1) / 2 == pytest.approx(box.centre[0], abs=0.1 * box.width)
    assert head.max() - head.min() == pytest.approx(1.1 * box.width, abs=0.25 * box.width)


def test_who_turns_away_shows_a_dark_head(material: Material) -> None:
    scene = lone(material)
    painter = Painter(scene, material.portraits, material.backdrops[0])
    aspect = material.portraits[0].aspect

    (facing,), (away,) = sights_at(scene, [aspect], 10), sights_at(scene, [aspect], 3 * BASE_FPS)

    assert facing.clear
    assert not away.glimpsed
    x, y = (round(value) for value in away.head.box.centre)
    assert painter.draw(3 * BASE_FPS, [away])[y - 3 : y + 4, x - 3 : x + 4].max() < 110


def test_a_head_comes_to_lie_on_its_box_to_a_part_of_a_pixel() -> None:
    square = np.full((120, 120, 3), 40, np.uint8)
    square[30:90, 30:90] = 220
    sprite = Sprite(np.dstack([square, np.full((120, 120), 255)]).astype(np.float32), Box(30, 30, 90, 90))
    for size in (60.0, 37.3, 15.0):
        canvas = np.full((100, 100, 3), 40, np.uint8)

        sprite.paint(
            canvas, Box(50.3 - size / 2, 47.8 - size / 2, 50.3 + size / 2, 47.8 + size / 2), narrow=1.0, tilt_deg=0
        )

        weight = canvas[..., 0].astype(float) - 40
        rows, columns = np.mgrid[:100, :100] + 0.5
        assert (weight * columns).sum() / weight.sum() == pytest.approx(50.3, abs=0.3)
        assert weight.sum() / 180 == pytest.approx(size * size, rel=0.15)
        assert (weight * rows).sum() / weight.sum() == pytest.approx(47.8, abs=0.04 * size + 0.3)


def test_with_nets_that_know_the_truth_nothing_is_wrong_or_about_nobody(material: Material, scene: Scene) -> None:
    found = watch_scene(scene, material, (5, 15))

    for fps in (5, 15):
        rate = sum_up(fps, [found[fps]])
        assert rate.aim.persons >= 2
        assert rate.aim.once.percent == 100
        assert rate.aim.right.percent == 100
        assert rate.nobody.hits == 0
    again = watch_scene(scene, material, (15,))
    assert again[15] == found[15]


def test_the_command_writes_its_figures_and_some_frames(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "load_material", lambda seed: enlarged(material))
    monkeypatch.setattr(command, "make_scene", partial(make_scene, duration_s=10.0))
    out = tmp_path / "street.json"
    given = ["--persons", "2", "--rates", "15", "5", "--true-nets", "--out", str(out), "--look", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["street", *given])

    assert command.main() == 0

    report = msgspec.json.decode(out.read_bytes(), type=command.Report)
    assert [rate.fps for rate in report.rates] == [5, 15]
    assert report.persons >= 2
    assert report.nets == "the truth"
    assert (tmp_path / "scene-0-5s.png").exists()
    assert "15 frames/s: told once" in capsys.readouterr().out


@pytest.mark.parametrize(("given", "code"), [(["--rates", "7"], 2), (["--persons", "0"], 2), (["--out", "no/x"], 2)])
def test_options_that_make_no_sense_are_one_line(
    given: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["street", *given])

    with pytest.raises(SystemExit) as stop:
        command.main()

    assert stop.value.code == code
    assert "error: " in capsys.readouterr().err


def test_missing_data_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["street"])

    assert command.main() == 65

    assert capsys.readouterr().err.count("\n") == 1


def test_scenes_are_planned_until_there_are_persons_enough(material: Material) -> None:
    scenes = plan_scenes(40, 1, (640, 480), enlarged(material))

    assert sum(len(scene.persons) for scene in scenes) >= 40 > sum(len(scene.persons) for scene in scenes[:-1])


def test_only_faces_with_surroundings_and_a_plain_label_are_taken() -> None:
    plain = generated_faces(9, seed=1)
    faces = replace(plain, flags=np.array(["gray", *[""] * 8]), native_px=np.full(9, 40, np.float32))
    faces.box[1] = (0, 12, 50, 78)
    faces.boxed[2] = False

    taken = portraits_of(faces, range(9), seed=1)

    assert {one.id for one in taken} == {f"drawn_{place}" for place in range(3, 9)}
    assert {one.label for one in taken} == set(LABELS)
