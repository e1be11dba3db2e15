"""Each input size in which the detector is shipped, in each of its uses, on the generated scene."""

import json
from pathlib import Path

import pytest

from agent.camera.scene import SceneCamera
from agent.cli.main import main
from agent.clock import NS_PER_S
from agent.events.types import PersonEnd
from agent.pipeline import Pipeline
from agent.seams import Box, End, Frame
from agent.settings import Settings, VisionSettings
from agent.vision.model import DetectorManifest, load_manifest, models_folder, other_sizes
from agent.vision.nets import load_classifier, load_detector, load_other_sizes
from tests.integration.cli_scene import write_picture

pytest.importorskip("skimage", reason="the scene's portraits come with the demo extra")

FIRST, _ = load_manifest(VisionSettings().detector, DetectorManifest)
NAMES = sorted([FIRST.name, *(Path(other).stem for other in other_sizes(FIRST.name, FIRST))])


def test_sizes_are_the_same_net_with_the_numbers_that_belong_to_it() -> None:
    manifests = [load_manifest(name, DetectorManifest)[0] for name in NAMES]

    assert len({manifest.net.input.shape for manifest in manifests}) == len(NAMES)
    assert {manifest.strides for manifest in manifests} == {FIRST.strides}
    assert {manifest.version for manifest in manifests} == {FIRST.version}
    assert {path.stem for path in models_folder().glob("face-*.json")} == set(NAMES)  # none is of another version


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(640, 480), (1280, 720)])
def test_the_agent_tells_everybody_in_the_scene_once(name: str, size: tuple[int, int]) -> None:
    settings = Settings(vision=VisionSettings(detector=name))
    detector = load_detector(settings.vision.detector, "cpu").net
    pipeline = Pipeline(
        detector=detector,
        classifier=load_classifier(settings.vision.classifier, "cpu").net,
        settings=settings,
        run_id="abcdef0123456789",
    )
    events = []
    with SceneCamera(width=size[0], height=size[1], fps=15.0, persons=3, duration_s=12.0, seed=11) as camera:
        while not isinstance(message := camera.read(10.0), End):
            assert isinstance(message, Frame)
            events += pipeline.step(message)
    events += pipeline.finish(12 * NS_PER_S, "gone")

    told = [event.data.label for event in events if isinstance(event.data, PersonEnd)]
    assert sorted(told) == sorted(walker.label for walker in camera.truth)


@pytest.mark.parametrize("name", NAMES)
def test_inspect_looks_with_every_size_whichever_is_configured(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with SceneCamera(persons=6, seed=11) as camera:
        frames = [frame for _ in range(150) if isinstance(frame := camera.read(1.0), Frame)]
        frame = max(frames, key=lambda one: len(faces_in(camera, one)))
        truth = faces_in(camera, frame)
    picture = write_picture(tmp_path / "one.png", frame)

    assert main(["inspect", "--json", "--set", f"vision.detector={name}", str(picture)]) == 0

    (said,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [Box(*face["box"]) for face in said["faces"] if face["accepted"]]
    assert len(truth) >= 2
    assert all(any(near(box, true) for box in found) for true in truth)
    others = load_other_sizes(name, load_manifest(name, DetectorManifest)[0])
    assert sorted([name, *(net.manifest.name for net in others)]) == NAMES


def faces_in(camera: SceneCamera, frame: Frame) -> list[Box]:
    """Give the boxes of the faces that are wholly in a frame and large enough to be followed."""
    boxes = [box for walker in camera.truth if (box := walker.box_at(frame.captured_ns)) is not None]
    height, width = frame.pixels.shape[:2]
    return [
        box for box in boxes if box.x0 > 0 and box.y0 > 0 and box.x1 < width and box.y1 < height and box.size_px > 24
    ]


def near(one: Box, other: Box) -> bool:
    return max(abs(a - b) for a, b in zip(one.centre, other.centre, strict=True)) < other.size_px / 2
