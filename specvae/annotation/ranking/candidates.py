"""Where the candidates of queries come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.library_memory import Absence, has_mz_of
from specvae.annotation.library.query import AVERAGE, ISOTOPE, MassFit, Query, has_coarse_precursor
from specvae.annotation.ranking.counts import Counts
from specvae.annotation.ranking.restriction import Restriction
from specvae.annotation.ranking.result import Cause, Refusal
from specvae.annotation.ranking.structure_sources import (
    PoolSource,
    StructureSource,
    TableSource,
    are_cations,
    have_inner_salt,
)
from specvae.masses import HYDROGEN_MASS, ISOTOPE_STEP, is_near, ppm_width
from specvae.molecules.candidate_pool import CandidatePool
from specvae.molecules.candidates import CandidateSet, usable_structures
from specvae.molecules.fingerprint import FingerprintCache, FingerprintLayout, all_fingerprints
from specvae.molecules.graph_cache import GraphCache
from specvae.molecules.mass_screen import MassScreen
from specvae.molecules.molecule import average_mass_of_formula, exact_mass_of_smiles
from specvae.molecules.structure_cache import StructureCache
from specvae.molecules.structure_files import read_cells
from specvae.progress import Progress
from specvae.report import ReadReport
from specvae.sources import is_pool
from specvae.spectra.adducts import ion_of_cation, parse_adduct

INNER_SALT = "may be [M+H]+ of an inner salt, such as a carnitine, which is not ranked as [M]+"
"""What the status says if the right candidate may be an inner salt."""

_COARSE_RANGE = 1.0  # Th: of 3,082 such m/z of MassBank .4 % are within 10 ppm, here .6 %

# Average masses lie above monoisotopic ones: those of most organic compounds by some .06 %, with
# chlorine by up to .5 %, and by .05 Da at least. Molecular weights mostly have two decimals;
# protons are 1.007 or 1.008 Da. Of accurate masses that are not listed among 3,000 compounds of
# MassBank, an eighth happen to agree with an average mass.
_MOST_ABOVE = 0.005
_LEAST_ABOVE = 0.05  # Da
_AVERAGE_ERROR = 0.015  # Th
_FEW = 100  # structures: in longer lists about any mass occurs

_LISTED_PPM = 50.0
"""Fit of a query whose candidates are listed for it, so that their masses were not compared."""


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
    queries
        All for which candidates will be asked. Rows of a long table that have the mass of none of
        them are not parsed, unless the report is strict. None: any query may come.
    counts
        How often compounds are referred to; None: that does not count.
    names
        Identifiers of all queries of the run: what a table calls exactly so is no other spelling
        of another's.

    Attributes
    ----------
    counts
        As given.
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
        *,
        n_jobs: int | None = 1,
        restriction: Restriction | None = None,
        queries: Iterable[Query] | None = None,
        counts: Counts | None = None,
        names: Iterable[str] = (),
    ) -> None:
        self.ppm = ppm
        self._names = frozenset(names)
        self.counts = counts
        self._restriction = restriction or Restriction()
        self._cache = FingerprintCache()
        self._structures = StructureCache()
        self.graphs = GraphCache()
        self._source: StructureSource
        if is_pool(path):
            self._source = PoolSource(path, layout, report)
        else:
            screen = None
            if queries is not None and not report.strict:
                wanted = chain.from_iterable((*_masses(q), *_inner_masses(q)) for q in queries)
                screen = MassScreen(wanted, ppm)
            self._source = TableSource(path, report, n_jobs, self._structures, screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the pool, if it is one."""
        self._source.close()

    @property
    def listed_ids(self) -> tuple[str, ...]:
        """The first identifiers of queries that the table names; none for candidates by mass."""
        listed = self._source.listed
        if listed is None or listed.query_id is None:
            return ()
        return tuple(islice(dict.fromkeys(listed.query_id.tolist()), 3))

    def is_listed(self, query: Query) -> bool:
        """Return whether there are candidates that are listed for a query, or any by mass."""
        listed = self._source.listed
        return listed is None or len(listed.for_query(query.query_id, self._names)) > 0

    def find(self, query: Query) -> CandidateSet | Refusal:
        """Return a query's candidates, one per first block, or why there are none."""
        if query.spectrum.ms_level not in (2, None):
            return Refusal(Cause.MS_LEVEL, f"MS level {query.spectrum.ms_level}, wanted 2")
        mass = query.neutral_mass
        if (listed := self._source.listed) is not None:
            found = listed.for_query(query.query_id, self._names)
            return self._liked(found, mass) if len(found) else Refusal(Cause.NOT_LISTED)
        if query.precursor_mz is None:
            return Refusal(Cause.NO_PRECURSOR)
        if mass is None:
            if query.adduct:
                return Refusal(Cause.UNKNOWN_ADDUCT, f"unknown adduct {query.adduct}")
            return Refusal(Cause.NO_ION)
        sets = [self._source.within(each, self.ppm) for each in _masses(query)]
        if not any(map(len, sets)):
            text = f"no candidates within {self.ppm:g} ppm"
            masses = [ion.neutral_mass(query.precursor_mz) for ion in query.ions]
            nearest = min(self._source.nearest_ppm(m) for m in masses if m > 0.0 or m == mass)
            return Refusal(Cause.NONE_WITHIN, text, nearest if nearest < np.inf else None)
        return self._liked(sets[0] if len(sets) == 1 else CandidateSet.joined(sets))

    def doubts(self, query: Query) -> Iterator[str]:
        """Yield remarks on a search by mass that may miss the right candidate.

        There are three reasons. The precursor m/z is rounded: of accurate m/z one in a thousand
        ends in so many zeros, of a quadrupole's all do. The precursor m/z has two decimals and the
        peaks have fewer: it is off by tenths of a Th, and of 3,082 such spectra of MassBank 13 have
        the right mass within 10 ppm. Or the compound, such as carnitine, is listed as an inner
        salt, and the stated [M]+ is its protonated form.
        """
        if query.precursor_mz is None or self._source.listed is not None:
            return
        missed = f"the right one may not be within {self.ppm:g} ppm of it"
        if self._is_rounded(query.precursor_mz):
            yield f"precursor m/z has one decimal or none: {missed}"
        elif self._is_coarse(query):
            yield f"precursor m/z has two decimals, and those of the peaks fewer: {missed}"
        of_masses = (self._source.within(mass, self.ppm) for mass in _inner_masses(query))
        if any(map(have_inner_salt, of_masses)):
            yield INNER_SALT

    def window_share(self, query: Query) -> float:
        """Return the chance that a query's mass is within `ppm` of what its precursor m/z says.

        If the m/z was rounded to a unit u, 1 or .1 Th, the true m/z may be anywhere in a range of
        that width. The mass window covers the share ``2 ppm m/z / u`` of it. An m/z measured by a
        quadrupole is treated as rounded to 1 Th. The chance is 1 for accurate m/z, and for
        candidates that are listed for their queries.
        """
        mz = query.precursor_mz
        if mz is None or self._source.listed is not None:
            return 1.0
        if self._is_rounded(mz):
            return self._window(mz) / _unit(mz)
        return self._window(mz) / _COARSE_RANGE if self._is_coarse(query) else 1.0

    def _window(self, mz: float) -> float:
        return 2.0 * ppm_width(mz, self.ppm)

    def _is_rounded(self, mz: float) -> bool:
        return round(mz, 1) == mz and self._is_narrow(mz)

    def _is_narrow(self, mz: float) -> bool:
        return self._window(mz) < _unit(mz)

    def _is_coarse(self, query: Query) -> bool:
        mz = query.precursor_mz
        return mz is not None and has_coarse_precursor(query.spectrum) and self._is_narrow(mz)

    def fit(self, query: Query, found: CandidateSet | Refusal) -> MassFit | None:
        """Return how a query's precursor fits its candidates, None if that is unknown.

        It shows whether a file states masses of molecules instead of m/z.

        Parameters
        ----------
        query
            The query.
        found
            What `find` returned for it.
        """
        mz, mass = query.precursor_mz, query.neutral_mass
        if mz is None or mass is None:
            return None
        if self._source.listed is not None:
            if isinstance(found, Refusal):
                return None
            ppm = max(self.ppm, _LISTED_PPM)
            as_ion = bool(_are_near(found.exact_mass, mass, ppm).any())
            of_mz = found.select(np.flatnonzero(_are_near(found.exact_mass, mz, ppm)))
            return MassFit(as_ion, len(of_mz) > 0 and not are_cations(of_mz))
        is_none = isinstance(found, Refusal) and found.cause is Cause.NONE_WITHIN
        if isinstance(found, Refusal) and not is_none:
            return None
        is_at_mz = self._has_mass(mz)
        cation = _mass_as_cation(query)
        as_cation = (
            cation is not None
            and self._has_mass(cation)
            and self._source.has_cation(cation, self.ppm, is_needed=is_none)
        )
        as_others = tuple(self._as_others(query)) if is_none else ()
        as_neutral = is_at_mz and not (as_cation and cation == mz)
        return MassFit(not is_none, as_neutral, as_cation, as_others)

    def _as_others(self, query: Query) -> Iterator[str]:
        """Yield the other ion species and isotopes as which a query would have candidates."""
        ion, mz = query.ion, query.precursor_mz
        if ion is None or mz is None:
            return
        below = ion.neutral_mass(mz - ISOTOPE_STEP / abs(ion.charge))
        masses = {other.name: other.neutral_mass(mz) for other in _OTHERS[ion.ion_mode]}
        known = {each.name for each in query.ions}
        for name, mass in {ISOTOPE: below, **masses}.items():
            if name not in known and mass > 0 and self._has_mass(mass):
                yield name
        if self._has_average(ion.neutral_mass(mz), abs(ion.charge)):
            yield AVERAGE

    def _has_average(self, mass: float, n_charges: int) -> bool:
        """Return whether a mass may be that of a structure as an average over all isotopes."""
        if mass <= 0.0:
            return False
        window = mass * (1.0 - 0.5 * _MOST_ABOVE), 0.5e6 * _MOST_ABOVE
        if not 0 < self._source.n_within(*window) <= _FEW:
            return False
        near = self._source.within(*window)
        above = np.array([average_mass_of_formula(text) for text in near.formula]) - mass
        is_above = mass - near.exact_mass >= _LEAST_ABOVE
        return bool((is_above & (np.abs(above) <= _AVERAGE_ERROR * n_charges)).any())

    def _has_mass(self, mass: float) -> bool:
        """Return whether any structure has a mass, in Da."""
        return self._source.nearest_ppm(mass, self.ppm) <= self.ppm

    def may_be(self, query: Query, first_block: str, smiles: str, adduct: str) -> Absence:
        """Return whether a query may be of a compound that is none of its candidates.

        It may be if the user did not leave the compound out, and either the compound has a neutral
        mass of the query, or its ion of the species `adduct` has the query's m/z.
        """
        mass = exact_mass_of_smiles(smiles)
        has_mass = any(is_near(mass, each, self.ppm) for each in _masses(query))
        is_other_ion = not has_mass and has_mz_of(query.spectrum, smiles, adduct, self.ppm)
        if not (has_mass or is_other_ion) or not self._restriction.allows(first_block, smiles):
            return Absence()
        is_stated = not (query.is_ion_assumed or query.others)
        return Absence(is_unlisted=True, is_other_ion=is_other_ion and is_stated)

    def _liked(self, found: CandidateSet, mass: float | None = None) -> CandidateSet | Refusal:
        """Return the candidates that the user asks for, one per first block."""
        liked = self._restriction.select(found)
        if not len(liked):
            return Refusal(Cause.NONE_LIKE_THAT, f"no candidate left by {self._restriction}")
        return liked.deduplicate(mass)

    def usable(
        self, sets: Sequence[CandidateSet], n_jobs: int | None
    ) -> list[tuple[CandidateSet, int]]:
        """Return the candidates of each set that can be parsed; see `usable_structures`."""
        return usable_structures(sets, n_jobs, self._structures)

    def packed(
        self,
        sets: Sequence[CandidateSet],
        layouts: Sequence[FingerprintLayout],
        n_jobs: int | None,
        progress: Progress,
    ) -> list[list[NDArray[np.uint8]]]:
        """Return packed fingerprints by layout, then by set, uint8 (n_candidates, n_bytes).

        See `all_fingerprints`.
        """
        found = {layout.name: self._source.stored(sets, layout) for layout in layouts}
        # The model's fingerprint may be the one that analogues are compared by.
        by_name = {layout.name: layout for layout in layouts}
        missing = [layout for name, layout in by_name.items() if found[name] is None]
        if missing:
            tables = all_fingerprints(
                [molecule for candidates in sets for molecule in candidates.molecules],
                missing,
                self._cache,
                n_jobs,
                lambda done, total: progress.progress("computing fingerprints", done, total),
            )
            ends = np.cumsum([len(candidates) for candidates in sets])
            for layout, table in zip(missing, tables, strict=True):
                found[layout.name] = np.split(table, ends[:-1]) if sets else []
        return [found[layout.name] or [] for layout in layouts]


def require_candidates(path: Path, layout: FingerprintLayout) -> None:
    """Refuse a file that holds no candidates by its first lines, or a pool by its fingerprints.

    Raises
    ------
    InputError
        If it is missing, of another kind, or a table without structures.
    """
    if is_pool(path):
        CandidatePool.open(path, layout).close()
    else:
        next(read_cells(path, ReadReport()), None)


def _are_near(masses: NDArray[np.float64], mass: float, ppm: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(masses - mass) <= ppm_width(mass, ppm))


def _unit(mz: float) -> float:
    """Return the unit that an m/z of one decimal or none was rounded to, Th."""
    return 1.0 if round(mz) == mz else 0.1


def _mass_as_cation(query: Query) -> float | None:
    """Return the mass of the cation that has a query's m/z, None if it is already searched for.

    For a positive ion it is the cation itself, with as many charges. For a negative ion it is a
    cation of one charge that lost two protons.
    """
    ion, mz = query.ion, query.precursor_mz
    if ion is None or mz is None or ion.charge < -1:
        return None
    of_cation = ion_of_cation(ion.charge, max(ion.charge, 1))
    if of_cation in query.ions:
        return None
    return mz if ion.charge == 1 else of_cation.neutral_mass(mz)


def _inner_masses(query: Query) -> list[float]:
    """Return the mass of the inner salt whose protonated form a stated [M]+ may be, in Da."""
    mass = query.neutral_mass
    if mass is None or query.ion != _CATION or query.others:
        return []
    return [max(mass - HYDROGEN_MASS, 0.0)]


_CATION = ion_of_cation(1, 1)
# Species so common that they may be meant where another species is stated.
_POSITIVE = ("[M+H]+", "[M+Na]+", "[M+NH4]+", "[M+K]+", "[M+H-H2O]+", "[2M+H]+")
_NEGATIVE = ("[M-H]-", "[M+Cl]-", "[M+HCOO]-", "[M+CH3COO]-", "[M-H-H2O]-", "[2M-H]-")
_OTHERS = {
    mode: [ion for ion in map(parse_adduct, names) if ion is not None]
    for mode, names in (
        ("positive", (*_POSITIVE, "[M-H]-")),
        ("negative", (*_NEGATIVE, "[M+H]+")),
    )
}


def _masses(query: Query) -> list[float]:
    """Return the neutral masses that a query's candidates may have, in Da, by its ions."""
    if query.precursor_mz is None:
        return []
    # An ion of a light precursor may have no room for a molecule.
    return [max(ion.neutral_mass(query.precursor_mz), 0.0) for ion in query.ions]
