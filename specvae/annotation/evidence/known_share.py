"""The shares of a run's queries whose compound the library has: a prior, estimated from the run.

Whether a measured or an unmeasured candidate is right depends on the share of queries that are
known compounds, and on the share of these that the library has in the other ion mode only. These
two numbers are estimated from all queries of a run, each by the chance that its list holds the
truth: a list without its truth looks like that of an unknown compound, whatever its compound is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.defaults import EVIDENCE_KINDS
from specvae.annotation.evidence.own_spectra import DEFAULT_SHARES, KnownShares, StatedShares
from specvae.annotation.evidence.weighted import Evidence

# Number of queries of known outcome that the default counts for. With 5, runs of a hundred unknown
# compounds were taken for one known in twenty, and lost a point of hit@1 (docs/research.md).
_STRENGTH = 1.0
# The share that seems known in a run without known compounds, as some measured isomers look like
# the truth: that of the 127 positive queries of CASMI 2016 (docs/research.md).
_LOOK_ALIKES = 0.075
FEWEST_QUERIES = 20
"""In runs of fewer queries the shares are not estimated: so few queries show little, and their
scores must not depend on which others are in the file."""

_LIBRARY = EVIDENCE_KINDS.index("library")
_NONE = -60.0  # nats: log-likelihood of a kind without candidates, relative to the likeliest kind
_LEAST = 0.005  # a run never shows that there is no known compound at all, of either kind
_LEAST_UNKNOWN = 0.01
_MOST_STEPS, _PRECISION = 1000, 1e-9
_MOST_ROUNDS, _LEAST_CHANGE = 20, 1e-3  # of shares and chances in turn


def log_odds_known(evidence: Evidence) -> float | None:
    """Return the log odds that the truth is a measured candidate, at the shares that are assumed.

    Candidates that were measured in the other ion mode count too. A known compound would be a
    measured candidate, so that a list without any is of an unknown one. None for a list of measured
    candidates alone, which leaves no choice.
    """
    known = evidence.known
    if known.all():
        return None
    if not known.any():
        return _NONE
    return _log_sum(evidence.scores[known]) - _log_sum(evidence.scores[~known])


def known_over_unknown(evidence: Evidence) -> float:
    """Return `log_odds_known`, or what stands for it in a list of measured candidates alone.

    There it is relative to the likelihood that the same list would have if none of them were
    measured, as an unknown compound may be missing from the list.
    """
    log_odds = log_odds_known(evidence)
    return _log_sum(evidence.scores) - _unmeasured(evidence) if log_odds is None else log_odds


def shares_of_known(
    evidence: Iterable[Evidence],
    chances_listed: Callable[[KnownShares], NDArray[np.float64]] | None = None,
) -> KnownShares:
    """Return a run's shares of known compounds, from its queries' evidence under any shares.

    `DEFAULT_SHARES` for fewer than `FEWEST_QUERIES`. The shares are of queries whose list holds the
    truth, as they are a prior of its candidates. If a share p of compounds seems to be known, the
    true share is ``(p - q) / (1 - q)``, where q is the share of unknown compounds that seem to be
    known (adjusted counts: Forman 2008, doi:10.1007/s10618-008-0097-y, if all known ones are
    recognised).

    Parameters
    ----------
    evidence
        Of each query.
    chances_listed
        Returns the chance that each list holds the truth, float64 (n_queries,), at some shares.
        Shares and chances are computed in turn until they agree. None: all lists hold it.
    """
    rows = np.array([_log_likelihoods(of_query) for of_query in evidence])
    if len(rows) < FEWEST_QUERIES:
        return DEFAULT_SHARES
    shares = _shares(rows, np.ones(len(rows)))
    if chances_listed is None:
        return shares
    for _ in range(_MOST_ROUNDS):
        before, shares = shares, _shares(rows, chances_listed(shares))
        if np.abs(np.subtract(shares, before)).max() < _LEAST_CHANGE:
            break
    return shares


def _shares(
    log_likelihoods: NDArray[np.float64], chances_listed: NDArray[np.float64]
) -> KnownShares:
    same_mode, other_mode, _ = _estimate_shares(log_likelihoods, chances_listed)
    seen = same_mode + other_mode
    known = max((seen - _LOOK_ALIKES) / (1.0 - _LOOK_ALIKES), 0.0)
    return within_limits(same_mode / seen * known, other_mode / seen * known)


def shares_at(known: StatedShares) -> KnownShares:
    """Return the shares of a run for which the user states the share of known compounds.

    A single number is divided between the ion modes in the ratio of the default shares. For a
    library of one mode see `of_one_kind`.
    """
    if not isinstance(known, float | int):
        return within_limits(*known)
    of_known = DEFAULT_SHARES.same_mode / DEFAULT_SHARES.known
    return within_limits(known * of_known, known * (1.0 - of_known))


def of_one_kind(known: float, evidence: Evidence) -> KnownShares:
    """Return the shares for a query if the library has spectra of one ion mode only.

    All known compounds are then known by the same kind of spectra: by spectra of the query's ion
    mode, or by spectra of the other one.
    """
    if evidence.elsewhere.any() and not evidence.measured.any():
        return within_limits(0.0, known)
    return within_limits(known, 0.0)


def within_limits(same_mode: float, other_mode: float) -> KnownShares:
    """Return shares that exclude neither kind of known compounds, nor unknown ones."""
    same_mode, other_mode = max(same_mode, _LEAST), max(other_mode, _LEAST)
    scale = min(1.0, (1.0 - _LEAST_UNKNOWN) / (same_mode + other_mode))
    return KnownShares(same_mode * scale, other_mode * scale)


def _log_likelihoods(evidence: Evidence) -> list[float]:
    """Return the log-likelihoods of the kinds of compound for a query, in nats.

    The kinds are compounds that the library knows by the query's ion mode, by the other mode only,
    and not at all. The likeliest kind has 0, as scores have no absolute scale. If all candidates
    are measured, unknown compounds are given the likelihood that the same list would have if none
    of them were, as an unknown compound may be missing from the list.
    """
    scores, shares = evidence.scores, evidence.shares
    found = [
        _log_sum(scores[of_kind]) - assumed if of_kind.any() else None
        for of_kind, assumed in (
            (evidence.measured, shares.same_mode_odds),
            (evidence.elsewhere, shares.other_mode_odds),
            (~evidence.known, 0.0),
        )
    ]
    if evidence.known.all():
        found[-1] = _unmeasured(evidence)
    highest = max(value for value in found if value is not None)
    return [_NONE if value is None else value - highest for value in found]


def _unmeasured(evidence: Evidence) -> float:
    """Return the log-likelihood that a list would have if the library had none of it, nats."""
    return _log_sum(evidence.scores - evidence.parts[:, _LIBRARY])


def _estimate_shares(
    log_likelihoods: NDArray[np.float64], chances_listed: NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return the share of each kind of compound among the queries of a run.

    The fixed point of the EM algorithm of Saerens et al. 2002 (doi:10.1162/089976602753284446,
    equation 4), with a Dirichlet prior whose mode are the default shares, where query i counts
    w_i times: ``r_k = (sum_i w_i p(k given i, r) + strength * default_k) / (sum_i w_i +
    strength)``. The posterior is log-concave in r, so there is but one.

    Parameters
    ----------
    log_likelihoods
        float64 (n_queries, 3), see `_log_likelihoods`.
    chances_listed
        The w_i, float64 (n_queries,): chances that the list holds the truth.
    """
    default = np.array([*DEFAULT_SHARES, 1.0 - DEFAULT_SHARES.known])
    likelihoods = np.exp(log_likelihoods)
    shares = default
    for _ in range(_MOST_STEPS):
        chances = likelihoods * shares
        chances /= chances.sum(axis=1, keepdims=True)
        before, shares = shares, chances_listed @ chances + _STRENGTH * default
        shares = shares / shares.sum()
        if np.abs(shares - before).max() < _PRECISION:
            break
    same_mode, other_mode, unknown = shares.tolist()
    return same_mode, other_mode, unknown


def _log_sum(values: NDArray[np.float64]) -> float:
    highest = values.max()
    return float(highest + np.log(np.exp(values - highest).sum()))
