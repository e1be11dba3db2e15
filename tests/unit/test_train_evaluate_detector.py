"""The evaluation as a whole: the shipped net and OpenCV's cascades on pictures of the generated scene, to the page."""

import csv
import json
import tarfile
from io import BytesIO
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from agent.camera import SceneCamera
from agent.seams import Box, Face, Frame, Pixels
from agent.vision.model import DetectorManifest, golden_input, load_manifest, models_folder
from agent.vision.runtime import CpuRuntime
from tools.train import contestants, evaluate_detector, recall_page
from tools.train.evaluate_detector import Report, Way, main, our_ways, predict, read_predictions, times_ms
from tools.train.pictures import SOURCES, Picture

CHECKPOINT = models_folder() / "face-320.npz"
Scene = list[tuple[Pixels, list[Box]]]


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Give every twentieth frame of the generated scene in which faces are in view, and their boxes."""
    pytest.importorskip("skimage", reason="the scene's portraits are in the demo extra only")
    frames = []
    with SceneCamera(persons=4) as camera:
        while isinstance(frame := camera.read(0), Frame):
            boxes = [box for walker in camera.truth if (box := walker.box_at(frame.captured_ns)) is not None]
            whole = [box for box in boxes if box.x0 > 0 and box.x1 < 640 and box.size_px > 20]
            if frame.index % 20 == 0 and len(whole) == len(boxes) > 0:
                frames.append((frame.pixels, boxes))
    return frames


@pytest.fixture(scope="module")
def data(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the scene as if it were ../shared/data/pictures: every source has some of it, background nobody."""
    folder = tmp_path_factory.mktemp("pictures")
    columns = ("picture", "width", "height", "x0", "y0", "x1", "y1", "label", "origin", "score", "ignore", "split")
    for number, source in enumerate(SOURCES):
        with (
            tarfile.open(folder / f"{source}.tar", "w") as tar,
            (folder / f"{source}.csv").open("w", newline="") as out,
        ):
            writer = csv.DictWriter(out, columns, restval="")
            writer.writeheader()
            for index, (pixels, boxes) in enumerate(scene[number % 3 :: 3][:4]):
                name = f"{source}{index}"
                shown, faces = (np.full_like(pixels, 90), []) if source == "background" else (pixels, boxes)
                encoded = cv2.imencode(".webp", np.ascontiguousarray(shown[:, :, ::-1]))[1].tobytes()
                member = tarfile.TarInfo(f"{name}.webp")
                member.size = len(encoded)
                tar.addfile(member, BytesIO(encoded))
                row = {"picture": name, "width": 640, "height": 480, "split": ("test", "val")[index % 2], "ignore": 0}
                for box in faces:
                    sides = dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))
                    writer.writerow(row | sides | {"label": "mask", "origin": "human"})
                if not faces:
                    writer.writerow(row)
    return folder


def test_one_command_measures_every_detector_and_writes_the_page(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "detector.md"
    page.write_text("before\n" + "\n".join(recall_page.MARKS) + "\nafter\n")
    monkeypatch.setattr(recall_page, "PAGE", page)
    monkeypatch.setattr(recall_page, "PLOT", tmp_path / "detector.png")
    monkeypatch.setattr(recall_page, "REPORT", tmp_path / "reports" / "detector.json")
    monkeypatch.setattr(evaluate_detector, "TIMED_PICTURES", 1)
    words = ["--data", str(data), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"), "--no-float"]
    words += ["--float", str(CHECKPOINT)]

    main([*words, "--report"])

    report = msgspec.json.decode((tmp_path / "reports" / "detector.json").read_bytes(), type=Report)
    by_name = {(one.name, one.numbers): one for one in report.measured}
    ours = by_name["face-320, one pass", "int8"]
    assert ours.recall["test"]["masked"]["0.90"].all.recall["all"] > 60
    assert ours.recall["test"]["everything"]["0.80"].all.faces["all"] > 10
    assert "background" not in ours.recall["test"]
    assert ours.inputs == ((320, 256),)
    assert {name for name, numbers in by_name if numbers == "cascade"} == set(contestants.CASCADES)
    assert all(one.ms > 0 for one in report.measured)
    told = page.read_text()
    assert told.startswith("before\n")
    assert told.endswith("\nafter\n")
    assert "| one pass at 320x256: masked, test | >= 80 % |" in told
    assert "| face-320, one pass |" in told
    assert "| frontalface_alt2, cascade |" in told
    assert "YuNet-n, 640 px, float *" in told
    assert cv2.imread(str(tmp_path / "detector.png")) is not None

    capsys.readouterr()
    asked: list[Pixels] = []
    monkeypatch.setattr(evaluate_detector, "cascade", lambda name: lambda pixels: asked.append(pixels) or [])
    main([*words, "--split", "test", "--group", "masked"])
    assert "frontalface_alt2" in capsys.readouterr().out
    timed = len(contestants.CASCADES) * evaluate_detector.TIMED_TURNS
    assert len(asked) == timed  # what they found before is read again


def drawn(name: str) -> Picture:
    return Picture(
        name=name,
        source="k853",
        split="test",
        pixels=np.zeros((48, 64, 3), np.uint8),
        boxes=np.zeros((0, 4), np.float32),
        ignore=np.zeros(0, bool),
        pseudo=np.zeros(0, bool),
        labels=(),
    )


def test_predictions_survive_their_file(tmp_path: Path) -> None:
    face = Face(box=Box(1.25, 2.5, 30, 40), score=0.123456789)
    way = Way(name="any, one pass", numbers="int8", find=lambda _: [face])

    found = predict(way, [drawn("a"), drawn("b")], tmp_path / "out", evaluate_detector.Console(quiet=True))

    assert read_predictions(tmp_path / "out") == {"a": [face], "b": [face]} == dict(zip("ab", found, strict=True))
    assert len((tmp_path / "out" / "k853.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "out" / "k853.jsonl").read_text().splitlines()[0])["picture"] == "a"


def test_every_way_is_timed_on_every_picture_in_turns() -> None:
    seen: list[str] = []

    def finder(name: str) -> contestants.Find:
        def find(pixels: Pixels) -> list[Face]:
            seen.append(name)
            return []

        return find

    ways = [Way(name=name, numbers="int8", find=finder(name)) for name in ("one", "two")]

    ms = times_ms(ways, [drawn("a"), drawn("b")])

    assert seen == ["one", "two"] * 2 * evaluate_detector.TIMED_TURNS
    assert all(0 < each < 1000 for each in ms)


def test_each_net_looks_alone_and_all_look_together() -> None:
    net = contestants.int8_detector("face-320")

    alone, together = our_ways([net], net, "int8")

    assert (alone.slug, together.slug) == ("face-320-one-pass-int8", "closely-int8")
    assert not any(face.sure for face in together.find(np.full((480, 640, 3), 128, np.uint8)))


def test_a_float_net_gives_what_the_int8_one_was_made_of() -> None:
    pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")
    manifest, content = load_manifest("face-320", DetectorManifest)
    int8 = CpuRuntime(content, manifest.net, where="face-320")
    exact = contestants.FloatRuntime(contestants.to_float_file(CHECKPOINT, manifest))
    batch = golden_input(3, manifest.net.input.shape)

    doors = {"int8": manifest.net.outputs, "float": exact.manifest(manifest).net.outputs}
    answers = {"int8": int8.invoke(batch), "float": exact.invoke(batch)}

    for name in ("scores", "boxes"):
        real = {
            kind: (answers[kind][name].astype(float) - doors[kind][name].zero_point) * doors[kind][name].scale
            for kind in doors
        }
        assert np.abs(real["int8"] - real["float"]).mean() < 0.05 * np.ptp(real["float"])
        assert np.abs(real["int8"] - real["float"]).max() > 0  # two nets, not one
