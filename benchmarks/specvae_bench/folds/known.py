"""The library with its peaks: what methods that do not read our bins look up and learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.library.filter import SpectrumFilter
from specvae.annotation.library.library import read_many, usable_pairs
from specvae.cli.console import Console
from specvae.errors import InputError
from specvae.molecules.molecule import Molecule
from specvae.report import ReadReport
from specvae.spectra.spectrum import Spectrum


@dataclasses.dataclass(frozen=True, eq=False)
class KnownSpectra:
    """Spectra of known compounds.

    Attributes
    ----------
    spectra
        All that pass the filter, without metadata.
    compound
        int64 (n_spectra,): index into `molecules`.
    molecules
        One per InChIKey first block, in order of first appearance.
    """

    spectra: tuple[Spectrum, ...]
    compound: NDArray[np.int64]
    molecules: tuple[Molecule, ...]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Spectrum, Molecule]]) -> KnownSpectra:
        """Return spectra with their molecules; those of one first block are one compound."""
        index: dict[str, int] = {}
        spectra: list[Spectrum] = []
        compound: list[int] = []
        molecules: list[Molecule] = []
        for spectrum, molecule in pairs:
            if molecule.first_block not in index:
                index[molecule.first_block] = len(molecules)
                molecules.append(molecule)
            compound.append(index[molecule.first_block])
            # Of a whole library they would take more memory than the peaks.
            spectra.append(dataclasses.replace(spectrum, metadata={}))
        return cls(tuple(spectra), np.array(compound, dtype=np.int64), tuple(molecules))

    def __len__(self) -> int:
        return len(self.spectra)

    @property
    def smiles(self) -> list[str]:
        """The molecules' SMILES."""
        return [molecule.smiles for molecule in self.molecules]

    def best_of_compounds(self, likeness: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the largest of each compound's values, (n_compounds,), of all spectra's (n,)."""
        best = np.full(len(self.molecules), -np.inf)
        np.maximum.at(best, self.compound, likeness)
        return best


def read_known(
    paths: Sequence[Path], wanted: SpectrumFilter, report: ReadReport, console: Console
) -> KnownSpectra:
    """Read the spectra of files that pass a filter and state a structure that fits.

    Raises
    ------
    InputError
        If there is none.
    """
    known = KnownSpectra.of(
        usable_pairs(
            read_many(paths, report),
            wanted,
            report,
            lambda n: console.progress("reading the library", n),
        )
    )
    console.log(f"library: {report.summary()}")
    if not len(known):
        raise InputError(f"{paths[0]}: no library spectrum is left ({report.summary()})")
    return known
