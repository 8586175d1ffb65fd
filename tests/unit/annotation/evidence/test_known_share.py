from __future__ import annotations

import numpy as np
import pytest
from evidence_examples import weighted

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.known_share import (
    log_odds_known,
    shares_at,
    shares_of_known,
)
from specvae.annotation.evidence.own_spectra import (
    DEFAULT_SHARES,
    KnownShares,
    OwnSpectraRatio,
    own_spectra_features,
)
from specvae.annotation.evidence.weighted import Evidence

WEIGHTS = dict.fromkeys(EVIDENCE_KINDS, 1.0)
HERE, THERE, NOWHERE = "here", "there", "nowhere"


def evidence(scores: list[float], kinds: list[str], library: list[float] | None = None) -> Evidence:
    """Return evidence at equal shares, so that scores are what is given.

    What own spectra say, nats, is added to them.
    """
    raw = np.zeros((len(scores), len(EVIDENCE_KINDS)))
    raw[:, 0] = scores
    if library is not None:
        raw[:, EVIDENCE_KINDS.index("library")] = library
    kind = np.array(kinds)
    third = KnownShares(1 / 3, 1 / 3)
    return weighted(raw, WEIGHTS, kind == HERE, shares=third, elsewhere=kind == THERE)


def run(*parts: tuple[int, str]) -> list[Evidence]:
    """Return so many queries whose truth is surely of each kind, of three candidates each."""
    kinds = [HERE, THERE, NOWHERE]
    found = {kind: evidence([40.0 * (kind == k) for k in kinds], kinds) for kind in kinds}
    return [found[kind] for n, kind in parts for _ in range(n)]


def test_log_odds_are_of_measured_against_unmeasured_candidates() -> None:
    scores = [0.0, 0.0, np.log(4.0)]
    assert log_odds_known(evidence(scores, [HERE, THERE, NOWHERE])) == pytest.approx(np.log(0.5))
    at_default = evidence(scores, [HERE, THERE, NOWHERE]).at_shares(DEFAULT_SHARES)
    assert log_odds_known(at_default) == pytest.approx(np.log((0.8 + 0.2) / 4.0))


def test_a_list_of_measured_candidates_leaves_no_choice() -> None:
    assert log_odds_known(evidence([0.0, 1.0], [HERE, THERE])) is None


@pytest.mark.parametrize("kind", [HERE, THERE])
def test_lists_of_measured_candidates_count_by_what_their_spectra_say(kind: str) -> None:
    """As those of suspects are: without them a run would show the others alone."""
    like, unlike = (
        evidence([0.0, -3.0], [kind, kind], library=[ratio, -6.0]) for ratio in (6.0, -6.0)
    )
    others = run((20, NOWHERE))
    assert shares_of_known([like] * 180 + others).known == pytest.approx(0.9 - 0.01, abs=0.02)
    assert shares_of_known([unlike] * 180 + others).known < 0.02
    mixed = shares_of_known([like] * 100 + [unlike] * 100)
    assert mixed.known == pytest.approx((0.5 - 0.075) / 0.925, abs=0.01)
    found = mixed.same_mode if kind == HERE else mixed.other_mode
    assert found == pytest.approx(mixed.known, abs=0.01)


def test_a_list_without_a_measured_candidate_is_of_an_unknown_compound() -> None:
    found = evidence([0.0, 1.0], [NOWHERE, NOWHERE])
    odds = log_odds_known(found)
    assert odds is not None
    assert odds < -30.0
    assert shares_of_known([found] * 100).known < 0.02


def test_a_run_shows_its_shares_of_known_compounds() -> None:
    assert shares_of_known([]) == DEFAULT_SHARES
    # Of those that seem to be known, some only look like compounds that are.
    mixed = shares_of_known(run((300, HERE), (100, THERE), (600, NOWHERE)))
    assert mixed == pytest.approx((0.75 * 0.325 / 0.925, 0.25 * 0.325 / 0.925), abs=1e-3)
    assert shares_of_known(run((7, HERE), (93, NOWHERE))).known < 0.02
    # A hundred unknown compounds are not taken for a run in which one of twenty is known.
    assert shares_of_known(run((100, NOWHERE))) == (0.005, 0.005)
    only_here = shares_of_known(run((1_000, HERE)))
    only_there = shares_of_known(run((1_000, THERE)))
    assert only_here.known == pytest.approx(0.99)
    assert only_there.known == pytest.approx(0.99)
    assert only_here.same_mode > 0.98
    assert only_there.other_mode > 0.98


def test_the_estimate_does_not_depend_on_the_shares_that_the_evidence_assumes() -> None:
    rng = np.random.default_rng(1)
    kinds = [HERE, HERE, THERE, NOWHERE, NOWHERE]
    found = [evidence(rng.normal(0.0, 2.0, 5).tolist(), kinds) for _ in range(60)]
    shares = shares_of_known(found)
    others = [e.at_shares(KnownShares(0.7, 0.05)) for e in found]
    assert shares_of_known(others) == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("height", [-1_000.0, -70.0, 0.0, 70.0, 1_000.0])
def test_the_height_of_all_scores_says_nothing(height: float) -> None:
    """A kind that no candidate is of is not likely because the scores of the others are low."""
    kinds = [HERE, NOWHERE]
    found = [evidence([height + 4.0, height], kinds), evidence([height, height + 4.0], kinds)]
    at_zero = [evidence([4.0, 0.0], kinds), evidence([0.0, 4.0], kinds)]
    assert shares_of_known(found * 30) == pytest.approx(shares_of_known(at_zero * 30), abs=1e-6)
    assert shares_of_known(found * 30).other_mode < 0.01


def test_the_shares_are_the_likeliest_under_the_prior() -> None:
    """The EM algorithm ends where no other shares are likelier: compared with a grid."""
    rng = np.random.default_rng(2)
    kinds = [HERE, THERE, NOWHERE]
    scores = rng.normal(0.0, 1.5, (80, 3)) + np.array([0.5, 0.0, 0.7])
    shares = shares_of_known([evidence(row.tolist(), kinds) for row in scores])
    seen = shares.known * (1 - 0.075) + 0.075
    estimate = np.array([*(np.array(shares) * seen / shares.known), 1 - seen])
    prior = np.array([0.4, 0.1, 0.5])

    def log_posterior(of: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
        return float((np.log(np.exp(scores) @ of)).sum() + prior @ np.log(of))

    steps = np.arange(1, 100) / 100
    grid = [np.array([a, b, 1 - a - b]) for a in steps for b in steps if a + b < 0.995]
    assert log_posterior(estimate) >= max(map(log_posterior, grid)) - 1e-6


def test_a_few_queries_do_not_change_one_another() -> None:
    for kind in (HERE, THERE, NOWHERE):
        assert shares_of_known(run((19, kind))) == DEFAULT_SHARES
    assert shares_of_known(run((20, HERE))).known > 0.95


def test_the_default_counts_for_one_query() -> None:
    """Of 8, 4 and 8 certain queries and one as by default 8.4, 4.1 and 8.5 are of each kind."""
    found = shares_of_known(run((8, HERE), (4, THERE), (8, NOWHERE)))
    # Of those that seem to be known, some only look like compounds that are.
    known = (12.5 / 21 - 0.075) / 0.925
    assert found == pytest.approx((8.4 / 12.5 * known, 4.1 / 12.5 * known), abs=1e-6)


def test_a_stated_share_is_divided_as_by_default() -> None:
    assert shares_at(0.5) == pytest.approx((0.4, 0.1))
    assert shares_at(0.0) == (0.005, 0.005)
    assert shares_at(1.0) == pytest.approx((0.99 * 0.8, 0.99 * 0.2))
    assert shares_at((0.3, 0.2)) == (0.3, 0.2)
    assert shares_at((1.0, 0.0)) == pytest.approx((0.99, 0.005), abs=0.005)


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


def test_queries_count_by_the_chance_that_their_list_holds_the_truth() -> None:
    """A known compound that is not listed looks unknown, and says nothing of those that are."""
    found = run((40, HERE), (60, NOWHERE))
    listed = np.repeat([1.0, 0.0], [40, 60])
    asked: list[KnownShares] = []

    def chances(shares: KnownShares) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        asked.append(shares)
        return listed

    assert shares_of_known(found, chances) == shares_of_known(found[:40])
    # Shares and chances are computed in turn until nothing changes.
    assert asked == [shares_of_known(found), shares_of_known(found[:40])]
    assert shares_of_known(found, lambda _: np.ones(100)) == shares_of_known(found)
    assert shares_of_known(found, lambda _: np.zeros(100)).known > 0.4  # nothing but the prior
    assert shares_of_known(found[:19], chances) == DEFAULT_SHARES
