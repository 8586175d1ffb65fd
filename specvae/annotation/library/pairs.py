"""Spectra with their structures: which records of a library are used, and what is made of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.precursors import precursor_mz_of, with_exact_precursor
from specvae.annotation.library.query import ELECTRON_IONISATION, is_of_electron_ionisation
from specvae.errors import StructureError
from specvae.molecules.molecule import Molecule, blocks_of_inchi, parse_molecule
from specvae.molecules.standard import INCHI_INSTEAD
from specvae.progress import Progress
from specvae.report import ReadReport, Reason
from specvae.sources import require_distinct
from specvae.spectra.adducts import default_adduct, ion_of_cation
from specvae.spectra.doubts import decoy_of, is_tentative, suggestion_of
from specvae.spectra.read import read_spectra
from specvae.spectra.spectrum import Spectrum

OTHER_KEY = "InChIKey of another structure, the structure taken"
OTHER_INCHI = "InChI of another structure than the SMILES, which is taken"
FITTING_COMPONENT = "smaller component of a salt taken, as it fits the precursor m/z"
FITTING_INCHI = "InChI taken, as the SMILES does not fit the precursor m/z"
TENTATIVE_STRUCTURE = "structure stated to be tentative"
ION_OF_STRUCTURE = "ion species not stated, taken from structure and precursor m/z"
PRECURSOR_OF_STRUCTURE = "precursor m/z not stated, taken from structure and ion species"


def read_many(paths: Iterable[Path], report: ReadReport) -> Iterator[Spectrum]:
    """Read several spectrum files one after the other.

    Raises
    ------
    InputError
        If a file is given twice: its spectra would count twice.
    """
    paths = list(paths)
    require_distinct(paths, "files of spectra")
    for path in paths:
        yield from read_spectra(path, report)


def read_pairs(
    paths: Iterable[Path],
    wanted: SpectrumFilter,
    report: ReadReport,
    progress: Progress,
    stage: str = "reading the library",
) -> Iterator[tuple[Spectrum, Molecule]]:
    """Yield the `usable_pairs` of several files; `stage` is what their reading is called."""

    def read() -> Iterator[Spectrum]:
        for n_read, spectrum in enumerate(read_many(paths, report), start=1):
            progress.progress(stage, n_read)
            yield spectrum

    return usable_pairs(read(), wanted, report)


def usable_pairs(
    spectra: Iterable[Spectrum], wanted: SpectrumFilter, report: ReadReport
) -> Iterator[tuple[Spectrum, Molecule]]:
    """Yield the spectra that pass the filter with their molecules; count the others."""
    parse = StructureParser(report)
    for spectrum in spectra:
        completed, molecule, rejected = _paired(spectrum, wanted, parse, report)
        if molecule is not None and rejected is None:
            if is_tentative(completed):
                report.note(TENTATIVE_STRUCTURE)
            if is_of_electron_ionisation(completed):
                report.note(ELECTRON_IONISATION)
            yield completed, molecule
        elif rejected is not None:
            report.leave_out(spectrum.path, spectrum.line, spectrum.query_id, *rejected)


_Rejected = tuple[Reason, str]


def _disowned(spectrum: Spectrum) -> _Rejected | None:
    """Return why a record itself says that its structure is not that of its spectrum, else None."""
    if (name := suggestion_of(spectrum)) is not None:
        return Reason.SUGGESTED, name
    words = decoy_of(spectrum)
    return None if words is None else (Reason.DECOY, words)


def _paired(
    spectrum: Spectrum, wanted: SpectrumFilter, parse: StructureParser, report: ReadReport
) -> tuple[Spectrum, Molecule | None, _Rejected | None]:
    """Return a spectrum, its molecule, and why it is not used.

    An ion or a precursor m/z that the record does not state is taken from its structure.
    """
    completed = parse.with_its_ion(spectrum, wanted)
    rejected = wanted.reject(completed)
    if rejected is not None and rejected[0] is Reason.NO_PRECURSOR:
        completed = parse.with_its_precursor(completed, wanted)
        rejected = wanted.reject(completed)
    if rejected is None and not (spectrum.smiles or spectrum.inchi):
        rejected = Reason.NO_STRUCTURE, ""
    rejected = rejected or _disowned(spectrum)
    if rejected is not None:
        return completed, None, rejected
    try:
        molecule, rejected = parse.fitting(completed, wanted)
    except StructureError as error:
        return completed, None, (Reason.BAD_STRUCTURE, str(error))
    if rejected is None and spectrum.precursor_mz is None:
        report.note(PRECURSOR_OF_STRUCTURE)
    if rejected is None or rejected[0] is not Reason.MASS_MISMATCH:
        return completed, molecule, rejected
    for note, other in _other_readings(completed, molecule, wanted):
        if wanted.reject(other) is None and wanted.reject_structure(other, molecule) is None:
            report.note(note)
            return other, molecule, None
    return completed, molecule, rejected


def _other_readings(
    spectrum: Spectrum, molecule: Molecule, wanted: SpectrumFilter
) -> Iterator[tuple[str, Spectrum]]:
    """Yield other readings of a spectrum whose precursor m/z does not fit, each with its note."""
    yield from _as_cation(spectrum, molecule)
    if (ion := _IONS_OF_SALTS.get((spectrum.adduct or "", molecule.charge))) is not None:
        yield SALT_ION.format(spectrum.adduct, ion), replace(spectrum, adduct=ion)
    if (exact := with_exact_precursor(spectrum, molecule, wanted)) is not None:
        yield exact


CATION = "{} of a cation taken as {}, which its precursor m/z is of"


def _as_cation(spectrum: Spectrum, molecule: Molecule) -> Iterator[tuple[str, Spectrum]]:
    """Yield a spectrum as one of [M]+ if it is stated as [M+H]+ of a cation, with a note.

    A cation does not form [M+H]+: if the precursor m/z fits, the cation itself was measured.
    Likewise a stated [M-H]- is taken as [M-2H]- (anthocyanins), and [M+2H]2+ of a cation with two
    charges (paraquat) as [M]2+.
    """
    stated = spectrum.ion
    if molecule.charge < 1 or stated is None:
        return
    if stated == default_adduct(stated.ion_mode, stated.charge):
        ion = ion_of_cation(stated.charge, molecule.charge)
        yield CATION.format(stated.name, ion.name), replace(spectrum, adduct=ion.name)


SALT_ION = "{} of a salt or ion taken as {}, which its precursor m/z is of"
# (Species stated for the whole salt, charge of the component that is kept) -> its ion species.
_IONS_OF_SALTS = {
    **{(f"[M-{anion}]+", 1): "[M]+" for anion in ("Cl", "Br", "I")},
    **{(f"[M-{cation}]-", 0): "[M-H]-" for cation in ("Na", "K", "Li")},
    ("[M]-", 0): "[M-H]-",  # the acid is kept of an anion
    ("[M]+", 0): "[M+H]+",  # and the base of a cation that a proton makes
}


class StructureParser:
    """Parses each distinct structure of a library once; libraries repeat them per spectrum.

    Decisions on a structure, such as to take the InChI, are noted in `report` per spectrum.
    """

    def __init__(self, report: ReadReport | None = None) -> None:
        self._report = report
        self._known: dict[tuple[str | None, str | None], Molecule | str] = {}

    def __call__(self, spectrum: Spectrum) -> Molecule:
        """Return the spectrum's molecule, or raise a StructureError."""
        found = self._parsed(spectrum.smiles, spectrum.inchi)
        self._note_decisions(spectrum, found)
        return found

    def fitting(
        self, spectrum: Spectrum, wanted: SpectrumFilter
    ) -> tuple[Molecule, tuple[Reason, str] | None]:
        """Return the spectrum's molecule, and why the spectrum does not fit it, if it does not.

        If a record's SMILES and InChI are two structures, and only that of the InChI fits the
        precursor m/z, it is taken. A StructureError is raised if neither can be read.
        """
        found = self._parsed(spectrum.smiles, spectrum.inchi)
        rejected = wanted.reject_structure(spectrum, found)
        is_misfit = rejected is not None and rejected[0] is Reason.MASS_MISMATCH
        if is_misfit and (part := self._fitting_component(spectrum, wanted)) is not None:
            if self._report is not None:
                self._report.note(FITTING_COMPONENT)
            return part, None
        if is_misfit and spectrum.smiles and spectrum.inchi:
            with contextlib.suppress(StructureError):
                other = self._parsed(None, spectrum.inchi)
                if wanted.reject_structure(spectrum, other) is None:
                    if self._report is not None:
                        self._report.note(FITTING_INCHI)
                    return other, None
        self._note_decisions(spectrum, found)
        return found, rejected

    def _fitting_component(self, spectrum: Spectrum, wanted: SpectrumFilter) -> Molecule | None:
        """Return the only component of a salt's SMILES that fits the precursor m/z, or None."""
        if not spectrum.smiles or "." not in spectrum.smiles:
            return None
        found = []
        for part in dict.fromkeys(spectrum.smiles.split(".")):
            with contextlib.suppress(StructureError):
                molecule = self._parsed(part, None)
                if wanted.reject_structure(spectrum, molecule) is None:
                    found.append(molecule)
        return found[0] if len(found) == 1 else None

    def component(self, spectrum: Spectrum) -> Molecule | None:
        """Return the component of a salt that was measured, if it is not the largest one.

        A StructureError is raised if the structure cannot be read.
        """
        wanted = SpectrumFilter()
        rejected = wanted.reject_structure(spectrum, self._parsed(spectrum.smiles, spectrum.inchi))
        if rejected is None or rejected[0] is not Reason.MASS_MISMATCH:
            return None
        return self._fitting_component(spectrum, wanted)

    def with_its_ion(self, spectrum: Spectrum, wanted: SpectrumFilter) -> Spectrum:
        """Return a spectrum without ion species as one of the species that fits its structure.

        Old libraries state neither species, ion mode nor charge.
        """
        if spectrum.adduct or spectrum.precursor_mz is None:
            return spectrum  # before its structure is parsed
        if not (spectrum.smiles or spectrum.inchi):
            return spectrum
        texts_of_structures = [(spectrum.smiles, spectrum.inchi)]
        if spectrum.smiles and spectrum.inchi:
            texts_of_structures.append((None, spectrum.inchi))
        for texts in texts_of_structures:
            with contextlib.suppress(StructureError):
                ion = wanted.ion_told(spectrum, self._parsed(*texts))
                if ion is not None:
                    if self._report is not None:
                        self._report.note(ION_OF_STRUCTURE)
                    return replace(
                        spectrum, adduct=ion.name, charge=ion.charge, ion_mode=ion.ion_mode
                    )
        return spectrum

    def with_its_precursor(self, spectrum: Spectrum, wanted: SpectrumFilter) -> Spectrum:
        """Return an MS2 spectrum without precursor m/z with the m/z of its structure's ion."""
        if spectrum.ms_level != 2 or not wanted.precursor_of_structure:
            return spectrum
        with contextlib.suppress(StructureError):
            mz = precursor_mz_of(spectrum, self._parsed(spectrum.smiles, spectrum.inchi))
            return replace(spectrum, precursor_mz=mz)
        return spectrum

    def _note_decisions(self, spectrum: Spectrum, found: Molecule) -> None:
        if self._report is None:
            return  # the key of an InChI is the slowest step
        if INCHI_INSTEAD in found.notes:
            self._report.note(INCHI_INSTEAD)
        if found.n_components > 1:
            return  # the keys of a salt are not those of its parent
        of_inchi = blocks_of_inchi(spectrum.inchi)
        if found.first_block in of_inchi:
            one = of_inchi  # the InChI, and its key, may be those of a salt
        else:
            one = frozenset([found.first_block])
            if spectrum.smiles and of_inchi:
                self._report.note(OTHER_INCHI)
        if spectrum.first_block is not None and spectrum.first_block not in one:
            self._report.note(OTHER_KEY)

    def _parsed(self, smiles: str | None, inchi: str | None) -> Molecule:
        key = (smiles, inchi)
        if key not in self._known:
            try:
                self._known[key] = parse_molecule(*key)
            except StructureError as error:
                self._known[key] = str(error)
        found = self._known[key]
        if isinstance(found, str):
            raise StructureError(found)
        return found
