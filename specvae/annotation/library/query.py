"""Queries: spectra whose ion species was assigned once, when they were read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.library.ion_shares import COMMON, parse_species
from specvae.errors import ConfigError
from specvae.masses import is_near
from specvae.spectra.adducts import Adduct, default_adduct, parse_adduct
from specvae.spectra.keys import feature_of, stated
from specvae.spectra.spectrum import FAINTEST, Spectrum


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Assumptions on queries whose records do not state an ion.

    Attributes
    ----------
    adduct
        Ion species of queries that state none, if it agrees with their stated ion mode and number
        of charges. Otherwise, or if it is None, the protonated or deprotonated molecule is assumed.
    ion_mode
        Ion mode of queries that state neither an ion mode nor a species that implies one.
    tried
        Ion species that are tried for queries that state none, if they agree with the stated ion
        mode and charge: candidates of each species are ranked.
    """

    adduct: Adduct | None = None
    ion_mode: str | None = None
    tried: tuple[Adduct, ...] = ()

    @classmethod
    def parse(
        cls, adduct: str | None = None, ion_mode: str | None = None, tried: str | None = None
    ) -> Assumptions:
        """Return the assumptions that a user states; a species alone implies the ion mode.

        `tried` is as for `specvae.annotation.library.ion_shares.parse_species`.

        Raises
        ------
        ConfigError
            If a species is unknown, or of another ion mode, or if one is assumed and others are
            to be tried.
        """
        if adduct is not None and tried is not None:
            raise ConfigError("--assume-adduct and --try-adducts exclude each other")
        if tried is not None:
            species = parse_species(tried)
            modes = {ion.ion_mode for ion in species}
            if ion_mode is not None and ion_mode not in modes:
                raise ConfigError(
                    f"no adduct of {tried!r} is of {ion_mode} ion mode, which is assumed"
                )
            return cls(None, ion_mode or (modes.pop() if len(modes) == 1 else None), species)
        if adduct is None:
            return cls(None, ion_mode)
        ion = parse_adduct(adduct, ion_mode)
        if ion is None:
            raise ConfigError(f"adduct {adduct!r} is unknown; wanted one like '[M+H]+'")
        if ion_mode is not None and ion.ion_mode != ion_mode:
            raise ConfigError(
                f"adduct {ion.name} is of {ion.ion_mode} ion mode, but {ion_mode} is assumed"
            )
        return cls(ion, ion.ion_mode)

    def or_only(self, ion_modes: Iterable[str]) -> Assumptions:
        """Return the same, with the only ion mode of a model if no ion mode is assumed."""
        known = set(ion_modes) - {"unknown"}
        if self.ion_mode is not None or len(known) != 1:
            return self
        return replace(self, ion_mode=known.pop())


class MassFit(NamedTuple):
    """How a query's precursor m/z fits its candidates.

    Parameters
    ----------
    as_ion
        Whether it is the m/z of the ion of a candidate.
    as_neutral
        Whether it is the mass of a candidate itself, which is no ion.
    as_cation
        Whether it is the m/z of a candidate that is listed as a cation (in negative mode without
        two protons) and not ranked, as the query's ion is another.
    as_others
        For a query without candidates: other ion species as which it would have some, `ISOTOPE`,
        or `AVERAGE`.
    """

    as_ion: bool
    as_neutral: bool
    as_cation: bool = False
    as_others: tuple[str, ...] = ()


ISOTOPE = "the first isotope peak"
AVERAGE = "the average mass"


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A spectrum that is to be annotated, with its stated or assumed ion.

    Attributes
    ----------
    spectrum
        As read, but with `ion` as its own species, charge and ion mode, so that all later steps use
        the same ion.
    ion
        Stated or assumed; None if the stated one cannot be read, or nothing is known.
    ion_mode
        ``positive``, ``negative`` or None.
    remarks
        Each decision that changed what is ranked, as the status words it.
    feature_id
        The feature that the record says it is of; None if it does not say.
    others
        Ion species that it may be of beside `ion`, which is the likeliest of them.
    merged
        Identifiers of the other spectra of its feature, which share its answer.
    merged_ordinals
        Their places in the file, see `Spectrum.ordinal`; of those alone that were ranked.
    fit
        How its precursor fits the candidates; None if that was not computed.
    """

    spectrum: Spectrum
    ion: Adduct | None
    ion_mode: str | None
    remarks: tuple[str, ...] = ()
    feature_id: str | None = None
    others: tuple[Adduct, ...] = ()
    merged: tuple[str, ...] = ()
    fit: MassFit | None = None
    merged_ordinals: tuple[int, ...] = ()

    @classmethod
    def assign_ion(cls, spectrum: Spectrum, assumed: Assumptions | None = None) -> Query:
        """Decide which ion a spectrum is of; what a record states comes before assumptions."""
        assumed = assumed or Assumptions()
        remarks = list(spectrum.notes)
        others: tuple[Adduct, ...] = ()
        ion_mode = spectrum.ion_mode or assumed.ion_mode
        if spectrum.adduct:
            ion = parse_adduct(spectrum.adduct, ion_mode)
            if ion is not None and parse_adduct(spectrum.adduct, spectrum.ion_mode) is None:
                remarks.append(f"ion mode taken as {ion.ion_mode}")
        else:
            possible = [
                ion
                for ion in assumed.tried
                if ion.ion_mode == ion_mode and (not spectrum.charge or abs(spectrum.charge) == 1)
            ]
            if len(possible) > 1:
                ion, *rest = possible
                others = tuple(rest)
                remarks.append(_tried(possible))
            else:
                only = possible[0] if possible else assumed.adduct
                ion = _assumed_ion(ion_mode, spectrum.charge, only)
                if ion is not None:
                    remarks.append(_taken_as(ion))
        if ion is not None:
            ion_mode = ion.ion_mode
        assigned = _with_ion(spectrum, ion, ion_mode)
        remarks += _on_peaks(assigned, ion)
        if is_of_electron_ionisation(spectrum):
            remarks.append(ELECTRON_IONISATION)
        return cls(
            assigned,
            ion,
            ion_mode,
            tuple(remarks),
            feature_of(spectrum),
            others,
        )

    @property
    def query_id(self) -> str:
        """Identifier, unique within its file."""
        return self.spectrum.query_id

    @property
    def precursor_mz(self) -> float | None:
        """m/z (Th) of the ion, None if the record does not say."""
        return self.spectrum.precursor_mz

    @property
    def adduct(self) -> str | None:
        """Name of the ion species, as found where it cannot be read."""
        return self.spectrum.adduct

    @property
    def ions(self) -> tuple[Adduct, ...]:
        """The ion species that it may be of, the likeliest first."""
        return () if self.ion is None else (self.ion, *self.others)

    @property
    def is_ion_assumed(self) -> bool:
        """Whether `ion` is assumed, as the record states none."""
        return self.ion is not None and _taken_as(self.ion) in self.remarks

    def likeliest(self) -> Query:
        """Return the query with its likeliest ion only, if masses do not tell species apart."""
        if self.ion is None or not self.others:
            return self
        remarks = (
            _taken_as(self.ion) if remark == _tried(self.ions) else remark
            for remark in self.remarks
        )
        return replace(self, remarks=tuple(remarks), others=())

    def spectrum_of(self, ion: Adduct | None) -> Spectrum:
        """Return the spectrum as one of an ion species."""
        return self.spectrum if ion is None else _with_ion(self.spectrum, ion, self.ion_mode)

    def ion_named(self, name: str | None) -> Adduct | None:
        """Return one of `ions` by its name, `ion` for None."""
        return next((ion for ion in self.ions if ion.name == name), self.ion)

    @property
    def assumed(self) -> tuple[str, ...]:
        """The remarks beyond the reader's notes."""
        return tuple(r for r in self.remarks if r not in self.spectrum.notes)

    @property
    def neutral_mass(self) -> float | None:
        """Mass (Da) of the neutral molecule, None if precursor m/z or ion is not known."""
        if self.ion is None or self.precursor_mz is None:
            return None
        return self.ion.neutral_mass(self.precursor_mz)

    def may_have(self, mass: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which masses of molecules (Da, (n,)) it may have, for any rounding of its m/z.

        If its ion is assumed, other common species are allowed; if the ion is unknown, all masses
        are.
        """
        mz, ions = self.precursor_mz, list(self.ions)
        if mz is None or not ions:
            return np.ones(len(mass), np.bool_)
        if self.is_ion_assumed:
            ions += [ion for ion in parse_species(COMMON) if ion.ion_mode == self.ion_mode]
        fits = np.zeros(len(mass), np.bool_)
        for ion in ions:
            most = _OTHER_MASS * abs(ion.charge) / ion.n_m  # Da
            fits |= np.abs(mass - ion.neutral_mass(mz)) <= most
        return fits


# Th: more than an m/z without decimals may be off, or one of an isotope peak.
_OTHER_MASS = 2.0

NO_FRAGMENTS = "no peak below the precursor m/z"


# Of 2,100 spectra of MassBank 17 have none above, with nine peaks at most.
_FAINT = 0.005
FAINT_FRAGMENTS = "no fragment reaches 0.5% of the highest peak"
# They are taken for noise, and the spectrum for one of a precursor alone.
UNSEEN_FRAGMENTS = f"no fragment reaches {FAINTEST:.1%} of the highest peak"
COARSE_PEAKS = "m/z of its peaks have one decimal or none"
ABOVE_PRECURSOR = "much of its intensity lies above the precursor m/z"
_MUCH = 0.1  # of the intensity
_ISOTOPES = 4.0  # Th above the precursor m/z in which its isotope peaks are


def _on_peaks(spectrum: Spectrum, ion: Adduct | None) -> Iterator[str]:
    """Yield the remarks on a spectrum's peaks."""
    if not spectrum.has_fragments:
        yield UNSEEN_FRAGMENTS if spectrum.highest_fragment else NO_FRAGMENTS
    elif spectrum.highest_fragment < _FAINT:
        yield FAINT_FRAGMENTS
    if has_coarse_peaks(spectrum):
        yield COARSE_PEAKS
    if is_above_precursor(spectrum, ion):
        yield ABOVE_PRECURSOR
    if (dimer := dimer_of(spectrum, ion)) is not None:
        yield f"{HALF} {dimer}"


def has_coarse_peaks(spectrum: Spectrum) -> bool:
    """Return whether the m/z of all peaks, two or more, have one decimal or none."""
    return spectrum.n_peaks > 1 and np.array_equal(np.round(spectrum.mz, 1), spectrum.mz)


def has_coarse_precursor(spectrum: Spectrum) -> bool:
    """Return whether the precursor m/z has two decimals or fewer, and those of the peaks fewer."""
    mz = spectrum.precursor_mz
    return mz is not None and round(mz, 2) == mz and has_coarse_peaks(spectrum)


def is_above_precursor(spectrum: Spectrum, ion: Adduct | None) -> bool:
    """Return whether fragments cannot be of the precursor: it is another's, or has more charges.

    A tenth of the intensity is, in 40 of 30,363 spectra of singly charged ions in MassBank.
    """
    if ion is None or abs(ion.charge) != 1 or spectrum.precursor_mz is None:
        return False
    above = spectrum.intensity[spectrum.mz > spectrum.precursor_mz + _ISOTOPES]
    return bool(above.sum() > _MUCH * spectrum.intensity.sum())


HALF = "its highest fragment is the ion of half its mass: may be"
_LIGHTEST_DIMER = 150.0  # Th: below, compounds fall into halves
_DIMER_PPM = 10.0
# What may be taken for an ion, and the fragment that it mostly falls into: two molecules hold
# together less than one. A sodium stays with one of them.
_DIMERS = {
    "[M+H]+": (("[2M+H]+", "[M+H]+"), ("[2M+Na]+", "[M+Na]+")),
    "[M-H]-": (("[2M-H]-", "[M-H]-"),),
}


def dimer_of(spectrum: Spectrum, ion: Adduct | None) -> str | None:
    """Return the species of two molecules that a spectrum's ion may be, None if it looks like none.

    In MassBank, the highest fragment of each of its four dimers is such a half. One of them is
    accurate enough to be told, and so are 54 in 73,755 spectra of [M+H]+ and [M-H]-, of compounds
    that fall into halves (disulfides), or by chance.
    """
    mz = spectrum.precursor_mz
    if ion is None or mz is None or ion.name not in _DIMERS or mz < _LIGHTEST_DIMER:
        return None
    n_below = int(np.searchsorted(spectrum.mz, mz - _OTHER_MASS))
    if n_below == 0:
        return None
    highest = spectrum.mz[int(np.argmax(spectrum.intensity[:n_below]))]
    for name, half in _DIMERS[ion.name]:
        dimer, fragment = parse_adduct(name), parse_adduct(half)
        if dimer is None or fragment is None:
            continue
        if is_near(highest, fragment.precursor_mz(dimer.neutral_mass(mz)), _DIMER_PPM):
            return name
    return None


ELECTRON_IONISATION = "of electron ionisation, where no precursor is selected"
_ELECTRON = re.compile(
    r"(?<![A-Za-z])EI(?![A-Za-z])|electron (?:impact|ioni[sz]ation)", re.IGNORECASE
)


def is_of_electron_ionisation(spectrum: Spectrum) -> bool:
    """Whether a spectrum that states no MS level is of electron ionisation."""
    if spectrum.ms_level is not None:
        return False
    values = (spectrum.instrument_type, stated(spectrum, "ionization"))
    return any(text is not None and _ELECTRON.search(text) for text in values)


TAKEN_AS = "adduct taken as"
"""How the remark begins that names the assumed ion species of a query that states none."""


def _taken_as(ion: Adduct) -> str:
    return f"{TAKEN_AS} {ion.name}"


def _tried(ions: Iterable[Adduct]) -> str:
    return f"adduct not stated, tried {', '.join(ion.name for ion in ions)}"


def _assumed_ion(ion_mode: str | None, charge: int | None, adduct: Adduct | None) -> Adduct | None:
    """Return the species of a record that states none, by what else it states."""
    if (
        adduct is not None
        and adduct.ion_mode == ion_mode
        and (not charge or abs(charge) == abs(adduct.charge))
    ):
        return adduct
    return default_adduct(ion_mode, charge)


def _with_ion(spectrum: Spectrum, ion: Adduct | None, ion_mode: str | None) -> Spectrum:
    adduct, charge = (ion.name, ion.charge) if ion else (spectrum.adduct, spectrum.charge)
    if (adduct, charge, ion_mode) == (spectrum.adduct, spectrum.charge, spectrum.ion_mode):
        return spectrum
    return replace(spectrum, adduct=adduct, charge=charge, ion_mode=ion_mode)
