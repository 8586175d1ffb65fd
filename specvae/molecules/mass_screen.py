"""Which rows of a long table may have the mass of a query, and must be parsed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from specvae.errors import StructureError
from specvae.masses import ppm_width
from specvae.molecules.molecule import Molecule
from specvae.molecules.quiet import quiet_rdkit
from specvae.molecules.structure_cache import Texts
from specvae.molecules.text_mass import text_masses

_ROUNDING = 1e-5  # Da: sums of the same masses in another order differ by less
_DIGITS = 1e-8  # Da, that a distance may be too large


class MassScreen:
    """Tells which rows of a table may have the mass of a query, and remembers the others.

    It is for one reading of one table.

    Parameters
    ----------
    masses
        Neutral masses of the queries, in Da.
    ppm
        Largest distance of a candidate's mass from a query's.
    """

    def __init__(self, masses: Iterable[float], ppm: float) -> None:
        centres = np.unique(np.fromiter(masses, np.float64))
        widths = ppm_width(centres, ppm) + _ROUNDING
        self._begins, self._ends = _disjoint(centres - widths, centres + widths)
        self._left_out: list[Texts] = []
        self._masses: list[NDArray[np.float64]] = []
        self._rows: list[NDArray[np.int64]] = []
        self._by_mass: tuple[NDArray[np.float64], NDArray[np.int64]] | None = None
        self._exact: dict[int, float] = {}

    @property
    def n_left_out(self) -> int:
        """How many rows were not wanted."""
        return len(self._left_out)

    def forget(self) -> None:
        """Forget the rows that were not wanted: all are read, for another reason than mass."""
        self._left_out, self._masses, self._rows = [], [], []

    def wanted(self, texts: Sequence[Texts]) -> NDArray[np.bool_]:
        """Return which rows must be parsed, bool (n,).

        They may have the mass of a query, by one of their texts, or have a text that is not
        understood, or none.
        """
        is_stated = np.zeros(len(texts), np.bool_)
        kept = np.zeros(len(texts), np.bool_)
        masses, rows = [], []
        for column in zip(*texts, strict=True):
            stated = np.flatnonzero([bool(text) for text in column])
            found = text_masses([column[row] for row in stated.tolist()])
            each, places = found.each()
            is_stated[stated] = True
            kept[stated[np.isnan(found.lightest)]] = True
            kept[stated[places[self._holds(each)]]] = True
            masses.append(each)
            rows.append(stated[places])
        kept |= ~is_stated
        # Where the others stand among all that were left out.
        place = self.n_left_out - 1 + np.cumsum(~kept)
        for each, of_text in zip(masses, rows, strict=True):
            is_left = ~kept[of_text]
            self._masses.append(each[is_left])
            self._rows.append(place[of_text[is_left]])
        self._left_out += [texts[row] for row in np.flatnonzero(~kept).tolist()]
        return kept

    def nearest(self, mass: float, distance: float) -> float:
        """Return how far, in Da, the exact mass of the nearest row that was not wanted is.

        What cannot be parsed after all does not count. Where none is nearer than `distance`, that
        is returned.
        """
        masses, rows = self._sorted()
        middle = int(np.searchsorted(masses, mass))
        for places in (range(middle, len(masses)), range(middle - 1, -1, -1)):
            for place in places:
                # One of the masses that a row may have is its own.
                if abs(masses[place] - mass) > distance - _DIGITS:
                    break
                distance = min(distance, abs(self._exact_mass(int(rows[place])) - mass))
        return distance

    def has_cation(self, mz: float, ppm: float) -> bool:
        """Return whether a row that was not wanted is a cation of about an m/z, in Th."""
        if not self._left_out:
            return False
        masses, rows = self._sorted()
        width = ppm_width(mz, ppm)
        first, end = np.searchsorted(masses, (mz - width, mz + width))
        charged = {
            row
            for row in rows[first:end].tolist()
            if any("+" in text for text in self._left_out[row])
        }
        return any(
            self._is_cation(row) and abs(self._exact_mass(row) - mz) <= width for row in charged
        )

    def _is_cation(self, row: int) -> bool:
        try:
            with quiet_rdkit():
                return Molecule.parse(*self._left_out[row]).charge > 0
        except StructureError:
            return False

    def _sorted(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the masses of rows that were not wanted, rising, and which rows these are."""
        if self._by_mass is None:
            masses, rows = np.concatenate(self._masses), np.concatenate(self._rows)
            order = np.argsort(masses, kind="stable")
            self._by_mass = masses[order], rows[order]
        return self._by_mass

    def _exact_mass(self, row: int) -> float:
        if row not in self._exact:
            try:
                with quiet_rdkit():
                    self._exact[row] = Molecule.parse(*self._left_out[row]).exact_mass
            except StructureError:
                self._exact[row] = np.inf
        return self._exact[row]

    def _holds(self, masses: NDArray[np.float64]) -> NDArray[np.bool_]:
        place = np.searchsorted(self._begins, masses, side="right") - 1
        return np.append(self._ends, -np.inf)[place] >= masses


def _disjoint(
    begins: NDArray[np.float64], ends: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what rising intervals cover together, as intervals that do not overlap."""
    reached = np.maximum.accumulate(ends)
    is_first = np.append(True, begins[1:] > reached[:-1])[: len(begins)]
    return begins[is_first], reached[np.append(is_first[1:], True)[: len(begins)]]
