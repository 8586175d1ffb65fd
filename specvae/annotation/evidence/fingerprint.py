"""From a spectrum to bit logits, and from bit logits to the score of a candidate."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.evidence.bit_sums import bit_sums
from specvae.annotation.library.tensors import FINGERPRINT, SPECTRUM
from specvae.vae.distributions import Bernoulli
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import SparseRows

_BATCH = 512


def _batches(rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return at most 512 rows at a time, as many each time as the others or one more.

    The last digits of what is computed for a few rows differ from those for many.
    """
    return torch.tensor_split(rows, -(-len(rows) // _BATCH)) if len(rows) else ()


@torch.inference_mode()
def spectrum_means(
    model: MultimodalVAE, spectra: SparseRows, device: torch.device
) -> NDArray[np.float32]:
    """Return the mean of q(z | spectrum), float32 (n_spectra, n_latent)."""
    model.eval()
    means = [
        model.posterior({SPECTRUM: spectra.rows(index).to(device)}).mean.float().cpu().numpy()
        for index in _batches(torch.arange(len(spectra)))
    ]
    return np.concatenate(means) if means else np.empty((0, model.config.n_latent), np.float32)


@torch.inference_mode()
def fingerprint_means(
    model: MultimodalVAE, bits: NDArray[np.uint8], device: torch.device
) -> NDArray[np.float32]:
    """Return the mean of q(z | fingerprint), float32 (n, n_latent); `bits` (n, n_bits) of 0, 1."""
    model.eval()
    means = [
        model.posterior({FINGERPRINT: batch.to(device).float()}).mean.float().cpu().numpy()
        for batch in _batches(torch.from_numpy(bits))
    ]
    return np.concatenate(means) if means else np.empty((0, model.config.n_latent), np.float32)


@torch.inference_mode()
def bit_logits(
    model: MultimodalVAE, spectra: SparseRows, device: torch.device
) -> NDArray[np.float64]:
    """Return the predicted logit of each fingerprint bit, float64 (n_spectra, n_bits).

    The fingerprint is decoded from the mean of q(z | spectrum): p(bit | E[z]).
    """
    means = spectrum_means(model, spectra, device)
    logits = [
        cast("Bernoulli", model.likelihood(batch.to(device), FINGERPRINT))
        .logits.double()
        .cpu()
        .numpy()
        for batch in _batches(torch.from_numpy(means))
    ]
    n_bits = model.modality(FINGERPRINT).n_features
    return np.concatenate(logits) if logits else np.empty((0, n_bits))


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


def standardised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one query's scores (n,) minus their mean, in standard deviations; 0 if all agree.

    Scores of different methods that were standardised over the same candidates can be added.
    """
    # Rounding can give equal numbers a deviation above 0, and tiny ones a deviation of 0.
    spread = scores.std() if len(scores) and np.ptp(scores) > 0.0 else 0.0
    if spread == 0.0:
        return np.zeros_like(scores)
    return np.asarray((scores - scores.mean()) / spread)
