"""Precursor m/z of library records that state none, a rounded or a coarse one."""

from __future__ import annotations

import re
from dataclasses import replace

from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.query import is_above_precursor
from specvae.molecules.molecule import Molecule
from specvae.spectra.spectrum import Spectrum

ROUNDED_PRECURSOR = "rounded precursor m/z, its decimals taken from structure and ion species"
"""The note on records that state the m/z that the quadrupole was set to."""

COARSE_PRECURSOR = "precursor m/z as a quadrupole measured it, taken from structure and ion species"
"""The note on records that state a precursor m/z of low resolution."""

_ROUNDED_BY = 0.6  # of the last decimal place; some are cut off instead
_COARSE_BY = 0.6  # Th: largest error of a quadrupole or an ion trap
_COARSE = re.compile(
    "(?<![A-Z])(?:Q{1,3}|TQ|TQD|TSQ|(TRIPLE)?QUAD(RUPOLE)?|QUATTRO"
    "|Q{0,2}L?IT|ITMS|LTQ|LCQ|(Q|ION)?TRAP)(?![A-Z])"
)
# A quadrupole is also what selects ions for these.
_ACCURATE = re.compile(
    "TOF|FLIGHT|FT|FOURIER|ICR|CYCLOTRON|ORBI|QE|EXACTIVE|EXPLORIS|ASTRAL|SYNAPT|HIGH.?RES"
)


def with_exact_precursor(
    spectrum: Spectrum, molecule: Molecule, wanted: SpectrumFilter
) -> tuple[str, Spectrum] | None:
    """Return a spectrum with the m/z of its structure's ion, if the stated one may be that.

    Older libraries state the m/z that the quadrupole was set to, 283 for 283.0612, or the one that
    it measured, 282.93. The latter often lack the ion species, so that the usual one is taken.
    """
    mz, ion, is_coarse = spectrum.precursor_mz, spectrum.ion, _is_coarse(spectrum)
    if ion is not None and is_coarse and spectrum.adduct is None:
        spectrum = replace(spectrum, adduct=ion.name)
    exact = precursor_mz_of(spectrum, molecule)
    if not wanted.precursor_of_structure or mz is None or exact is None:
        return None
    found = replace(spectrum, precursor_mz=exact)
    for unit in (1.0, 0.1):
        if _is_multiple(mz, unit) and abs(mz - exact) <= _ROUNDED_BY * unit:
            return ROUNDED_PRECURSOR, found
    if is_coarse and _is_multiple(mz, 0.01) and abs(mz - exact) <= _COARSE_BY:
        return COARSE_PRECURSOR, found
    return None


def _is_multiple(mz: float, unit: float) -> bool:
    return abs(mz / unit - round(mz / unit)) < 1e-6


def _is_coarse(spectrum: Spectrum) -> bool:
    """Return whether a quadrupole or an ion trap measured a spectrum, by its instrument type."""
    named = (spectrum.instrument_type or "").upper()
    return _COARSE.search(named) is not None and not _ACCURATE.search(named)


def precursor_mz_of(spectrum: Spectrum, molecule: Molecule) -> float | None:
    """Return the m/z (Th) of a molecule's ion of the stated species, if the spectrum may be of it.

    It may not if the molecule is a salt or an ion itself, or much intensity is above this m/z.
    """
    ion = spectrum.ion
    if spectrum.adduct is None or ion is None or molecule.n_components > 1:
        return None
    mz = ion.precursor_mz(molecule.exact_mass)
    if mz <= 0.0 or molecule.charge != (1 if ion.name == "[M]+" else 0):
        return None
    return None if is_above_precursor(replace(spectrum, precursor_mz=mz), ion) else mz
