"""The abstain band: what is answered keeps the stated risk, and looks are refused from where that is left."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tools.quantize.conditions import AT_SIZE, BESIDE, DARK, EIGHT, SIZES_PX, SOFT

pytest.importorskip("tensorflow", reason="tensorflow is in the tools extra only")

from agent.errors import ModelError
from agent.seams import LABELS
from tools.quantize.band import KIND_FACTOR, RISK, fit_band, never_rising
from tools.quantize.figures import (
    area_under_curve,
    calibration_error,
    equal_shares,
    reliability,
    risk_at_coverages,
    risk_coverage,
    wilson,
)
from tools.quantize.looks import softmax
from tools.quantize.report import answered, report
from tools.quantize.unseen import Unseen

FACES = 400  # a source


def invented(seed: int, *, dim_below: float = 0.0, small_below: float = 0.0, sharpen: float = 1.0) -> Unseen:
    """Invent looks whose probabilities are true, but for dim and small ones, which are sure and wrong half the time.

    sharpen: logits are this many times what is true.
    """
    rng = np.random.default_rng(seed)
    parts: list[dict[str, NDArray]] = []
    for source in (*EIGHT, BESIDE[0]):
        for condition in ("crop", "frame", "wide", "gray", *AT_SIZE, *DARK, *SOFT):
            size = SIZES_PX[AT_SIZE.index(condition)] if condition in AT_SIZE else 60
            brightness = rng.uniform(80, 200, FACES) / DARK.get(condition, 1)
            logits = rng.normal(0, 6, (FACES, 3))
            logits[:, 2] -= 6
            label = (rng.random((FACES, 1)) > softmax(logits.astype(np.float32)).cumsum(1)).sum(1).clip(0, 2)
            broken = ((brightness < dim_below) | (size < small_below)) & (rng.random(FACES) < 0.5)
            label = np.where(broken & (label < 2), 1 - label, label)
            parts.append(
                {
                    "id": np.array([f"{source}_{row}" for row in range(FACES)]),
                    "source": np.full(FACES, source, "U16"),
                    "label": label.astype(np.int8),
                    "flags": np.full(FACES, "", "U16"),
                    "native_px": np.full(FACES, 60, np.float32),
                    "condition": np.full(FACES, condition, "U16"),
                    "face_px": np.full(FACES, size, np.float32),
                    "box_px": np.full(FACES, size, np.float32),
                    "sharpness": rng.uniform(50, 900, FACES).astype(np.float32),
                    "brightness": brightness.astype(np.float32),
                    "logits": (sharpen * logits).astype(np.float32),
                    "exact": np.full((FACES, 3), np.nan if condition != "crop" else 0, np.float32),
                }
            )
    return Unseen(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def test_what_is_answered_keeps_the_stated_risk_at_no_smaller_coverage_than_needed() -> None:
    seen = invented(1)

    band = fit_band(seen)

    told = answered(seen, softmax(seen.logits / np.float32(band.temperature)), band.abstain)["by_condition"]["crop"]
    assert band.reached
    assert 100 - told["right"] <= 100 * RISK
    # True probabilities: the next lower level would still be near the stated risk, so the margin is small.
    assert 100 - told["right"] >= 100 * RISK / 2
    assert told["coverage"] > 50


def test_the_temperature_that_was_undone_is_found() -> None:
    assert fit_band(invented(2, sharpen=2.0)).temperature == pytest.approx(2.0, rel=0.05)


def test_dim_looks_that_are_sure_and_wrong_are_refused_as_dark_and_others_are_not() -> None:
    band = fit_band(invented(3, dim_below=35))

    assert 35 <= band.abstain.brightness <= 50
    assert band.abstain.face_px == min(SIZES_PX)  # nothing smaller was shown
    assert band.abstain.sharpness == 0


def test_sizes_that_are_sure_and_wrong_are_refused_as_too_small() -> None:
    band = fit_band(invented(4, small_below=11))

    assert band.abstain.face_px == 12
    kinds = {kind.low: kind for kind in band.kinds["face_px"]}
    assert kinds[10].fitted > KIND_FACTOR * RISK >= kinds[12].fitted


def test_a_risk_out_of_reach_is_said() -> None:
    seen = invented(5)
    wrong = np.random.default_rng(5).random(len(seen)) < 0.2
    label = np.where(wrong & (seen.label < 2), 1 - seen.label, seen.label).astype(np.int8)

    band = fit_band(Unseen(**{name: getattr(seen, name) for name in seen.__dataclass_fields__} | {"label": label}))

    assert not band.reached


def test_looks_at_none_of_the_eight_are_refused_in_one_line() -> None:
    seen = invented(8)

    with pytest.raises(ModelError, match="none of the sources that count") as refused:
        fit_band(seen.only(~np.isin(seen.source, EIGHT)))

    assert "\n" not in str(refused.value)


def test_a_report_counts_the_eight_and_lists_what_has_something_before_it() -> None:
    seen = invented(6)
    flags = seen.flags.copy()
    first = np.flatnonzero((seen.source == "k853") & (seen.condition == "crop") & (seen.label == 1))[0]
    flags[first] = "occluder:hand"
    seen = Unseen(**{name: getattr(seen, name) for name in seen.__dataclass_fields__} | {"flags": flags})

    told = report(seen, fit_band(seen), {})

    assert told["mean"]["crop"]["sources"] == 8
    lost = told["lost_to"]["wide"]
    assert lost["mean"] == pytest.approx(np.mean([lost[name] for name in EIGHT]), abs=0.01)
    assert told["worst"]["crop"]["two_way"] == min(told["sources"][name]["crop"]["two_way"] for name in EIGHT)
    (listed,) = told["called_mask"]["other_flagged"]
    assert (listed["id"], listed["label"]) == (seen.id[first], LABELS[1])


def test_a_large_source_does_not_rule() -> None:
    source = np.array(["small"] * 4 + ["large"] * 96)
    label = np.array([0, 0, 0, 1] * 25, np.int8)

    weight = equal_shares(source, np.full(100, "crop"), label)

    assert weight.sum() == pytest.approx(1)
    assert weight[source == "small"].sum() == pytest.approx(0.5)
    assert weight[(source == "large") & (label == 1)].sum() == pytest.approx(0.25)


def test_worn_wrongly_counts_with_its_own_share() -> None:
    label = np.array([0] * 60 + [1] * 30 + [2] * 10, np.int8)

    weight = equal_shares(np.full(100, "a"), np.full(100, "crop"), label)

    assert [weight[label == index].sum() for index in range(3)] == pytest.approx([0.45, 0.45, 0.1])


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.booleans()), min_size=2, max_size=40))
def test_the_area_under_the_curve_is_the_share_of_pairs_in_order(drawn: list[tuple[float, bool]]) -> None:
    score, positive = np.array([value for value, _ in drawn]), np.array([worn for _, worn in drawn])
    pairs = [(one > other) + (one == other) / 2 for one in score[positive] for other in score[~positive]]

    found = area_under_curve(score, positive)

    assert found == pytest.approx(np.mean(pairs)) if pairs else np.isnan(found)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50)), min_size=1, max_size=12))
def test_the_fit_never_rises_keeps_the_mean_and_leaves_falling_values_alone(drawn: list[tuple[float, int]]) -> None:
    values, weights = [value for value, _ in drawn], [weight for _, weight in drawn]

    fitted = never_rising(values, weights)

    assert all(one >= other - 1e-9 for one, other in itertools.pairwise(fitted))
    assert np.average(fitted, weights=weights) == pytest.approx(np.average(values, weights=weights))
    ranked = sorted(values, reverse=True)
    assert never_rising(ranked, weights) == pytest.approx(ranked)


def test_risk_and_coverage_are_those_of_a_plain_count() -> None:
    rng = np.random.default_rng(9)
    sure, right = rng.random(50).astype(np.float32).round(1), rng.random(50) < 0.8
    weight = rng.random(50)

    coverage, risk = risk_coverage(sure, right, weight)

    for level, covered, wrong in zip(sorted(set(sure.tolist()), reverse=True), coverage, risk, strict=True):
        taken = sure >= np.float32(level)
        assert covered == pytest.approx(weight[taken].sum() / weight.sum())
        assert wrong == pytest.approx(weight[taken & ~right].sum() / weight[taken].sum())
    assert risk_at_coverages(sure, right, weight)["1"] == pytest.approx(weight[~right].sum() / weight.sum(), abs=1e-5)


def test_true_probabilities_lie_on_the_diagonal_and_doubled_ones_do_not() -> None:
    rng = np.random.default_rng(10)
    logits = rng.normal(0, 2, (30_000, 3)).astype(np.float32)
    label = (rng.random((30_000, 1)) > softmax(logits).cumsum(1)).sum(1).clip(0, 2)
    weight = np.ones(30_000)

    errors = [
        calibration_error(probs.max(1), probs.argmax(1) == label, weight)
        for probs in (softmax(logits), softmax(2 * logits))
    ]

    assert errors[0] < 0.01 < 0.05 < errors[1]
    bins = reliability(softmax(logits).max(1), softmax(logits).argmax(1) == label, weight)
    assert [one["confidence"] for one in bins] == sorted(one["confidence"] for one in bins)


def test_the_interval_of_a_share_is_wilsons() -> None:
    # Source: Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662.
    assert wilson(81, 263) == pytest.approx((25.53, 36.62), abs=0.01)
    assert wilson(0, 20) == pytest.approx((0, 16.11), abs=0.01)
