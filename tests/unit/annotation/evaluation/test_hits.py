from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from specvae.annotation.evaluation import hits as module
from specvae.annotation.evaluation.hits import (
    TruthRank,
    best_hits,
    bootstrap_interval,
    expected_hits,
    intervals_of,
    longest_list,
    median_rank,
    random_hits,
    rank_of_truth,
    reciprocal_ranks,
    summarise,
    top_k_curve,
    top_k_intervals,
    worst_hits,
)


def test_rank_of_truth_counts_better_and_tied() -> None:
    scores = np.array([-1.0, -3.0, -1.0, -2.0, -0.5])
    assert rank_of_truth("A", scores, 2) == TruthRank("A", n_better=1, n_tied=2, n_candidates=5)
    assert rank_of_truth("A", scores, None) == TruthRank("A", 0, 0, 5)
    assert not rank_of_truth("A", scores, None).is_found


def test_expectations_equal_an_average_over_all_tie_breaks() -> None:
    # Every order of the tied candidates is equally likely: enumerate them.
    scores = np.array([5.0, 3.0, 3.0, 3.0, 1.0])
    truth = 2
    rank = rank_of_truth("A", scores, truth)
    orders = itertools.permutations([1, 2, 3])
    positions = [[0, *order, 4].index(truth) + 1 for order in orders]
    for k in (1, 2, 3, 4, 5):
        wanted = np.mean([position <= k for position in positions])
        assert expected_hits([rank], k)[0] == pytest.approx(wanted)
    assert reciprocal_ranks([rank])[0] == pytest.approx(np.mean([1 / p for p in positions]))
    assert best_hits([rank], 2)[0] == 1.0
    assert worst_hits([rank], 3)[0] == 0.0
    assert worst_hits([rank], 4)[0] == 1.0


def test_absent_truth_is_a_miss_everywhere() -> None:
    absent = TruthRank("A", 0, 0, 7)
    for hits in (expected_hits, worst_hits, best_hits, random_hits):
        assert hits([absent], 100)[0] == 0.0
    assert reciprocal_ranks([absent])[0] == 0.0
    assert median_rank([absent, absent, TruthRank("B", 0, 1, 3)]) == math.inf


def test_random_hits_is_the_chance_of_a_shuffle() -> None:
    ranks = [TruthRank("A", 3, 1, 8), TruthRank("B", 0, 1, 2)]
    assert random_hits(ranks, 4).tolist() == [0.5, 1.0]


def test_median_rank_takes_the_middle_of_ties() -> None:
    assert median_rank([TruthRank("A", 2, 3, 9)]) == 4.0
    assert median_rank([TruthRank("A", 0, 1, 9), TruthRank("B", 2, 1, 9)]) == 2.0


def test_top_k_curve_never_falls() -> None:
    rng = np.random.default_rng(0)
    ranks = [
        TruthRank(str(i), int(rng.integers(30)), int(rng.integers(1, 4)), 40) for i in range(50)
    ]
    curve = top_k_curve(ranks, 40)
    assert all(b >= a for a, b in itertools.pairwise(curve))
    assert curve[0] == pytest.approx(expected_hits(ranks, 1).mean())
    assert curve[-1] == 1.0


def test_bootstrap_by_molecule_is_wider_than_by_query_and_covers_the_mean() -> None:
    rng = np.random.default_rng(1)
    of_molecule = rng.random(40)
    molecules = [f"M{i}" for i in range(40) for _ in range(10)]
    values = np.repeat(of_molecule, 10)
    low, high = bootstrap_interval(values, molecules, seed=3)
    alone = bootstrap_interval(values, [str(i) for i in range(400)], seed=3)
    assert low < values.mean() < high
    assert high - low > 2 * (alone[1] - alone[0])
    # The textbook standard error of 40 independent means.
    error = of_molecule.std(ddof=1) / math.sqrt(40)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert bootstrap_interval(values, molecules, seed=3) == (low, high)


def test_intervals_of_a_curve_are_those_of_each_k() -> None:
    rng = np.random.default_rng(1)
    ranks = [
        TruthRank(f"M{n % 17}", int(rng.integers(0, 9)), int(rng.integers(0, 3)), 12)
        for n in range(60)
    ]
    found = top_k_intervals(ranks, 10, seed=4)
    assert list(found) == list(range(1, 11))
    molecules = [rank.molecule for rank in ranks]
    for k in (1, 5, 10):
        expected = bootstrap_interval(expected_hits(ranks, k), molecules, seed=4)
        assert found[k] == pytest.approx(expected, abs=1e-12)
    assert top_k_intervals([], 3, seed=0) == {}
    assert (longest_list(ranks), longest_list([])) == (12, 1)
    figures = summarise(ranks, ranks, seed=4)
    assert intervals_of(figures)[5] == tuple(figures["hit_at_5_ci95"])  # type: ignore[arg-type]
    assert figures["candidates_max"] == 12


def test_bootstrap_of_unequal_groups_resamples_the_ratio() -> None:
    values = np.array([1.0, 0.0, 0.0, 0.0])
    assert bootstrap_interval(values, ["A", "B", "B", "B"], seed=0) == (0.0, 1.0)


@pytest.mark.parametrize("draws", [1, 7, 100, 2**20])
def test_bootstrap_in_blocks_is_the_bootstrap_at_once(
    draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    values, group = rng.random(90), rng.integers(0, 31, 90)
    monkeypatch.setattr(module, "DRAWS", draws)
    found = bootstrap_interval(values, [f"M{i}" for i in group], seed=5, n_resamples=333)
    _, group = np.unique([f"M{i}" for i in group], return_inverse=True)
    n = group.max() + 1
    sums, sizes = np.bincount(group, weights=values), np.bincount(group)
    drawn = np.random.default_rng(5).integers(0, n, size=(333, n))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    assert found == tuple(np.quantile(means, [0.025, 0.975]))


def test_bootstrap_of_many_molecules_needs_little_memory() -> None:
    n = 20_000
    values, molecules = np.random.default_rng(0).random(n), [str(i) for i in range(n)]
    tracemalloc.start()
    try:
        bootstrap_interval(values, molecules, seed=0, n_resamples=300)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 48 * 2**20  # 300 draws of all molecules alone are 46 MiB, their values twice that


def test_summarise_has_the_contract_names() -> None:
    ranks = [TruthRank("A", 0, 2, 4), TruthRank("B", 0, 0, 0)]
    blind = [TruthRank("A", 1, 1, 4), TruthRank("B", 0, 0, 0)]
    figures = summarise(ranks, blind, seed=0)
    assert figures["n_queries"] == 2
    assert figures["n_ranked"] == 1
    assert figures["n_truth_absent"] == 1
    assert figures["n_molecules"] == 2
    assert figures["hit_at_1"] == 0.25
    assert figures["hit_at_1_worst"] == 0.0
    assert figures["hit_at_1_best"] == 0.5
    assert figures["random_hit_at_1"] == 0.125
    assert figures["blind_hit_at_1"] == 0.0
    assert figures["candidates_median"] == 4.0
    for name in ("hit_at_5", "hit_at_10", "hit_at_20", "mrr", "median_rank", "hit_at_1_ci95"):
        assert name in figures
