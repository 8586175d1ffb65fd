"""The library's spectra, indexed, and their similarity to a query."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.low_resolution import PeakLists, nominal_cosines
from specvae.annotation.evidence.other_mode import SIGNS
from specvae.annotation.library.labels import SpectrumLabel, labels_of, text_of
from specvae.errors import InputError
from specvae.spectra.adducts import Adduct, parse_adduct
from specvae.spectra.binning import SOFT_EDGE, BinLayout
from specvae.spectra.sparse import SparseMatrix, SparseVector
from specvae.spectra.spectrum import ABOVE_PRECURSOR, FAINTEST, LIGHTEST_LOSS, Spectrum

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Peaks and neutral losses are compared in bins fine enough to tell most formulas apart.
ANALOGUE_BINS = BinLayout(
    bin_width=0.02,
    neutral_losses=True,
    soft_edge=SOFT_EDGE,
    min_relative_intensity=FAINTEST,
    max_peaks=200,
    drop_above_precursor=True,
)

# Low peaks tell as much about a structure as high ones, so the compression is strong.
INTENSITY_POWER = 0.25


class Likeness(NamedTuple):
    """The similarity of the library's spectra to a query.

    Parameters
    ----------
    compounds
        float32 (n_compounds,): similarity of each compound's best spectrum, from 0 to 1.
    rows
        float64 (n_spectra,): similarity of each spectrum; -1 for spectra of the other ion mode.
    """

    compounds: NDArray[np.float32]
    rows: NDArray[np.float64]


class RememberedPeaks(NamedTuple):
    """The peaks of a library spectrum as far as they are remembered: binned.

    Parameters
    ----------
    mz
        float64 (n,): middles of the bins, Th, ascending.
    relative_intensity
        float64 (n,): sum of the bin, the highest at 1.
    bin_width
        Th.
    """

    mz: NDArray[np.float64]
    relative_intensity: NDArray[np.float64]
    bin_width: float

    def moved(self, shift: float) -> RememberedPeaks:
        """Return the same with `shift` (Th) added to each m/z."""
        return self._replace(mz=self.mz + shift)


class AnalogueIndex:
    """Spectra of known compounds, indexed by the bins that their peaks and losses fill.

    Parameters
    ----------
    spectra
        Encoded by `bins`.
    compound
        int64 (n_spectra,): the compound of each spectrum.
    bins
        How queries are encoded; it must have blocks of peaks only.
    signs
        int8 (n_spectra,): 1 for positive, -1 for negative ions, 0 where the ion mode is unknown;
        None if it is unknown for all. Spectra of the other ion mode are similar to no query.
    labels
        Names of the spectra, (n_spectra,); None if they are unknown.

    Raises
    ------
    InputError
        If there is no spectrum.
    """

    _hidden: NDArray[np.bool_] | None = None  # rows that are like no query

    def __init__(
        self,
        spectra: SparseMatrix,
        compound: NDArray[np.int64],
        bins: BinLayout,
        signs: NDArray[np.int8] | None = None,
        labels: Sequence[SpectrumLabel] | None = None,
    ) -> None:
        if not len(compound):
            raise InputError("no library spectrum to look for analogues in")
        # Rows in order of their compounds: the best of a compound is then one `reduceat`.
        order = np.argsort(compound, kind="stable")
        place = np.empty(len(compound), dtype=np.int64)
        place[order] = np.arange(len(compound))
        row = np.repeat(place, np.diff(spectra.offsets))
        by_column = np.argsort(spectra.columns, kind="stable")
        n_filled = np.bincount(spectra.columns, minlength=spectra.n_columns)
        self._hold(
            bins,
            compound[order],
            np.zeros(len(compound), np.int8) if signs is None else signs[order],
            None if labels is None else [labels[i] for i in order.tolist()],
            row[by_column].astype(np.int32),
            unit_rows(spectra)[by_column],
            np.concatenate([np.zeros(1, np.int64), np.cumsum(n_filled)]),
        )

    def _hold(
        self,
        bins: BinLayout,
        compound_of_row: NDArray[np.int64],
        signs: NDArray[np.int8],
        labels: list[SpectrumLabel] | None,
        rows: NDArray[np.int32],
        values: NDArray[np.float32],
        starts: NDArray[np.int64],
    ) -> None:
        """Take spectra in the order of their compounds, and their filled bins in that of columns.

        Column c is filled in the spectra ``rows[starts[c]:starts[c + 1]]``, by as many `values`.
        """
        self.bins = bins
        self._compound_of_row, self._signs, self._labels = compound_of_row, signs, labels
        self._rows, self._values, self._starts = rows, values, starts
        self._compound, self._first_row = np.unique(compound_of_row, return_index=True)
        self._n_rows = len(compound_of_row)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the index as arrays by name, to be stored; `bins` is not among them."""
        arrays: dict[str, NDArray[Any]] = {
            "compound": self._compound_of_row,
            "signs": self._signs,
            "rows": self._rows,
            "values": self._values,
            "starts": self._starts,
        }
        if self._labels is not None:
            arrays["labels"] = text_of(self._labels)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], bins: BinLayout) -> AnalogueIndex:
        """Return the index that `to_arrays` described.

        Raises
        ------
        ValueError
            If the arrays are not of equally many spectra.
        """
        n_rows = len(arrays["compound"])
        # Libraries stored before ion modes were kept have none.
        signs = arrays.get("signs", np.zeros(n_rows, np.int8))
        if len(signs) != n_rows:
            raise ValueError("ion modes and spectra of the library differ in number")
        labels = labels_of(arrays["labels"]) if "labels" in arrays else None
        if labels is not None and len(labels) != n_rows:
            raise ValueError("names and spectra of the library differ in number")
        index = cls.__new__(cls)
        index._hold(
            bins,
            arrays["compound"],
            signs,
            labels,
            arrays["rows"],
            arrays["values"],
            arrays["starts"],
        )
        return index

    @classmethod
    def empty(cls, bins: BinLayout = ANALOGUE_BINS) -> AnalogueIndex:
        """Return an index without any spectrum, to be extended."""
        nothing: dict[str, NDArray[Any]] = {
            "compound": np.empty(0, np.int64),
            "signs": np.empty(0, np.int8),
            "rows": np.empty(0, np.int32),
            "values": np.empty(0, np.float32),
            "starts": np.zeros(bins.n_columns + 1, np.int64),
        }
        index = cls.from_arrays(nothing, bins)
        index._labels = []
        return index

    def extended(
        self,
        spectra: SparseMatrix,
        compound: NDArray[np.int64],
        signs: NDArray[np.int8],
        labels: Sequence[SpectrumLabel],
    ) -> AnalogueIndex:
        """Return the index extended by more spectra; arguments as for a new index.

        The result is the same as an index that was made of all spectra at once.
        """
        if not len(compound):
            return self
        n_old = self._n_rows
        everything = np.concatenate([self._compound_of_row, compound])
        order = np.argsort(everything, kind="stable")
        place = np.empty(len(everything), dtype=np.int64)
        place[order] = np.arange(len(everything))
        row = n_old + np.repeat(np.arange(len(compound)), np.diff(spectra.offsets))
        by_column = np.argsort(spectra.columns, kind="stable")
        # Behind the old entries of the same column.
        at = self._starts[spectra.columns[by_column].astype(np.int64) + 1]
        n_filled = np.bincount(spectra.columns, minlength=len(self._starts) - 1)
        old_labels = self._labels if self._labels is not None else [SpectrumLabel("", "")] * n_old
        joined = [*old_labels, *labels]
        index = type(self).__new__(type(self))
        index._hold(
            self.bins,
            everything[order],
            np.concatenate([self._signs, signs])[order],
            [joined[i] for i in order.tolist()],
            np.insert(place[self._rows], at, place[row[by_column]]).astype(np.int32),
            np.insert(self._values, at, unit_rows(spectra)[by_column]),
            self._starts + np.concatenate([[0], np.cumsum(n_filled)]),
        )
        return index

    def hiding(self, compound: int, ion_mode: str | None = None) -> AnalogueIndex:
        """Return the same index without the spectra of a compound, given its number.

        If `ion_mode` is given, only spectra that are known to be of this mode are left out.
        """
        rows = self._compound_of_row == compound
        if ion_mode is not None:
            rows &= self._signs == SIGNS[ion_mode]
        # Computed once for all copies, as there may be a copy for each compound.
        _ = self._bare, self._rows_by_species, self._by_row
        return self._hiding_rows(rows)

    def rows_of(self, compounds: NDArray[np.int64]) -> dict[int, list[SparseVector]]:
        """Return the remembered spectra of some compounds (numbers of the library), by compound.

        Values are those that are compared: each spectrum is scaled to length 1.
        """
        wanted = np.isin(self._compound_of_row, compounds)
        entries = np.flatnonzero(wanted[self._rows])
        columns = np.searchsorted(self._starts, entries, side="right") - 1
        rows = self._rows[entries]
        order = np.argsort(rows, kind="stable")
        ends = np.flatnonzero(np.diff(rows[order])) + 1
        found: dict[int, list[SparseVector]] = {}
        for part in np.split(order, ends) if len(order) else []:
            compound = int(self._compound_of_row[rows[part[0]]])
            vector = SparseVector(columns[part].astype(np.int32), self._values[entries[part]])
            found.setdefault(compound, []).append(vector)
        return found

    def __len__(self) -> int:
        return self._n_rows

    @property
    def compounds(self) -> NDArray[np.int64]:
        """The library's numbers of the compounds, int64 (n_compounds,), ascending."""
        return self._compound

    def cosines(self, spectra: Sequence[Spectrum]) -> Iterator[NDArray[np.float32]]:
        """Yield the similarity of each compound's best spectrum to each query.

        float32 (n_compounds,) in the order of `compounds`. It is the cosine of the angle between
        two spectra, both as vectors of ``(summed intensity of the bin) ** INTENSITY_POWER`` over
        peaks and neutral losses; 0 where they share no bin.
        """
        for likeness in self._likeness_of_many(spectra):
            yield likeness.compounds

    def likeness(self, spectrum: Spectrum) -> Likeness:
        """Return the similarity of each compound and each spectrum to a query; see `cosines`."""
        return next(self._likeness_of_many([spectrum]))

    def no_likeness(self) -> Likeness:
        """Return the similarities of a query that cannot be compared: all are 0."""
        return Likeness(np.zeros(len(self._compound), np.float32), np.zeros(self._n_rows))

    def _likeness_of_many(self, spectra: Sequence[Spectrum]) -> Iterator[Likeness]:
        encoded = self.bins.encode_many(spectra)
        values = unit_rows(encoded)
        for spectrum, (start, end) in zip(spectra, pairwise(encoded.offsets.tolist()), strict=True):
            comparable = self._comparable_rows(spectrum.ion_mode)
            yield self._likeness(encoded.columns[start:end], values[start:end], comparable)

    def best_rows(self, likeness: Likeness, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return, for each compound, its most similar spectrum to the query, int64 (n,).

        `places` are indices into `compounds`. Of equally similar spectra the first is taken.
        """
        ranges = zip(*self._row_range(places), strict=True)
        return np.array([a + int(np.argmax(likeness.rows[a:b])) for a, b in ranges], dtype=np.int64)

    def _row_range(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first row of each compound and the end of its rows, int64 (n,) each."""
        ends = np.append(self._first_row[1:], self._n_rows)
        return self._first_row[places], ends[places]

    def shared_peaks(self, spectrum: Spectrum, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many peaks of a query spectra of the library share, (n,).

        Neutral losses do not count. A peak on a border of two bins counts once.
        """
        columns = self._sharp_bins.encode(spectrum).columns
        entries, _ = self._entries(columns[columns < self.bins.n_bins])
        return np.bincount(self._rows[entries], minlength=self._n_rows)[rows]

    def rows_of_compounds(
        self, compounds: NDArray[np.int64], ion_mode: str | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the spectra of some compounds that may be of an ion mode.

        The first array has their rows (n,), the second the place of each one's compound in
        `compounds`, whose values are places in `Likeness.compounds`.
        """
        rows, counts = _joined_ranges(*self._row_range(compounds))
        kept = self._comparable_rows(ion_mode)[rows]
        return rows[kept], np.repeat(np.arange(len(compounds)), counts)[kept]

    def nominal_cosines(
        self, query: Spectrum, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return cosines (n,) of spectra with a query by nominal masses, and how many they share.

        See `specvae.annotation.evidence.low_resolution`.
        """
        encoded = self._sharp_bins.encode(query)
        heights = np.expm1(encoded.values.astype(np.float64))
        ours = self._peak_lists(np.array([0, len(heights)]), encoded.columns, heights)
        return nominal_cosines(ours, self._peaks_of(rows), INTENSITY_POWER)

    @cached_property
    def _sharp_bins(self) -> BinLayout:
        """The bins without soft borders, so that each peak is in one of them."""
        return replace(self.bins, soft_edge=0.0)

    def _peaks_of(self, rows: NDArray[np.int64]) -> PeakLists:
        by_row = self._by_row[rows]
        heights = by_row.data.astype(np.float64) ** (1.0 / INTENSITY_POWER)
        offsets = by_row.indptr.astype(np.int64)
        return self._peak_lists(offsets, by_row.indices, np.asarray(heights, np.float64))

    def _peak_lists(
        self,
        offsets: NDArray[np.int64],
        columns: NDArray[np.int32],
        intensity: NDArray[np.float64],
    ) -> PeakLists:
        """Return the peaks of spectra in some columns, one spectrum after the other."""
        is_peak = columns < self.bins.n_bins
        before = np.concatenate([[0], np.cumsum(is_peak)])
        mz = np.asarray((columns[is_peak] + 0.5) * self.bins.bin_width, np.float64)
        return PeakLists(before[offsets], mz, intensity[is_peak])

    @cached_property
    def _by_row(self) -> csr_matrix:
        """The spectra by rows, of hidden ones too; it takes a tenth of a second to make."""
        from scipy.sparse import csc_matrix  # not at the top: it takes a fifth of a second

        shape = self._n_rows, len(self._starts) - 1
        return csc_matrix((self._values, self._rows, self._starts), shape=shape).tocsr()

    def label(self, row: int) -> SpectrumLabel | None:
        """Return the name of a spectrum; None for libraries that were stored without names."""
        return None if self._labels is None else self._labels[row]

    def is_of_mode(
        self, rows: NDArray[np.int64] | slice, ion_mode: str | None
    ) -> NDArray[np.bool_]:
        """Return which spectra are known to be of this ion mode, (n,)."""
        return np.asarray(self._signs[rows] == SIGNS.get(ion_mode or "", 2))

    def is_of_other_mode(self, row: int, ion_mode: str | None) -> bool:
        """Return whether a spectrum is known to be of another ion mode than this one."""
        return bool(self._signs[row] == -SIGNS.get(ion_mode or "", 2))

    def peaks(self, row: int) -> RememberedPeaks:
        """Return the peaks of a spectrum, as far as they are remembered.

        Where borders of bins are soft, peaks in two neighbouring bins are taken as one peak on the
        border.
        """
        entries = np.flatnonzero(self._rows == row)
        columns = np.searchsorted(self._starts, entries, side="right") - 1
        is_peak = columns < self.bins.n_bins
        columns, values = columns[is_peak], self._values[entries[is_peak]].astype(np.float64)
        centre = columns + 0.5
        if self.bins.soft_edge > 0 and len(columns):
            follows = np.concatenate([[False], np.diff(columns) == 1])
            # Of a series of filled bins the first two are one peak, the next two another.
            start = np.maximum.accumulate(np.where(follows, 0, np.arange(len(columns))))
            is_second = (np.arange(len(columns)) - start) % 2 == 1
            first = np.flatnonzero(is_second) - 1
            values[first] = np.hypot(values[first], values[first + 1])
            centre[first] += 0.5
            centre, values = centre[~is_second], values[~is_second]
        relative = values / values.max(initial=1e-30)
        width = self.bins.bin_width
        return RememberedPeaks(
            np.asarray(centre * width, np.float64), relative ** round(1.0 / INTENSITY_POWER), width
        )

    def comparable(self, ion_mode: str | None) -> NDArray[np.bool_]:
        """Return which compounds have a spectrum that may be of this ion mode, (n_compounds,)."""
        if not self._n_rows:
            return np.empty(0, np.bool_)
        return np.asarray(np.maximum.reduceat(self._comparable_rows(ion_mode), self._first_row))

    def measured_as(self, ion: Adduct) -> NDArray[np.bool_]:
        """Return which compounds have a spectrum of this ion species, (n_compounds,)."""
        has_spectrum = np.zeros(len(self._compound), np.bool_)
        rows = self._rows_by_species.get(ion.name, np.empty(0, np.intp))
        if self._hidden is not None:
            rows = rows[~self._hidden[rows]]
        has_spectrum[np.searchsorted(self._compound, self._compound_of_row[rows])] = True
        return has_spectrum

    @cached_property
    def _rows_by_species(self) -> dict[str, NDArray[np.intp]]:
        """Spectra by the names of their ion species, as far as it is known, hidden ones too."""
        texts = np.array([label.adduct for label in self._labels or ()], object)
        rows: dict[str, list[int]] = {}
        for text in set(texts.tolist()):
            ion = parse_adduct(text)
            if ion is not None:
                rows.setdefault(ion.name, []).extend(np.flatnonzero(texts == text).tolist())
        return {name: np.sort(found) for name, found in rows.items()}

    @property
    def knows_ion_modes(self) -> bool:
        """Whether the ion mode of any spectrum is known."""
        return bool(self._signs.any())

    def has_mode(self, ion_mode: str | None) -> bool:
        """Return whether any spectrum is known to be of this ion mode."""
        return bool(self.is_of_mode(slice(None), ion_mode).any())

    def of_known_modes(self) -> AnalogueIndex:
        """Return the same index without spectra of unknown ion mode."""
        return self._hiding_rows(self._signs == 0)

    def with_fragments(self) -> AnalogueIndex:
        """Return the same index without spectra that show nothing but their precursor.

        Such spectra have no neutral loss: their only peaks are of the precursor and its isotopes.
        Spectra without a precursor m/z are kept.
        """
        return self._hiding_rows(self._bare)

    @cached_property
    def _bare(self) -> NDArray[np.bool_]:
        """Which spectra show nothing but their precursor, (n_spectra,), hidden ones included."""
        bare = np.zeros(self._n_rows, np.bool_)
        sections = {section.name: section for section in self.bins.sections}
        if "neutral_losses" not in sections:
            return bare
        # Entries come in the order of columns: peaks by m/z, then losses, whose bins are centred on
        # whole steps from 0 on.
        first_loss = sections["neutral_losses"].start
        n_none = math.ceil(LIGHTEST_LOSS / self.bins.bin_width)
        peaks_end, none_end = self._starts[[first_loss, first_loss + n_none]].tolist()
        bare[self._rows[peaks_end:none_end]] = True
        bare[self._rows[none_end:]] = False
        entries = np.flatnonzero(bare[self._rows[:peaks_end]])
        rows, columns = self._rows[entries], np.searchsorted(self._starts, entries, side="right")
        lowest, highest = np.zeros((2, self._n_rows), np.int64)
        # Of a spectrum's columns the last one that is set stays.
        lowest[rows[::-1]], highest[rows] = columns[::-1], columns
        return bare & ((highest - lowest) * self.bins.bin_width < LIGHTEST_LOSS + ABOVE_PRECURSOR)

    def _hiding_rows(self, rows: NDArray[np.bool_]) -> AnalogueIndex:
        if not rows.any():
            return self
        index = copy.copy(self)
        index._hidden = rows if self._hidden is None else self._hidden | rows
        return index

    def _comparable_rows(self, ion_mode: str | None) -> NDArray[np.bool_]:
        comparable = np.ones(self._n_rows, np.bool_)
        if ion_mode is not None:
            comparable = (self._signs == SIGNS[ion_mode]) | (self._signs == 0)
        return comparable if self._hidden is None else comparable & ~self._hidden

    def _likeness(
        self,
        columns: NDArray[np.int32],
        values: NDArray[np.float32],
        comparable: NDArray[np.bool_],
    ) -> Likeness:
        """Return the cosines of spectra and compounds with one encoded query."""
        if not self._n_rows:
            return Likeness(np.empty(0, np.float32), np.empty(0))
        entries, counts = self._entries(columns)
        products = self._values[entries] * np.repeat(values, counts)
        cosines = np.bincount(self._rows[entries], weights=products, minlength=self._n_rows)
        # A compound without any similar spectrum is shown by one that was compared.
        rows = np.where(comparable, cosines, -1.0)
        best = np.maximum.reduceat(rows, self._first_row)
        return Likeness(np.clip(best, 0.0, 1.0).astype(np.float32), rows)

    def _entries(self, columns: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the entries of some columns, one column after the other, and their numbers."""
        return _joined_ranges(self._starts[columns], self._starts[columns.astype(np.int64) + 1])


def _joined_ranges(
    first: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the numbers of several ranges, one range after the other, and how many each has."""
    counts = ends - first
    # Entry j of all is entry j - k of its range, where k entries are in the ranges before.
    before = np.cumsum(counts) - counts
    return np.arange(counts.sum()) + np.repeat(first - before, counts), counts


def unit_rows(matrix: SparseMatrix) -> NDArray[np.float32]:
    """Return the values (nnz,) that stand for compressed intensities, each row of length 1."""
    # Layouts store log(1 + x) of intensities x that sum to percent of the base peak.
    values = np.expm1(matrix.values.astype(np.float64)) ** INTENSITY_POWER
    row = np.repeat(np.arange(len(matrix.offsets) - 1), np.diff(matrix.offsets))
    lengths = np.sqrt(np.bincount(row, weights=values**2, minlength=len(matrix.offsets) - 1))
    return np.asarray(values / lengths[row], dtype=np.float32)
