from __future__ import annotations

import numpy as np
import pytest

from specvae.annotation.evaluation.reliability import (
    area_under_risk,
    brier_score,
    expected_calibration_error,
    log_loss,
    reliability,
    risk_coverage,
    summarise_probabilities,
    wilson_interval,
)
from specvae.annotation.ranking.in_list import selection_at

P = np.array([0.9, 0.1, 0.8, 0.2])
Y = np.array([1.0, 0.0, 0.0, 1.0])


def test_reliability_and_its_error_of_a_table_made_by_hand() -> None:
    bins = reliability(P, Y, n_bins=2)
    assert [(b.n_queries, b.right) for b in bins] == [(2, 0.5), (2, 0.5)]
    assert [b.probability for b in bins] == pytest.approx([0.15, 0.85])
    assert expected_calibration_error(P, Y, n_bins=2) == pytest.approx(0.35)
    # One query a bin: |0.1 - 0|, |0.2 - 1|, |0.8 - 0|, |0.9 - 1|, averaged.
    assert expected_calibration_error(P, Y) == pytest.approx(0.45)


def test_bins_have_equal_numbers_of_queries() -> None:
    p = np.linspace(0, 1, 103)
    assert sorted({b.n_queries for b in reliability(p, p)}) == [10, 11]
    assert expected_calibration_error(p, p) == pytest.approx(0.0, abs=1e-12)


def test_the_interval_of_a_share_is_wilsons() -> None:
    """Against tables (Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857, table I)."""
    for right, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
                                (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert wilson_interval(right / n, n) == pytest.approx((low, high), abs=6e-5)
    assert wilson_interval(1.0, 5)[1] == 1.0


def test_spectra_of_one_compound_are_one_trial_of_an_interval() -> None:
    p, y = np.full(20, 0.5), np.repeat([1.0, 0.0], 10)
    (alone,) = reliability(p, y, n_bins=1)
    (together,) = reliability(p, y, n_bins=1, molecules=["A", "B"] * 10)
    assert alone.right_ci95 == wilson_interval(0.5, 20)
    assert together.right_ci95 == wilson_interval(0.5, 2)
    summary = summarise_probabilities(p, y, p, ["A", "B"] * 10)
    assert len(summary["reliability"][0]["right_ci95"]) == 2  # type: ignore[index]


def test_order_of_equal_probabilities_does_not_matter() -> None:
    p, y = np.full(20, 0.5), np.repeat([1.0, 0.0], 10)
    for order in (np.arange(20), np.arange(20)[::-1]):
        assert expected_calibration_error(p[order], y[order]) == pytest.approx(0.0, abs=1e-12)
        assert risk_coverage(p[order], y[order])[1] == pytest.approx(np.full(20, 0.5))


def test_brier_score_and_log_loss() -> None:
    assert brier_score(P, Y) == pytest.approx((0.01 + 0.01 + 0.64 + 0.64) / 4)
    # A tie for the first place that holds the truth: right half of the time.
    assert brier_score(np.array([0.5]), np.array([0.5])) == pytest.approx(0.25)
    assert log_loss(np.array([0.5, 0.25])) == pytest.approx(1.5 * np.log(2))
    assert log_loss(np.array([0.0])) == pytest.approx(12 * np.log(10))


def test_risk_rises_as_less_sure_queries_are_kept() -> None:
    coverage, risk = risk_coverage(P, Y)
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(risk, [0.0, 1 / 2, 1 / 3, 1 / 2])
    assert area_under_risk(P, Y) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_false_discoveries_promised_and_found() -> None:
    selection = selection_at(P, 0.8, Y)
    assert (selection.n_queries, selection.true_fdr) == (2, 0.5)
    assert selection.n_right == pytest.approx(1.7)
    assert selection.estimated_fdr == pytest.approx(0.15)
    nothing = selection_at(P, 0.95, Y)
    assert (nothing.n_queries, nothing.estimated_fdr, nothing.true_fdr) == (0, None, None)
    assert selection_at(P, 0.0).true_fdr is None


def test_figures_of_a_well_calibrated_and_of_an_overconfident_model() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(5000)
    y = (rng.random(5000) < p).astype(float)
    good = summarise_probabilities(p, y, np.where(y > 0, p, 1 - p))
    bad = summarise_probabilities(p**0.3, y, np.where(y > 0, p**0.3, 1 - p**0.3))
    assert isinstance(good["ece"], float)
    assert isinstance(bad["ece"], float)
    assert good["ece"] < 0.02 < 0.2 < bad["ece"]
    assert good["aurc"] == bad["aurc"]  # the order of the queries is the same
    curve = good["risk_coverage"]
    assert isinstance(curve, list)
    assert [point["coverage"] for point in curve] == pytest.approx(np.arange(1, 11) / 10)
    assert curve[0]["risk"] < 0.1
    assert curve[-1]["risk"] == pytest.approx(0.5, abs=0.03)
    for row in good["false_discovery"]:  # type: ignore[attr-defined]
        assert row["estimated"] == pytest.approx(row["true"], abs=0.03)


def test_figures_of_a_table_made_by_hand() -> None:
    found = summarise_probabilities(P, Y, np.array([0.9, 0.9, 0.2, 0.2]), ["a", "b", "a", "a"])
    assert found["reliability"] == [
        {"n_queries": 1, "probability": p, "right": y, "right_ci95": list(wilson_interval(y, 1))}
        for p, y in ((0.1, 0.0), (0.2, 1.0), (0.8, 0.0), (0.9, 1.0))
    ]
    assert found["n_with_probability"] == 4
    assert found["mean_probability"] == pytest.approx(0.5)
    assert found["brier"] == pytest.approx((0.01 + 0.01 + 0.64 + 0.64) / 4)
    assert found["log_loss"] == pytest.approx(-np.log(0.9 * 0.2) / 2)
    curve = found["risk_coverage"]
    assert isinstance(curve, list)
    # Of the surest one, two, three and four; a tenth of four is one at least.
    assert [curve[n]["risk"] for n in (0, 4, 7, 9)] == pytest.approx([0.0, 0.5, 1 / 3, 0.5])
    assert [curve[n]["probability"] for n in (0, 4, 7, 9)] == [0.9, 0.8, 0.2, 0.1]


def test_no_query_has_no_figures_but_no_error_either() -> None:
    none = summarise_probabilities(np.empty(0), np.empty(0), np.empty(0))
    assert none["n_with_probability"] == 0
    assert none["reliability"] == []
    assert np.isnan(none["ece"])  # type: ignore[call-overload]
