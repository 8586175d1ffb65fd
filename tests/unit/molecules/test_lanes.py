"""Eight numbers at a time, against numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from specvae.molecules.compiling import compiled
from specvae.molecules.lanes import (
    add,
    add_times,
    exponentials,
    load,
    quotient,
    rectified,
    spread,
    store,
    within,
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
def _functions(values: NDArray[np.float32], most: np.float32, out: NDArray[np.float32]) -> None:
    store(out, 0, within(load(values, 0), most))
    store(out, 8, exponentials(load(values, 0)))
    store(out, 16, quotient(spread(most), load(values, 0)))


def test_a_layer_is_the_product_of_numpy() -> None:
    rng = np.random.default_rng(0)
    factors, matrix = rng.normal(size=5), rng.normal(size=(5, 8))
    out = np.arange(12, dtype=np.float32)
    _layer(factors.astype(np.float32), matrix.astype(np.float32), out)
    expected = np.arange(12.0)
    expected[2:10] += np.maximum(factors @ matrix, 0.0)
    np.testing.assert_allclose(out, expected, rtol=1e-5)


def test_functions_of_lanes_are_those_of_numpy() -> None:
    values = np.array([-80.0, -12.5, -0.3, -1e-6, 0.2, 1.0, 33.3, 80.0], np.float32)
    out = np.empty(24, np.float32)
    _functions(values, np.float32(12.0), out)
    np.testing.assert_array_equal(out[:8], np.clip(values, -12.0, 12.0))
    np.testing.assert_allclose(out[8:16], np.exp(values.astype(float)), rtol=3e-7)
    np.testing.assert_array_equal(out[16:], np.float32(12.0) / values)
