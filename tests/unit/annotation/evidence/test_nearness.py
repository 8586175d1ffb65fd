from __future__ import annotations

import numpy as np
import pytest

from specvae.annotation.evidence.nearness import FLOOR, nearness
from specvae.annotation.evidence.votes import tanimoto, words


@pytest.mark.parametrize(("n_compounds", "n_bytes"), [(1, 1), (32, 269), (100, 512)])
def test_nearness_is_the_logarithm_of_a_density(n_compounds: int, n_bytes: int) -> None:
    rng = np.random.default_rng(n_bytes)
    compounds = rng.integers(0, 256, (n_compounds, n_bytes), np.uint8)
    # Some candidates are like compounds, and one has no bit.
    candidates = np.concatenate([compounds[:5], rng.integers(0, 256, (7, n_bytes), np.uint8)])
    candidates[:, 0] ^= 1
    candidates[-1] = 0
    alike = tanimoto(candidates, compounds).astype(np.float64)
    nobody = np.full(len(candidates), -1)
    np.testing.assert_allclose(
        nearness(candidates, words(compounds), nobody),
        np.log(1.0 + (alike**10).sum(axis=1) / FLOOR),
        rtol=1e-5,
        atol=1e-12,
    )


def test_a_candidate_is_not_near_itself() -> None:
    compounds = np.array([[0b1111], [0b0111], [0b1]], np.uint8)
    found = nearness(compounds, words(compounds), np.array([0, 1, -1]))
    near, far = (3 / 4) ** 10, (1 / 4) ** 10
    third = (1 / 3) ** 10
    wanted = [near + far, near + third, far + third + 1.0]
    np.testing.assert_allclose(found, np.log1p(np.array(wanted) / FLOOR))


def test_nothing_is_near_an_empty_library() -> None:
    candidates = np.ones((3, 8), np.uint8)
    nobody = np.full(3, -1)
    np.testing.assert_array_equal(nearness(candidates, words(candidates[:0]), nobody), 0.0)
    assert nearness(candidates[:0], words(candidates), nobody[:0]).shape == (0,)


def test_a_compound_that_fills_no_bit_is_near_nothing() -> None:
    nothing = np.zeros((2, 8), np.uint8)
    np.testing.assert_array_equal(nearness(nothing, words(nothing), np.full(2, -1)), 0.0)
