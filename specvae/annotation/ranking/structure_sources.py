"""What candidates are taken from: a table that is held in memory, or a pool on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError, StructureError
from specvae.masses import deviation_ppm, ppm_width
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.candidates import CandidateSet, read_candidates
from specvae.molecules.fingerprint import FingerprintLayout
from specvae.molecules.inner_salts import is_inner_salt
from specvae.molecules.mass_screen import MassScreen
from specvae.molecules.molecule import Molecule
from specvae.molecules.structure_cache import StructureCache
from specvae.report import ReadReport


class StructureSource(ABC):
    """Structures that are found by mass, or by the queries that they are listed for."""

    def __init__(self, structures: CandidateSet | CandidatePool) -> None:
        self._structures = structures

    @property
    def listed(self) -> CandidateSet | None:
        """The structures if each is listed for a query; None where they are found by mass."""
        return None

    def within(self, mass: float, ppm: float) -> CandidateSet:
        """Return the structures whose exact mass is at most `ppm` away from one, in Da."""
        return self._structures.within(mass, ppm)

    def n_within(self, mass: float, ppm: float) -> int:
        """Return how many these are."""
        return self._structures.n_within(mass, ppm)

    def nearest_ppm(self, mass: float, farthest: float = np.inf) -> float:
        """Return how far the nearest exact mass is from a mass, in ppm of it.

        Of those more than `farthest` ppm away, any may be taken for the nearest.
        """
        return self._structures.nearest_ppm(mass)

    @abstractmethod
    def has_cation(self, mz: float, ppm: float, *, is_needed: bool) -> bool:
        """Return whether a cation that is listed as such has an m/z.

        Where it is not needed, a source may say no that would have to look on disk.
        """

    def stored(
        self, sets: Sequence[CandidateSet], layout: FingerprintLayout
    ) -> list[NDArray[np.uint8]] | None:
        """Return fingerprints of some of the structures, None where they must be computed.

        Of each set packed bits, uint8 (n_structures, n_bytes).
        """
        return None

    def close(self) -> None:  # noqa: B027 (a table has nothing open)
        """Close what is open."""


class TableSource(StructureSource):
    """The structures of a table, in memory.

    Parameters
    ----------
    path
        The table.
    report
        Where unusable rows are counted.
    n_jobs
        Processes that parse a long table, None for one per core.
    structures
        Where parsed structures are looked up and kept.
    screen
        Leaves out rows of a long table that no query asks for; None: all are parsed.

    Raises
    ------
    InputError
        If the file cannot be used, or holds no candidate.
    """

    def __init__(
        self,
        path: Path,
        report: ReadReport,
        n_jobs: int | None,
        structures: StructureCache,
        screen: MassScreen | None,
    ) -> None:
        self._table = read_candidates(path, report, n_jobs, structures, screen)
        super().__init__(self._table)
        # Rows that were not parsed have masses, too.
        self._left_out = screen if screen is not None and screen.n_left_out else None
        if not len(self._table) and self._left_out is None:
            raise InputError(f"{path}: no usable candidate ({report.nothing_read('candidates')})")

    @property
    def listed(self) -> CandidateSet | None:
        """See `StructureSource`."""
        return self._table if self._table.has_query_ids else None

    def nearest_ppm(self, mass: float, farthest: float = np.inf) -> float:
        """See `StructureSource`; rows that were not parsed count too."""
        nearest = super().nearest_ppm(mass) if len(self._table) else np.inf
        if self._left_out is None:
            return nearest
        # What is just beyond does not count as near.
        most = min(nearest, 1.001 * farthest)
        distance = self._left_out.nearest(mass, ppm_width(mass, most))
        return min(nearest, deviation_ppm(abs(mass) + distance, abs(mass)))

    def has_cation(self, mz: float, ppm: float, *, is_needed: bool) -> bool:
        """See `StructureSource`."""
        if are_cations(self.within(mz, ppm)):
            return True
        return self._left_out is not None and self._left_out.has_cation(mz, ppm)


class PoolSource(StructureSource):
    """The structures of a pool, on disk.

    Parameters
    ----------
    path
        The pool.
    layout
        Fingerprint layout of the model that ranks.
    report
        Where it is noted if the pool is of an earlier version.

    Raises
    ------
    InputError
        If the file cannot be used, or has other fingerprints.
    """

    def __init__(self, path: Path, layout: FingerprintLayout, report: ReadReport) -> None:
        self._pool = CandidatePool.open(path, layout)
        super().__init__(self._pool)
        self._layout = layout
        if not self._pool.is_current:
            report.note("pool of an earlier version, whose structures may differ: build it again")
        if not self._pool.has_checksums:
            report.note("pool without checksums, whose damage is not noticed: build it again")

    def has_cation(self, mz: float, ppm: float, *, is_needed: bool) -> bool:
        """See `StructureSource`."""
        return is_needed and are_cations(self.within(mz, ppm))

    def stored(
        self, sets: Sequence[CandidateSet], layout: FingerprintLayout
    ) -> list[NDArray[np.uint8]] | None:
        """See `StructureSource`."""
        if not self._pool.has(layout):
            return None
        if layout.name == self._layout.name:
            return [candidates.packed for candidates in sets]
        return [
            self._pool.packed(layout, candidates.pool_row)
            for candidates in sets
            if candidates.pool_row is not None
        ]

    def close(self) -> None:
        """See `StructureSource`."""
        self._pool.close()


def are_cations(found: CandidateSet) -> bool:
    """Return whether one of some structures is a cation."""
    return any("+" in formula for formula in found.formula.tolist())


def have_inner_salt(found: CandidateSet) -> bool:
    """Return whether one of some structures is an inner salt, such as carnitine."""
    texts = found.smiles.tolist()
    return any(_is_inner_salt(text) for text in texts if "+" in text and "-" in text)


def _is_inner_salt(smiles: str) -> bool:
    try:
        return is_inner_salt(Molecule.parse(smiles).mol)
    except StructureError:
        return False
