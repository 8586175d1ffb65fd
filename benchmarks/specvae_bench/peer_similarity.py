"""Similarities of spectra by matchms, which library searches are measured beside."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from specvae.spectra.spectrum import Spectrum

if TYPE_CHECKING:
    from matchms import Spectrum as Peer

TOLERANCE_DA = 0.02
"""Peaks count as one within this distance, Th; our own bins are as wide."""


class PeerSimilarity:
    """A similarity of matchms (Li and Fiehn, doi:10.1038/s41592-023-02012-9).

    All but the tolerance is as matchms has it: peaks below 1 % of the highest are left out, and
    with the mode ``hybrid`` the score ``cosine`` is the modified one.

    Parameters
    ----------
    score_type, matching_mode
        Of matchms' `FlashSimilarity`.
    """

    def __init__(self, score_type: str, matching_mode: str) -> None:
        with warnings.catch_warnings():
            # A part of matchms misses a compression of a format that is not read here.
            warnings.filterwarnings("ignore", message="hdf5plugin is missing")
            from matchms.similarity import FlashSimilarity

        self._similarity = FlashSimilarity(
            score_type=score_type, matching_mode=matching_mode, tolerance=TOLERANCE_DA
        )

    @staticmethod
    def converted(spectra: Sequence[Spectrum]) -> list[Peer]:
        """Return spectra as matchms has them."""
        from matchms import Spectrum as Peer

        return [
            Peer(
                mz=spectrum.mz,
                intensities=spectrum.intensity,
                metadata={"precursor_mz": spectrum.precursor_mz},
                metadata_harmonization=False,
            )
            for spectrum in spectra
        ]

    def matrix(self, queries: Sequence[Peer], library: Sequence[Peer]) -> NDArray[np.float64]:
        """Return the similarities, float64 (n_queries, n_library), 0 where there is none."""
        # It draws progress bars on stderr, unasked.
        with contextlib.redirect_stderr(io.StringIO()):
            found = self._similarity.matrix(queries, library, n_jobs=1)
        return np.asarray(np.nan_to_num(np.asarray(found, dtype=np.float64)))
