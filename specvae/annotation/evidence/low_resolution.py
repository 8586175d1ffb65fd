"""Spectra of low resolution: compared with others by nominal masses.

Peaks of a quadrupole or an ion trap are off by tenths of a Th, and share no fine bin with accurate
peaks of the same compound. Low resolution is not read from the records, but recognised by comparing
two spectra: if nominal masses agree and accurate ones do not, one of the two spectra is of low
resolution, and only nominal masses can be compared.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.own_spectra import OwnSpectraRatio

# How far the mass of an organic ion lies above its nominal mass, as a share of it.
_DEFECT = 4e-4

LEAST_NOMINAL = 0.2
"""Least cosine of nominal masses of two spectra of which one is of low resolution."""

ACCURATE_SHARE = 0.3
"""The cosine of such spectra by accurate masses is below this share of that by nominal masses."""

NOMINAL_RATIO = OwnSpectraRatio(
    constant=-2.0, cosine=5.0, margin=0.5, best_hit=0.0, scarcity=0.8, analogues=0.0
)
"""Evidence of a candidate's own spectra if they are compared by nominal masses; fitted to compounds
of MassBank with spectra of quadrupoles and ion traps (docs/research.md, section 38)."""


def nominal(mz: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the nominal masses of ions (n,), whole numbers of Th."""
    return np.floor(mz * (1.0 - _DEFECT) + 0.5).astype(np.int64)


class PeakLists(NamedTuple):
    """Peaks of several spectra, one spectrum after the other.

    Parameters
    ----------
    offsets
        int64 (n_spectra + 1,): spectrum i has the peaks ``offsets[i]:offsets[i + 1]``.
    mz
        float64 (n_peaks,), Th.
    intensity
        float64 (n_peaks,), of any unit.
    """

    offsets: NDArray[np.int64]
    mz: NDArray[np.float64]
    intensity: NDArray[np.float64]

    @property
    def n_spectra(self) -> int:
        """Number of spectra."""
        return len(self.offsets) - 1


def nominal_cosines(
    query: PeakLists, spectra: PeakLists, power: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the cosines of spectra with a query by nominal masses, and how many they share.

    Parameters
    ----------
    query
        One spectrum.
    spectra
        Those that it is compared with.
    power
        Of the summed intensity of a nominal mass, before the cosine is taken.

    Returns
    -------
    cosines
        float64 (n_spectra,), from 0 to 1; 0 for a spectrum without peaks.
    shared
        int64 (n_spectra,): nominal masses that both have.
    """
    _, masses, heights = _by_mass(query, power)
    rows, their_masses, their_heights = _by_mass(spectra, power)
    place = np.searchsorted(masses, their_masses)
    found = np.flatnonzero(np.append(masses, -1)[place] == their_masses)
    ours = np.zeros(len(rows))
    ours[found] = heights[place[found]]
    n = spectra.n_spectra
    products = np.bincount(rows, ours * their_heights, n)
    squares = np.bincount(rows, their_heights**2, n) * (heights**2).sum()
    cosines = products / np.sqrt(np.where(squares > 0.0, squares, 1.0))
    return np.clip(cosines, 0.0, 1.0), np.bincount(rows[found], minlength=n)


def _by_mass(
    spectra: PeakLists, power: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return spectrum, nominal mass and height of what is left of peaks, by spectrum and mass."""
    mass = nominal(spectra.mz)
    row = np.repeat(np.arange(spectra.n_spectra), np.diff(spectra.offsets))
    width = int(mass.max(initial=0)) + 1
    keys, place = np.unique(row * width + mass, return_inverse=True)
    heights = np.bincount(place, spectra.intensity, len(keys)) ** power
    return keys // width, keys % width, np.asarray(heights, np.float64)
