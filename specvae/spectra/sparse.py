"""Encoded spectra as sparse rows of NumPy arrays.

`specvae.annotation.library.tensors.sparse_rows` turns them into `SparseRows`, the tensors that
networks take; both share their memory. There are two classes, as `spectra` does not import torch
and `vae` knows nothing of spectra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SparseVector(NamedTuple):
    """One encoded spectrum.

    Parameters
    ----------
    columns
        Columns that are not 0 (nnz,), int32, ascending, each once.
    values
        Their values (nnz,), float32.
    """

    columns: NDArray[np.int32]
    values: NDArray[np.float32]


class SparseMatrix(NamedTuple):
    """Encoded spectra in compressed rows.

    Parameters
    ----------
    offsets
        Row i lies at ``offsets[i]:offsets[i + 1]`` of the other two (n + 1,), int64.
    columns
        (nnz,), int32, ascending within a row, each once.
    values
        (nnz,), float32.
    n_columns
        Width of the matrix.
    """

    offsets: NDArray[np.int64]
    columns: NDArray[np.int32]
    values: NDArray[np.float32]
    n_columns: int

    @classmethod
    def empty(cls, n_rows: int) -> SparseMatrix:
        """Return rows without any column."""
        offsets = np.zeros(n_rows + 1, np.int64)
        return cls(offsets, np.empty(0, np.int32), np.empty(0, np.float32), 0)

    @classmethod
    def stack(cls, parts: Sequence[SparseMatrix], n_columns: int) -> SparseMatrix:
        """Return the rows of several matrices of `n_columns` columns, one below the other."""
        offsets = [np.zeros(1, dtype=np.int64)]
        for part in parts:
            offsets.append(part.offsets[1:] + offsets[-1][-1])
        return cls(
            np.concatenate(offsets),
            np.concatenate([np.empty(0, np.int32), *(part.columns for part in parts)]),
            np.concatenate([np.empty(0, np.float32), *(part.values for part in parts)]),
            n_columns,
        )

    def select(self, rows: NDArray[np.int64]) -> SparseMatrix:
        """Return some rows, int64 (n,), in the given order."""
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        entries = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], counts)
        return SparseMatrix(offsets, self.columns[entries], self.values[entries], self.n_columns)
