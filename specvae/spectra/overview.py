"""Counts of the fields that were read from a file of spectra."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from specvae.spectra.adducts import parse_adduct
from specvae.spectra.doubts import decoy_of, suggestion_of
from specvae.spectra.keys import feature_of
from specvae.spectra.spectrum import Spectrum

_N_EXAMPLES = 3


@dataclass
class Overview:
    """Counts over the spectra of a file; each counter but `features` adds up to `n_spectra`.

    Parameters
    ----------
    n_spectra
        Spectra that were read.
    precursors
        Whether the record states a precursor m/z, and with how many decimals.
    ion_species, ion_modes, ms_levels, energies, structures
        What the records state, in words.
    n_retention_times
        Records with a retention time.
    features
        Numbers of spectra of the features that records name.
    n_peaks
        Number of peaks of each spectrum.
    examples
        The first few spectra.
    """

    n_spectra: int = 0
    precursors: Counter[str] = field(default_factory=Counter)
    ion_species: Counter[str] = field(default_factory=Counter)
    ion_modes: Counter[str] = field(default_factory=Counter)
    ms_levels: Counter[str] = field(default_factory=Counter)
    energies: Counter[str] = field(default_factory=Counter)
    structures: Counter[str] = field(default_factory=Counter)
    n_retention_times: int = 0
    features: Counter[str] = field(default_factory=Counter)
    n_peaks: list[int] = field(default_factory=list)
    examples: list[Spectrum] = field(default_factory=list)

    @classmethod
    def of_spectra(cls, spectra: Iterable[Spectrum]) -> Overview:
        """Count spectra, which are consumed."""
        overview = cls()
        for spectrum in spectra:
            overview.add(spectrum)
        return overview

    def add(self, spectrum: Spectrum) -> None:
        """Count one spectrum."""
        self.n_spectra += 1
        self.precursors[_precursor(spectrum.precursor_mz)] += 1
        self.ion_species[_species(spectrum)] += 1
        self.ion_modes[spectrum.ion_mode or "not stated"] += 1
        self.ms_levels[f"{spectrum.ms_level or 'not stated'}"] += 1
        self.energies[_energy(spectrum)] += 1
        self.structures[_structure(spectrum)] += 1
        self.n_retention_times += spectrum.retention_time is not None
        if (feature := feature_of(spectrum)) is not None:
            self.features[feature] += 1
        self.n_peaks.append(spectrum.n_peaks)
        if len(self.examples) < _N_EXAMPLES:
            self.examples.append(spectrum)


def _precursor(mz: float | None) -> str:
    if mz is None:
        return "not stated"
    # Such an m/z is off by up to 5 mTh, more than most tolerances allow.
    return "two decimals or fewer" if round(mz, 2) == mz else "three decimals or more"


def _species(spectrum: Spectrum) -> str:
    if spectrum.adduct is None:
        ion = spectrum.ion
        return f"not stated, taken as {ion.name}" if ion else "not stated, nor an ion mode"
    if parse_adduct(spectrum.adduct, spectrum.ion_mode) is None:
        return f"{spectrum.adduct[:40]} (cannot be read)"
    return spectrum.adduct


def _energy(spectrum: Spectrum) -> str:
    if spectrum.collision_energy is not None and spectrum.normalized_collision_energy is not None:
        return "eV and percent"
    if spectrum.collision_energy is not None:
        return "eV"
    if spectrum.normalized_collision_energy is not None:
        return "percent (normalised)"
    return "words alone" if spectrum.collision_energy_text else "not stated"


def _structure(spectrum: Spectrum) -> str:
    stated = {
        "SMILES": spectrum.smiles,
        "InChI": spectrum.inchi,
        "InChIKey": spectrum.inchikey,
    }
    if any(stated.values()) and suggestion_of(spectrum) is not None:
        return "suggested by MS-DIAL, in no library"
    if any(stated.values()) and decoy_of(spectrum) is not None:
        return "of a decoy, in no library"
    return " and ".join(name for name, value in stated.items() if value) or "none"
