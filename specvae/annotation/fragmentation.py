"""Peaks explained by the fragments of a candidate, and a score that is learned from explanations.

Two scores of a candidate, given the peaks of a query:

`metfrag_scores` is that of MetFrag: each explained peak counts by its m/z and height, divided by
the strength of the bonds that its fragment costs.

`FragmentScorer` is fitted to compounds with known spectra. A network of a few thousand weights gives
every fragment, with every number of hydrogens gained or lost, a weight ``exp(u)`` from the kinds of
bonds and atoms at its cuts and from what it keeps and lacks. A peak's chance is the share of its
explanations among all fragments of the candidate,

    log p(peak) = log(exp(b) + sum over explanations of exp(u)) - g log(sum over all exp(u)),

with background ``b`` for what no fragment explains; the score is the sum over the peaks, weighted
by their heights. A candidate gains by cheap fragments that are seen, and loses by those that are
not. The weights maximise the probability of the truth among structures of the same mass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from rdkit import Chem

from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable
from specvae.spectra.masses import ELECTRON_MASS, ISOTOPE_MASSES
from specvae.spectra.spectrum import Spectrum

SHIFTS = np.arange(-4, 3)
"""Hydrogens that an ion has more than the protonated or deprotonated fragment."""

TOLERANCE_PPM = 10.0
TOLERANCE_DA = 0.003
MAX_PEAKS = 60

_HYDROGEN = ISOTOPE_MASSES["H"]
_MAX_SUBFORMULAS = 200_000
_INTENSITY_STEPS = np.array([0.01, 0.05, 0.25])
_LIMIT = 12.0  # |u|


class Peaks(NamedTuple):
    """What is explained: the highest peaks of a spectrum.

    Parameters
    ----------
    mz
        float64 (n_peaks,), Th, ascending.
    intensity
        float64 (n_peaks,), the highest at 1.
    sign
        1 for positive, -1 for negative ions.
    """

    mz: NDArray[np.float64]
    intensity: NDArray[np.float64]
    sign: int = 1

    @classmethod
    def of(cls, spectrum: Spectrum, max_peaks: int = MAX_PEAKS) -> Self:
        """Take a spectrum's highest peaks up to the precursor, not the isotopes beyond it."""
        ion = spectrum.ion
        sign = -1 if ion is not None and ion.charge < 0 else 1
        return cls.highest(
            spectrum.mz, spectrum.intensity, spectrum.precursor_mz, sign=sign, max_peaks=max_peaks
        )

    @classmethod
    def highest(
        cls,
        mz: NDArray[np.float64],
        intensity: NDArray[np.float64],
        precursor_mz: float | None = None,
        *,
        sign: int = 1,
        max_peaks: int = MAX_PEAKS,
    ) -> Self:
        """Take the highest peaks up to the precursor; all may be missing, and none is left."""
        kept = intensity > 0
        if precursor_mz is not None:
            kept &= mz <= precursor_mz + 0.5
        mz, intensity = mz[kept], intensity[kept]
        top = np.sort(np.argsort(-intensity, kind="stable")[:max_peaks])
        mz, intensity = mz[top], intensity[top]
        return cls(mz, intensity / intensity.max(initial=0.0) if len(mz) else intensity, sign)


class Matches(NamedTuple):
    """Pairs of a peak and an ion of a fragment that agree in mass, by ascending peak.

    Parameters
    ----------
    peak, fragment
        int64 (n_matches,): indices of both.
    shift
        int64 (n_matches,): index into `SHIFTS`.
    """

    peak: NDArray[np.int64]
    fragment: NDArray[np.int64]
    shift: NDArray[np.int64]


def match_peaks(
    table: FragmentTable,
    peaks: Peaks,
    *,
    tolerance_ppm: float = TOLERANCE_PPM,
    tolerance_da: float = TOLERANCE_DA,
) -> Matches:
    """Find the ions of a molecule's fragments at the peaks.

    An ion is a fragment with one proton more (positive) or fewer (negative ions) and with some of
    `SHIFTS`: never with fewer than no hydrogens, nor with more than its cut bonds leave room for.
    A peak and an ion agree within the larger of both tolerances.
    """
    return Matches(
        *_match(
            table.masses,
            table.n_hydrogens,
            table.valences,
            peaks.mz,
            peaks.sign,
            tolerance_ppm * 1e-6,
            tolerance_da,
        )
    )


@njit(cache=True)
def _match(masses, hydrogens, valences, mz, sign, relative, absolute):  # type: ignore[no-untyped-def]
    room = 256
    n = 0
    out = np.empty((3, room), np.int64)
    for p in range(len(mz)):
        width = max(absolute, relative * mz[p])
        for s in range(len(SHIFTS)):
            gained = SHIFTS[s] + sign
            neutral = mz[p] + sign * ELECTRON_MASS - gained * _HYDROGEN
            f = np.searchsorted(masses, neutral - width)
            while f < len(masses) and masses[f] <= neutral + width:
                if SHIFTS[s] <= valences[f] and hydrogens[f] + gained >= 0:
                    if n == room:
                        room *= 2
                        more = np.empty((3, room), np.int64)
                        more[:, :n] = out
                        out = more
                    out[0, n] = p
                    out[1, n] = f
                    out[2, n] = s
                    n += 1
                f += 1
    return out[0, :n].copy(), out[1, :n].copy(), out[2, :n].copy()


def possible(table: FragmentTable, sign: int) -> NDArray[np.bool_]:
    """Return which shift each fragment can have, bool (n_fragments, len(SHIFTS))."""
    shifts = SHIFTS[None, :]
    return np.asarray(
        (shifts <= table.valences[:, None]) & (table.n_hydrogens[:, None] + shifts + sign >= 0)
    )


def has_subformula(
    table: FragmentTable,
    peaks: Peaks,
    *,
    tolerance_ppm: float = TOLERANCE_PPM,
    tolerance_da: float = TOLERANCE_DA,
) -> NDArray[np.bool_]:
    """Return which peaks some part of the molecule's formula has the mass of, bool (n_peaks,)."""
    heavy, hydrogens = _subformulas(table)
    widths = np.maximum(tolerance_da, tolerance_ppm * 1e-6 * peaks.mz)
    # One hydrogen more than the molecule: its protonated form.
    return np.asarray(
        _fits(heavy, hydrogens + 1, peaks.mz + peaks.sign * ELECTRON_MASS, widths), np.bool_
    )


def _subformulas(table: FragmentTable) -> tuple[NDArray[np.float64], int]:
    """Return the masses of all selections of heavy atoms, ascending, and the hydrogens."""
    numbers, counts = np.unique(table.atoms[:, 0], return_counts=True)
    periodic = Chem.GetPeriodicTable()
    masses = np.zeros(1)
    for number, count in zip(numbers, counts, strict=True):
        own = periodic.GetMostCommonIsotopeMass(int(number))
        steps = np.arange(count + 1) * own
        masses = (masses[:, None] + steps).ravel()[:_MAX_SUBFORMULAS]
    return np.sort(masses), int(table.atoms[:, 1].sum())


@njit(cache=True)
def _fits(heavy, hydrogens, masses, widths):  # type: ignore[no-untyped-def]
    out = np.zeros(len(masses), np.bool_)
    for p in range(len(masses)):
        h = 0
        while h <= hydrogens and not out[p]:
            wanted = masses[p] - h * _HYDROGEN
            at = np.searchsorted(heavy, wanted - widths[p])
            out[p] = at < len(heavy) and heavy[at] <= wanted + widths[p]
            h += 1
    return out
