"""Fragments of molecules as sums of rows of small tables, and the peaks they are compared with.

The layers of the fragment score are linear in `FragmentTable.descriptors`. These follow from a few
whole numbers of a fragment, such as its atoms of one class, and from the bonds that it is cut off
at. So a molecule has a table with a row for each value of each number and for each bond, and a
fragment's descriptors are some ten of these rows added up. What is learned is multiplied by the
rows of a molecule, not by its thousand fragments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragment_score import HEIGHT_EDGES, PLACE_EDGES, condition_of
from specvae.annotation.evidence.fragments import (
    TOLERANCE_DA,
    TOLERANCE_PPM,
    Peaks,
    composition,
    has_subformula,
)
from specvae.annotation.evidence.ion_weights import Joined, Windows
from specvae.annotation.evidence.surroundings import atom_features
from specvae.masses import HYDROGEN_MASS
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable
from specvae.molecules.graph import ATOM_CLASSES, BOND_CLASSES, ZERO, Graph, compiled, inner
from specvae.molecules.lanes import lowest_bit, popcount

N_COLUMNS = N_DESCRIPTORS + 1
"""Columns of a row: those of the descriptors, and 1 once in each fragment."""

# Columns of descriptors.
_N = len(ATOM_CLASSES)
_CUT = 2 * _N
_HAS = _CUT + len(BOND_CLASSES)
_HYDROGENS = _HAS + 2 * _N
_SHARE, _RINGS, _STEPS, _VALENCES, _ODD, _CHARGE, _LACKS, _SIZE = (
    _HYDROGENS + n for n in (2, 3, 4, 7, 8, 9, 10, 13)
)
# Where the rows of each number begin: atoms, hydrogens, rings, steps and odd valences, charge,
# then those of the classes of atoms, then bonds.
_OF_HYDROGENS, _OF_RINGS, _OF_STEPS, _OF_CHARGE, _OF_CLASS = range(1, 6)
_N_STEPS = 8  # 0 to 3 and more, with an even and an odd number of open valences


class Fragments(NamedTuple):
    """Fragments of some molecules, one molecule's after the other's, and their pairs with queries.

    Parameters
    ----------
    masses
        float64 (n_fragments,), Da.
    hydrogens, valences
        int16 (n_fragments,): hydrogens, and open valences.
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
    hydrogens: NDArray[np.int16]
    valences: NDArray[np.int16]
    chosen: NDArray[np.int32]
    ends: NDArray[np.int64]
    of_molecule: NDArray[np.int64]
    pairs: NDArray[np.int64]
    pair: NDArray[np.int64]
    query: NDArray[np.int64]
    cell: NDArray[np.int64]


class Surrounded(NamedTuple):
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
    fragments, queries, surrounded
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
    surrounded: Surrounded
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
        windows = [Windows.of(q, TOLERANCE_PPM, TOLERANCE_DA) for q in queries]
        rows, surrounded, fragments = _described(tables)
        pairs = _pairs(lists)
        return cls(
            rows,
            Fragments(*fragments, *pairs, query, cells),
            Joined.of(conditions, windows),
            surrounded,
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
    NDArray[np.int16],
    NDArray[np.int16],
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
) -> tuple[NDArray[np.float32], Surrounded, _SixColumns]:
    """Return the rows of molecules, their cuts, and the first six parts of `Fragments`."""
    rows, cuts, columns = [], [], []
    first_row = first_atom = 0
    for table in tables:
        graph = table.graph
        places = _places(graph.atoms, graph.bonds)
        rows.append(_rows(graph.atoms, graph.bonds, places))
        cuts.append(_cuts(graph, first_atom, first_row + int(places[-1])))
        columns.append(_choose(table, places, first_row))
        first_row += len(rows[-1])
        first_atom += len(graph.atoms)
    masses, hydrogens, valences, n_chosen, chosen = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    features = np.concatenate([atom_features(table.graph) for table in tables])
    surrounded = Surrounded(features, *np.concatenate(cuts, axis=1))
    fragments = (
        masses,
        hydrogens,
        valences,
        chosen,
        _starts(n_chosen),
        _starts([len(table) for table in tables]),
    )
    return np.concatenate(rows), surrounded, fragments


def _cuts(graph: Graph, first_atom: int, first_row: int) -> NDArray[np.int64]:
    """Return the atom kept, that lost, the class and the row of each cut, (4, n_cuts)."""
    ends = graph.bonds[:, :2].astype(np.int64) + first_atom
    kind = np.repeat(graph.bonds[:, 2].astype(np.int64), 2)
    row = first_row + np.arange(len(kind))
    return np.stack([ends.ravel(), ends[:, ::-1].ravel(), kind, row])


def _choose(
    table: FragmentTable, places: NDArray[np.int64], first: int
) -> tuple[NDArray[Any], ...]:
    """Return masses, hydrogens, valences, numbers of rows and rows of a molecule's fragments."""
    n = len(table)
    most = len(ATOM_CLASSES) + _OF_CLASS + 2 * int(table.steps.max())
    chosen = np.empty(n * most, np.int32)
    masses, n_chosen = np.empty(n), np.empty(n, np.int64)
    hydrogens, valences = np.empty(n, np.int16), np.empty(n, np.int16)
    n_all = _choose_rows(
        table.masks,
        table.steps,
        *table.graph,
        places,
        first,
        masses,
        hydrogens,
        valences,
        n_chosen,
        chosen,
    )
    return masses, hydrogens, valences, n_chosen, chosen[:n_all]


@compiled
def _places(atoms: NDArray[np.int16], bonds: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return where the rows of each number begin, and those of the bonds."""
    places = np.zeros(_OF_CLASS + _N + 1, np.int64)
    hydrogens = 0
    charges = 0
    for a in range(len(atoms)):
        hydrogens += atoms[a, 1]
        charges += abs(atoms[a, 3])
        places[_OF_CLASS + atoms[a, 2] + 1] += 1
    places[_OF_HYDROGENS] = len(atoms)
    places[_OF_RINGS] = places[_OF_HYDROGENS] + hydrogens + 1
    places[_OF_STEPS] = places[_OF_RINGS] + max(len(bonds) - len(atoms), -1) + 2
    places[_OF_CHARGE] = places[_OF_STEPS] + _N_STEPS
    places[_OF_CLASS] = places[_OF_CHARGE] + 2 * charges + 1
    for kind in range(_N):
        # Of classes that the molecule does not have, there is nothing to be said.
        n_atoms = places[_OF_CLASS + kind + 1]
        places[_OF_CLASS + kind + 1] = places[_OF_CLASS + kind] + (n_atoms + 1 if n_atoms else 0)
    return places


@inner
def _fill_logarithms(rows: NDArray[np.float32], first: int, n: int, has: int, lacks: int) -> None:
    """Fill in log(1 + k) and log(1 + n - k) for k from 0 to n."""
    for k in range(n + 1):
        rows[first + k, has] = np.log1p(float(k))
        rows[first + k, lacks] = np.log1p(float(n - k))


@inner
def _fill_cuts(
    rows: NDArray[np.float32], first: int, atoms: NDArray[np.int16], bonds: NDArray[np.int16]
) -> None:
    """Fill in the rows of the cuts."""
    for i in range(len(bonds)):
        for side in range(2):
            row = first + 2 * i + side
            rows[row, atoms[bonds[i, side], 2]] = 1
            rows[row, _N + atoms[bonds[i, 1 - side], 2]] = 1
            rows[row, _CUT + bonds[i, 2]] = 1
            rows[row, _VALENCES] = bonds[i, 3]


@compiled
def _rows(
    atoms: NDArray[np.int16], bonds: NDArray[np.int16], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the rows of a molecule: for each number and then for each cut."""
    n = len(atoms)
    rows = np.zeros((places[-1] + 2 * len(bonds), N_COLUMNS), np.float32)
    for k in range(n):
        rows[k, N_DESCRIPTORS] = 1
        rows[k, _SHARE] = (k + 1) / n
        rows[k, _SIZE] = np.log(float(n))
        if 1 <= n - k - 1 <= 3:
            rows[k, _LACKS + n - k - 2] = 1
    hydrogens = places[_OF_RINGS] - places[_OF_HYDROGENS] - 1
    _fill_logarithms(rows, places[_OF_HYDROGENS], hydrogens, _HYDROGENS, _HYDROGENS + 1)
    for k in range(places[_OF_STEPS] - places[_OF_RINGS]):
        rows[places[_OF_RINGS] + k, _RINGS] = k
    for k in range(_N_STEPS):
        if k >= 2:
            rows[places[_OF_STEPS] + k, _STEPS + k // 2 - 1] = 1
        rows[places[_OF_STEPS] + k, _ODD] = k % 2
    charges = (places[_OF_CLASS] - places[_OF_CHARGE]) // 2
    for k in range(2 * charges + 1):
        rows[places[_OF_CHARGE] + k, _CHARGE] = k - charges
    for kind in range(_N):
        first = places[_OF_CLASS + kind]
        n_atoms = places[_OF_CLASS + kind + 1] - first - 1
        if n_atoms > 0:
            _fill_logarithms(rows, first, n_atoms, _HAS + kind, _HAS + _N + kind)
    _fill_cuts(rows, places[-1], atoms, bonds)
    return rows


@inner
def _kinds(
    n_words: int, atoms: NDArray[np.int16], masses: NDArray[np.float64], bonds: NDArray[np.int16]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.float64], NDArray[np.uint64]]:
    """Return which atoms are alike, and the bonds of each atom.

    Of each kind the set of atoms, uint64 (n_kinds, n_words); class, hydrogens, charge and number of
    bonds, int64 (n_kinds, 4); mass with hydrogens. Of each atom the set of bonds, uint64 (n_atoms,
    n_words).
    """
    of_atom = np.zeros((len(atoms), n_words), np.uint64)
    numbers = np.zeros((len(atoms), 4), np.int64)
    heaviness = np.zeros(len(atoms), np.float64)
    for a in range(len(atoms)):
        numbers[a, :3] = atoms[a, 2], atoms[a, 1], atoms[a, 3]
        heaviness[a] = masses[a] + atoms[a, 1] * HYDROGEN_MASS
    for i in range(len(bonds)):
        for side in range(2):
            of_atom[bonds[i, side], i >> 6] |= np.uint64(1) << np.uint64(i & 63)
            numbers[bonds[i, side], 3] += 1
    sets = np.zeros((len(atoms), n_words), np.uint64)
    n_kinds = ZERO
    for a in range(len(atoms)):
        kind = ZERO
        while kind < n_kinds and (
            heaviness[kind] != heaviness[a] or (numbers[kind] != numbers[a]).any()
        ):
            kind += 1
        if kind == n_kinds:
            # The atom in this place has its kind already.
            numbers[kind] = numbers[a]
            heaviness[kind] = heaviness[a]
            n_kinds += 1
        sets[kind, a >> 6] |= np.uint64(1) << np.uint64(a & 63)
    return sets[:n_kinds], numbers[:n_kinds], heaviness[:n_kinds], of_atom


@inner
def _count(
    masks: NDArray[np.uint64],
    f: int,
    sets: NDArray[np.uint64],
    numbers: NDArray[np.int64],
    heaviness: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> float:
    """Write how many atoms of each class a fragment has, and sums; return its mass.

    The sums, behind the classes, are of its atoms, hydrogens, charges and bonds' ends.
    """
    counts[:] = 0
    mass = 0.0
    for kind in range(len(sets)):
        n = ZERO
        for w in range(masks.shape[1]):
            n += popcount(masks[f, w] & sets[kind, w])
        counts[numbers[kind, 0]] += n
        counts[_N] += n
        for k in range(1, 4):
            counts[_N + k] += n * numbers[kind, k]
        mass += n * heaviness[kind]
    return mass


@inner
def _choose_cuts(
    masks: NDArray[np.uint64],
    f: int,
    bonds: NDArray[np.int16],
    of_atom: NDArray[np.uint64],
    first: int,
    chosen: NDArray[np.int32],
    at: int,
) -> tuple[int, int]:
    """Write the rows of the cuts of a fragment; return the end of these, and open valences."""
    n_words = masks.shape[1]
    valence = ZERO
    for w in range(n_words):
        cut = np.uint64(0)
        for v in range(n_words):
            word = masks[f, v]
            while word != np.uint64(0):
                # A bond with both ends inside is in two of the atoms' sets, and is not cut.
                cut ^= of_atom[64 * v + lowest_bit(word), w]
                word &= word - np.uint64(1)
        while cut != np.uint64(0):
            i = 64 * w + lowest_bit(cut)
            cut &= cut - np.uint64(1)
            a = np.int64(bonds[i, 0])
            outside = 1 - np.int64((masks[f, a >> 6] >> np.uint64(a & 63)) & np.uint64(1))
            chosen[at] = first + 2 * i + outside
            at += 1
            valence += bonds[i, 3]
    return at, valence


@compiled
def _choose_rows(
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    atoms: NDArray[np.int16],
    atom_masses: NDArray[np.float64],
    bonds: NDArray[np.int16],
    places: NDArray[np.int64],
    first: int,
    masses: NDArray[np.float64],
    hydrogens: NDArray[np.int16],
    valences: NDArray[np.int16],
    n_chosen: NDArray[np.int64],
    chosen: NDArray[np.int32],
) -> int:
    """Fill in the last five arrays, and return how many rows were chosen in all.

    `first` is the molecule's first row.
    """
    sets, numbers, heaviness, of_atom = _kinds(masks.shape[1], atoms, atom_masses, bonds)
    classes = np.unique(numbers[:, 0])
    counts = np.zeros(_N + 4, np.int64)
    charges = (places[_OF_CLASS] - places[_OF_CHARGE]) // 2
    at = ZERO
    for f in range(len(masks)):
        begin = at
        at, valence = _choose_cuts(masks, f, bonds, of_atom, first + places[-1], chosen, at)
        n_cuts = at - begin
        masses[f] = _count(masks, f, sets, numbers, heaviness, counts)
        n_atoms, n_hydrogens, charge, n_ends = (
            counts[_N],
            counts[_N + 1],
            counts[_N + 2],
            counts[-1],
        )
        rings = max((n_ends - n_cuts) // 2 - n_atoms + 1, 0)
        chosen[at] = first + n_atoms - 1
        chosen[at + 1] = first + places[_OF_HYDROGENS] + n_hydrogens
        chosen[at + 2] = first + places[_OF_RINGS] + rings
        chosen[at + 3] = first + places[_OF_STEPS] + 2 * min(steps[f], 3) + valence % 2
        at += 4
        if charges > 0:
            chosen[at] = first + places[_OF_CHARGE] + charge + charges
            at += 1
        for c in range(len(classes)):
            chosen[at] = first + places[_OF_CLASS + classes[c]] + counts[classes[c]]
            at += 1
        hydrogens[f] = n_hydrogens
        valences[f] = valence
        n_chosen[f] = at - begin
    return at
