"""What a library says of structures beside their fragments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.library_memory import LibraryMemory
from specvae.annotation.evidence.own_spectra import DEFAULT_SHARES, UNKNOWN_SHARES
from specvae.annotation.evidence.pool import EvidencePool
from specvae.annotation.evidence.remembered import RememberedSpectra
from specvae.annotation.library.filter import SpectrumFilter
from specvae.cli.console import Console
from specvae.molecules.candidates import CandidateSet
from specvae.molecules.molecule import Molecule
from specvae.report import ReadReport
from specvae.spectra.spectrum import Spectrum
from specvae_bench.evidence import compare


@dataclass(frozen=True)
class BesideFragments:
    """All evidence but that of fragments, of compounds that the library is taken not to know.

    Attributes
    ----------
    pool
        The library, and the weights that come with the program.
    """

    pool: EvidencePool

    @classmethod
    def read(
        cls,
        spectra: Sequence[Path],
        excluded: frozenset[str],
        n_jobs: int | None,
        console: Console,
    ) -> BesideFragments:
        """Read the spectra of a library, of all ions, without excluded compounds (first blocks).

        Raises
        ------
        InputError
            If a file cannot be used, or no spectrum is left.
        """
        remembered = RememberedSpectra.read_spectra(
            spectra,
            ReadReport(),
            wanted=SpectrumFilter(excluded=excluded),
            n_jobs=n_jobs,
            progress=console,
        )
        return cls(EvidencePool(LibraryMemory.of(remembered), {}, retention=None))

    def of(self, spectra: Sequence[Spectrum], molecules: Sequence[Molecule]) -> NDArray[np.float32]:
        """Return the evidence of structures.

        Parameters
        ----------
        spectra
            Of the first molecule, whose own spectra the library is asked without.
        molecules
            Of different first blocks.

        Returns
        -------
        float32 (n_spectra, n_molecules), nats.
        """
        text, nothing = np.array([m.smiles for m in molecules], object), [""] * len(molecules)
        candidates = CandidateSet(
            text,
            np.array([molecule.exact_mass for molecule in molecules]),
            inchikey=np.array([molecule.first_block for molecule in molecules], object),
            name=np.array(nothing, object),
            id=np.array(nothing, object),
        )
        packed = self.pool.layout.compute(molecules)
        pool = self.pool.without(molecules[0].first_block)
        found = np.empty((len(spectra), len(molecules)), np.float32)
        for row, spectrum in enumerate(spectra):
            compared = compare(pool, spectrum, candidates, packed, np.zeros(len(molecules)))
            known = compared.library.measured, compared.library.elsewhere
            found[row] = compared.others - DEFAULT_SHARES.odds(*known) + UNKNOWN_SHARES.odds(*known)
        return found
