"""A spectrum as it would look in the other ion mode: moved by two protons."""

from __future__ import annotations

from dataclasses import replace

from specvae.spectra.adducts import default_adduct, parse_adduct
from specvae.spectra.spectrum import LOWEST_SCALE, MAX_MZ, Spectrum

SIGNS = {"positive": 1, "negative": -1}
"""Ion mode -> sign of the ions' charge."""

OTHER_MODE = {"positive": "negative", "negative": "positive"}
"""Ion mode -> the other one."""


def mode_shift(spectrum: Spectrum) -> float:
    """Return the difference in m/z between ions of a spectrum and those of the other mode, Th.

    It is the mass of two protons: positive for a positive spectrum, 0 if the ion mode is unknown.
    """
    proton = parse_adduct("[M+H]+")
    assert proton is not None
    return 2.0 * proton.mass_shift * SIGNS.get(spectrum.ion_mode or "", 0)


def in_other_mode(spectrum: Spectrum) -> Spectrum | None:
    """Return a spectrum as it would look if the same fragments had been measured in the other mode.

    A fragment that is protonated in one ion mode is taken to be deprotonated in the other, two
    protons apart, and so is the molecule: neutral losses stay the same. This is a crude model, as
    many bonds break in one mode only, but it is good enough to recognise compounds and analogues.

    Parameters
    ----------
    spectrum
        Of any ion.

    Returns
    -------
    The peaks, moved, with the precursor m/z of [M+H]+ or [M-H]-; None where the ion mode is not
    known, the ion has several charges, or no peak is left.
    """
    ion_mode = OTHER_MODE.get(spectrum.ion_mode or "")
    charge = spectrum.charge if spectrum.ion is None else spectrum.ion.charge
    if ion_mode is None or abs(charge or 1) > 1:
        return None
    there = default_adduct(ion_mode)
    assert there is not None
    shift = -mode_shift(spectrum)
    precursor = None if spectrum.precursor_mz is None else spectrum.precursor_mz + shift
    if (mass := spectrum.neutral_mass) is not None:
        precursor = there.precursor_mz(mass)
    mz = spectrum.mz + shift
    kept = (mz > 0.0) & (mz <= MAX_MZ)
    highest = spectrum.intensity[kept].max(initial=0.0)
    if highest < LOWEST_SCALE or (precursor is not None and precursor <= 0.0):
        return None
    return replace(
        spectrum,
        mz=mz[kept],
        intensity=spectrum.intensity[kept],
        precursor_mz=precursor,
        adduct=None,
        charge=None,
        ion_mode=ion_mode,
    )
