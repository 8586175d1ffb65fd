from __future__ import annotations

import numpy as np
import pytest
import torch

from specvae.annotation.evidence import bit_sums as scoring
from specvae.annotation.evidence.fingerprint import (
    bit_logits,
    fingerprint_means,
    log_likelihoods,
    spectrum_means,
)
from specvae.vae.config import Modality, ModelConfig
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig, SparseRows


def packed_bits(n: int, n_bits: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    bits = np.random.default_rng(seed).integers(0, 2, size=(n, n_bits), dtype=np.uint8)
    return bits, np.packbits(bits, axis=1, bitorder="little")


def test_score_is_minus_the_cross_entropy() -> None:
    bits, packed = packed_bits(7, 2149, seed=0)
    logits = np.random.default_rng(1).normal(scale=4.0, size=(3, 2149))
    expected = -torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits)[:, None].expand(3, 7, 2149),
        torch.from_numpy(bits).double()[None].expand(3, 7, 2149),
        reduction="none",
    ).sum(-1)
    np.testing.assert_allclose(log_likelihoods(packed, logits), expected.numpy(), atol=2e-6)
    np.testing.assert_allclose(log_likelihoods(packed, logits[0]), expected[0].numpy(), atol=2e-6)


def test_extreme_logits_stay_finite() -> None:
    _, packed = packed_bits(4, 64, seed=2)
    scores = log_likelihoods(packed, np.full(64, 1e4))
    assert np.isfinite(scores).all()


def test_equal_fingerprints_tie_exactly() -> None:
    _, packed = packed_bits(50, 2149, seed=3)
    doubled = np.concatenate([packed, packed[::-1], packed[:3]])
    scores = log_likelihoods(doubled, np.random.default_rng(4).normal(size=2149))
    np.testing.assert_array_equal(scores[:50], scores[50:100][::-1])
    np.testing.assert_array_equal(scores[:3], scores[100:])
    assert len(np.unique(scores)) == len(np.unique(packed, axis=0))


def test_long_lists_are_scored_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    _, packed = packed_bits(300, 64, seed=5)
    logits = np.random.default_rng(6).normal(size=(2, 64))
    whole = log_likelihoods(packed, logits)
    monkeypatch.setattr(scoring, "PIECE", 7)
    np.testing.assert_array_equal(log_likelihoods(packed, logits), whole)
    np.testing.assert_array_equal(log_likelihoods(packed, logits[1]), whole[1])


def tiny_model(n_hidden: int) -> MultimodalVAE:
    torch.manual_seed(0)
    network = NetworkConfig(hidden=(n_hidden,), dropout=0.5)
    return MultimodalVAE(
        ModelConfig(
            (
                Modality(
                    "spectrum",
                    40,
                    n_context=5,
                    likelihood="gaussian",
                    encoder=network,
                    decoder=network,
                    sparse=True,
                ),
                Modality(
                    "fingerprint", 12, likelihood="bernoulli", encoder=network, decoder=network
                ),
            ),
            n_latent=6,
        )
    )


def one_peak_each(n: int) -> SparseRows:
    columns = torch.randint(0, 45, (n, 1), generator=torch.Generator().manual_seed(1))
    return SparseRows(torch.arange(n + 1), columns.flatten(), torch.ones(n), 45)


@pytest.mark.parametrize("n_hidden", [16, 257])
def test_a_prediction_is_the_same_alone_and_among_others(n_hidden: int) -> None:
    """To the last bit; sums of a product depend on how many rows it has."""
    model, n, device = tiny_model(n_hidden), 700, torch.device("cpu")
    rows = one_peak_each(n)
    together = bit_logits(model, rows, device)
    means = spectrum_means(model, rows, device)
    bits = np.random.default_rng(2).integers(0, 2, size=(n, 12), dtype=np.uint8)
    of_bits = fingerprint_means(model, bits, device)
    assert together.shape == (n, 12)
    assert means.shape == of_bits.shape == (n, 6)
    order = np.random.default_rng(3).permutation(n)
    for size in (1, 2, 7, 63, 64, 65, 257, 699):
        chosen = order[:size]
        some = rows.rows(torch.from_numpy(chosen))
        assert bit_logits(model, some, device).tobytes() == together[chosen].tobytes()
        assert spectrum_means(model, some, device).tobytes() == means[chosen].tobytes()
        found = fingerprint_means(model, bits[chosen], device)
        assert found.tobytes() == of_bits[chosen].tobytes()


def test_no_spectra_have_no_predictions() -> None:
    none = one_peak_each(3).rows(torch.tensor([], dtype=torch.long))
    assert bit_logits(tiny_model(16), none, torch.device("cpu")).shape == (0, 12)
