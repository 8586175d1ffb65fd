"""Which spectra of a library are used."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from specvae.annotation.library.ion_shares import COMMON_SPECIES
from specvae.errors import ConfigError
from specvae.masses import ppm_width
from specvae.molecules.molecule import Molecule, blocks_of_inchi, blocks_of_salt
from specvae.report import Reason
from specvae.spectra.adducts import Adduct, ion_of_cation, parse_adduct
from specvae.spectra.notes import Note, note_kind
from specvae.spectra.spectrum import Spectrum

# Some libraries round m/z to two decimals; relative tolerance alone would drop their light ions.
ABSOLUTE_TOLERANCE_DA = 0.01


@dataclass(frozen=True)
class SpectrumFilter:
    """Which spectra are used; an empty collection lets everything pass.

    Attributes
    ----------
    ion_mode
        ``positive``, ``negative``, or None for both.
    adducts
        Canonical adducts.
    instrument_types
        Shell patterns, compared without regard to case: ``LC-ESI-QTOF``, ``*QTOF*``.
    min_peaks
        Fewest peaks.
    mass_tolerance_ppm
        Largest distance of the precursor m/z from the structure's (at least 0.01 Da is allowed).
    excluded
        InChIKey first blocks that must not be learned from.
    precursor_of_structure
        Whether the precursor m/z is taken from structure and ion species where a record rounds it,
        or states none.
    """

    ion_mode: str | None = None
    adducts: frozenset[str] = frozenset()
    instrument_types: tuple[str, ...] = ()
    min_peaks: int = 1
    mass_tolerance_ppm: float = 20.0
    excluded: frozenset[str] = frozenset()
    precursor_of_structure: bool = True

    def reject(self, spectrum: Spectrum) -> tuple[Reason, str] | None:
        """Return why a spectrum is not used, as reason and detail, or None if it is."""
        if spectrum.ms_level not in (2, None):
            return Reason.MS_LEVEL, f"MS level {spectrum.ms_level}"
        if self.ion_mode and spectrum.ion_mode != self.ion_mode:
            return Reason.ION_MODE, spectrum.ion_mode or "unknown"
        if self.adducts and spectrum.adduct not in self.adducts:
            return Reason.ADDUCT, spectrum.adduct or "unknown"
        if self.instrument_types:
            found = (spectrum.instrument_type or "").upper()
            if not any(fnmatch.fnmatchcase(found, p.upper()) for p in self.instrument_types):
                return Reason.INSTRUMENT_TYPE, found or "unknown"
        if spectrum.n_peaks < self.min_peaks:
            return Reason.TOO_FEW_PEAKS, f"{spectrum.n_peaks} of {self.min_peaks}"
        if spectrum.precursor_mz is None:
            return Reason.NO_PRECURSOR, ""
        return None

    def reject_structure(self, spectrum: Spectrum, molecule: Molecule) -> tuple[Reason, str] | None:
        """Return why a spectrum does not fit its structure, or None if it does."""
        # The record's own key and InChI count too: where they and the structure disagree, as for
        # salts and tautomers, either may be the one that the exclusion file names.
        if self.excluded:
            stated = sorted(blocks_of_inchi(spectrum.inchi) | blocks_of_salt(spectrum.smiles))
            for block in (molecule.first_block, spectrum.first_block, *stated):
                if block in self.excluded:
                    return Reason.EXCLUDED, block
        adduct = spectrum.ion
        if adduct is None or spectrum.precursor_mz is None:
            return Reason.ADDUCT, spectrum.adduct or "none stated, and the mass tells none"
        if not self.fits(spectrum.precursor_mz, adduct, molecule):
            expected = adduct.precursor_mz(molecule.exact_mass)
            return (
                Reason.MASS_MISMATCH,
                f"found {spectrum.precursor_mz:.4f}, expected {expected:.4f} as {adduct.name}",
            )
        return None

    def fits(self, precursor_mz: float, ion: Adduct, molecule: Molecule) -> bool:
        """Whether a precursor m/z (Th) is that of an ion of a molecule."""
        expected = ion.precursor_mz(molecule.exact_mass)
        most = max(ppm_width(expected, self.mass_tolerance_ppm), ABSOLUTE_TOLERANCE_DA)
        return abs(precursor_mz - expected) <= most

    def ion_told(self, spectrum: Spectrum, molecule: Molecule) -> Adduct | None:
        """Return the ion species of a record that states none, by structure and precursor m/z.

        It is one of `COMMON_SPECIES`, or a species of a cation, and agrees with the ion mode and
        the charge that the record states; a charge without sign may be negative. None if the record
        names a species, if the usual species of its ion mode fits, or if no species fits.
        """
        mz, usual = spectrum.precursor_mz, spectrum.ion
        if spectrum.adduct or mz is None or (usual and self.fits(mz, usual, molecule)):
            return None
        # A charge of 0, as of programs that do not know it, says nothing.
        sizes = {abs(spectrum.charge)} if spectrum.charge else {1, max(molecule.charge, 1)}
        possible = [ion for ion in map(parse_adduct, COMMON_SPECIES) if ion is not None]
        if molecule.charge > 0:
            possible += [
                ion_of_cation(charge, molecule.charge) for n in sizes for charge in (n, -n)
            ]
        is_sign_assumed = Note.CHARGE_TAKEN_AS_POSITIVE in map(note_kind, spectrum.notes)
        ions = [
            ion
            for ion in possible
            if abs(ion.charge) in sizes
            and (is_sign_assumed or spectrum.ion_mode in (None, ion.ion_mode))
            and self.fits(mz, ion, molecule)
        ]
        return ions[0] if len(ions) == 1 else None


def canonical_adducts(texts: Iterable[str]) -> frozenset[str]:
    """Return the canonical names of adducts in any spelling.

    Raises
    ------
    ConfigError
        If one is unknown.
    """
    names = set()
    for text in texts:
        adduct = parse_adduct(text)
        if adduct is None:
            raise ConfigError(f"adduct {text!r} is unknown; wanted one like '[M+H]+'")
        names.add(adduct.name)
    return frozenset(names)
