"""Labels that are wrong by eye: a short list that the data bears out, and the next candidates for it."""

import csv

import pytest

from tests.shared import shared

pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")

from tests.unit.test_quantize_band import invented
from tools.quantize.conditions import EIGHT
from tools.quantize.looks import softmax
from tools.quantize.wrong_labels import surest_wrong
from tools.train.wrong_labels import WRONG_LABELS


def test_every_row_of_the_list_is_in_the_data_and_labelled_as_it_says() -> None:
    labels = {
        row["id"]: row["label"] for name in EIGHT for row in csv.DictReader(shared(f"data/crops/{name}.csv").open())
    }

    for name, seen in WRONG_LABELS.items():
        assert seen.startswith(f"labelled {labels[name]}, "), name


def test_the_surest_wrong_answers_come_first_and_no_right_one_comes_at_all() -> None:
    found = surest_wrong(invented(7), 1.0, 20)

    probs = softmax(found.logits)
    assert len(found) == 20
    assert (probs.argmax(1) != found.label).all()
    assert probs.max(1).tolist() == sorted(probs.max(1).tolist(), reverse=True)
