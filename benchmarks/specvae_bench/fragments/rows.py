"""Fragments of molecules as sums of rows of small tables, and the peaks they are compared with.

The layers of the fragment score are linear in `FragmentTable.descriptors`, and a fragment's
descriptors are a dozen rows of a table of its molecule added up (`FragmentRows`). What is learned
is multiplied by the rows of a molecule, not by its thousand fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragment_peaks import (
    Peaks,
    composition,
    has_subformula,
)
from specvae.annotation.evidence.fragment_rows import Described, FragmentRows, describe, room_for
from specvae.annotation.evidence.fragment_score import HEIGHT_EDGES, PLACE_EDGES, condition_of
from specvae.annotation.evidence.ion_weights import Joined, Windows
from specvae.annotation.evidence.surroundings import atom_features
from specvae.molecules.compiling import ZERO, compiled
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable
from specvae.molecules.graph import BOND_CLASS, Graph
from specvae.molecules.lanes import N_LANES

N_COLUMNS = N_DESCRIPTORS + 1
"""Columns of a row: those of the descriptors, and 1 once in each fragment."""

# What gives rows of descriptors as they are, with room for one more column.
_AS_THEY_ARE = np.eye(N_DESCRIPTORS, -(-N_COLUMNS // N_LANES) * N_LANES, dtype=np.float32)


class Fragments(NamedTuple):
    """Fragments of some molecules, one molecule's after the other's, and their pairs with queries.

    Parameters
    ----------
    masses
        float64 (n_fragments,), Da.
    hydrogens, most
        int64 (n_fragments,): hydrogens; and how many of `SHIFTS` come before those that need more
        hydrogens than find a place.
    chosen
        int32: rows that add up to each fragment, in a table of the rows of all molecules.
    ends
        Where these of each fragment begin, and the last ones end, int64 (n_fragments + 1,).
    of_molecule
        Where the fragments of each molecule begin, likewise, int64 (n_molecules + 1,).
    pairs
        Where the pairs of each molecule begin in `pair`, likewise, int64 (n_molecules + 1,).
    pair
        Numbers of pairs, by molecule, int64 (n_pairs,). A pair is a molecule and a query that it is
        a candidate of.
    query, cell
        Of each pair its query, int64 (n_pairs,), and where its peaks begin among those of all
        pairs, int64 (n_pairs + 1,).
    """

    masses: NDArray[np.float64]
    hydrogens: NDArray[np.int64]
    most: NDArray[np.int64]
    chosen: NDArray[np.int32]
    ends: NDArray[np.int64]
    of_molecule: NDArray[np.int64]
    pairs: NDArray[np.int64]
    pair: NDArray[np.int64]
    query: NDArray[np.int64]
    cell: NDArray[np.int64]


class AtomsAndCuts(NamedTuple):
    """The atoms and cuts of some molecules, each bond cut in both directions.

    Parameters
    ----------
    features
        Of the atoms of all molecules, float32 (n_atoms, N_ATOM_FEATURES).
    kept, lost
        Atoms at either end of each cut, int64 (n_cuts,).
    kind
        Index into `BOND_CLASSES`, int64 (n_cuts,).
    row
        Of each cut, int64 (n_cuts,).
    """

    features: NDArray[np.float32]
    kept: NDArray[np.int64]
    lost: NDArray[np.int64]
    kind: NDArray[np.int64]
    row: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Batch:
    """Some queries, each with its candidates, as flat arrays.

    Pairs are in the order of the queries, and those of a query in the order of its candidates.

    Attributes
    ----------
    rows
        Of all molecules, float32 (n_rows, N_COLUMNS).
    fragments, queries, atoms_and_cuts
        See there; the constants of the queries are their conditions.
    n_candidates
        Of each query.
    roots
        Of the intensities of all peaks, float32 (n_peaks,).
    heights, places
        Classes of these, int64 (n_peaks,).
    of_query
        The query of each, int64 (n_peaks,).
    peak_of_cell, pair_of_cell, part_of_cell
        Of the peaks of each pair: the peak; the pair; 1 where a part of the formula has the peak's
        mass, else 0. int64 (n_cells,).
    """

    rows: NDArray[np.float32]
    fragments: Fragments
    queries: Joined
    atoms_and_cuts: AtomsAndCuts
    n_candidates: list[int]
    roots: NDArray[np.float32]
    heights: NDArray[np.int64]
    places: NDArray[np.int64]
    of_query: NDArray[np.int64]
    peak_of_cell: NDArray[np.int64]
    pair_of_cell: NDArray[np.int64]
    part_of_cell: NDArray[np.int64]

    @classmethod
    def of(cls, lists: Sequence[tuple[Sequence[Peaks], Sequence[FragmentTable]]]) -> Self:
        """Describe lists of candidates, each with one or more queries that have a peak."""
        queries = [peaks for of_list, _ in lists for peaks in of_list]
        tables = [table for _, of_list in lists for table in of_list]
        n_peaks = np.array([len(q.mz) for q in queries])
        n_candidates = [len(candidates) for of_list, candidates in lists for _ in of_list]
        query = np.repeat(np.arange(len(queries)), n_candidates)
        cells = _starts(n_peaks[query])
        heights = np.concatenate([np.searchsorted(HEIGHT_EDGES, q.intensity) for q in queries])
        places = [np.searchsorted(PLACE_EDGES, q.mz / q.precursor_mz) for q in queries]
        pair_of_cell = np.repeat(np.arange(len(query)), n_peaks[query])
        first_peaks = _starts(n_peaks)
        in_pair = np.arange(cells[-1]) - cells[pair_of_cell]
        conditions = [condition_of(q) for q in queries]
        windows = [Windows.of(q) for q in queries]
        rows, atoms_and_cuts, fragments = _described(tables)
        pairs = _pairs(lists)
        return cls(
            rows,
            Fragments(*fragments, *pairs, query, cells),
            Joined.of(conditions, windows),
            atoms_and_cuts,
            n_candidates,
            np.sqrt(np.concatenate([q.intensity for q in queries])).astype(np.float32),
            heights,
            np.concatenate(places),
            np.repeat(np.arange(len(queries)), n_peaks),
            first_peaks[query][pair_of_cell] + in_pair,
            pair_of_cell,
            _parts(lists),
        )


_SixColumns = tuple[
    NDArray[np.float64],
    NDArray[np.int64],
    NDArray[np.int64],
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.int64],
]


def _starts(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where arrays begin that lie one behind the other, and where the last one ends."""
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return starts


def _pairs(
    lists: Sequence[tuple[Sequence[Peaks], Sequence[FragmentTable]]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `Fragments.pairs` and `Fragments.pair`."""
    of_molecules, n_pairs, first = [], [], 0
    for queries, tables in lists:
        numbers = first + np.arange(len(queries) * len(tables)).reshape(len(queries), len(tables))
        of_molecules.append(numbers.T.ravel())
        n_pairs += [len(queries)] * len(tables)
        first += numbers.size
    return _starts(n_pairs), np.concatenate(of_molecules)


def _parts(lists: Sequence[tuple[Sequence[Peaks], Sequence[FragmentTable]]]) -> NDArray[np.int64]:
    """Return `Batch.part_of_cell`."""
    found = []
    for queries, tables in lists:
        kinds = [composition(table.graph) for table in tables]
        for peaks in queries:
            has_part = {one: has_subformula(one, peaks) for one in dict.fromkeys(kinds)}
            found += [has_part[one] for one in kinds]
    return np.concatenate(found).astype(np.int64)


def _described(
    tables: Sequence[FragmentTable],
) -> tuple[NDArray[np.float32], AtomsAndCuts, _SixColumns]:
    """Return the rows of molecules, their cuts, and the first six parts of `Fragments`."""
    rows, cuts, columns = [], [], []
    first_row = first_atom = 0
    for table in tables:
        of_molecule = FragmentRows.of(table.graph, table.masks.shape[1], _AS_THEY_ARE)
        # A fragment is made of exactly one of the rows by heavy atoms, which come first.
        of_molecule.rows[: int(of_molecule.places[0]), N_DESCRIPTORS] = 1
        rows.append(of_molecule.rows[:, :N_COLUMNS])
        cuts.append(_cuts(table.graph, first_atom, first_row + of_molecule.first_cut))
        columns.append(_chosen(table, of_molecule, first_row))
        first_row += len(of_molecule.rows)
        first_atom += len(table.graph.atoms)
    masses, hydrogens, most, n_chosen, chosen = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    features = np.concatenate([atom_features(table.graph) for table in tables])
    atoms_and_cuts = AtomsAndCuts(features, *np.concatenate(cuts, axis=1))
    fragments = (
        masses,
        hydrogens,
        most,
        chosen,
        _starts(n_chosen),
        _starts([len(table) for table in tables]),
    )
    return np.concatenate(rows), atoms_and_cuts, fragments


def _cuts(graph: Graph, first_atom: int, first_row: int) -> NDArray[np.int64]:
    """Return the atom kept, that lost, the class and the row of each cut, (4, n_cuts)."""
    ends = graph.bonds[:, :2].astype(np.int64) + first_atom
    kind = np.repeat(graph.bonds[:, BOND_CLASS].astype(np.int64), 2)
    row = first_row + np.arange(len(kind))
    return np.stack([ends.ravel(), ends[:, ::-1].ravel(), kind, row])


def _chosen(table: FragmentTable, rows: FragmentRows, first: int) -> tuple[NDArray[Any], ...]:
    """Return masses, hydrogens, shifts, numbers of rows and rows of a molecule's fragments."""
    found = _describe_all(table.masks, table.steps, table.graph.bonds, rows)
    is_row = np.arange(found.chosen.shape[1]) < found.n_chosen[:, None]
    chosen = (first + found.chosen[is_row]).astype(np.int32)
    return found.masses, found.hydrogens, found.most, found.n_chosen, chosen


@compiled
def _describe_all(
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    bonds: NDArray[np.int16],
    table: FragmentRows,
) -> Described:
    described = room_for(len(masks), bonds, table)
    describe(ZERO, len(masks), masks, steps, bonds, table, described)
    return described
