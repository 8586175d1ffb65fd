"""Peaks of a query, and the ions of a candidate's fragments that explain them.

An ion is a fragment with a number of hydrogens gained or lost; it explains a peak of its mass. The
ions of a sodium adduct, or of another metal's, may have the metal in place of a hydrogen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS, composition_mass, ppm_width
from specvae.molecules.compiling import compiled
from specvae.molecules.drawn import HYDROGENS
from specvae.molecules.fragments import FragmentTable
from specvae.molecules.graph import Graph
from specvae.spectra.spectrum import Spectrum

SHIFTS = np.arange(-4, 3)
"""Hydrogens that an ion has more than the protonated or deprotonated fragment."""

TOLERANCE_PPM = 10.0
TOLERANCE_DA = 0.003
MAX_PEAKS = 60


class Peaks(NamedTuple):
    """What is explained: the highest peaks of a spectrum.

    Parameters
    ----------
    mz
        float64 (n_peaks,), Th, ascending.
    intensity
        float64 (n_peaks,), the highest at 1.
    precursor_mz
        Th; where it is not known, the highest m/z of a peak.
    sign
        1 for positive, -1 for negative ions.
    metal, n_metals
        Symbol of the metal of the adduct, and the number of its atoms; see `Adduct.metal`.
    """

    mz: NDArray[np.float64]
    intensity: NDArray[np.float64]
    precursor_mz: float
    sign: int = 1
    metal: str = ""
    n_metals: int = 0

    @property
    def ion_mode(self) -> str:
        """``positive`` or ``negative``."""
        return "positive" if self.sign > 0 else "negative"

    @property
    def widths(self) -> NDArray[np.float64]:
        """How far the m/z of an ion at each peak may be from it, Th (n_peaks,)."""
        return np.maximum(TOLERANCE_DA, ppm_width(self.mz, TOLERANCE_PPM))

    def without_metal(self, n: int) -> Self:
        """Return the peaks as they would be with hydrogens in place of `n` of the metal's atoms."""
        if not n:
            return self
        moved = np.maximum(self.mz - n * _beyond_hydrogen(self.metal), 0.0)
        return self._replace(mz=moved, metal="", n_metals=0)

    @classmethod
    def of(cls, spectrum: Spectrum, max_peaks: int = MAX_PEAKS) -> Self:
        """Take the highest of a spectrum's peaks that are compared; see `highest`.

        The precursor is taken as it would be with one charge (`Spectrum.singly_charged_mz`).
        """
        ion = spectrum.ion
        chosen = spectrum.is_compared
        peaks = cls.highest(
            spectrum.mz[chosen],
            spectrum.intensity[chosen],
            spectrum.singly_charged_mz,
            sign=-1 if ion is not None and ion.charge < 0 else 1,
            max_peaks=max_peaks,
        )
        metal, n_metals = ("", 0) if ion is None else ion.metal
        return peaks._replace(metal=metal, n_metals=n_metals)

    def are_of_formulas(self, formulas: Iterable[Composition]) -> NDArray[np.bool_]:
        """Return which peaks some part of at least one formula has the mass of, (n_peaks,).

        All others are noise, or ions of something else. `formulas` are the `composition` of each.
        """
        is_part = np.zeros(len(self.mz), np.bool_)
        for kinds in formulas:
            is_part[~is_part] = has_subformula(kinds, self._kept(~is_part))
        return is_part

    def relative(self, kept: NDArray[np.bool_]) -> Self:
        """Return those peaks, (n_peaks,), that are kept: the highest has an intensity of 1.

        None may be left.
        """
        chosen = self._kept(kept)
        return chosen._replace(intensity=chosen.intensity / chosen.intensity.max(initial=1e-300))

    def only_highest(self, n: int) -> Self:
        """Return the highest peaks, at most `n`."""
        kept = np.zeros(len(self.mz), np.bool_)
        kept[np.argsort(-self.intensity, kind="stable")[:n]] = True
        return self._kept(kept)

    def _kept(self, kept: NDArray[np.bool_]) -> Self:
        return self._replace(mz=self.mz[kept], intensity=self.intensity[kept])

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
        """Take the highest of ascending peaks (n,), without those beyond the precursor.

        No peak may be left; every candidate then has the same score.
        """
        if precursor_mz is None:
            precursor_mz = float(mz.max(initial=0.0))
        kept = (intensity > 0) & (mz <= precursor_mz + 0.5)
        mz, intensity = mz[kept], intensity[kept]
        relative = intensity / intensity.max(initial=1e-300)
        return cls(mz, relative, precursor_mz, sign).only_highest(max_peaks)


class Matches(NamedTuple):
    """Pairs of a peak and an ion of a fragment that agree in mass, by ascending peak.

    Parameters
    ----------
    peak, fragment
        int64 (n_matches,): indices of both.
    shift
        int64 (n_matches,): index into `SHIFTS`.
    metals
        int64 (n_matches,): how many of these hydrogens are atoms of the adduct's metal.
    """

    peak: NDArray[np.int64]
    fragment: NDArray[np.int64]
    shift: NDArray[np.int64]
    metals: NDArray[np.int64]


def match_peaks(
    table: FragmentTable,
    peaks: Peaks,
) -> Matches:
    """Find the ions of a molecule's fragments at the peaks.

    An ion is a fragment with one proton more (positive) or fewer (negative ions) and with some of
    `SHIFTS`: never with fewer than no hydrogens, nor with more than its cut bonds leave room for.
    Each of these may be an atom of the adduct's metal. A peak and an ion agree within
    `Peaks.widths`.
    """
    by_mass = np.argsort(table.masses, kind="stable")
    found = [_matches_with(n, table, by_mass, peaks) for n in range(peaks.n_metals + 1)]
    if len(found) == 1:
        return found[0]
    together = Matches(*map(np.concatenate, zip(*found, strict=True)))
    order = np.argsort(together.peak, kind="stable")
    return Matches(*(column[order] for column in together))


def _matches_with(
    n_metals: int,
    table: FragmentTable,
    by_mass: NDArray[np.int64],
    peaks: Peaks,
) -> Matches:
    """Return the matches of ions with so many atoms of the metal."""
    widths = peaks.widths[:, None]
    masses = table.masses[by_mass]
    gained = SHIFTS + peaks.sign
    mz = peaks.without_metal(n_metals).mz
    neutral = (mz + peaks.sign * ELECTRON_MASS)[:, None] - gained * HYDROGEN_MASS
    first = np.searchsorted(masses, neutral - widths).ravel()
    n_found = np.searchsorted(masses, neutral + widths, side="right").ravel() - first
    pair = np.repeat(np.arange(len(first)), n_found)
    peak, shift = np.divmod(pair, len(SHIFTS))
    fragment = by_mass[
        np.arange(len(pair)) + np.repeat(first - np.cumsum(n_found) + n_found, n_found)
    ]
    can_be = possible(table, peaks.sign, n_metals)[fragment, shift]
    n_matches = int(can_be.sum())
    metals = np.full(n_matches, n_metals)
    return Matches(peak[can_be], fragment[can_be], shift[can_be], metals)


def possible(table: FragmentTable, sign: int, n_metals: int = 0) -> NDArray[np.bool_]:
    """Return which shift each fragment can have, bool (n_fragments, len(SHIFTS)).

    `n_metals` of the hydrogens are atoms of a metal.
    """
    shifts = SHIFTS[None, :]
    n_hydrogens = table.n_hydrogens[:, None] + shifts + sign - n_metals
    return np.asarray((shifts <= table.valences[:, None]) & (n_hydrogens >= 0))


@lru_cache
def _beyond_hydrogen(metal: str) -> float:
    """Return by how much an atom of a metal is heavier than one of hydrogen, Da."""
    return composition_mass({metal: 1}) - HYDROGEN_MASS


Composition = tuple[tuple[float, int], ...]


def composition(graph: Graph) -> Composition:
    """Return the mass (Da) and number of each kind of atom of a molecule, hydrogens last.

    A labelled atom is a kind of its own, with its isotope's mass.
    """
    # Those of a list mostly share a formula: it is counted once.
    return _composition(np.sort(graph.masses).tobytes(), sum(graph.atoms[:, HYDROGENS].tolist()))


@lru_cache(maxsize=1024)
def _composition(masses: bytes, n_hydrogens: int) -> Composition:
    heavy = Counter(np.frombuffer(masses).tolist())
    return (*sorted(heavy.items()), (HYDROGEN_MASS, n_hydrogens))


def has_subformula(kinds: Composition, peaks: Peaks) -> NDArray[np.bool_]:
    """Return which peaks some part of a formula has the mass of, bool (n_peaks,).

    `kinds` is the `composition` of a molecule. Parts may have the adduct's metal in place of
    hydrogens.
    """
    half, other_half = _subformula_halves(kinds)
    found = np.zeros(len(peaks.mz), np.bool_)
    for n in range(peaks.n_metals + 1):
        mz = peaks.without_metal(n).mz
        wanted = mz + peaks.sign * ELECTRON_MASS
        # A peak lighter than the metal is at 0, which is the mass of no atoms at all.
        found |= (mz > 0.0) & _any_sum_fits(half, other_half, wanted, peaks.widths)
    return found


@lru_cache(maxsize=256)
def _subformula_halves(
    kinds: Composition,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two ascending arrays of masses whose sums are the masses of all parts of a formula.

    Each array is of the selections from some of the kinds of atoms. There are only about as many
    as the root of the number of parts, which runs into millions for a large peptide.
    """
    *heavy, (mass, count) = kinds
    # One hydrogen more than the molecule has: its protonated form.
    protonated = [*heavy, (mass, count + 1)]
    halves = [np.zeros(1), np.zeros(1)]
    for mass, count in sorted(protonated, key=lambda kind: -kind[1]):
        smaller = 0 if len(halves[0]) <= len(halves[1]) else 1
        steps = np.arange(count + 1) * mass
        halves[smaller] = (halves[smaller][:, None] + steps).ravel()
    return np.sort(halves[0]), np.sort(halves[1])


@compiled
def _any_sum_fits(
    half: NDArray[np.float64],
    other_half: NDArray[np.float64],
    wanted: NDArray[np.float64],
    widths: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return for each wanted mass whether a sum of one mass of each half is within its width."""
    out = np.zeros(len(wanted), np.bool_)
    for p in range(len(wanted)):
        low = 0
        high = len(other_half) - 1
        # One end moves up, the other down: the sums in between were too small or too large.
        while low < len(half) and high >= 0 and not out[p]:
            error = half[low] + other_half[high] - wanted[p]
            if error < -widths[p]:
                low += 1
            elif error > widths[p]:
                high -= 1
            else:
                out[p] = True
    return out
