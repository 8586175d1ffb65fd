"""Eight numbers at a time, against numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.graph import compiled
from specvae.molecules.lanes import (
    add,
    add_times,
    load,
    lowest_bit,
    popcount,
    rectified,
    store,
    zeros,
)


@compiled
def _layer(
    factors: NDArray[np.float32], matrix: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    total = zeros()
    for k in range(len(factors)):
        total = add_times(total, factors[k], load(matrix, 8 * k))
    store(out, 2, add(rectified(total), load(out, 2)))


@compiled
def _bits(word: np.uint64) -> tuple[int, int]:
    return popcount(word), lowest_bit(word)


def test_a_layer_is_the_product_of_numpy() -> None:
    rng = np.random.default_rng(0)
    factors, matrix = rng.normal(size=5), rng.normal(size=(5, 8))
    out = np.arange(12, dtype=np.float32)
    _layer(factors.astype(np.float32), matrix.astype(np.float32), out)
    expected = np.arange(12.0)
    expected[2:10] += np.maximum(factors @ matrix, 0.0)
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_bits_of_a_word() -> None:
    for word in (1, 40, 2**63, 2**64 - 1, 0xF0F000):
        lowest = (word & -word).bit_length() - 1
        assert _bits(np.uint64(word)) == (word.bit_count(), lowest)
    assert _bits(np.uint64(0)) == (0, 64)
