"""From a spectrum to bit logits, and from bit logits to the score of a candidate."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from specvae.annotation.library.tensors import FINGERPRINT, SPECTRUM
from specvae.molecules.graph import compiled_with
from specvae.vae.distributions import Bernoulli
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import SparseRows

_BATCH = 512
_CANDIDATES = 4096

_BITS_OF_HALF = np.unpackbits(
    np.arange(16, dtype=np.uint8)[np.newaxis], axis=0, count=4, bitorder="little"
).astype(np.float64)
"""Bit of each value of half a byte, (4, 16)."""

_BYTE, _ELEVEN, _ROWS = np.uint64(255), np.uint64(11), np.uint64(128)
_S1, _S2, _S3, _S4, _S5, _S6, _S7 = (np.uint64(8 * n) for n in range(1, 8))  # shifts
_T1, _T2, _T3, _T4, _T5, _T6, _T7 = (np.uint64(256 * n) for n in range(1, 8))  # tables


@torch.inference_mode()
def spectrum_means(
    model: MultimodalVAE, spectra: SparseRows, device: torch.device
) -> NDArray[np.float32]:
    """Return the mean of q(z | spectrum), float32 (n_spectra, n_latent)."""
    model.eval()
    means = [
        model.posterior({SPECTRUM: spectra.rows(index).to(device)}).mean.float().cpu().numpy()
        for index in torch.split(torch.arange(len(spectra)), _BATCH)
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
        for batch in torch.split(torch.from_numpy(bits), _BATCH)
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
        for batch in torch.split(torch.from_numpy(means), _BATCH)
    ]
    n_bits = model.modality(FINGERPRINT).n_features
    return np.concatenate(logits) if logits else np.empty((0, n_bits))


def log_likelihoods(packed: NDArray[np.uint8], logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-likelihood (nats) of candidates' fingerprints under predicted bit logits.

    ``sum_b c_b log s(l_b) + (1 - c_b) log(1 - s(l_b)) = c . l - sum_b log(1 + exp(l_b))``: minus
    the cross entropy. The sum over bits is one over bytes, each of which is looked up in a table of
    256 sums. Candidates with the same fingerprint get exactly the same score.

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
    n_words = -(-packed.shape[1] // 8)
    tables = [
        _byte_tables(np.ascontiguousarray(of_one).tobytes(), 8 * n_words) for of_one in predictions
    ]
    scores = np.zeros((len(predictions), len(packed)))
    for start in range(0, len(packed), _CANDIDATES):
        rows = packed[start : start + _CANDIDATES]
        padded = np.zeros((len(rows), 8 * n_words), np.uint8)
        padded[:, : packed.shape[1]] = rows
        words = padded.reshape(-1).view("<u8")
        for of_prediction, sums in zip(tables, scores, strict=True):
            _add_up(words, np.uint64(n_words), of_prediction, sums[start : start + _CANDIDATES])
    scores -= np.logaddexp(0.0, predictions).sum(axis=1, keepdims=True)
    return scores.reshape((*logits.shape[:-1], len(packed)))


# Each query's candidates are also compared with what the model predicts without a spectrum.
@lru_cache(maxsize=2)
def _byte_tables(logits: bytes, n_bytes: int) -> NDArray[np.float64]:
    """Return what each value of each byte of a fingerprint adds, float64 (256 n_bytes,).

    `logits` are the bytes of float64 (n_bits,).
    """
    padded = np.zeros(8 * n_bytes)
    padded[: len(logits) // 8] = np.frombuffer(logits)
    # Not as a matrix product: for so few numbers the library's threads wait longer than they add.
    halves = np.zeros((n_bytes, 2, 16))
    for bit, is_set in enumerate(_BITS_OF_HALF):
        halves += padded.reshape(n_bytes, 2, 4)[:, :, bit, np.newaxis] * is_set
    return np.asarray((halves[:, 0, np.newaxis] + halves[:, 1, :, np.newaxis]).reshape(-1))


@compiled_with(nogil=True)
def _add_up(
    words: NDArray[np.uint64],
    n_words: np.uint64,
    tables: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:  # pragma: no cover (compiled)
    """Add to each row's sum what its bytes add, in one order whatever the other rows are.

    Rows are dealt with some at a time, so that the tables of a word stay in the nearest cache.
    Places are unsigned throughout: a signed one might be counted from the end, which takes longer.
    """
    one, n_rows, start = np.uint64(1), np.uint64(len(sums)), np.uint64(0)
    while start < n_rows:
        end = min(start + _ROWS, n_rows)
        w = np.uint64(0)
        while w < n_words:
            t = w << _ELEVEN
            i = start
            while i < end:
                x = words[i * n_words + w]
                a = tables[t + (x & _BYTE)] + tables[t + _T1 + ((x >> _S1) & _BYTE)]
                b = tables[t + _T2 + ((x >> _S2) & _BYTE)] + tables[t + _T3 + ((x >> _S3) & _BYTE)]
                c = tables[t + _T4 + ((x >> _S4) & _BYTE)] + tables[t + _T5 + ((x >> _S5) & _BYTE)]
                d = tables[t + _T6 + ((x >> _S6) & _BYTE)] + tables[t + _T7 + (x >> _S7)]
                sums[i] += (a + b) + (c + d)
                i += one
            w += one
        start = end


def standardised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return one query's scores (n,) minus their mean, in standard deviations; 0 if all agree.

    Scores of different methods that were standardised over the same candidates can be added.
    """
    # Rounding can give equal numbers a deviation above 0, and tiny ones a deviation of 0.
    spread = scores.std() if len(scores) and np.ptp(scores) > 0.0 else 0.0
    if spread == 0.0:
        return np.zeros_like(scores)
    return np.asarray((scores - scores.mean()) / spread)
