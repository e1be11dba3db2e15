"""Views drawn once: the same bytes whoever draws them, dressed so that the lower face says the label."""

from pathlib import Path

import numpy as np
import pytest

from agent.seams import LABELS, Box
from tools.train import bank as bank_module
from tools.train.bank import open_bank
from tools.train.crowds import CACHE as DECODED
from tools.train.crowds import CROWDS, LEAST_PX, MASKED_EVENTS, SHARED_PICTURES, load_crowds
from tools.train.data import Faces, generated_faces, joined
from tools.train.dress import cover_upper, drawn_overlays, grow_beard, transplant
from tools.train.examples import Examples, Recipe


@pytest.fixture(scope="module")
def faces() -> Faces:
    drawn = generated_faces(120, seed=5)
    names = np.array(["left", "right", "third"])[np.arange(120) % 3]
    return Faces(**{name: getattr(drawn, name) for name in Faces.__dataclass_fields__} | {"source": names})


def opened(faces: Faces, folder: Path, monkeypatch: pytest.MonkeyPatch, **changed: int) -> bank_module.Bank:
    monkeypatch.setattr(bank_module, "CHUNK", 32)  # in this process: a spawned one draws chunks of the real size
    numbers = {"seed": 1, "count": 90, "processes": 1} | changed
    return open_bank(faces, drawn_overlays(), Recipe(), folder=folder, **numbers)


def test_any_number_of_processes_draws_the_same_bytes(faces: Faces, tmp_path: Path) -> None:
    def drawn(seed: int, processes: int) -> bank_module.Bank:
        home = tmp_path / f"{seed}-{processes}"
        return open_bank(faces, drawn_overlays(), Recipe(), seed=seed, count=4000, folder=home, processes=processes)

    alone, together, other = drawn(1, 1), drawn(1, 2), drawn(2, 1)

    assert alone.views.shape == (2 * bank_module.CHUNK, 64, 64, 3)
    np.testing.assert_array_equal(alone.views, together.views)
    np.testing.assert_array_equal(alone.label, together.label)
    assert (alone.views != other.views).any()
    assert set(alone.label.tolist()) == set(range(len(LABELS)))


def test_a_bank_that_was_cut_off_is_drawn_anew_and_a_whole_one_is_not(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = opened(faces, tmp_path, monkeypatch)
    (home,) = tmp_path.iterdir()
    views = np.array(whole.views)
    del whole
    (home / "views.u8").write_bytes(bytes(views.nbytes))
    assert not opened(faces, tmp_path, monkeypatch).views.any()  # taken as it lies

    (home / "labels.npz").unlink()

    np.testing.assert_array_equal(opened(faces, tmp_path, monkeypatch).views, views)


def test_a_view_with_anybody_of_a_source_left_out_is_left_out(
    faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = opened(faces, tmp_path, monkeypatch)

    kept = bank.without(["left"])

    mixed = bank.sources[:, 0] != bank.sources[:, 1]
    assert mixed.any()
    assert 0 < len(kept) < len(bank.label)
    assert not (bank.sources[kept] == "left").any()
    assert len(bank.without([])) == len(bank.label)


def test_a_transplanted_lower_half_is_the_donors_and_the_upper_half_stays() -> None:
    rng = np.random.default_rng(0)
    upper, donor = np.full((90, 80, 3), 120, np.uint8), np.full((60, 50, 3), 120, np.uint8)
    donor[36:] = (30, 60, 200)
    box, donor_box = Box(20, 15, 60, 75), Box(12, 10, 38, 50)

    for _ in range(20):
        mixed = transplant(upper, box, donor, donor_box, rng, seam=0.4)

        assert (mixed[:30] == 120).all()
        assert mixed[66, 40, 2] > 150  # the donor's chin, 0.85 down its box as down this one
        assert mixed[66, 40, 0] < 60
    assert (upper == 120).all()  # the cache is never drawn on


def test_what_covers_the_upper_face_leaves_the_mouth_and_a_beard_leaves_the_eyes(faces: Faces) -> None:
    picture, box = faces.picture(1), faces.face_box(1)
    mouth, eyes = int(box.y0 + 0.72 * box.height), int(box.y0 + 0.36 * box.height)
    for seed in range(30):
        covered = cover_upper(picture, box, np.random.default_rng(seed))
        bearded = grow_beard(picture, box, np.random.default_rng(seed))

        np.testing.assert_array_equal(covered[mouth:], picture[mouth:])
        assert (covered != picture).any()
        np.testing.assert_array_equal(bearded[:eyes], picture[:eyes])
        assert bearded[mouth:].mean() < picture[mouth:].mean()


def test_examples_have_the_shares_of_the_recipe_and_swap_sources(faces: Faces) -> None:
    examples = Examples(faces, drawn_overlays(), Recipe(wear=0, wear_incorrect=0, swap=0.5))
    rng = np.random.default_rng(1)

    drawn = [examples.draw(rng) for _ in range(600)]

    shares = np.bincount([one.label for one in drawn], minlength=3) / 600
    np.testing.assert_allclose(shares, (0.36, 0.54, 0.10), atol=0.06)
    assert 0.2 < np.mean([one.sources[0] != one.sources[1] for one in drawn]) < 0.45


def test_faces_of_ones_own_camera_get_their_share_however_few_they_are(faces: Faces) -> None:
    few = np.where(np.arange(len(faces)) < 6, "mine", faces.source)
    mixed = Faces(**{name: getattr(faces, name) for name in Faces.__dataclass_fields__} | {"source": few})
    rng = np.random.default_rng(1)

    examples = Examples(mixed, drawn_overlays(), Recipe(favour=("mine",), favour_share=0.4, swap=0))

    assert np.mean([examples.draw(rng).sources[0] == "mine" for _ in range(500)]) == pytest.approx(0.4, abs=0.08)


def test_a_bank_of_relabelled_faces_is_another(faces: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    relabelled = {name: getattr(faces, name) for name in Faces.__dataclass_fields__} | {"label": 1 - faces.label % 2}

    opened(faces, tmp_path, monkeypatch)
    opened(Faces(**relabelled), tmp_path, monkeypatch)

    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(
    not (SHARED_PICTURES.exists() and list(DECODED.glob("*.json"))),
    reason="needs ../shared/data/pictures, decoded by a training: a minute and 4 GB",
)
def test_crowds_are_bare_faces_of_the_train_split_with_their_box_inside_the_cut() -> None:
    crowds = load_crowds()

    assert set(crowds.source.tolist()) == set(CROWDS)
    assert set(crowds.split.tolist()) == {"train"}
    assert (crowds.label == LABELS.index("no_mask")).all()
    assert crowds.native_px.min() >= LEAST_PX
    assert not any(name.split("/")[1].startswith(MASKED_EVENTS) for name in crowds.id)
    assert (crowds.box[:, 2] <= crowds.width + 1).all()
    twice = joined([crowds, crowds])
    np.testing.assert_array_equal(twice.picture(len(crowds) + 7), crowds.picture(7))
