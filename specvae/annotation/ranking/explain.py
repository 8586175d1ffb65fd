"""Why a query's first candidate is first: how the second differs, and its library spectrum.

This is done once the order is final, for the two candidates of the report alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import AnalogueIndex
from specvae.annotation.evidence.items import (
    Analogue,
    BitEvidence,
    LibrarySpectrum,
    PeakEvidence,
)
from specvae.annotation.evidence.other_mode import in_other_mode
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.library.query import Query
from specvae.annotation.ranking.annotator import Annotator
from specvae.annotation.ranking.result import Annotation, Explanation, Ranked
from specvae.spectra.spectrum import Spectrum


@dataclass(frozen=True, slots=True, eq=False)
class Explainer:
    """The part of a ranked query that is needed to explain its best candidates later.

    Attributes
    ----------
    logits
        float32 (n_bits,), predicted for the query.
    packed
        Fingerprints of the candidates that may be shown, uint8 (n_kept, n_bytes).
    spectra
        Of a feature whose spectra were merged, all of them; else none.
    """

    logits: NDArray[np.float32]
    packed: NDArray[np.uint8]
    spectra: tuple[Spectrum, ...] = ()

    @classmethod
    def of(cls, ranked: Ranked, rows: NDArray[np.int64]) -> Self:
        """Return an explainer of a ranked query; `rows` are the candidates that may be shown."""
        return cls(ranked.logits.astype(np.float32), ranked.packed[rows], ranked.spectra)

    def explain(
        self,
        annotator: Annotator,
        query: Query,
        best: Sequence[Annotation],
        places: Sequence[int],
        analogues: Sequence[Analogue],
    ) -> Explanation:
        """Return why the first of the one or two `best` candidates is first.

        Parameters
        ----------
        annotator
            The model that ranked.
        query
            The spectrum and its ion.
        best
            The first candidate, and the second if there is one.
        places
            Their rows of `packed`.
        analogues
            Compounds of the library with like spectra, the nearest first.
        """
        pool = annotator.evidence_pool
        shown = query if pool is None else self._shown(pool, query, best[0], analogues)
        peaks = [_peaks(pool, shown, candidate) for candidate in best]
        return Explanation(
            best[1] if len(best) > 1 else None,
            peaks[0],
            peaks[1] if len(best) > 1 else (),
            self._bits(annotator, best, places),
            None if pool is None else _library_spectrum(pool, shown, best[0], analogues),
            shown.spectrum,
        )

    def _shown(
        self, pool: EvidencePool, query: Query, best: Annotation, analogues: Sequence[Analogue]
    ) -> Query:
        """Return the query with that of its spectra which the library spectrum was found by."""
        found = best.match or next(iter(analogues), None)
        if len(self.spectra) < 2 or found is None or found.row < 0:
            return query
        is_nominal = best.match is not None and best.match.is_nominal
        cosines = [_cosine(pool.library.index, s, found.row, is_nominal) for s in self.spectra]
        nearest = int(np.argmin(np.abs(np.array(cosines) - found.cosine)))
        return replace(query, spectrum=self.spectra[nearest])

    def _bits(
        self, annotator: Annotator, best: Sequence[Annotation], places: Sequence[int]
    ) -> tuple[BitEvidence, ...]:
        molecules = [candidate.molecule for candidate in best]
        if len(molecules) < 2 or molecules[0] is None or molecules[1] is None:
            return ()
        first, second = places
        return annotator.telling_bits(
            self.logits, (self.packed[first], self.packed[second]), (molecules[0], molecules[1])
        )


def _cosine(index: AnalogueIndex, spectrum: Spectrum, row: int, is_nominal: bool) -> float:
    if is_nominal:
        return float(index.nominal_cosines(spectrum, np.array([row]))[0][0])
    if index.is_of_other_mode(row, spectrum.ion_mode):
        flipped = in_other_mode(spectrum)
        return -1.0 if flipped is None else _cosine(index, flipped, row, is_nominal)
    return float(index.likeness(spectrum).rows[row])


def _peaks(
    pool: EvidencePool | None, query: Query, candidate: Annotation
) -> tuple[PeakEvidence, ...]:
    if pool is None or candidate.molecule is None:
        return ()
    ion = query.ion_named(candidate.adduct)
    return pool.explain(query.spectrum_of(ion), candidate.molecule)


def _library_spectrum(
    pool: EvidencePool, query: Query, best: Annotation, analogues: Sequence[Analogue]
) -> LibrarySpectrum | None:
    match = best.match
    if match is not None:
        own = pool.library.index.label(match.row)
        return LibrarySpectrum(
            match.query_id,
            match.adduct,
            best.smiles,
            best.first_block,
            match.cosine,
            match.n_shared,
            is_own=True,
            peaks=pool.library.index.peaks(match.row).moved(match.shift),
            name=own.name if own else "",
            shift=match.shift,
            is_nominal=match.is_nominal,
        )
    if not analogues or analogues[0].row < 0:
        return None
    nearest = analogues[0]
    label = pool.library.index.label(nearest.row)
    (n_shared,) = pool.library.index.shared_peaks(query.spectrum, np.array([nearest.row])).tolist()
    return LibrarySpectrum(
        label.query_id if label else "",
        label.adduct if label else "",
        nearest.smiles,
        nearest.first_block,
        nearest.cosine,
        n_shared,
        is_own=False,
        peaks=pool.library.index.peaks(nearest.row),
        name=nearest.name,
    )
