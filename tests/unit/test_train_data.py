"""Drawing faces in balance, and what is done to them: the same for every label, in the picture's own terms."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.seams import LABELS, Box
from tools.train.data import SHARED_CROPS, SIZE_EDGES_PX, Faces, draw_weights, generated_faces, load_faces, sources
from tools.train.degrade import DegradeSettings, shrink_face, view
from tools.train.dress import drawn_overlays, hold_object, load_overlays, wear_mask


@pytest.fixture(scope="module")
def faces() -> Faces:
    return generated_faces(600, seed=5)


def test_every_label_is_drawn_with_its_share_whatever_the_counts(faces: Faces) -> None:
    rows = faces.rows(split="train")
    few = np.concatenate([rows[faces.label[rows] != 2], rows[faces.label[rows] == 2][:3]])

    weights = draw_weights(faces, few, (0.4, 0.5, 0.1))

    shares = [weights[faces.label[few] == index].sum() for index in range(3)]
    np.testing.assert_allclose(shares, [0.4, 0.5, 0.1])


def test_sizes_are_drawn_alike_in_every_label(faces: Faces) -> None:
    rows = faces.rows(split="train")
    small = faces.native_px[rows] < SIZE_EDGES_PX[0]
    # Nine of ten small masks are taken away: small must not become a sign of a bare face.
    kept = np.array([not (small[i] and faces.label[row] == 0 and i % 10) for i, row in enumerate(rows)])

    weights = draw_weights(faces, rows[kept], (0.4, 0.5, 0.1))

    bare_small = weights[small[kept] & (faces.label[rows[kept]] == 1)].sum() / 0.5
    mask_small = weights[small[kept] & (faces.label[rows[kept]] == 0)].sum() / 0.4
    by_count = small[kept][faces.label[rows[kept]] == 0].mean()
    assert bare_small == pytest.approx(1 / 3, abs=0.1)
    assert mask_small >= 1.4 * by_count


def test_rows_keep_to_their_split_and_leave_a_source_out(faces: Faces) -> None:
    splits = [set(faces.rows(split=name).tolist()) for name in ("train", "val", "test")]

    assert sum(map(len, splits)) == len(faces) == len(set.union(*splits))
    assert faces.rows(split="train", without=["drawn"]).size == 0
    assert faces.rows(split="train", only=["drawn"]).size == len(splits[0])


def test_a_view_is_the_same_for_the_same_seed_and_another_for_another(faces: Faces) -> None:
    def seen(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return view(faces.picture(0), faces.face_box(0), DegradeSettings(), 40.0, rng)

    np.testing.assert_array_equal(seen(1), seen(1))
    assert (seen(1) != seen(2)).any()
    assert seen(1).shape == (64, 64, 3)


def test_a_view_of_a_small_face_holds_no_more_than_the_small_face(faces: Faces) -> None:
    settings = DegradeSettings(noise=0, jpeg=0, resample=0, light=0, gray=0, tight=0, sharpen=0, caption=0, shadow=0)
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)

    def detail(native_px: float) -> float:
        views = [view(noise, Box(20, 20, 100, 100), settings, native_px, np.random.default_rng(s)) for s in range(30)]
        return float(np.mean([cv2.Laplacian(one, cv2.CV_32F).var() for one in views]))

    assert detail(10) < 0.3 * detail(80)


def test_a_worn_mask_covers_the_mouth_and_one_under_the_nose_does_not_cover_the_nose(faces: Faces) -> None:
    row = int(np.flatnonzero(faces.label == LABELS.index("no_mask"))[0])
    picture, box, overlays = faces.picture(row), faces.face_box(row), drawn_overlays()
    before = picture.copy()

    def changed(*, incorrect: bool, at: float) -> float:
        y, x = int(box.y0 + at * box.height), int(box.centre[0])
        hits = []
        for seed in range(40):
            worn = wear_mask(picture, box, overlays, np.random.default_rng(seed), incorrect=incorrect)
            hits.append(np.abs(worn[y, x].astype(int) - picture[y, x]).max() > 4)
        return float(np.mean(hits))

    assert changed(incorrect=False, at=0.80) > 0.9
    assert changed(incorrect=True, at=0.60) < 0.1
    assert changed(incorrect=True, at=0.35) == 0
    np.testing.assert_array_equal(picture, before)  # the cache is never drawn on


def test_an_object_changes_the_lower_face_and_leaves_the_picture_in_the_cache_alone(faces: Faces) -> None:
    picture, box = faces.picture(1), faces.face_box(1)
    before = picture.copy()

    touched = [
        (hold_object(picture, box, drawn_overlays(), np.random.default_rng(seed)) != picture).any()
        for seed in range(40)
    ]

    assert np.mean(touched) > 0.9
    np.testing.assert_array_equal(picture, before)


def test_shrinking_gives_the_face_the_size_asked_for_and_never_enlarges() -> None:
    pixels = np.zeros((100, 80, 3), np.uint8)

    small, box = shrink_face(pixels, Box(10, 10, 70, 90), 24)
    same, _ = shrink_face(pixels, Box(10, 10, 70, 90), 500)

    assert box.size_px == pytest.approx(24, rel=0.03)
    assert same.shape == pixels.shape
    assert small.shape[0] < 40


def test_missing_data_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no crops here"):
        load_faces(tmp_path, tmp_path)


@pytest.mark.skipif(not SHARED_CROPS.is_dir(), reason="the shared data is not beside this checkout")
def test_the_shared_crops_are_read_once_and_then_from_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    folder.mkdir()
    for name in ("k210cam", "street"):
        for ending in ("csv", "tar"):
            (folder / f"{name}.{ending}").symlink_to((SHARED_CROPS / f"{name}.{ending}").resolve())

    first = load_faces(folder, tmp_path / "cache")
    again = load_faces(folder, tmp_path / "cache")

    assert sources(folder) == ["k210cam", "street"]
    assert len(first) == 63 + 158
    np.testing.assert_array_equal(first.pixels, again.pixels)
    row = int(np.flatnonzero(first.source == "street")[3])
    assert 0 <= first.box[row, 0] < first.box[row, 2] <= first.picture(row).shape[1]
    assert load_overlays().front
