"""Log-likelihoods of packed fingerprints, summed byte by byte."""

from __future__ import annotations

import numpy as np
import pytest

from specvae.annotation.evidence.fingerprint import log_likelihoods
from specvae.molecules.fingerprint import unpack


@pytest.mark.parametrize("n_bits", [1, 8, 63, 64, 65, 2149])
@pytest.mark.parametrize("n_rows", [0, 1, 300, 5000])
def test_bytes_give_the_sum_over_bits(n_bits: int, n_rows: int) -> None:
    rng = np.random.default_rng(n_bits)
    packed = np.packbits(rng.random((n_rows, n_bits)) < 0.3, axis=1, bitorder="little")
    packed = packed.reshape(n_rows, -(-n_bits // 8))
    logits = rng.normal(0.0, 3.0, (2, n_bits))
    bits = unpack(packed, n_bits).astype(np.float64)
    wanted = logits @ bits.T - np.logaddexp(0.0, logits).sum(1, keepdims=True)
    np.testing.assert_allclose(log_likelihoods(packed, logits), wanted, atol=1e-6)
    np.testing.assert_allclose(log_likelihoods(packed, logits[0]), wanted[0], atol=1e-6)


def test_equal_fingerprints_tie_whatever_stands_beside_them() -> None:
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (9000, 34), dtype=np.uint8)
    packed[[3, 130, 4095, 4096, 8999]] = packed[0]
    logits = rng.normal(size=271)
    scores = log_likelihoods(packed, logits)
    assert set(scores[[3, 130, 4095, 4096, 8999]]) == {scores[0]}
    assert log_likelihoods(packed[:1], logits)[0] == scores[0]
    assert log_likelihoods(packed[::-1], logits)[-1] == scores[0]
