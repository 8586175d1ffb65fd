"""Candidate structures in memory: a table, or the rows of a pool that a query asks for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from specvae.errors import InputError, SpecvaeError
from specvae.limits import limits
from specvae.masses import deviation_ppm, ppm_width
from specvae.molecules.mass_screen import MassScreen
from specvae.molecules.molecule import FIRST_BLOCK, Molecule
from specvae.molecules.pool_pieces import first_text, joined_ids
from specvae.molecules.query_ids import by_form, listed_as
from specvae.molecules.quiet import each_quietly
from specvae.molecules.structure_cache import StructureCache
from specvae.molecules.structures import Row, parse_texts, read_rows, with_own_keys
from specvae.report import ReadReport, Reason

_SAME_MASS = 1e-3  # Da: isotopologues, which share a first block, are further apart

NOT_PARSED = "mass of no query, by its text: not parsed"
"""The note on rows of a long table that a `MassScreen` left out."""
Strings = NDArray[np.object_]
Molecules = NDArray[np.object_]


class CandidateSet:
    """Candidate structures in columns of equal length.

    Structures are parsed once: a table's when it is read, a pool's when they are first asked for.
    InChIKeys that the file did not give are computed when they are asked for, so that a large
    table costs nothing for rows that no query selects; fingerprints likewise.

    Attributes
    ----------
    name, id
        Strings as the file has them, object (n,).
    exact_mass
        In Da, float64 (n,).
    query_id
        Which query each row belongs to, object (n,), or None if rows go by mass.
    fingerprint
        Packed fingerprints, uint8 (n, n_bytes), or None if there are none yet.
    pool_row
        The row of each in the pool that it comes from, int64 (n,), or None.
    ion
        For each candidate the number of the query's ion species for which it has the mass, int64
        (n,), or None if there is one species only.
    """

    def __init__(
        self,
        smiles: Strings | None,
        exact_mass: NDArray[np.float64],
        *,
        inchikey: Strings,
        name: Strings,
        id: Strings,  # noqa: A002
        formula: Strings | None = None,
        query_id: Strings | None = None,
        fingerprint: NDArray[np.uint8] | None = None,
        pool_row: NDArray[np.int64] | None = None,
        molecules: Molecules | None = None,
        ion: NDArray[np.int64] | None = None,
    ) -> None:
        self.exact_mass = exact_mass
        self.name = name
        self.id = id
        self.query_id = query_id
        self.fingerprint = fingerprint
        self.pool_row = pool_row
        self.ion = ion
        self._given_key = inchikey  # a key, a first block, or nothing
        if smiles is not None:
            self.smiles = smiles
        if formula is not None:
            self.formula = formula
        if molecules is not None:
            self.molecules = molecules

    def __len__(self) -> int:
        return len(self.exact_mass)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield SMILES and given key of each structure."""
        return zip(self.smiles.tolist(), self._given_key.tolist(), strict=True)

    @property
    def has_molecules(self) -> bool:
        """Whether the structures have been parsed."""
        return "molecules" in self.__dict__

    @property
    def has_formulas(self) -> bool:
        """Whether formulas are stored, or were computed."""
        return "formula" in self.__dict__

    @cached_property
    def molecules(self) -> Molecules:
        """The structures, `Molecule`, object (n,).

        Raises
        ------
        StructureError
            If one cannot be parsed: see `usable_structures`.
        """
        return column_of(Molecule.parse(smiles, inchikey=key) for smiles, key in self.texts())

    @cached_property
    def smiles(self) -> Strings:
        """SMILES as the file has them, of InChI as they are computed; object (n,)."""
        return column_of(molecule.text for molecule in self.molecules)

    @cached_property
    def formula(self) -> Strings:
        """Formulas in Hill order: as stored, else computed; object (n,)."""
        return column_of(molecule.formula for molecule in self.molecules)

    @cached_property
    def inchikey(self) -> Strings:
        """Standard InChIKeys: as given, else computed; object (n,)."""
        if all(map(is_whole_key, self._given_key)):
            return self._given_key
        return column_of(each_quietly(attrgetter("inchikey"), self.molecules.tolist()))

    @cached_property
    def first_block(self) -> Strings:
        """First blocks of the InChIKeys: as given, else computed; object (n,)."""
        if all(self._given_key):
            return column_of(key[:FIRST_BLOCK] for key in self._given_key)
        return column_of(each_quietly(attrgetter("first_block"), self.molecules.tolist()))

    @property
    def has_query_ids(self) -> bool:
        """Whether every row belongs to one query only."""
        return self.query_id is not None

    @property
    def packed(self) -> NDArray[np.uint8]:
        """Packed fingerprints, uint8 (n, n_bytes), which candidates of a pool have.

        Raises
        ------
        SpecvaeError
            If the set has none.
        """
        if self.fingerprint is None:
            raise SpecvaeError("these candidates have no fingerprints")
        return self.fingerprint

    def select(self, rows: NDArray[np.intp]) -> CandidateSet:
        """Return the given rows (n,) in the given order."""
        smiles, molecules, formula = map(self.__dict__.get, ("smiles", "molecules", "formula"))
        return CandidateSet(
            None if smiles is None else smiles[rows],
            self.exact_mass[rows],
            inchikey=self._given_key[rows],
            name=self.name[rows],
            id=self.id[rows],
            formula=None if formula is None else formula[rows],
            query_id=None if self.query_id is None else self.query_id[rows],
            fingerprint=None if self.fingerprint is None else self.fingerprint[rows],
            pool_row=None if self.pool_row is None else self.pool_row[rows],
            molecules=None if molecules is None else molecules[rows],
            ion=None if self.ion is None else self.ion[rows],
        )

    @classmethod
    def joined(cls, sets: Sequence[CandidateSet]) -> CandidateSet:
        """Return the candidates of several sets of one source, each of another ion species."""

        def column(name: str) -> Any:  # noqa: ANN401
            parts = [each.__dict__[name] for each in sets if each.__dict__.get(name) is not None]
            return np.concatenate(parts) if len(parts) == len(sets) else None

        return cls(
            column("smiles"),
            column("exact_mass"),
            inchikey=column("_given_key"),
            name=column("name"),
            id=column("id"),
            formula=column("formula"),
            query_id=column("query_id"),
            fingerprint=column("fingerprint"),
            pool_row=column("pool_row"),
            molecules=column("molecules"),
            ion=np.repeat(np.arange(len(sets)), [len(each) for each in sets]),
        )

    def within(self, neutral_mass: float, ppm: float) -> CandidateSet:
        """Return the rows whose exact mass is at most `ppm` parts per million away, file order."""
        first, end = _mass_window(self._sorted_mass, neutral_mass, ppm)
        return self.select(np.sort(self._by_mass[first:end]))

    def n_within(self, neutral_mass: float, ppm: float) -> int:
        """Return the number of rows whose exact mass is at most `ppm` parts per million away."""
        first, end = _mass_window(self._sorted_mass, neutral_mass, ppm)
        return int(end - first)

    def nearest_ppm(self, neutral_mass: float) -> float:
        """Return how far the nearest exact mass is from a mass, in ppm of that mass."""
        return _nearest_ppm(self._sorted_mass, neutral_mass)

    def for_query(self, query_id: str, queries: Container[str] = frozenset()) -> CandidateSet:
        """Return the rows of one query in file order; all rows if the set has no query ids.

        The second spectrum of one name, ``ID#2``, gets the rows of ``ID`` if it has none itself. A
        name that is spelt otherwise in the table is found, unless it is that of another of all
        `queries`.
        """
        if self.query_id is None:
            return self
        name = listed_as(query_id, self._by_query, self._forms, queries)
        return self.select(np.empty(0, np.intp) if name is None else self._by_query[name])

    def deduplicate(self, mass: float | None = None) -> CandidateSet:
        """Keep one row of each first block: stereoisomers count as one candidate.

        The row gets the identifiers of all rows of its mass, and the first name, as in a pool. A
        structure for which no InChI can be computed is identified by its SMILES.

        Parameters
        ----------
        mass
            Neutral mass of the query, Da: of isotopologues, which share a first block, the nearest
            one is kept. Of rows that are equally near to 1 mDa, or if no mass is given, the first
            one is kept.
        """
        rows = np.arange(len(self))
        if mass is not None:
            # Masses of stereoisomers differ by rounding, those of isotopologues by more than 1 mDa.
            rows = np.argsort(np.round(np.abs(self.exact_mass - mass), 3), kind="stable")
        groups: dict[str, list[int]] = {}
        for row in rows.tolist():
            groups.setdefault(self.first_block[row] or self.smiles[row], []).append(row)
        if len(groups) == len(self):
            return self
        in_order = sorted(groups.values(), key=itemgetter(0))
        kept = self.select(np.array([same[0] for same in in_order], np.intp))
        masses = self.exact_mass.tolist()
        for place, rows_of_block in enumerate(in_order):
            first = rows_of_block[0]
            same = [row for row in rows_of_block if abs(masses[row] - masses[first]) < _SAME_MASS]
            if len(same) > 1:
                kept.name[place] = first_text(self.name[row] for row in same)
                kept.id[place] = joined_ids(self.id[row] for row in same)
        return kept

    @cached_property
    def _by_mass(self) -> NDArray[np.intp]:
        return np.argsort(self.exact_mass, kind="stable")

    @cached_property
    def _sorted_mass(self) -> NDArray[np.float64]:
        return self.exact_mass[self._by_mass]

    @cached_property
    def _forms(self) -> dict[object, str]:
        return by_form(self._by_query)

    @cached_property
    def _by_query(self) -> dict[str, NDArray[np.intp]]:
        rows: dict[str, list[int]] = {}
        for row, query_id in enumerate(self.query_id if self.query_id is not None else ()):
            rows.setdefault(query_id, []).append(row)
        return {query_id: np.array(found, dtype=np.intp) for query_id, found in rows.items()}


def is_whole_key(inchikey: str) -> bool:
    """Return whether a key is more than a first block."""
    return len(inchikey) > FIRST_BLOCK


def usable_structures(
    sets: Sequence[CandidateSet],
    n_jobs: int | None = 1,
    cache: StructureCache | None = None,
) -> list[tuple[CandidateSet, int]]:
    """Return the candidates of each set whose structures can be parsed, and how many cannot.

    All structures of a table can. A pool may have been written by a version that accepted more. A
    structure of several sets is parsed once.

    Parameters
    ----------
    sets
        Candidates of several queries.
    n_jobs
        Processes that parse many structures, None for one per core.
    cache
        Where structures are looked up and kept; None for no cache.

    Raises
    ------
    SpecvaeError
        If the system ends one of the processes.
    """
    unparsed = [one for one in sets if not one.has_molecules]
    texts = list(dict.fromkeys(text for one in unparsed for text in one.smiles.tolist()))
    parsed_texts = dict(zip(texts, parse_texts(texts, n_jobs, cache), strict=True))
    # One object for all, so that what is computed of it later is computed once.
    found = {
        (text, key): one.with_key(key) if isinstance(one, Molecule) else one
        for text, key in dict.fromkeys(pair for one in unparsed for pair in one.texts())
        for one in (parsed_texts[text],)
    }
    usable = []
    for one in sets:
        if one.has_molecules:
            usable.append((one, 0))
            continue
        molecules = [found[pair] for pair in one.texts()]
        rows = [row for row, each in enumerate(molecules) if isinstance(each, Molecule)]
        chosen = one if len(rows) == len(one) else one.select(np.array(rows, np.intp))
        chosen.molecules = column_of(molecules[row] for row in rows)
        usable.append((chosen, len(one) - len(rows)))
    return usable


def column_of(values: Iterable[object]) -> NDArray[np.object_]:
    """Return values as a column of a `CandidateSet`, (n,)."""
    listed = list(values)
    column = np.empty(len(listed), dtype=object)
    column[:] = listed
    return column


def _mass_window(
    sorted_mass: NDArray[np.float64], neutral_mass: float, ppm: float
) -> tuple[int, int]:
    """Return first and end of the masses within `ppm` of a mass, both limits included."""
    width = ppm_width(neutral_mass, ppm)
    first = np.searchsorted(sorted_mass, neutral_mass - width, side="left")
    end = np.searchsorted(sorted_mass, neutral_mass + width, side="right")
    return int(first), int(end)


def _nearest_ppm(sorted_mass: NDArray[np.float64], neutral_mass: float) -> float:
    place = int(np.searchsorted(sorted_mass, neutral_mass))
    beside = sorted_mass[max(place - 1, 0) : place + 1]
    nearest = float(beside[np.abs(beside - neutral_mass).argmin()])
    return abs(deviation_ppm(nearest, neutral_mass))


def read_candidates(
    path: Path,
    report: ReadReport | None = None,
    n_jobs: int | None = 1,
    cache: StructureCache | None = None,
    screen: MassScreen | None = None,
) -> CandidateSet:
    """Read a table of candidates.

    Parameters
    ----------
    path
        CSV, TSV or SMI, see `specvae.molecules.structures.read_rows` for columns.
    report
        Where rows without a usable structure are counted, and rows without a ``query_id`` in a
        table that has them, which are candidates of no query.
    n_jobs
        Processes that parse a long table, None for one per core.
    cache
        Where structures are looked up and kept; None for no cache.
    screen
        Knows the masses of the queries: rows of a long table with another mass are not parsed and
        are no candidates, and the report counts them. It has no effect if candidates are listed by
        ``query_id``. None: all rows are parsed.

    Raises
    ------
    InputError
        If the file cannot be used, or has more structures than the limit `table_rows`.
    """
    report = report if report is not None else ReadReport()
    before = replace(report, skips=[*report.skips], notes=Counter(report.notes))
    rows = _rows(path, report, n_jobs, cache, screen)
    if screen is not None and screen.n_left_out and any(row.query_id for row in rows):
        # It names its queries after ten thousand rows or more, and needs all of them.
        screen.forget()
        report.n_read, report.skips, report.notes = before.n_read, before.skips, before.notes
        rows = _rows(path, report, n_jobs, cache)
    if screen is not None and screen.n_left_out:
        report.n_read += screen.n_left_out
        report.notes[NOT_PARSED] += screen.n_left_out
    return _table(path, rows, report)


def _rows(
    path: Path,
    report: ReadReport,
    n_jobs: int | None,
    cache: StructureCache | None,
    screen: MassScreen | None = None,
) -> list[Row]:
    most = limits().table_rows
    found = read_rows(path, report, n_jobs, cache, screen, every_component=True)
    rows = list(itertools.islice(found, most + 1))
    if len(rows) + (0 if screen is None else screen.n_left_out) > most:
        raise InputError(
            f"{path}: more than {most:,} structures (table_rows), which are held in memory; "
            "'specvae pool build' makes a pool of any number"
        )
    return rows


def _table(path: Path, rows: list[Row], report: ReadReport) -> CandidateSet:
    has_query_ids = any(row.query_id for row in rows)
    if has_query_ids:
        for row in rows:
            if not row.query_id:
                report.n_read -= 1
                record = row.id or row.name or row.smiles
                report.skip(str(path), row.line, record, Reason.BAD_FIELD, "query_id is empty")
        rows = [row for row in rows if row.query_id]
    return _columns(_with_own_keys(rows, report), has_query_ids)


def _with_own_keys(rows: list[Row], report: ReadReport) -> list[Row]:
    """Return rows without InChIKeys that belong to other structures."""
    molecules = with_own_keys([row.molecule for row in rows])
    for place, molecule in enumerate(molecules):
        if molecule is not rows[place].molecule:
            assert isinstance(molecule, Molecule)
            report.note(molecule.notes[-1])
            rows[place] = replace(rows[place], molecule=molecule)
    return rows


def _columns(rows: Sequence[Row], has_query_ids: bool) -> CandidateSet:
    return CandidateSet(
        None,
        np.array([row.molecule.exact_mass for row in rows], dtype=np.float64),
        inchikey=column_of(row.molecule.given_key for row in rows),
        name=column_of(row.name for row in rows),
        id=column_of(row.id for row in rows),
        query_id=column_of(row.query_id for row in rows) if has_query_ids else None,
        molecules=column_of(row.molecule for row in rows),
    )
