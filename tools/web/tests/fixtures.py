"""What the page's tests compare with: OpenCV's pixels, and pictures and a clip of the generated scene.

    python tools/web/tests/fixtures.py pixels FOLDER      # cases.json and raw bytes: resizes, crops, their measures
    python tools/web/tests/fixtures.py pictures FOLDER    # PNG files of the scene, a JPEG, a damaged one
    python tools/web/tests/fixtures.py clip FILE          # the scene as motion JPEG, which Chromium plays as a camera
    python tools/web/tests/fixtures.py webm FILE          # four seconds of it as a clip
    python tools/web/tests/fixtures.py shared FOLDER      # PNG copies of pictures of ../shared, where that is there
    python tools/web/tests/fixtures.py aim FILE           # looks, and what `maskwatch check --aim` says of them
    python tools/web/tests/fixtures.py native FILE        # the agent's milliseconds, and the pictures they are of
    python tools/web/tests/fixtures.py shrink FILE        # a screenshot, in fewer colours
    python tools/web/tests/fixtures.py example tools/web/public/example.webp    # the page's own example

People in them are the public-domain portraits of agent.camera.portraits.
"""

import argparse
import json
import statistics
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from agent.camera.scene import SceneCamera
from agent.cli.aim import Aim
from agent.cli.promise import Promise
from agent.pipeline import InView
from agent.seams import Box, Frame, Look, Track
from agent.settings import VisionSettings
from agent.vision.crop import crop, quality
from agent.vision.model import ClassifierManifest, load_manifest
from agent.vision.nets import load_classifier, load_detector

SHARED = Path(__file__).resolve().parents[4] / "shared/data/pictures"
_ROUNDS = 100
_SIZES = ((640, 480), (333, 251), (1279, 719), (64, 64), (37, 90), (5, 3), (1, 1), (2, 40))


def write_pixels(folder: Path) -> None:
    """Write random pictures, and what OpenCV and the agent's crop make of them."""
    random = np.random.default_rng(14)
    cases: list[dict[str, Any]] = []

    def add(kind: str, source: Any, result: Any, **more: Any) -> None:
        name = f"{len(cases):03}"
        (folder / f"{name}.in").write_bytes(np.ascontiguousarray(source).tobytes())
        (folder / f"{name}.out").write_bytes(np.ascontiguousarray(result).tobytes())
        height, width = source.shape[:2]
        out_height, out_width = result.shape[:2]
        cases.append(
            {"kind": kind, "name": name, "width": width, "height": height, "outWidth": out_width}
            | {"outHeight": out_height, **more}
        )

    for width, height in _SIZES:
        noise = random.integers(0, 256, (height, width, 3), np.uint8)
        soft: Any = np.ascontiguousarray(cv2.GaussianBlur(noise, (0, 0), 3))
        for picture in (noise, soft):
            targets = [(320, 256), (64, 64), (31, 47), (max(1, width // 2), max(1, height // 2)), (width * 2, height)]
            for target in targets:
                add("linear", picture, cv2.resize(picture, target, interpolation=cv2.INTER_LINEAR))
        if min(width, height) > 30:
            for factor in (0.5, 1 / 3, 0.75, 0.613, 0.9999, random.uniform(0.1, 1)):
                shrunk = cv2.resize(noise, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
                add("area", noise, shrunk, factor=factor)
        for _ in range(12):
            x, y = random.uniform(-0.2, 1) * width, random.uniform(-0.2, 1) * height
            box = Box(x, y, x + random.uniform(0.05, 1.2) * width, y + random.uniform(0.05, 1.2) * height)
            face = crop(soft, box, 1.2, 64)
            measured = quality(face)
            add("crop", soft, face, box=list(box), sharpness=measured.sharpness, brightness=measured.brightness)
    (folder / "cases.json").write_text(json.dumps(cases))


def scene_frames(width: int, height: int, persons: int = 4, seed: int = 7) -> list[Frame]:
    """Give ten seconds of the scene."""
    with SceneCamera(width=width, height=height, fps=10.0, persons=persons, duration_s=10.0, seed=seed) as camera:
        frames = []
        while isinstance(message := camera.read(1.0), Frame):
            frames.append(message)
        return frames


def example_frame() -> Frame:
    """Give a frame with three people: two with a mask, one without."""
    return scene_frames(1280, 720, persons=6)[37]


def write_pictures(folder: Path) -> None:
    """Write frames of the scene in sizes that go every way through the detector, and what is no picture."""
    for width, height, every in ((640, 480, 20), (300, 240, 40), (1280, 720, 45), (2304, 1296, 60)):
        for frame in scene_frames(width, height)[15::every]:
            cv2.imwrite(
                str(folder / f"scene-{width}-{frame.index:03}.png"), cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR)
            )
    frame = example_frame()
    dark = (frame.pixels * 0.1).astype(np.uint8)
    blurred = cv2.GaussianBlur(frame.pixels, (0, 0), 8)
    for name, pixels in (("dark", dark), ("blurred", blurred)):
        cv2.imwrite(str(folder / f"{name}.png"), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    cv2.imwrite(str(folder / "grey.png"), cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY))
    lying = Image.fromarray(np.rot90(frame.pixels).copy())  # its EXIF says: turn it clockwise
    orientation = Image.Exif()
    orientation[274] = 6
    lying.save(folder / "turned.jpg", quality=95, exif=orientation)


def write_shared(folder: Path) -> None:
    """Write some pictures of ../shared as PNG: both sides then read the same bytes. They show real people."""
    for archive in sorted(SHARED.glob("*.tar")):
        if archive.stem not in ("k210cam", "k853", "street", "wider"):
            continue
        with tarfile.open(archive) as files:
            names = sorted(name for name in files.getnames() if name.endswith((".jpg", ".jpeg", ".png", ".webp")))
            for name in names[3 :: max(1, len(names) // 6)]:
                member = files.extractfile(name)
                assert member is not None
                pixels = cv2.imdecode(np.frombuffer(member.read(), np.uint8), cv2.IMREAD_COLOR)
                if pixels is not None:
                    cv2.imwrite(str(folder / f"{archive.stem}-{Path(name).stem}.png"), pixels)


def write_aim(path: Path) -> None:
    """Write groups of looks and the line that `maskwatch check --aim` says of each."""
    manifest, _ = load_manifest("mask-64", ClassifierManifest)
    random = np.random.default_rng(3)
    groups = []
    soft = manifest.abstain.sharpness / 2  # twice that at most, so under the limit
    for sizes, light, sharp in (
        ((4, 14), 120, 300),
        ((9, 40), 90, 250),
        ((30, 200), 12, 90),
        ((30, 80), 160, soft),
    ) * 5:
        looks = [
            Look(
                probs=(0.9, 0.05, 0.05),
                sharpness=float(random.uniform(0, 2) * sharp),
                brightness=float(random.uniform(0.5, 1.5) * light),
                face_px=float(random.uniform(*sizes)),
            )
            for _ in range(int(random.integers(1, 12)))
        ]
        judge = Aim(manifest.abstain, Promise.of(manifest.name), min_face_px=VisionSettings().min_face_px)
        judge.take(
            Frame(pixels=np.zeros((8, 8, 3), np.uint8), captured_ns=0, index=0), [_view(one) for one in looks], None
        )
        fields = ("sharpness", "brightness", "face_px", "probs")
        groups.append(
            {"line": judge.line(), "looks": [{field: getattr(look, field) for field in fields} for look in looks]}
        )
    path.write_text(json.dumps(groups))


def _view(look: Look) -> InView:
    track = Track(id=1, box=Box(0, 0, 1, 1), seen=True, first_seen_ns=0, last_seen_ns=0)
    return InView(track=track, silenced=False, look=look)


def write_clip(path: Path) -> None:
    """Write the scene as motion JPEG."""
    parts = []
    for frame in scene_frames(640, 480):
        done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert done
        parts.append(jpeg.tobytes())
    path.write_bytes(b"".join(parts))


def write_webm(path: Path) -> None:
    """Write four seconds of the scene as VP9, which every Chromium plays."""
    code = cv2.VideoWriter.fourcc(*"VP90")
    writer = cv2.VideoWriter(str(path), code, 10.0, (640, 480))
    assert writer.isOpened()
    for frame in scene_frames(640, 480)[20:60]:
        writer.write(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2BGR))
    writer.release()


def write_native(path: Path) -> None:
    """Write medians and best of the agent's milliseconds for one picture, seen once as a whole."""
    pixels = example_frame().pixels
    sizes = {}
    for width, height in ((1280, 720), (640, 360)):
        shown: Any = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(path.parent / f"speed-{width}.png"), cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))
        with closing(load_detector("face-320", "cpu")) as detector, closing(load_classifier("mask-64", "cpu")) as judge:
            times: list[tuple[float, float]] = []
            for _ in range(_ROUNDS):
                begun = time.perf_counter()
                boxes = [face.box for face in detector.net.find(shown, detector.net.manifest.score_threshold)]
                found = time.perf_counter()
                judge.net.look(shown, boxes)
                times.append((1000 * (found - begun), 1000 * (time.perf_counter() - found)))
        found_ms, judged_ms = zip(*times, strict=True)
        sizes[f"{width}x{height}"] = {
            "faces": len(boxes),
            "detect_ms": statistics.median(found_ms),
            "classify_ms": statistics.median(judged_ms),
            "detect_ms_best": min(found_ms),
            "classify_ms_best": min(judged_ms),
        }
    path.write_text(json.dumps({"rounds": _ROUNDS, "sizes": sizes}))


def shrink_png(path: Path) -> None:
    """Write a screenshot again with 256 colours: a third of its bytes."""
    Image.open(path).convert("RGB").quantize(256, kmeans=3, dither=Image.Dither.NONE).save(path, optimize=True)


def write_example(path: Path) -> None:
    """Write the frame that the page shows to those who have no picture at hand."""
    assert cv2.imwrite(
        str(path), cv2.cvtColor(example_frame().pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, 80]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=list(_KINDS))
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    folder = chosen.out.parent if chosen.out.suffix else chosen.out
    folder.mkdir(parents=True, exist_ok=True)
    _KINDS[chosen.kind](chosen.out)


_KINDS = {
    "pixels": write_pixels,
    "pictures": write_pictures,
    "shared": write_shared,
    "clip": write_clip,
    "webm": write_webm,
    "aim": write_aim,
    "native": write_native,
    "shrink": shrink_png,
    "example": write_example,
}


if __name__ == "__main__":
    main()
