"""Odds that a list of few candidates holds the truth, against the formula."""

from __future__ import annotations

import numpy as np
import pytest
from evidence_examples import weighted

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.items import Analogue
from specvae.annotation.evidence.own_spectra import KnownShares
from specvae.annotation.evidence.short_lists import ShortListOdds, short_list_weight
from specvae.annotation.evidence.weighted import Evidence

WEIGHTS = {kind: float(kind == "fragments") for kind in EVIDENCE_KINDS}
ODDS = ShortListOdds(constant=-1.0, analogues=0.5, fragments=0.2, unlisted=-3.0)
HALF, NOBODY = KnownShares(0.4, 0.1), KnownShares(0.005, 0.005)


def a_list(
    fragments: list[float],
    votes: list[float],
    shares: KnownShares = NOBODY,
    measured: list[bool] | None = None,
    unlisted: float | None = None,
) -> Evidence:
    """Return evidence whose scores are what fragments say, at equal chances of all candidates."""
    raw = np.zeros((len(fragments), len(EVIDENCE_KINDS)))
    raw[:, EVIDENCE_KINDS.index("fragments")] = fragments
    raw[:, EVIDENCE_KINDS.index("analogues")] = votes
    absent = () if unlisted is None else (Analogue("A" * 14, "C", unlisted, is_unlisted=True),)
    known = np.array(measured or [False] * len(fragments))
    return weighted(raw, WEIGHTS, known, shares=shares, analogues=absent)


def test_odds_of_one_suspect_are_its_own() -> None:
    suspect = a_list([3.0], [2.0], HALF)
    assert short_list_weight(suspect) == 1.0
    assert ODDS(99.0, suspect) == pytest.approx(-1.0 + 0.5 * 2.0 + 0.2 * 3.0 + np.log(0.5))
    assert ODDS(99.0, a_list([3.0], [2.0])) == pytest.approx(0.6 + np.log(0.99))


@pytest.mark.parametrize(("cosine", "nats"), [(0.9, -1.2), (0.5, 0.0), (0.2, 0.0)])
def test_a_compound_of_the_library_that_is_not_listed_counts_from_half_a_cosine_on(
    cosine: float, nats: float
) -> None:
    found = ODDS(0.0, a_list([0.0], [0.0], unlisted=cosine))
    assert found == pytest.approx(ODDS(0.0, a_list([0.0], [0.0])) + nats)


def test_long_lists_keep_their_odds() -> None:
    few, many = a_list([3.0] + [-9.0] * 8, [2.0] * 9), a_list([3.0] + [-9.0] * 80, [2.0] * 81)
    assert short_list_weight(few) == pytest.approx(np.exp(-1.0))
    of_one = ODDS(0.0, a_list([3.0], [2.0]))
    assert ODDS(5.0, few) == pytest.approx(5.0 + np.exp(-1.0) * (of_one - 5.0))
    assert ODDS(5.0, many) == pytest.approx(5.0, abs=1e-3)


def test_the_chance_that_a_match_is_right_counts_by_the_odds_of_long_lists() -> None:
    # One that agrees has those odds alone; see below for one that does not.
    assert ODDS(4.0, own_spectra([20.0])) == pytest.approx(4.0, abs=1e-6)
    # Of two, the chance that it is the unmeasured one counts, if any is right.
    both = a_list([0.0, 0.0], [0.0, 0.0], HALF, [True, False])
    share_of_unmeasured = 0.5 / (0.5 + 0.4)  # the shares of the run, as nothing else differs
    assert short_list_weight(both) == pytest.approx(share_of_unmeasured * np.exp(-1 / 8))


def own_spectra(agreement: list[float], shares: KnownShares = HALF) -> Evidence:
    """Return measured candidates whose own spectra say this much, in nats, and nothing else."""
    raw = np.zeros((len(agreement), len(EVIDENCE_KINDS)))
    raw[:, EVIDENCE_KINDS.index("library")] = agreement
    weights = {kind: float(kind == "library") for kind in EVIDENCE_KINDS}
    return weighted(raw, weights, np.ones(len(agreement), np.bool_), shares=shares)


@pytest.mark.parametrize("shares", [HALF, NOBODY])
def test_a_suspect_whose_own_spectra_disagree_loses_what_they_say(shares: KnownShares) -> None:
    disagrees = own_spectra([-8.0], shares)
    # The library's term is that of the same mode's share and of the spectra.
    nats = np.log(shares.same_mode) - 8.0
    assert short_list_weight(disagrees) == pytest.approx(1.0, abs=1e-3)
    assert ODDS(4.0, disagrees) == pytest.approx(ODDS.constant + nats, abs=0.01)
    assert ODDS(4.0, disagrees) < ODDS(4.0, a_list([0.0], [0.0], shares)) - 7.0


def test_of_measured_suspects_the_one_that_agrees_counts() -> None:
    assert short_list_weight(own_spectra([-8.0, 12.0])) < 1e-4
    assert short_list_weight(own_spectra([-8.0, -8.0])) == pytest.approx(np.exp(-1 / 8), abs=1e-3)


def test_evidence_counts_within_what_was_fitted() -> None:
    usual = ODDS(0.0, a_list([12.0], [7.0]))
    assert ODDS(0.0, a_list([500.0], [70.0])) == usual
    assert ODDS(0.0, a_list([-500.0], [0.0])) == ODDS(0.0, a_list([-25.0], [0.0]))
