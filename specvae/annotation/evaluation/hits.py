"""How well a ranking finds the truth: hit@k under ties, reciprocal rank, intervals by molecule.

A query's scores leave the truth in a group of ``n_tied`` candidates of equal score (itself
included) behind ``n_better`` ones. Under random tie-breaking its rank is uniform over
``n_better + 1 ... n_better + n_tied``; expectations over it are exact, nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HIT_LEVELS = (1, 5, 10, 20)

_N_RESAMPLES = 2000
_ENDS = (0.025, 0.975)  # of an interval, as shares of the resamples below
# Molecules drawn at once in a bootstrap: 8 MiB, and twice as much for what is looked up.
DRAWS = 2**20


@dataclass(frozen=True, slots=True)
class TruthRank:
    """The rank of the truth of one query.

    Attributes
    ----------
    molecule
        InChIKey first block of the truth; intervals are resampled by it.
    n_better
        Candidates with a higher score than the truth's.
    n_tied
        Candidates with the truth's score, the truth included; 0 if the truth is absent.
    n_candidates
        Candidates ranked (0 if the query could not be ranked).
    """

    molecule: str
    n_better: int
    n_tied: int
    n_candidates: int

    @property
    def is_found(self) -> bool:
        """Whether the truth is among the ranked candidates."""
        return self.n_tied > 0


def rank_of_truth(molecule: str, scores: NDArray[np.float64], truth: int | None) -> TruthRank:
    """Return the rank of the candidate at index `truth` (None: absent) among `scores` (n,)."""
    if truth is None:
        return TruthRank(molecule, 0, 0, len(scores))
    n_better = int(np.count_nonzero(scores > scores[truth]))
    n_tied = int(np.count_nonzero(scores == scores[truth]))
    return TruthRank(molecule, n_better, n_tied, len(scores))


def expected_hits(ranks: Sequence[TruthRank], k: int) -> NDArray[np.float64]:
    """Return each query's chance (n,) that its truth is in the top `k` under random tie-breaking.

    ``min(max(k - n_better, 0), n_tied) / n_tied``; 0 where the truth is absent.
    """
    better, tied = _counts(ranks)
    return np.clip(k - better, 0, tied) / np.maximum(tied, 1)


def worst_hits(ranks: Sequence[TruthRank], k: int) -> NDArray[np.float64]:
    """Return per query (n,) whether the truth is in the top `k` if it loses every tie."""
    better, tied = _counts(ranks)
    return ((tied > 0) & (better + tied <= k)).astype(np.float64)


def best_hits(ranks: Sequence[TruthRank], k: int) -> NDArray[np.float64]:
    """Return per query (n,) whether the truth is in the top `k` if it wins every tie."""
    better, tied = _counts(ranks)
    return ((tied > 0) & (better < k)).astype(np.float64)


def random_hits(ranks: Sequence[TruthRank], k: int) -> NDArray[np.float64]:
    """Return each query's chance (n,) of a hit in the top `k` if its candidates are shuffled."""
    n = np.array([rank.n_candidates for rank in ranks], dtype=np.float64)
    found = np.array([rank.is_found for rank in ranks])
    return np.where(found, np.minimum(k / np.maximum(n, 1.0), 1.0), 0.0)


def reciprocal_ranks(ranks: Sequence[TruthRank]) -> NDArray[np.float64]:
    """Return each query's expected reciprocal rank (n,); 0 where the truth is absent."""
    return np.array(
        [
            float(np.mean(1.0 / np.arange(r.n_better + 1, r.n_better + r.n_tied + 1)))
            if r.is_found
            else 0.0
            for r in ranks
        ],
        dtype=np.float64,
    )


def median_rank(ranks: Sequence[TruthRank]) -> float:
    """Return the median expected rank; an absent truth counts as infinitely far down."""
    if not ranks:
        return float("nan")
    better, tied = _counts(ranks)
    # An even count of queries averages the two in the middle, which infinity must survive.
    ordered = np.sort(np.where(tied > 0, better + (tied + 1) / 2, np.inf))
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(low if low == high else (low + high) / 2)


def top_k_curve(ranks: Sequence[TruthRank], k_max: int) -> list[float]:
    """Return the expected share of queries with the truth in the top k, for k = 1 ... `k_max`."""
    return [float(expected_hits(ranks, k).mean()) for k in range(1, k_max + 1)]


def longest_list(ranks: Sequence[TruthRank]) -> int:
    """Return the largest number of candidates of a query; 1 if there are none."""
    return max((rank.n_candidates for rank in ranks), default=1) or 1


def top_k_intervals(
    ranks: Sequence[TruthRank], k_max: int, *, seed: int
) -> dict[int, tuple[float, float]]:
    """Return 95 % intervals of `top_k_curve` by k, as `bootstrap_interval` has them.

    All k are resampled together, by the molecules that `bootstrap_interval` draws for one of them.
    """
    if not ranks:
        return {}
    hits = np.stack([expected_hits(ranks, k) for k in range(1, k_max + 1)], axis=1)
    _, group = np.unique([rank.molecule for rank in ranks], return_inverse=True)
    n_groups = int(group.max()) + 1
    sums = np.zeros((n_groups, k_max))
    np.add.at(sums, group, hits)
    sizes = np.bincount(group, minlength=n_groups).astype(np.float64)
    means = np.empty((_N_RESAMPLES, k_max))
    for rows, draws in _resampled(n_groups, _N_RESAMPLES, seed):
        counts = np.stack([np.bincount(row, minlength=n_groups) for row in draws])
        means[rows] = (counts @ sums) / (counts @ sizes)[:, np.newaxis]
    low, high = np.quantile(means, _ENDS, axis=0)
    return {k: (float(low[k - 1]), float(high[k - 1])) for k in range(1, k_max + 1)}


def intervals_of(figures: Mapping[str, Any]) -> dict[int, tuple[float, float]]:
    """Return the 95 % intervals that the figures of `summarise` have, by k."""
    found = {k: figures.get(f"hit_at_{k}_ci95") for k in HIT_LEVELS}
    return {k: (ends[0], ends[1]) for k, ends in found.items() if ends is not None}


def random_curve(ranks: Sequence[TruthRank], k_max: int) -> list[float]:
    """Return the same share as `top_k_curve` for shuffled candidates, for k = 1 ... `k_max`."""
    return [float(random_hits(ranks, k).mean()) for k in range(1, k_max + 1)]


def bootstrap_interval(
    values: NDArray[np.float64],
    molecules: Sequence[str],
    *,
    seed: int,
    n_resamples: int = _N_RESAMPLES,
) -> tuple[float, float]:
    """Return a 95 % bootstrap interval of the mean that resamples molecules, not queries.

    Results for spectra of one molecule are correlated; resampling them one by one would make the
    interval too narrow (Efron & Tibshirani 1993, doi:10.1201/9780429246593, section 8.3).

    Parameters
    ----------
    values
        One value per query, float64 (n,).
    molecules
        The molecule of each query, length n.
    seed
        Of the resampling.
    n_resamples
        Number of bootstrap samples.
    """
    if len(values) == 0:
        return (float("nan"), float("nan"))
    _, group = np.unique(np.asarray(molecules), return_inverse=True)
    n_groups = int(group.max()) + 1
    sums = np.bincount(group, weights=values, minlength=n_groups)
    sizes = np.bincount(group, minlength=n_groups)
    means = np.empty(n_resamples)
    for rows, draws in _resampled(n_groups, n_resamples, seed):
        means[rows] = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.quantile(means, _ENDS)
    return (float(low), float(high))


def _resampled(
    n_groups: int, n_resamples: int, seed: int
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """Yield some of the resamples at a time, and the groups drawn for each, (rows, n_groups).

    The batches bound the memory; the generator gives the same numbers as in one.
    """
    rng = np.random.default_rng(seed)
    n_rows = max(DRAWS // n_groups, 1)
    for start in range(0, n_resamples, n_rows):
        rows = slice(start, min(start + n_rows, n_resamples))
        yield rows, rng.integers(0, n_groups, size=(rows.stop - rows.start, n_groups))


def summarise(
    ranks: Sequence[TruthRank], blind: Sequence[TruthRank], *, seed: int
) -> dict[str, float | int | list[float]]:
    """Return the figures of an evaluation under the names of the command-line contract.

    Parameters
    ----------
    ranks
        One entry per query.
    blind
        The same queries ranked by the same model given an empty spectrum.
    seed
        Of the bootstrap.
    """
    molecules = [rank.molecule for rank in ranks]
    figures: dict[str, float | int | list[float]] = {
        "n_queries": len(ranks),
        "n_ranked": sum(rank.n_candidates > 0 for rank in ranks),
        "n_truth_absent": sum(not rank.is_found for rank in ranks),
        "n_molecules": len(set(molecules)),
    }
    measures = {f"hit_at_{k}": expected_hits(ranks, k) for k in HIT_LEVELS}
    measures["mrr"] = reciprocal_ranks(ranks)
    measures["blind_hit_at_1"] = expected_hits(blind, 1)
    for name, values in measures.items():
        figures[name] = float(values.mean()) if len(values) else float("nan")
        figures[f"{name}_ci95"] = list(bootstrap_interval(values, molecules, seed=seed))
    for name, hits in (("worst", worst_hits), ("best", best_hits)):
        figures[f"hit_at_1_{name}"] = float(hits(ranks, 1).mean()) if ranks else float("nan")
    for k in HIT_LEVELS:
        figures[f"random_hit_at_{k}"] = float(random_hits(ranks, k).mean()) if ranks else 0.0
    figures["median_rank"] = median_rank(ranks)
    ranked = [rank.n_candidates for rank in ranks if rank.n_candidates]
    figures["candidates_median"] = float(np.median(ranked)) if ranked else 0.0
    figures["candidates_max"] = max(ranked, default=0)
    return figures


def _counts(ranks: Sequence[TruthRank]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    better = np.array([rank.n_better for rank in ranks], dtype=np.int64)
    tied = np.array([rank.n_tied for rank in ranks], dtype=np.int64)
    return better, tied
