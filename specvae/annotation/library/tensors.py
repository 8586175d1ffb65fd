"""How chemistry becomes tensors: the names of the two modalities, and spectra as their input."""

from __future__ import annotations

import numpy as np
import torch

from specvae.spectra.binning import BinLayout
from specvae.spectra.sparse import SparseMatrix
from specvae.vae.networks import SparseRows

SPECTRUM = "spectrum"
FINGERPRINT = "fingerprint"
# The path that annotation uses: from a spectrum through the latent space to a fingerprint.
ANNOTATION_PATH = f"{SPECTRUM}->{FINGERPRINT}"


def sparse_rows(matrix: SparseMatrix) -> SparseRows:
    """Return encoded spectra as a batch that the networks take; memory is shared."""
    return SparseRows(
        torch.from_numpy(matrix.offsets),
        torch.from_numpy(matrix.columns),
        torch.from_numpy(matrix.values),
        matrix.n_columns,
    )


def empty_spectrum(bins: BinLayout) -> SparseRows:
    """Return one spectrum in which nothing was measured: the input of the blind control."""
    columns, values = bins.empty()
    return sparse_rows(SparseMatrix(np.array([0, len(columns)]), columns, values, bins.n_columns))
