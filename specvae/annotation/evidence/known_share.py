"""The share of a run's queries whose compound the library has: a prior, estimated from the run.

Whether a measured or an unmeasured candidate is right depends on how many of the queries are known
compounds at all. That is one number of a run, which all its queries tell together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.pool import Evidence

DEFAULT_SHARE = 0.5
"""Share of known compounds where nothing is known, which the ratios of own spectra assume."""

# Number of queries of known outcome that the default counts for. With 5, runs of a hundred unknown
# compounds were taken for one known in twenty, and lost a point of hit@1 (docs/research.md).
_STRENGTH = 1.0
# What a run without any known compound shows, as some measured isomers look like the truth. It is
# what the 127 positive queries of CASMI 2016 show (docs/research.md).
_LOOK_ALIKES = 0.075
FEWEST_QUERIES = 20
"""Runs of fewer queries do not show their share: scores of a few queries must not depend on which
others are in the file, and so few show little."""

_NO_MEASURED = -50.0  # nats
_GRID = 400  # shares that an interval is read off
_LEAST = 0.01  # a run never shows that there is no known compound at all


def log_odds_known(evidence: Evidence) -> float | None:
    """Return the log odds that the truth is a measured candidate, at a share of one half.

    The evidence must assume that share. A known compound would be a measured candidate, so that a
    list without any is of an unknown one. None for a list of measured candidates alone, which
    leaves no choice.
    """
    measured = evidence.measured
    if measured.all():
        return None
    if not measured.any():
        return _NO_MEASURED
    scores = evidence.scores
    return _log_sum(scores[measured]) - _log_sum(scores[~measured])


def known_share(log_odds: Sequence[float]) -> float:
    """Return the share of known compounds of a run, from the `log_odds_known` of its queries.

    `DEFAULT_SHARE` for fewer than `FEWEST_QUERIES`. From the share p that seem to be known follows
    that which is, ``(p - q) / (1 - q)``, where q is the share of unknown compounds that seem so
    (adjusted counts: Forman 2008, doi:10.1007/s10618-008-0097-y, with all known ones recognised).
    """
    if len(log_odds) < FEWEST_QUERIES:
        return DEFAULT_SHARE
    share = estimate_share(np.array(log_odds, dtype=np.float64), DEFAULT_SHARE, _STRENGTH)
    return within_limits((share - _LOOK_ALIKES) / (1.0 - _LOOK_ALIKES))


def within_limits(share: float) -> float:
    """Return a share that excludes neither known nor unknown compounds."""
    return min(max(share, _LEAST), 1.0 - _LEAST)


def share_of_known(evidence: Iterable[Evidence]) -> float:
    """Return the share of known compounds of a run, from the evidence for a share of one half."""
    found = (log_odds_known(of_query) for of_query in evidence)
    return known_share([odds for odds in found if odds is not None])


def settle(evidence: Sequence[Evidence], weights: Mapping[str, float]) -> list[Evidence]:
    """Return the evidence of a run's queries for the share of known compounds that they show.

    Parameters
    ----------
    evidence
        Of each query, for a share of one half.
    weights
        Of the kinds of evidence.
    """
    share = share_of_known(evidence)
    return [of_query.settled(weights, share) for of_query in evidence]


def estimate_share(log_odds: NDArray[np.float64], default: float, strength: float) -> float:
    """Return the share of cases that are so, from each case's log odds at a share of one half.

    The fixed point of the EM algorithm of Saerens et al. 2002 (doi:10.1162/089976602753284446,
    equation 4), with a Beta prior whose mode is `default`:
    ``r = (sum_i sigma(o_i + logit r) + strength * default) / (n + strength)``. The posterior is
    log-concave in r, so there is but one, found by bisection.

    Parameters
    ----------
    log_odds
        float64 (n,).
    default, strength
        The share where nothing is known, and the number of cases of known outcome that it counts
        for.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        expected = strength * default + float(probability_at(log_odds, middle).sum())
        if expected > middle * (len(log_odds) + strength):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def share_interval(
    log_odds: NDArray[np.float64], default: float, strength: float, level: float = 0.95
) -> tuple[float, float]:
    """Return between which shares the true one lies with a probability of `level`.

    The posterior of the share r is proportional to
    ``r ^ (strength default) (1 - r) ^ (strength (1 - default)) prod_i (1 - r + r exp(o_i))``; its
    equal-tailed interval is read off a grid. Arguments as in `estimate_share`. It takes the log
    odds as they are: where these are wrong, the interval does not know.
    """
    steps = (np.arange(_GRID) + 0.5) / _GRID
    density = np.array(
        [
            strength * (default * np.log(r) + (1.0 - default) * np.log1p(-r))
            + np.logaddexp(np.log1p(-r), np.log(r) + log_odds).sum()
            for r in steps.tolist()
        ]
    )
    below = np.cumsum(np.exp(density - density.max()))
    tail = (1.0 - level) / 2
    low, high = np.searchsorted(below, [tail * below[-1], (1.0 - tail) * below[-1]])
    return float(steps[low]), float(steps[high])


def probability_at(log_odds: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return the chance (n,) that a case is so, ``sigma(log_odds + logit share)``."""
    with np.errstate(divide="ignore"):
        prior = np.log(share) - np.log1p(-share)
    # The logistic function by tanh, which overflows nowhere and takes an infinite prior.
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * (log_odds + prior))))


def _log_sum(values: NDArray[np.float64]) -> float:
    highest = values.max()
    return float(highest + np.log(np.exp(values - highest).sum()))
