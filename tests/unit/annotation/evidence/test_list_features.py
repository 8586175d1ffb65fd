from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evidence_examples import weighted

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, defaults
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.known_share import shares_at
from specvae.annotation.evidence.list_features import (
    LARGEST_GAP,
    LIST_FEATURES,
    feature_row,
    gap,
    lead,
    list_features,
)
from specvae.annotation.evidence.own_spectra import KnownShares
from specvae.annotation.evidence.weighted import Evidence
from specvae.annotation.ranking.probability import default_probability
from specvae.annotation.ranking.result import ListScores
from specvae.annotation.ranking.run_scoring import RunScoring

ONES = dict.fromkeys(EVIDENCE_KINDS, 1.0)


def evidence(*rows: tuple[float, float, float, float], cosine: float = 0.6) -> Evidence:
    """Return evidence by kind for candidates; those with a ratio of own spectra are measured."""
    raw = np.array([(*row, 0.0) for row in rows])  # far from the library
    analogue = Analogue("A" * 14, "C", cosine)
    # At equal shares of all kinds of compounds scores are sums of the evidence.
    return weighted(
        raw, ONES, raw[:, 3] != 0.0, analogues=(analogue,), shares=KnownShares(1 / 3, 1 / 3)
    )


def test_features_in_closed_form() -> None:
    found = list_features(evidence((0, -1, 2, 3), (0, -2, 1, 0), (0, -3, 4, 0)), n_peaks=7)
    assert tuple(found) == LIST_FEATURES
    # Scores are 4, -1 and 1; the first candidate alone is measured.
    k = np.exp(4.0) / (np.exp(4.0) + np.exp(-1.0) + np.exp(1.0))
    wanted = {
        "best_votes": -1.0,
        "best_fragments": 4.0,
        "fragments_lead": 0.0,
        "n_peaks": np.log(7),
        "known": k,
        "own_spectra": 3.0,
        "known_own_spectra": 3 * k,
        "known_nearest_cosine": 0.6 * k,
        "known_gap": 3 * k,
        "known_lead": (4 - 4 / 3) * k,
        "known_fragments": 2 * k,
        "unknown_votes": -(1 - k),
        "unknown_fragments": 2 * (1 - k),
        "share": np.log(2.0),
    }
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_the_share_that_scores_assume_is_a_feature() -> None:
    final = evidence((0, 0, 0, 2), (0, 0, 0, 0)).at_shares(shares_at(0.1))
    found = list_features(final, 5)
    assert found["share"] == pytest.approx(np.log(1 / 9))
    assert found["nearest_share"] == pytest.approx(0.6 * np.log(1 / 9))
    assert found["unknown_share"] == pytest.approx((1 - found["known"]) * np.log(1 / 9))


def test_a_like_compound_of_the_query_s_mass_that_is_not_listed_is_a_feature() -> None:
    nearest = Analogue("A" * 14, "C", 0.9)
    absent = replace(nearest, cosine=0.7, is_unlisted=True)
    lower = replace(absent, cosine=0.5)
    found = evidence((0, -1, 2, 0), (0, -2, 1, 0))
    assert list_features(found, 5)["unlisted_match"] == 0.0
    found = replace(found, analogues=(nearest, absent, lower))
    assert list_features(found, 5)["unlisted_match"] == 0.7
    # What a query states of its ion is trusted.
    found = replace(found, analogues=(replace(absent, cosine=0.8, is_other_ion=True), absent))
    assert list_features(found, 5)["unlisted_match"] == 0.7


def test_without_measured_candidates_nothing_looks_known() -> None:
    found = list_features(evidence((0, -1, 2, 0), (0, -2, 1, 0)), 5)
    assert {value for name, value in found.items() if name.startswith("known")} == {0.0}


def test_gap_and_lead() -> None:
    assert gap(np.array([1.0])) == gap(np.array([0.0, 50.0])) == LARGEST_GAP
    assert gap(np.array([1.0, 1.0, 0.0])) == 0.0
    assert lead(np.array([3.0, 0.0])) == 1.5


def test_a_model_of_fewer_features_takes_its_own() -> None:
    names = LIST_FEATURES[:6]
    pooled = evidence((0, -1, 2, 3), (0, -2, 1, 0))
    assert feature_row(pooled, 7, names) == [list_features(pooled, 7)[name] for name in names]


def test_a_listed_match_says_more_than_one_that_is_not_listed() -> None:
    """A library spectrum is like the query: is its compound listed, or only its isomers?"""
    scoring = RunScoring(defaults().weights, default_probability())
    lists = [
        ListScores.of(pooled, 20)
        for own in (4.0, -0.5)
        for pooled in [
            weighted(
                np.array([[0, -2, 1, own, 0], [0, -2.5, 0, 0, 0], [0, -3, -1, 0, 0]]),
                defaults().weights,
                np.array([True, False, False]),
                analogues=(Analogue("A" * 14, "C", 0.95),),
            )
        ]
    ]
    listed, unlisted = (scoring.probabilities(each) for each in lists)
    assert listed is not None
    assert unlisted is not None
    assert listed.log_odds_in_list > unlisted.log_odds_in_list + 2.0
