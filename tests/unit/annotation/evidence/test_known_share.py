from __future__ import annotations

import numpy as np
import pytest

from specvae.annotation.evidence.known_share import known_share, log_odds_known, share_interval
from specvae.annotation.evidence.own_spectra import OwnSpectraRatio, own_spectra_features
from specvae.annotation.evidence.pool import EVIDENCE_KINDS, Evidence

WEIGHTS = dict.fromkeys(EVIDENCE_KINDS, 1.0)


def evidence(scores: list[float], measured: list[bool]) -> Evidence:
    raw = np.zeros((len(scores), len(EVIDENCE_KINDS)))
    raw[:, 0] = scores
    return Evidence.from_raw(raw, WEIGHTS, np.array(measured))


def test_log_odds_are_of_measured_against_unmeasured_candidates() -> None:
    odds = log_odds_known(evidence([0.0, 0.0, np.log(3.0)], [True, True, False]))
    assert odds == pytest.approx(np.log(2.0 / 3.0))


def test_a_list_of_measured_candidates_says_nothing() -> None:
    assert log_odds_known(evidence([0.0, 1.0], [True, True])) is None


def test_a_list_without_a_measured_candidate_is_of_an_unknown_compound() -> None:
    odds = log_odds_known(evidence([0.0, 1.0], [False, False]))
    assert odds is not None
    assert known_share([odds] * 100) < 0.05


def test_a_run_shows_its_share_of_known_compounds() -> None:
    assert known_share([]) == pytest.approx(0.5)
    # Of those that seem to be known, some only look like compounds that are.
    assert known_share([8.0] * 30 + [-8.0] * 70) == pytest.approx((0.30 - 0.075) / 0.925, abs=0.01)
    assert known_share([8.0] * 7 + [-8.0] * 93) == 0.01
    # A hundred unknown compounds are not taken for a run in which one of twenty is known.
    assert known_share([-8.0] * 100) < 0.02
    assert known_share([50.0] * 100_000) == 0.99
    assert known_share([-50.0] * 100_000) == 0.01


def test_a_few_queries_do_not_change_one_another() -> None:
    assert known_share([8.0]) == known_share([8.0] * 19) == known_share([-8.0] * 19) == 0.5
    assert known_share([8.0] * 20) > 0.95


def test_features_of_own_spectra() -> None:
    cosines = np.array([0.5, 0.9, 0.8], dtype=np.float32)
    found = own_spectra_features(cosines, np.array([1, 0, -1, -1]), np.arange(4.0))
    odds = np.log(cosines / (1 - cosines))
    wanted = [
        [1.0, 0.9, odds[1] - odds[2], 1.0, 0.0, 0.0],
        [1.0, 0.5, odds[0] - odds[1], 0.0, 0.0, 1.0],
        [0.0] * 6,
        [0.0] * 6,
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    ratio = OwnSpectraRatio(1.0, 2.0, 0.0, 3.0, 0.0, -0.5)
    np.testing.assert_allclose(ratio(found), [5.8, 1.5, 0.0, 0.0], rtol=1e-6)


def test_scarcity_is_of_measured_candidates() -> None:
    own = np.array([0] + [-1] * 9)
    few = own_spectra_features(np.array([0.5], dtype=np.float32), own, np.zeros(10))
    assert few[0, 4] == pytest.approx(np.log(10 / 2))


def test_the_interval_of_a_share_is_that_of_known_outcomes_where_these_are_certain() -> None:
    """Certain log odds are counts: the posterior is a Beta distribution."""
    odds = np.array([60.0] * 30 + [-60.0] * 70)
    low, high = share_interval(odds, 0.9, 3.0)
    drawn = np.random.default_rng(0).beta(30 + 2.7 + 1, 70 + 0.3 + 1, 200_000)
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.004)


def test_what_says_nothing_leaves_the_interval_wide() -> None:
    low, high = share_interval(np.zeros(1000), 0.9, 3.0)
    assert high - low > 0.5
    assert share_interval(np.empty(0), 0.9, 3.0) == (low, high)
