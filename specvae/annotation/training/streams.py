"""The training data of a run: pairs, unpaired spectra and structures, and the used columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae.annotation.library.library import Library
from specvae.annotation.library.tensors import FINGERPRINT, SPECTRUM, sparse_rows
from specvae.molecules.fingerprint import FingerprintLayout, unpack
from specvae.spectra.binning import BinLayout
from specvae.spectra.sparse import SparseMatrix
from specvae.vae.data import PackedBits, TensorSource, TrainingData, UnpairedPool
from specvae.vae.networks import SparseRows

_NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class ChosenPairs:
    """Rows of a library by their use in training.

    Attributes
    ----------
    paired
        int64 (n_paired,), ascending: spectra that keep their structure.
    pool
        int64 (n_pool,), ascending: spectra and, apart from them, structures that stream unpaired.
    """

    paired: NDArray[np.int64]
    pool: NDArray[np.int64]

    @property
    def seen(self) -> NDArray[np.int64]:
        """All rows that are used for training, int64, ascending."""
        return np.union1d(self.paired, self.pool)


def choose_pairs(
    rows: NDArray[np.int64], supervision: float, unpaired: UnpairedPool, seed: int
) -> ChosenPairs:
    """Draw the pairs that are kept.

    Parameters
    ----------
    rows
        int64 (n,), rows of the training fold.
    supervision
        Share of them that stays paired; at least one does.
    unpaired
        The pool: the ``rest``, ``all`` of them, or ``none``.
    seed
        Of the draw. A higher share of the same draw has all pairs of a lower one.
    """
    order = np.random.default_rng(seed).permutation(rows)
    n_paired = max(1, round(supervision * len(rows)))
    pool = {"all": rows, "rest": np.sort(order[n_paired:]), "none": rows[:0]}[unpaired]
    return ChosenPairs(np.sort(order[:n_paired]), pool)


def frequent_columns(
    bins: BinLayout, library: Library, rows: NDArray[np.int64], min_count: int
) -> BinLayout:
    """Drop the columns behind the bins that fewer than `min_count` spectra fill.

    They are counted among the library's spectra `rows`, int64 (n,).
    """
    seen = sparse_rows(library.spectra).rows(torch.from_numpy(rows)).columns
    counts = np.bincount(seen.numpy(), minlength=bins.n_columns)
    frequent = np.flatnonzero(counts >= min_count)
    return bins.restricted(frequent[frequent >= bins.n_bins])


def training_means(
    library: Library,
    rows: NDArray[np.int64],
    packed: NDArray[np.uint8],
    bins: BinLayout,
    layout: FingerprintLayout,
) -> dict[str, Tensor]:
    """Return the mean spectrum (n_bins,) and, over compounds, the mean fingerprint (n_bits,).

    Parameters
    ----------
    library
        Its spectra have the columns of `bins`.
    rows
        int64 (n,), the spectra, and the compounds that they are of.
    packed
        Fingerprints of the library's molecules, uint8 (n_molecules, n_bytes).
    bins, layout
        Of the spectra and of the fingerprints.
    """
    spectra = sparse_rows(library.spectra).rows(torch.from_numpy(rows)).first_columns(bins.n_bins)
    total = torch.zeros(bins.n_bins).index_add_(0, spectra.columns.long(), spectra.values)
    compounds = np.unique(library.compound[rows])
    return {
        SPECTRUM: total / len(rows),
        FINGERPRINT: torch.from_numpy(unpack(packed[compounds], layout.n_bits)).float().mean(0),
    }


def training_data(
    library: Library,
    paired: NDArray[np.int64],
    packed: NDArray[np.uint8],
    layout: FingerprintLayout,
    *,
    spectra: NDArray[np.int64] = _NO_ROWS,
    structures: NDArray[np.int64] = _NO_ROWS,
    unpaired_spectra: SparseMatrix | None = None,
    unpaired_packed: NDArray[np.uint8] | None = None,
    compound_balance: float = 0.0,
) -> TrainingData:
    """Return the streams of a run: pairs, and unpaired spectra and fingerprints.

    Parameters
    ----------
    library
        The spectra.
    paired
        int64 (n,): its rows that stay paired.
    packed
        Fingerprints of its molecules, uint8 (n_molecules, n_bytes), by `layout`.
    layout
        Of the fingerprints.
    spectra, structures
        int64 (n,): its rows of which the spectrum, and of which the structure, streams unpaired.
    unpaired_spectra
        More spectra to stream, of the same columns.
    unpaired_packed
        More fingerprints to stream, uint8 (n, n_bytes).
    compound_balance
        A pair of a compound with n pairs is drawn in proportion to n ** -compound_balance.
    """
    matrix, table = library.spectra, packed
    pools = {SPECTRUM: spectra, FINGERPRINT: library.compound[structures]}
    if unpaired_spectra is not None and (n_new := len(unpaired_spectra.offsets) - 1):
        matrix = SparseMatrix.stack([matrix, unpaired_spectra], matrix.n_columns)
        pools[SPECTRUM] = np.concatenate([pools[SPECTRUM], len(library) + np.arange(n_new)])
    if unpaired_packed is not None and (n_new := len(unpaired_packed)):
        table = np.concatenate([packed, unpaired_packed])
        pools[FINGERPRINT] = np.concatenate([pools[FINGERPRINT], len(packed) + np.arange(n_new)])
    tables: dict[str, Tensor | SparseRows | PackedBits] = {
        SPECTRUM: sparse_rows(matrix),
        FINGERPRINT: PackedBits(torch.from_numpy(table), layout.n_bits),
    }
    index = {SPECTRUM: paired, FINGERPRINT: library.compound[paired]}
    weights = None
    if compound_balance:
        counts = np.bincount(index[FINGERPRINT])[index[FINGERPRINT]]
        weights = torch.from_numpy(counts**-compound_balance)
    return TrainingData(
        TensorSource(
            tables, {name: torch.from_numpy(rows) for name, rows in index.items()}, weights
        ),
        {
            name: TensorSource({name: tables[name]}, {name: torch.from_numpy(rows)})
            for name, rows in pools.items()
            if len(rows)
        },
    )
