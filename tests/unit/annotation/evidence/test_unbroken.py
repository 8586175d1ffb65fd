"""What is guessed of candidates that were not broken into fragments."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_examples import weighted

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS, defaults
from specvae.annotation.evidence.own_spectra import DEFAULT_SHARES
from specvae.annotation.evidence.unbroken import guessed_scores
from specvae.annotation.evidence.weighted import RunTerms
from specvae.annotation.ranking.probability import default_probability
from specvae.annotation.ranking.result import ListScores
from specvae.annotation.ranking.run_scoring import RunScoring

FRAGMENTS = EVIDENCE_KINDS.index("fragments")


def test_a_guess_is_on_the_line_and_has_the_mean_chance_of_its_kind() -> None:
    rng = np.random.default_rng(3)
    others = np.sort(rng.uniform(-10.0, 0.0, 20_000))[::-1]
    scores = 2.0 + 0.5 * others + rng.normal(0.0, 1.5, len(others))
    is_broken = np.arange(len(others)) < 10_000
    nobody = np.zeros(len(others), np.bool_)
    guessed = guessed_scores(others, is_broken, nobody, scores[is_broken], 0.6)
    np.testing.assert_array_equal(guessed[is_broken], scores[is_broken])
    # The mean of the exponential of a normal distribution.
    wanted = 2.0 + 0.5 * others[~is_broken] + 0.6 * 1.5**2 / 2.0
    np.testing.assert_allclose(guessed[~is_broken], wanted, atol=0.15)
    assert np.exp(0.6 * guessed[~is_broken]).sum() == pytest.approx(
        np.exp(0.6 * scores[~is_broken]).sum(), rel=0.1
    )
    # Those with own spectra are broken whatever they are like, and tell nothing of the others.
    is_known = nobody.copy()
    is_known[:100] = True
    scores[:100] = -1000.0
    again = guessed_scores(others, is_broken, is_known, scores[is_broken], 0.6)
    np.testing.assert_allclose(again[~is_broken], wanted, atol=0.15)


def test_few_candidates_have_no_line() -> None:
    others, is_broken = np.array([0.0, -1.0, -9.0, -99.0]), np.array([True, True, False, False])
    guessed = guessed_scores(others, is_broken, ~is_broken, np.array([2.0, 0.0]), 1.0)
    np.testing.assert_allclose(guessed[2:], np.log((np.exp(2.0) + 1.0) / 2.0))
    same = guessed_scores(others, is_broken, is_broken, np.array([2.0, 2.0]), 0.0)
    np.testing.assert_allclose(same[2:], 2.0)


def lists(guess: float | None, unbroken: float) -> ListScores:
    """Return a list of two candidates that were broken, and fifty that were not."""
    raw = np.zeros((52, len(EVIDENCE_KINDS)))
    raw[:2, FRAGMENTS], raw[2:, FRAGMENTS] = (8.0, 2.0), unbroken
    guessed = raw[:, FRAGMENTS].copy()
    guessed[2:] = guess or 0.0
    found = weighted(
        raw,
        defaults().weights,
        np.zeros(52, np.bool_),
        guessed=None if guess is None else guessed,
    )
    return ListScores.of(found, 10)


def test_the_first_candidate_is_no_likelier_for_what_was_not_compared() -> None:
    """The fifty counted as if their fragments were the worst: hardly any chance was left them."""
    scoring = RunScoring(defaults().weights, default_probability())
    cut, whole, as_worst = (
        scoring.probabilities(found)
        for found in (lists(3.0, -20.0), lists(None, 3.0), lists(None, -20.0))
    )
    assert cut is not None
    assert whole is not None
    assert as_worst is not None
    np.testing.assert_array_equal(cut.given_in_list[:2], whole.given_in_list[:2])
    assert cut.log_odds_in_list == whole.log_odds_in_list
    assert cut.given_in_list[0] < 0.9 * as_worst.given_in_list[0]
    # Ranks are not by guesses, and nobody is likelier than one that ranks above.
    assert whole.given_in_list[2] > whole.given_in_list[1]
    np.testing.assert_array_equal(cut.given_in_list[2:], cut.given_in_list[1])
    assert lists(3.0, -20.0).scores[2] < lists(3.0, -20.0).scores[1]


def test_nobody_is_likelier_than_one_that_the_run_moves_above() -> None:
    """What was broken and has another mass ranks last, and took the chance of all the others."""
    found = lists(3.0, 1.0)
    mass = np.array([0.0, -3.0, *np.zeros(25), *np.full(25, -2.0)])
    retention = np.array([0.0, 0.0, *np.linspace(-1.0, 1.0, 25), *np.zeros(25)])
    found = found.at_shares(DEFAULT_SHARES, RunTerms(retention, mass))
    scoring = RunScoring(defaults().weights, default_probability())
    probabilities = scoring.probabilities(found)
    assert probabilities is not None
    given = probabilities.given_in_list[np.argsort(-found.scores)]
    assert np.all(np.diff(given) <= 0.0)
    assert np.all(np.diff(given[:26]) < 0.0)
    equal = probabilities.given_in_list[found.scores == found.scores[-1]]
    np.testing.assert_array_equal(equal, equal[0])
