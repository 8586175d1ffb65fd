"""The library spectrum that matches a candidate's query best, and whether it identifies it.

A candidate's match is the most similar to the query of its own spectra of the query's ion mode. If
it has none, the match is a spectrum of the other ion mode, compared with the query as it would look
in that mode: a hint that does not identify the candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.analogues import AnalogueIndex, Likeness
from specvae.annotation.evidence.low_resolution import ACCURATE_SHARE, LEAST_NOMINAL
from specvae.annotation.evidence.other_mode import mode_shift
from specvae.spectra.spectrum import Spectrum

CLEAR_COSINE = 0.7
"""Least cosine of a clear match."""

CLEAR_PEAKS = 3
"""Fewest peaks that a clear match shares with the query."""

CLEAR_MARGIN = 0.1
"""The cosine of a clear match exceeds that of any other candidate's accurate spectra by so much."""

LEAST_COSINE = 0.2
"""Least cosine of a match; for a tenth of known compounds no own spectrum reaches it."""

LIBRARY_LEVEL, TENTATIVE_LEVEL = "2a", "3"
"""Levels of Schymanski et al. 2014 (doi:10.1021/es5002105): a probable structure by an unambiguous
match with a library spectrum; a tentative candidate."""


@dataclass(frozen=True, slots=True)
class LibraryMatch:
    """A candidate's own library spectrum that is most like the query.

    Attributes
    ----------
    query_id, adduct
        Identifier and ion species of the spectrum; empty in models that do not store them.
    cosine
        Likeness of the spectra, from 0 to 1 (`AnalogueIndex.likeness`).
    n_shared
        Peaks that both have.
    is_clear
        Whether it identifies the candidate at level 2a: the ion mode is the same; so is the adduct,
        as far as both are known; the spectrum is measured, not predicted, and compared by accurate
        masses; cosine, number of shared peaks and distance from the other candidates reach
        `CLEAR_COSINE`, `CLEAR_PEAKS` and `CLEAR_MARGIN`; and no compound that is no candidate is
        clearly nearer (`clear_absentee`).
    row
        Of the library.
    name
        What the library calls the compound; empty in models that did not keep it.
    shift
        Th that are added to the m/z of its peaks before they are compared with the query: 0 for a
        spectrum of the query's ion mode, else the mass of two protons with a sign.
    is_nominal
        Whether cosine and number of peaks are of nominal masses, as one of the two spectra is of
        low resolution.
    """

    query_id: str
    adduct: str
    cosine: float
    n_shared: int
    is_clear: bool
    row: int
    name: str = ""
    shift: float = 0.0
    is_nominal: bool = False

    @property
    def level(self) -> str:
        """The level of identification that the match alone gives."""
        return LIBRARY_LEVEL if self.is_clear else TENTATIVE_LEVEL


class OwnSpectra(NamedTuple):
    """The best own library spectrum of each candidate of a list.

    Parameters
    ----------
    row
        int64 (n_candidates,): of the library; -1 where there is none.
    cosine
        float64 (n_candidates,); 0 where there is none.
    n_shared
        int64 (n_candidates,): peaks that it shares with the query.
    is_nominal
        bool (n_candidates,): whether it was compared by nominal masses only, as one of the two is
        of low resolution.
    """

    row: NDArray[np.int64]
    cosine: NDArray[np.float64]
    n_shared: NDArray[np.int64]
    is_nominal: NDArray[np.bool_]

    @classmethod
    def find(
        cls, index: AnalogueIndex, query: Spectrum, likeness: Likeness, own: NDArray[np.int64]
    ) -> OwnSpectra:
        """Return the best spectra of candidates.

        Parameters
        ----------
        index, query, likeness
            The library's spectra, the query, and how like it they are.
        own
            int64 (n_candidates,): the compound that a candidate is, a place in
            `Likeness.compounds`, or -1.
        """
        row, cosine, n_shared, is_nominal = cls.none(len(own))
        measured = own >= 0
        if measured.any():
            row[measured] = index.best_rows(likeness, own[measured])
            cosine[measured] = likeness.compounds[own[measured]]
            n_shared[measured] = index.shared_peaks(query, row[measured])
        return cls(row, cosine, n_shared, is_nominal)

    @classmethod
    def find_nominal(
        cls, index: AnalogueIndex, query: Spectrum, likeness: Likeness, own: NDArray[np.int64]
    ) -> OwnSpectra:
        """Return the best spectra by nominal masses, where accurate ones cannot be compared.

        Parameters as of `find`. There is none for a candidate whose accurate masses agree with the
        query's, or whose nominal ones do not.
        """
        found = cls.none(len(own))
        measured = np.flatnonzero(own >= 0)
        accurate = np.ones(len(own))
        accurate[measured] = likeness.compounds[own[measured]]
        asked = np.flatnonzero(accurate < ACCURATE_SHARE)
        if not len(asked):
            return found
        rows, number = index.rows_of_compounds(own[asked], query.ion_mode)
        cosines, shared = index.nominal_cosines(query, rows)
        # The best spectrum of each candidate, the first of equal ones.
        order = np.lexsort((rows, -cosines, number))
        best = order[np.unique(number[order], return_index=True)[1]]
        places = asked[number[best]]
        is_low = (cosines[best] >= LEAST_NOMINAL) & (
            accurate[places] < ACCURATE_SHARE * cosines[best]
        )
        best, places = best[is_low], places[is_low]
        found.row[places], found.cosine[places] = rows[best], cosines[best]
        found.n_shared[places], found.is_nominal[places] = shared[best], True
        return found

    @property
    def may_be_clear(self) -> NDArray[np.bool_]:
        """Which matches are clear as far as cosine and shared peaks go, bool (n_candidates,)."""
        enough = (self.cosine >= CLEAR_COSINE) & (self.n_shared >= CLEAR_PEAKS)
        return enough & ~self.is_nominal

    @classmethod
    def none(cls, n: int) -> OwnSpectra:
        """Return that none of n candidates has a spectrum."""
        return cls(
            np.full(n, -1, np.int64), np.zeros(n), np.zeros(n, np.int64), np.zeros(n, np.bool_)
        )

    def filled_by(self, other: OwnSpectra) -> OwnSpectra:
        """Return these matches, and those of `other` for candidates that have none here."""
        has_none = self.row < 0
        return OwnSpectra(
            *(np.where(has_none, theirs, ours) for ours, theirs in zip(self, other, strict=True))
        )

    def select(self, rows: NDArray[np.int64]) -> OwnSpectra:
        """Return the matches of some candidates, rows (n,)."""
        return OwnSpectra(
            self.row[rows], self.cosine[rows], self.n_shared[rows], self.is_nominal[rows]
        )

    @classmethod
    def best(cls, of_queries: Sequence[OwnSpectra]) -> OwnSpectra:
        """Return the best matches of the same candidates for several queries.

        A match of cosine 0 is better than none, and nominal masses tell less than accurate ones.
        One that may be clear is best: the precursor alone makes spectra of low energy alike.
        """
        likeness = [
            np.where(found.row < 0, -2.0, found.cosine - found.is_nominal + found.may_be_clear)
            for found in of_queries
        ]
        best = np.argmax(likeness, axis=0)[np.newaxis]
        return cls(
            *(
                np.take_along_axis(np.stack(columns), best, axis=0)[0]
                for columns in zip(*of_queries, strict=True)
            )
        )

    def match(
        self,
        index: AnalogueIndex,
        query: Spectrum,
        place: int,
        *,
        fits: NDArray[np.bool_] | None = None,
        has_absentee: bool = False,
    ) -> LibraryMatch | None:
        """Return the match of one candidate; None if it has no comparable spectrum.

        Candidates that do not fit by their mass, bool (n_candidates,), do not make it ambiguous;
        None: all do. No match is clear where the query `has_absentee`: is clearly like a compound
        of the library that may be it and is no candidate.
        """
        row, cosine = int(self.row[place]), float(self.cosine[place])
        if row < 0:
            return None
        n_shared = int(self.n_shared[place])
        label = index.label(row)
        is_measured = label is None or not label.origin  # neither predicted nor tentative
        same_ion = not (label and label.adduct and query.adduct) or label.adduct == query.adduct
        is_same_mode = (self.row >= 0) & index.is_of_mode(self.row, query.ion_mode)
        compared = is_same_mode & ~self.is_nominal
        rivals = compared if fits is None else compared & fits
        others = np.delete(np.where(rivals, self.cosine, 0.0), place)
        return LibraryMatch(
            query_id=label.query_id if label else "",
            adduct=label.adduct if label else "",
            cosine=cosine,
            n_shared=n_shared,
            is_clear=(
                bool(compared[place] and self.may_be_clear[place])
                and not has_absentee
                and same_ion
                and is_measured
                and cosine - float(others.max(initial=0.0)) >= CLEAR_MARGIN
            ),
            row=row,
            name=label.name if label else "",
            shift=mode_shift(query) if index.is_of_other_mode(row, query.ion_mode) else 0.0,
            is_nominal=bool(self.is_nominal[place]),
        )
