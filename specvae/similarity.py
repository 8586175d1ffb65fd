"""Measures of matchms over what a model sees: the latent space, and the cosine of its evidence.

They go into ``matchms.calculate_scores`` as any measure of matchms does, which must be installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matchms.similarity.BaseSimilarity import BaseSimilarity
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import ANALOGUE_BINS, AnalogueIndex
from specvae.arguments import kind_of
from specvae.errors import InputError
from specvae.face import Model
from specvae.spectra.exchange import from_matchms

if TYPE_CHECKING:
    import matchms


class _Measure(BaseSimilarity):  # type: ignore[misc]
    """A measure that compares all spectra at once; a pair is a matrix of one."""

    is_commutative = True
    score_datatype = np.float64

    def pair(self, reference: matchms.Spectrum, query: matchms.Spectrum) -> NDArray[np.float64]:
        """Return the likeness of two spectra."""
        return np.asarray(self.matrix([reference], [query])[0, 0], self.score_datatype)

    def matrix(
        self,
        references: Sequence[matchms.Spectrum],
        queries: Sequence[matchms.Spectrum],
        array_type: str = "numpy",
        is_symmetric: bool = False,
        progress_bar: bool = True,
    ) -> Any:  # noqa: ANN401 - an array, or the sparse one of matchms
        """Return the likeness of all pairs, float64 (n_references, n_queries).

        Parameters are those of matchms; a sparse array is made by matchms, pair by pair.
        """
        if array_type != "numpy":
            return super().matrix(references, queries, array_type, is_symmetric, progress_bar)
        return self._likeness(references, queries)

    def _likeness(
        self, references: Sequence[matchms.Spectrum], queries: Sequence[matchms.Spectrum]
    ) -> NDArray[np.float64]:
        raise NotImplementedError


class LatentSimilarity(_Measure):
    """Cosine of the latent means of two spectra, from -1 to 1.

    Parameters
    ----------
    model
        As `specvae.load` returns it.
    """

    def __init__(self, model: Model) -> None:
        if not isinstance(model, Model):
            raise InputError(f"model: found {kind_of(model)}, wanted what specvae.load returns")
        self._model = model

    def _likeness(
        self, references: Sequence[matchms.Spectrum], queries: Sequence[matchms.Spectrum]
    ) -> NDArray[np.float64]:
        left, right = (
            np.asarray(self._model.embed(list(spectra)), np.float64)
            for spectra in (references, queries)
        )
        return _unit(left) @ _unit(right).T


class AnalogueSimilarity(_Measure):
    """The cosine by which the library is searched, from 0 to 1, whatever the ion mode.

    Peaks and neutral losses in bins of 0.02 Th, heights to the power of one quarter
    (`specvae.annotation.evidence.analogues`). It needs no model.
    """

    def _likeness(
        self, references: Sequence[matchms.Spectrum], queries: Sequence[matchms.Spectrum]
    ) -> NDArray[np.float64]:
        encoded = ANALOGUE_BINS.encode_many([from_matchms(s) for s in references])
        index = AnalogueIndex(encoded, np.arange(len(references)), ANALOGUE_BINS)
        found = index.cosines([from_matchms(s) for s in queries])
        return np.stack([np.asarray(row, np.float64) for row in found], axis=1)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12))
