"""Whether probabilities come true: calibration, risk against coverage, false discoveries.

Each query counts with the probability ``p`` of its best candidate and with the outcome ``y``:
whether that candidate is the truth, 1/m if m candidates of equal score, the truth among them,
share the first place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from specvae.annotation.ranking.in_list import selection_at
from specvae.annotation.ranking.probability import Floats

N_BINS = 10
COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_Z = 1.959963984540054  # of a 95 % interval
_SMALLEST = 1e-12  # keeps the log loss of an outcome of probability 0 finite


@dataclass(frozen=True, slots=True)
class Bin:
    """Queries of similar probability.

    Attributes
    ----------
    n_queries
        How many.
    probability
        Their mean probability.
    right
        The share of them whose best candidate is the truth.
    right_ci95
        Its 95 % interval, see `wilson_interval`: with as many trials as they have compounds.
    """

    n_queries: int
    probability: float
    right: float
    right_ci95: tuple[float, float]


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share that `n` independent trials gave.

    Its width is above 0 even if all trials or none succeed (Wilson 1927,
    doi:10.1080/01621459.1927.10502953).
    """
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def reliability(
    p: Floats, y: Floats, n_bins: int = N_BINS, molecules: Sequence[str] | None = None
) -> list[Bin]:
    """Return bins of equal numbers of queries, in order of rising probability.

    Queries of equal p may fall into different bins; each then counts with the mean outcome of
    its equals, so that the order of queries does not matter. Fewer queries than bins make as
    many bins as queries.

    Parameters
    ----------
    p, y
        Probability and outcome of the best candidates, (n,) each.
    n_bins
        How many.
    molecules
        The compound of each query: results for spectra of one compound are correlated, so that
        intervals count them as one trial. None counts every query as a trial.
    """
    if not len(p):
        return []
    order = np.argsort(p, kind="stable")
    p, y = p[order], _mean_of_equals(p, y)[order]
    names = np.arange(len(p)) if molecules is None else np.asarray(molecules)[order]
    bins = []
    for part in np.array_split(np.arange(len(p)), min(n_bins, len(p))):
        right = float(y[part].mean())
        interval = wilson_interval(right, len(np.unique(names[part])))
        bins.append(Bin(len(part), float(p[part].mean()), right, interval))
    return bins


def expected_calibration_error(p: Floats, y: Floats, n_bins: int = N_BINS) -> float:
    """Return ``sum_b n_b / n |mean_b(p) - mean_b(y)|`` over the bins of `reliability`.

    It does not vanish for perfect probabilities and few queries: with m independent queries a
    bin, chance alone makes it about 0.8 sqrt(p (1 - p) / m).
    """
    if not len(p):
        return float("nan")
    bins = reliability(p, y, n_bins)
    return sum(b.n_queries * abs(b.probability - b.right) for b in bins) / len(p)


def brier_score(p: Floats, y: Floats) -> float:
    """Return the expected squared difference of p and whether the best candidate is right.

    For an outcome that depends on a tie, ``y (1 - p)^2 + (1 - y) p^2``.
    """
    return float(np.mean(y * (1 - p) ** 2 + (1 - y) * p**2)) if len(p) else float("nan")


def log_loss(outcome: Floats) -> float:
    """Return the mean of ``-log p`` (nats) of the true outcomes.

    `outcome` (n,) is the probability of the truth, or, where it is not listed, of "not listed".
    """
    return float(-np.log(np.maximum(outcome, _SMALLEST)).mean()) if len(outcome) else float("nan")


def risk_coverage(p: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Return coverage k / n and risk (n,) each: the share of wrong ones among the k surest.

    Queries of equal p are in random order, in expectation.
    """
    wrong = 1.0 - _mean_of_equals(p, y)[np.argsort(-p, kind="stable")]
    k = np.arange(1, len(p) + 1)
    return k / max(len(p), 1), np.cumsum(wrong) / k


def area_under_risk(p: Floats, y: Floats) -> float:
    """Return the mean risk over all coverages: 0 is best, 1 - mean(y) is a random order."""
    return float(risk_coverage(p, y)[1].mean()) if len(p) else float("nan")


def summarise_probabilities(
    p: Floats, y: Floats, outcome: Floats, molecules: Sequence[str] | None = None
) -> dict[str, object]:
    """Return the figures of an evaluation, JSON values by name.

    Parameters
    ----------
    p, y
        Probability and outcome of the best candidates, (n,) each.
    outcome
        Probability of what turned out to be true, (n,), as `log_loss` has it.
    molecules
        The compound of each query, for intervals; see `reliability`.
    """
    coverage, risk = risk_coverage(p, y)
    falling = -np.sort(-p)
    # The k surest queries for each coverage, at least one of them.
    last = [max(1, round(c * len(p))) - 1 for c in COVERAGES] if len(p) else []
    return {
        "n_with_probability": len(p),
        "ece": expected_calibration_error(p, y),
        "brier": brier_score(p, y),
        "log_loss": log_loss(outcome),
        "mean_probability": float(p.mean()) if len(p) else float("nan"),
        "aurc": area_under_risk(p, y),
        "risk_coverage": [
            {
                "coverage": float(coverage[i]),
                "risk": float(risk[i]),
                "probability": float(falling[i]),
            }
            for i in last
        ],
        "reliability": [
            {
                "n_queries": b.n_queries,
                "probability": b.probability,
                "right": b.right,
                "right_ci95": list(b.right_ci95),
            }
            for b in reliability(p, y, molecules=molecules)
        ],
        "false_discovery": [
            {
                "threshold": selection.threshold,
                "n_queries": selection.n_queries,
                "estimated": selection.estimated_fdr,
                "true": selection.true_fdr,
            }
            for selection in (selection_at(p, threshold, y) for threshold in THRESHOLDS)
        ],
    }


def _mean_of_equals(p: Floats, y: Floats) -> Floats:
    """Return for each query the mean outcome of all queries of the same p."""
    _, group = np.unique(p, return_inverse=True)
    return np.asarray((np.bincount(group, weights=y) / np.bincount(group))[group])


def risk_curves(p: Floats, y: Floats) -> dict[str, Floats]:
    """Return risk against coverage, observed and predicted, (n,) each, the surest queries first.

    ``coverage`` and ``risk`` are those of `risk_coverage`; ``promised`` is the mean of 1 - p over
    the queries that are kept.
    """
    coverage, risk = risk_coverage(p, y)
    promised = np.cumsum(1.0 + np.sort(-p)) / np.arange(1, len(p) + 1)
    return {"coverage": coverage, "risk": risk, "promised": promised}
