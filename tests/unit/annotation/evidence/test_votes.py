from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from specvae.annotation.evidence.votes import (
    ELSEWHERE,
    AnalogueRule,
    analogue_scores,
    density_ratios,
    tanimoto,
)


def packed(*bits: list[int]) -> NDArray[np.uint8]:
    table = np.zeros((len(bits), 16), dtype=np.uint8)
    for row, on in zip(table, bits, strict=True):
        row[on] = 1
    return np.packbits(table, axis=1, bitorder="little")


def test_tanimoto_counts_common_and_all_bits() -> None:
    left = packed([0, 1, 2, 15], [], [3])
    right = packed([0, 1, 2, 15], [2, 3], [])
    expected = [[1.0, 1 / 5, 0.0], [0.0, 0.0, 0.0], [0.0, 1 / 2, 0.0]]
    np.testing.assert_allclose(tanimoto(left, right), expected, rtol=1e-6)


@pytest.mark.parametrize("n_bytes", [1, 8, 269, 512])
def test_tanimoto_is_that_of_the_bits(n_bytes: int) -> None:
    rng = np.random.default_rng(n_bytes)
    left, right = (rng.integers(0, 256, (n, n_bytes), np.uint8) for n in (7, 5))
    ours, theirs = (np.unpackbits(each, axis=-1).astype(np.float32) for each in (left, right))
    common = ours @ theirs.T
    either = ours.sum(axis=1)[:, np.newaxis] + theirs.sum(axis=1) - common
    np.testing.assert_array_equal(tanimoto(left, right), common / either)
    assert tanimoto(left[:0], right).shape == (0, 5)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (None, [0.8**3 / 4 + 0.5**3 / 9, 0.8**3 + 0.5**3 / 16]),
        (AnalogueRule(1, 3.0, 2.0), [0.8**3 / 4, 0.8**3]),
        (AnalogueRule(2, 1.0, 1.0, "max"), [0.4, 0.8]),
        (AnalogueRule(30, 2.0, 1.0, "sum"), [0.64 / 2 + 0.25 / 3, 0.64 + 0.25 / 4]),
    ],
)
def test_scores_are_the_votes_of_the_nearest(
    rule: AnalogueRule | None, expected: list[float]
) -> None:
    # Likeness 1/2 and 1/3 of the first candidate, 1 and 1/4 of the second.
    candidates = packed([0], [0, 1])
    analogues = packed([0, 1], [0, 3, 4])
    scores = analogue_scores(np.array([0.8, 0.5], np.float32), analogues, candidates, rule)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_the_density_around_analogues_is_relative_to_that_elsewhere() -> None:
    ratios = density_ratios(np.array([0.0, ELSEWHERE, 3.0]))
    np.testing.assert_allclose(ratios, [0.0, np.log(2.0), np.log(3.0 / ELSEWHERE + 1.0)])


def test_equal_fingerprints_tie_exactly() -> None:
    rng = np.random.default_rng(6)
    distinct = rng.integers(0, 256, (40, 269), dtype=np.uint8)
    order = rng.integers(0, 40, 301)
    cosines = np.sort(rng.uniform(0, 1, 30).astype(np.float32))[::-1]
    scores = analogue_scores(
        cosines, rng.integers(0, 256, (30, 269), dtype=np.uint8), distinct[order]
    )
    for i in range(40):
        assert len(np.unique(scores[order == i])) == 1
    assert len(np.unique(scores)) == len(np.unique(order))
