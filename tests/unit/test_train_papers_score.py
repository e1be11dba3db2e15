"""How the papers' nets are scored, and that docs/experiments.md shows what the report says."""

import json
from math import log
from pathlib import Path

import numpy as np
import pytest

from tools.train.papers_score import BEGIN, END, balanced, known, score, tables, wilson, write

ROOT = Path(__file__).parents[2]


def test_the_interval_of_a_share_is_wilsons() -> None:
    # The thesis' 99.10 % of 320, as docs/experiments.md has it
    low, high = wilson(317, 320)

    assert (round(100 * low, 1), round(100 * high, 1)) == (97.3, 99.7)


def test_the_interval_holds_the_truth_in_about_95_of_100_trials() -> None:
    rng = np.random.default_rng(1)
    truth = ((160, 0.97), (160, 0.90))
    held = 0
    for _ in range(2000):
        found = balanced([(int(rng.binomial(count, share)), count) for count, share in truth])
        held += found["interval"][0] <= 93.5 <= found["interval"][1]

    assert 0.93 <= held / 2000 <= 0.98


def test_all_right_is_no_certainty() -> None:
    assert balanced([(160, 160), (160, 160)]) == {"n": 320, "two_way": 100.0, "interval": [98.3, 100.0]}


def test_scores_are_those_of_a_plain_loop() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (200, 2)).astype(np.float32)
    label = rng.integers(0, 2, 200).astype(np.int8)
    native_px = rng.choice(np.array([20, 24, 28, 32, 50, 64, 80], np.float32), 200)
    source = rng.choice(np.array(["a", "b"]), 200)

    found = score(logits, label, native_px, source)

    def loop(rows: list[int]) -> float:
        shares = []
        for k in (0, 1):
            mine = [i for i in rows if label[i] == k]
            shares.append(sum((0 if logits[i, 0] >= logits[i, 1] else 1) == k for i in mine) / len(mine))
        return 100 * sum(shares) / 2

    losses = [-log(np.exp(logits[i, label[i]]) / np.exp(logits[i]).sum()) for i in range(200)]
    assert found["two_way"] == pytest.approx(loop(list(range(200))), abs=0.01)
    assert found["loss"] == pytest.approx(np.mean(losses), abs=0.001)
    for name, sizes in (("<= 24 px", (20, 24)), ("24-32", (28, 32)), ("32-64", (50, 64)), ("> 64", (80,))):
        rows = [i for i in range(200) if native_px[i] in sizes]
        assert found["by_px"][name]["n"] == len(rows)
        assert found["by_px"][name]["two_way"] == pytest.approx(loop(rows), abs=0.01)
    assert found["by_source"]["a"]["two_way"] == pytest.approx(
        loop([i for i in range(200) if source[i] == "a"]), abs=0.01
    )


def test_rows_of_other_faces_are_not_kept_and_a_row_is_replaced_by_its_name(tmp_path: Path) -> None:
    out, page = tmp_path / "papers.json", tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    figures = score(
        np.array([[1, 0], [0, 1]], np.float32), np.array([0, 1]), np.array([20, 80], np.float32), np.array(["a", "a"])
    )
    empty = {"data_sha256": "x", "seed": 1, "subset": {"faces": {"test": 2}}, "out_of_source": {"faces": 2}, "rows": []}
    row = {"name": "one", "title": "One", "parameters": 5, "thesis": {"30": [99.0, 0.1]}}
    cost = {"seconds_a_step": 60.0, "epochs": 80, "steps": 2000}
    point = {"epoch": 30, "in_source": figures, "out_of_source": figures}

    write(out, page, empty, row | {"not_run": cost}, ["one"])
    assert "not run: 60 s a step x 2,000 steps = 33.3 h" in page.read_text()
    write(out, page, empty, row | {"points": [point]}, ["one"])

    assert len(known(out, empty)) == 1
    assert known(out, empty | {"seed": 2}) == []
    assert "not run" not in page.read_text()
    assert page.read_text().startswith(f"before\n{BEGIN}")
    assert page.read_text().endswith(f"{END}after\n")
    assert "| 30 | 99.00 | 0.100 | 100.0 (" in page.read_text()


def test_the_page_shows_the_tables_of_the_report() -> None:
    report = json.loads((ROOT / "models/reports/papers.json").read_text())

    assert f"{BEGIN}\n{tables(report)}\n\n{END}" in (ROOT / "docs/experiments.md").read_text()
