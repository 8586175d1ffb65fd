"""From a spectrum to bit logits, and from bit logits to the score of a candidate."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.evidence.bit_sums import bit_sums
from specvae.annotation.library.tensors import FINGERPRINT, SPECTRUM
from specvae.vae.distributions import Bernoulli
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import SparseRows

_BATCH = 64


def _by_batches(
    n: int, width: int, compute: Callable[[torch.Tensor], torch.Tensor]
) -> NDArray[np.float32]:
    """Return what is computed for `n` rows, (n, width), in chunks of equally many rows.

    The order of summation in a matrix product depends on its number of rows. The last chunk is
    padded, so that the result for a row does not depend on other rows.
    """
    found = np.empty((n, width), np.float32)
    for start in range(0, n, _BATCH):
        rows = torch.arange(start, start + _BATCH).clamp(max=n - 1)
        found[start : start + _BATCH] = compute(rows).float().cpu().numpy()[: n - start]
    return found


@torch.inference_mode()
def spectrum_means(
    model: MultimodalVAE, spectra: SparseRows, device: torch.device
) -> NDArray[np.float32]:
    """Return the mean of q(z | spectrum), float32 (n_spectra, n_latent)."""
    model.eval()

    def means(rows: torch.Tensor) -> torch.Tensor:
        return model.posterior({SPECTRUM: spectra.rows(rows).to(device)}).mean

    return _by_batches(len(spectra), model.config.n_latent, means)


@torch.inference_mode()
def fingerprint_means(
    model: MultimodalVAE, bits: NDArray[np.uint8], device: torch.device
) -> NDArray[np.float32]:
    """Return the mean of q(z | fingerprint), float32 (n, n_latent); `bits` (n, n_bits) of 0, 1."""
    model.eval()
    given = torch.from_numpy(bits)

    def means(rows: torch.Tensor) -> torch.Tensor:
        return model.posterior({FINGERPRINT: given[rows].to(device).float()}).mean

    return _by_batches(len(bits), model.config.n_latent, means)


@torch.inference_mode()
def bit_logits(
    model: MultimodalVAE, spectra: SparseRows, device: torch.device
) -> NDArray[np.float64]:
    """Return the predicted logit of each fingerprint bit, float64 (n_spectra, n_bits).

    The fingerprint is decoded from the mean of q(z | spectrum): p(bit | E[z]).
    """
    means = torch.from_numpy(spectrum_means(model, spectra, device))

    def logits(rows: torch.Tensor) -> torch.Tensor:
        return cast("Bernoulli", model.likelihood(means[rows].to(device), FINGERPRINT)).logits

    n_bits = model.modality(FINGERPRINT).n_features
    return _by_batches(len(means), n_bits, logits).astype(np.float64)


def log_likelihoods(packed: NDArray[np.uint8], logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-likelihood (nats) of candidates' fingerprints under predicted bit logits.

    ``sum_b c_b log s(l_b) + (1 - c_b) log(1 - s(l_b)) = c . l - sum_b log(1 + exp(l_b))``: minus
    the cross entropy. Candidates with the same fingerprint get exactly the same score; `bit_sums`
    says how exact it is.

    Parameters
    ----------
    packed
        Fingerprints, uint8 (n_candidates, n_bytes), little-endian bits.
    logits
        float64 (n_bits,) for one prediction, or (n_predictions, n_bits).

    Returns
    -------
    float64 (n_candidates,) or (n_predictions, n_candidates).
    """
    predictions = np.atleast_2d(logits)
    scores = bit_sums(packed, predictions)
    scores -= np.logaddexp(0.0, predictions).sum(axis=1, keepdims=True)
    return scores.reshape((*logits.shape[:-1], len(packed)))
