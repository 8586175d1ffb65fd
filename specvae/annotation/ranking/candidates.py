"""Where the candidates of queries come from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.library.query import Query
from specvae.annotation.ranking.restriction import Restriction
from specvae.annotation.ranking.result import Cause, Refusal
from specvae.errors import InputError
from specvae.molecules.candidates import (
    CandidatePool,
    CandidateSet,
    read_candidates,
    usable_structures,
)
from specvae.molecules.fingerprint import FingerprintCache, FingerprintLayout, fingerprints
from specvae.molecules.graph_cache import GraphCache
from specvae.molecules.structure_cache import StructureCache
from specvae.progress import Progress
from specvae.report import ReadReport


class CandidateSource:
    """Where queries' candidates come from: a CSV or TSV, or a pool.

    A context manager: leaving it closes the pool's file.

    Parameters
    ----------
    path
        A table of structures, or a pool (``.h5``).
    layout
        Fingerprint layout of the model that ranks.
    ppm
        Largest distance of a candidate's exact mass from the query's neutral mass.
    report
        Where unusable rows are counted.
    n_jobs
        Processes that parse a long table, None for one per core.
    restriction
        Which of them are ranked; None: all.

    Attributes
    ----------
    graphs
        Where the graphs of candidates are kept that are broken into fragments.

    Raises
    ------
    InputError
        If the file cannot be used, or holds no candidate.
    """

    def __init__(
        self,
        path: Path,
        layout: FingerprintLayout,
        ppm: float,
        report: ReadReport,
        n_jobs: int | None = 1,
        restriction: Restriction | None = None,
    ) -> None:
        self.ppm = ppm
        self._restriction = restriction or Restriction()
        self._layout = layout
        self._cache = FingerprintCache()
        self._structures = StructureCache()
        self.graphs = GraphCache()
        self._pool = CandidatePool.open(path, layout) if path.suffix == ".h5" else None
        if self._pool is not None and not self._pool.is_current:
            report.note("pool of an earlier version, whose structures may differ: build it again")
        if self._pool is not None and not self._pool.has_checksums:
            report.note("pool without checksums, whose damage is not noticed: build it again")
        self._table = (
            None if self._pool else read_candidates(path, report, n_jobs, self._structures)
        )
        if self._table is not None and not len(self._table):
            raise InputError(f"{path}: no usable candidate ({report.summary('candidates')})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool, if it is one."""
        if self._pool is not None:
            self._pool.close()

    @property
    def listed_ids(self) -> tuple[str, ...]:
        """The first identifiers of queries that the table names; none for candidates by mass."""
        if self._table is None or self._table.query_id is None:
            return ()
        return tuple(islice(dict.fromkeys(self._table.query_id.tolist()), 3))

    def find(self, query: Query) -> CandidateSet | Refusal:
        """Return a query's candidates, one per first block, or why there are none."""
        if query.spectrum.ms_level not in (2, None):
            return Refusal(Cause.MS_LEVEL, f"MS level {query.spectrum.ms_level}, wanted 2")
        mass = query.neutral_mass
        if self._table is not None and self._table.has_query_ids:
            found = self._table.for_query(query.query_id)
            return self._liked(found, mass) if len(found) else Refusal(Cause.NOT_LISTED)
        if query.precursor_mz is None:
            return Refusal(Cause.NO_PRECURSOR)
        if mass is None:
            if query.adduct:
                return Refusal(Cause.UNKNOWN_ADDUCT, f"unknown adduct {query.adduct}")
            return Refusal(Cause.NO_ION)
        source = self._pool if self._pool is not None else self._table
        assert source is not None
        masses = [ion.neutral_mass(query.precursor_mz) for ion in query.ions]
        # An ion of a light precursor may have no room for a molecule.
        sets = [source.within(max(each, 0.0), self.ppm) for each in masses]
        if not any(map(len, sets)):
            text = f"no candidates within {self.ppm:g} ppm"
            nearest = min(source.nearest_ppm(each) for each in masses if each > 0.0 or each == mass)
            return Refusal(Cause.NONE_WITHIN, text, nearest)
        return self._liked(sets[0] if len(sets) == 1 else CandidateSet.joined(sets))

    def _liked(self, found: CandidateSet, mass: float | None = None) -> CandidateSet | Refusal:
        """Return those that the user asks for, one per first block."""
        liked = self._restriction.select(found)
        return liked.deduplicate(mass) if len(liked) else Refusal(Cause.NONE_LIKE_THAT)

    def usable(
        self, sets: Sequence[CandidateSet], n_jobs: int | None
    ) -> list[tuple[CandidateSet, int]]:
        """Return of each set what can be parsed; see `usable_structures`."""
        return usable_structures(sets, n_jobs, self._structures)

    def packed(
        self,
        sets: Sequence[CandidateSet],
        n_jobs: int | None,
        progress: Progress,
        layout: FingerprintLayout | None = None,
    ) -> list[NDArray[np.uint8]]:
        """Return packed fingerprints of several sets; each structure is computed once.

        `layout`, if given, replaces the source's own.
        """
        if self._pool is not None and layout is None:
            return [candidates.packed for candidates in sets]
        if self._pool is not None and layout is not None and self._pool.has(layout):
            return [
                self._pool.packed(layout, candidates.pool_row)
                for candidates in sets
                if candidates.pool_row is not None
            ]
        table = fingerprints(
            [molecule for candidates in sets for molecule in candidates.molecules],
            layout or self._layout,
            self._cache,
            n_jobs,
            lambda done, total: progress.progress("computing fingerprints", done, total),
        )
        ends = np.cumsum([len(candidates) for candidates in sets])
        return np.split(table, ends[:-1]) if sets else []
