"""Fragments as sums of a few rows of a table of their molecule.

What `specvae.annotation.evidence.fragment_score` learns is a layer on `FragmentTable.descriptors`,
which is sums over the atoms that a fragment has and over the bonds that it is cut off at. The
layer's outputs for each number of atoms of a class, of hydrogens and so on, and for each bond cut,
are tabled per molecule; a fragment's outputs are then a dozen rows of that table added up. Which
rows these are follows from sums over the atoms of a fragment, and these are tabled for some atoms
at a time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragment_peaks import SHIFTS
from specvae.masses import HYDROGEN_MASS
from specvae.molecules.bit_sets import lowest_bit, unsigned
from specvae.molecules.breaking import CHUNK, CHUNK_SETS, chunk_of
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.drawn import ATOM_CLASS, CHARGE, HYDROGENS
from specvae.molecules.graph import ATOM_CLASSES, BOND_CLASS, BOND_CLASSES, ORDER, Graph
from specvae.molecules.lanes import (
    N_LANES,
    add,
    add_times,
    load,
    store,
    zeros,
)

# Columns of descriptors. Those that are handed on are no literal numbers; see `ZERO`.
_N = len(ATOM_CLASSES)
_CUT = 2 * _N
_HAS = _CUT + len(BOND_CLASSES)
_LACKS = _HAS + _N
(
    _HYDROGENS,
    _HYDROGENS_LACKED,
    _SHARE,
    _RINGS,
    _STEPS,
    _VALENCES,
    _IS_ODD,
    _CHARGE,
    _ATOMS_LACKED,
    _SIZE,
) = (ZERO + _LACKS + _N + n for n in (0, 1, 2, 3, 4, 7, 8, 9, 10, 13))
_N_SHIFTS = len(SHIFTS)
_LEAST_SHIFT = int(SHIFTS[0])

# Indices into `FragmentRows.places`; the last is that of the first group of classes.
_BY_HYDROGENS, _BY_CHARGE, _BY_RINGS, _BY_CUT, _BY_GROUP = range(5)
_N_STEPS = 8  # 0 to 3 and more, with an even and an odd number of open valences
_MOST_ROWS = 128  # of the joint counts of some classes of atoms

# Columns of sums by chunk: mass; several small numbers in one; rows in groups; bonds cut.
_MASS, _SMALL, _GROUPS, _CUT_BONDS = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_FIRST_COLUMNS = 4  # those that all molecules have
_CHUNK, _CHUNK_MASK = np.uint64(CHUNK), np.uint64(CHUNK_SETS - 1)
_WORD_SHIFT = np.uint64(6 - CHUNK.bit_length() + 1)  # of a chunk's number, to that of its word
_IN_WORD = np.uint64(64 // CHUNK - 1)
# Places in arrays, which are unsigned so that none is counted from the end.
_FIRST_ATOM, _ORDER = np.uint64(0), np.uint64(ORDER)  # columns of bonds
_AT_SIZE, _AT_HYDROGENS, _AT_RINGS, _AT_GROUPS = (np.uint64(n) for n in range(4))  # chosen rows
_ONE, _BITS = np.uint64(1), np.uint64(63)
_MASS_UNIT = 1e-10
_MOST_CHARGE = 8  # added to each atom's charge, so that no sum is negative


class FragmentRows(NamedTuple):
    """The rows of a molecule, and what tells which of them a fragment is made of.

    Parameters
    ----------
    rows
        float32 (n_rows, n_outputs).
    sums
        Of sets of atoms, int64 (n_chunks, `CHUNK_SETS`, n_columns): the sum of the masses; that of
        four numbers of 16 bits (heavy atoms, hydrogens, neighbours, charge); of the rows in four
        groups of classes; a word of the set of bonds that the set is cut off at. Columns for
        further groups and words are behind these.
    places
        Where the rows begin by hydrogens, charge, rings and steps, cut bonds, and by atoms of each
        group of classes, int64 (4 + n_groups,); those by heavy atoms begin at 0.
    """

    rows: NDArray[np.float32]
    sums: NDArray[np.int64]
    places: NDArray[np.int64]

    @classmethod
    def of(cls, graph: Graph, n_words: int, inputs: NDArray[np.float32]) -> FragmentRows:
        """Table the rows of a molecule.

        Parameters
        ----------
        graph
            The molecule.
        n_words
            Of a set of atoms in the `FragmentTable`.
        inputs
            What each descriptor is multiplied by, float32 (N_DESCRIPTORS, n_outputs), n_outputs a
            multiple of `N_LANES`.
        """
        return cls(*_tables(*graph, n_words, inputs))

    @property
    def first_cut(self) -> int:
        """The first row of the cut bonds.

        ``2 i`` further on is that of bond i where its first atom is kept, and then that where its
        second one is.
        """
        return int(self.places[_BY_CUT])


class Described(NamedTuple):
    """What is known of some fragments, one row each.

    Parameters
    ----------
    chosen
        Rows of `FragmentRows` that add up to a fragment, and room, int64 (n, more than enough).
    n_chosen
        How many rows these are, int64 (n,).
    masses
        Da, float64 (n,).
    hydrogens
        int64 (n,).
    most
        How many of `SHIFTS` come before those that need more hydrogens than find a place, int64
        (n,).
    """

    chosen: NDArray[np.int64]
    n_chosen: NDArray[np.int64]
    masses: NDArray[np.float64]
    hydrogens: NDArray[np.int64]
    most: NDArray[np.int64]


@inner
def room_for(n: int, bonds: NDArray[np.int16], table: FragmentRows) -> Described:
    """Return room for `n` fragments of a molecule."""
    return Described(
        np.empty((n, len(bonds) + len(table.places) + 1), np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.float64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
    )


@inner
def _add_row(
    rows: NDArray[np.float32], row: int, inputs: NDArray[np.float32], column: int, factor: float
) -> None:
    """Add a factor times what a descriptor gives to a row."""
    for j in range(0, rows.shape[1], N_LANES):
        at = row * rows.shape[1] + j
        of_column = load(inputs, column * rows.shape[1] + j)
        store(rows, at, add_times(load(rows, at), factor, of_column))


@inner
def _groups(
    atoms: NDArray[np.int16],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Group the classes of atoms; return group and stride of each class, and rows of each group.

    A group's row is the sum of the strides of its atoms: one for each set of numbers of atoms.
    """
    counts = np.zeros(_N, np.int64)
    for a in range(len(atoms)):
        counts[atoms[a, ATOM_CLASS]] += 1
    group = np.zeros(_N, np.int64)
    stride = np.zeros(_N, np.int64)
    n_rows = np.ones(_N, np.int64)
    n_groups = 1
    for kind in range(_N):
        if counts[kind] > 0:
            if n_rows[n_groups - 1] > 1 and n_rows[n_groups - 1] * (counts[kind] + 1) > _MOST_ROWS:
                n_groups += 1
            group[kind] = n_groups - 1
            stride[kind] = n_rows[n_groups - 1]
            n_rows[n_groups - 1] *= counts[kind] + 1
    return group, stride, n_rows[:n_groups]


@inner
def _plan(
    atoms: NDArray[np.int16], bonds: NDArray[np.int16]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return group and stride of each class of atoms; and the first rows, then their number."""
    group, stride, n_rows = _groups(atoms)
    n_atoms = len(atoms)
    hydrogens = 0
    charged = 0
    for a in range(n_atoms):
        hydrogens += atoms[a, HYDROGENS]
        charged += abs(atoms[a, CHARGE])
    n_rings = max(len(bonds) - n_atoms + 1, 0)
    places = np.zeros(_BY_GROUP + len(n_rows) + 1, np.int64)
    places[_BY_HYDROGENS] = n_atoms + 1
    places[_BY_CHARGE] = places[_BY_HYDROGENS] + hydrogens + 1
    places[_BY_RINGS] = places[_BY_CHARGE] + 2 * charged + 1
    places[_BY_CUT] = places[_BY_RINGS] + (n_rings + 1) * _N_STEPS
    places[_BY_GROUP] = places[_BY_CUT] + 2 * len(bonds)
    for g in range(len(n_rows)):
        places[_BY_GROUP + g + 1] = places[_BY_GROUP + g] + n_rows[g]
    return group, stride, places


@inner
def _terms(
    atoms: NDArray[np.int16], bonds: NDArray[np.int16], places: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return what makes up all rows but those of the groups.

    A term is a factor times what a descriptor gives, added to a row: rows and descriptors are int64
    (n_terms, 2), factors float64 (n_terms,).
    """
    n_atoms = len(atoms)
    hydrogens = places[_BY_CHARGE] - places[_BY_HYDROGENS] - 1
    charged = (places[_BY_RINGS] - places[_BY_CHARGE]) // 2
    where = np.zeros((3 * places[_BY_CUT] + 8 * len(bonds), 2), np.int64)
    factors = np.zeros(len(where), np.float64)
    n = ZERO
    for size in range(n_atoms + 1):
        n = _term(where, factors, n, size, _SHARE, size / n_atoms)
        n = _term(where, factors, n, size, _SIZE, math.log(n_atoms))
    for lost in range(1, min(3, n_atoms) + 1):
        n = _term(where, factors, n, n_atoms - lost, _ATOMS_LACKED + lost - 1, 1.0)
    for k in range(hydrogens + 1):
        row = places[_BY_HYDROGENS] + k
        n = _term(where, factors, n, row, _HYDROGENS, math.log1p(k))
        n = _term(where, factors, n, row, _HYDROGENS_LACKED, math.log1p(hydrogens - k))
    for k in range(2 * charged + 1):
        n = _term(where, factors, n, places[_BY_CHARGE] + k, _CHARGE, float(k - charged))
    # By rings, steps, and whether valences are odd.
    for k in range(places[_BY_CUT] - places[_BY_RINGS]):
        row = places[_BY_RINGS] + k
        step = k % _N_STEPS // 2
        n = _term(where, factors, n, row, _RINGS, float(k // _N_STEPS))
        n = _term(where, factors, n, row, _IS_ODD, float(k & 1))
        if step > 0:
            n = _term(where, factors, n, row, _STEPS + step - 1, 1.0)
    for i in range(len(bonds)):
        for side in range(2):
            row = places[_BY_CUT] + 2 * i + side
            n = _term(where, factors, n, row, ZERO + atoms[bonds[i, side], ATOM_CLASS], 1.0)
            n = _term(where, factors, n, row, _N + atoms[bonds[i, 1 - side], ATOM_CLASS], 1.0)
            n = _term(where, factors, n, row, _CUT + bonds[i, BOND_CLASS], 1.0)
            n = _term(where, factors, n, row, _VALENCES, float(bonds[i, ORDER]))
    return where[:n], factors[:n]


@inner
def _term(
    where: NDArray[np.int64],
    factors: NDArray[np.float64],
    n: int,
    row: int,
    descriptor: int,
    factor: float,
) -> int:
    """Note a term behind the first `n`; return their number then."""
    where[n, 0] = row
    where[n, 1] = descriptor
    factors[n] = factor
    return n + 1


@inner
def _fill_rows(
    rows: NDArray[np.float32],
    places: NDArray[np.int64],
    atoms: NDArray[np.int16],
    group: NDArray[np.int64],
    stride: NDArray[np.int64],
    where: NDArray[np.int64],
    factors: NDArray[np.float64],
    inputs: NDArray[np.float32],
) -> None:
    """Fill in the rows, which are 0."""
    for n in range(len(where)):
        _add_row(rows, where[n, 0], inputs, where[n, 1], factors[n])
    _fill_groups(rows, places, atoms, group, stride, inputs)


@inner
def _fill_groups(
    rows: NDArray[np.float32],
    places: NDArray[np.int64],
    atoms: NDArray[np.int16],
    group: NDArray[np.int64],
    stride: NDArray[np.int64],
    inputs: NDArray[np.float32],
) -> None:
    """Fill in the rows by numbers of atoms of each class."""
    width = rows.shape[1]
    counts = np.zeros(_N, np.int64)
    for a in range(len(atoms)):
        counts[atoms[a, ATOM_CLASS]] += 1
    own = np.zeros((1, width), np.float32)
    for kind in range(_N):
        # The rows of the group's earlier classes alone are there: each is repeated with every
        # number of atoms of this class, none at last.
        for n in range(counts[kind], -1, -1):
            if counts[kind] == 0:
                break
            for j in range(0, width, N_LANES):
                store(own, j, zeros())
            _add_row(own, ZERO, inputs, _HAS + kind, math.log1p(n))
            _add_row(own, ZERO, inputs, _LACKS + kind, math.log1p(counts[kind] - n))
            first = places[_BY_GROUP + group[kind]]
            for row in range(stride[kind]):
                for j in range(0, width, N_LANES):
                    earlier = load(rows, (first + row) * width + j)
                    at = (first + n * stride[kind] + row) * width + j
                    store(rows, at, add(earlier, load(own, j)))


@inner
def _fill_sums(
    sums: NDArray[np.int64],
    n_words: int,
    atoms: NDArray[np.int16],
    atom_masses: NDArray[np.float64],
    bonds: NDArray[np.int16],
    group: NDArray[np.int64],
    stride: NDArray[np.int64],
) -> None:
    """Fill in `FragmentRows.sums`, which are 0."""
    n_columns = sums.shape[2]
    further = n_columns - n_words  # before the words of cut bonds but for the first
    for a in range(len(atoms)):
        k = a // CHUNK
        at = 1 << (a % CHUNK)
        mass = atom_masses[a] + atoms[a, HYDROGENS] * HYDROGEN_MASS
        sums[k, at, _MASS] = round(mass / _MASS_UNIT)
        small = (
            1
            + (np.int64(atoms[a, HYDROGENS]) << 16)
            + (np.int64(atoms[a, CHARGE] + _MOST_CHARGE) << 48)
        )
        sums[k, at, _SMALL] = small
        g = group[atoms[a, ATOM_CLASS]]
        word = np.int64(_GROUPS) if g < 4 else _FIRST_COLUMNS - 1 + (g >> 2)
        sums[k, at, word] = stride[atoms[a, ATOM_CLASS]] << (16 * (g & 3))
    for i in range(len(bonds)):
        word = np.int64(_CUT_BONDS) if i < 64 else further + (i >> 6)
        for side in range(2):
            a = bonds[i, side]
            sums[a // CHUNK, 1 << (a % CHUNK), _SMALL] += np.int64(1) << 32
            sums[a // CHUNK, 1 << (a % CHUNK), word] |= np.int64(1) << (i & 63)
    for k in range(len(sums)):
        for chunk in range(1, CHUNK_SETS):
            rest = chunk & (chunk - 1)  # without its lowest bit
            if rest:
                for c in range(n_columns):
                    one = sums[k, chunk - rest, c]
                    other = sums[k, rest, c]
                    # A bond with both ends inside is in two of the atoms' sets, and is not cut.
                    is_set = c == np.int64(_CUT_BONDS) or c > further
                    sums[k, chunk, c] = one ^ other if is_set else one + other


@compiled
def _tables(
    atoms: NDArray[np.int16],
    atom_masses: NDArray[np.float64],
    bonds: NDArray[np.int16],
    n_words: int,
    inputs: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the parts of `FragmentRows`."""
    group, stride, places = _plan(atoms, bonds)
    where, factors = _terms(atoms, bonds, places)
    rows = np.zeros((places[-1], inputs.shape[1]), np.float32)
    _fill_rows(rows, places, atoms, group, stride, where, factors, inputs)
    n_groups = len(places) - _BY_GROUP - 1
    n_columns = _FIRST_COLUMNS + (n_groups - 1) // 4 + n_words - 1
    sums = np.zeros(((len(atoms) + CHUNK - 1) // CHUNK, CHUNK_SETS, n_columns), np.int64)
    _fill_sums(sums, n_words, atoms, atom_masses, bonds, group, stride)
    return rows, sums, places[:-1]


@inner
def describe(
    begin: int,
    n: int,
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    bonds: NDArray[np.int16],
    table: FragmentRows,
    described: Described,
) -> None:
    """Write what is known of the `n` fragments of a `FragmentTable` from `begin` on."""
    # A field of a named tuple takes longer than an array.
    sums, places = table.sums, table.places
    chosen, n_chosen, masses, hydrogens, most = described
    n_words = masks.shape[1]
    n_groups = len(places) - _BY_GROUP
    n_charges = places[_BY_RINGS] - places[_BY_CHARGE]
    by_hydrogens, by_rings, by_cut = places[_BY_HYDROGENS], places[_BY_RINGS], places[_BY_CUT]
    by_charge = places[_BY_CHARGE] + n_charges // 2
    n_chunks = len(sums)
    for i in range(n):
        at = unsigned(i)
        f = unsigned(begin + i)
        mass = ZERO
        small = ZERO
        in_groups = ZERO
        word = np.int64(0)
        left = np.uint64(0)
        for k in range(n_chunks):
            place = unsigned(k)
            # As `chunk_of`, in one pass.
            left = left >> _CHUNK if place & _IN_WORD else masks[f, place >> _WORD_SHIFT]
            chunk = left & _CHUNK_MASK
            mass += sums[place, chunk, _MASS]
            small += sums[place, chunk, _SMALL]
            in_groups += sums[place, chunk, _GROUPS]
            word ^= sums[place, chunk, _CUT_BONDS]
        found = _AT_GROUPS
        for g in range(0, n_groups, 4):
            for k in range(n_chunks if g > 0 else 0):
                in_groups += sums[k, chunk_of(masks, begin + i, k), _FIRST_COLUMNS - 1 + (g >> 2)]
            for h in range(g, min(g + 4, n_groups)):
                chosen[at, found] = places[unsigned(_BY_GROUP + h)] + (in_groups & 0xFFFF)
                in_groups >>= 16
                found += _ONE
        first_cut = found
        valences = ZERO
        for w in range(n_words):
            for k in range(n_chunks if w > 0 else 0):
                word ^= sums[k, chunk_of(masks, begin + i, k), sums.shape[2] - n_words + w]
            cut = np.uint64(word)
            while cut != np.uint64(0):
                bond = unsigned(64 * w + lowest_bit(cut))
                cut &= cut - _ONE
                a = unsigned(bonds[bond, _FIRST_ATOM])
                inside = masks[f, a >> np.uint64(6)] >> (a & _BITS) & _ONE
                chosen[at, found] = by_cut + np.int64(bond + bond + _ONE - inside)
                found += _ONE
                valences += bonds[bond, _ORDER]
            word = np.int64(0)
        n_cuts = np.int64(found - first_cut)
        size = small & 0xFFFF
        neighbours = (small >> 32) & 0xFFFF
        rings = (neighbours - n_cuts) // 2 - size + 1
        n_hydrogens = (small >> 16) & 0xFFFF
        hydrogens[at] = n_hydrogens
        chosen[at, _AT_SIZE] = size
        chosen[at, _AT_HYDROGENS] = by_hydrogens + n_hydrogens
        chosen[at, _AT_RINGS] = by_rings + _N_STEPS * rings + 2 * min(steps[f], 3) + (valences & 1)
        if n_charges > 1:
            chosen[at, found] = by_charge + (small >> 48) - _MOST_CHARGE * size
            found += _ONE
        n_chosen[at] = found
        # Rounded as the table's masses are.
        masses[at] = np.floor(mass * 1e-3 + 0.5) * 1e-7
        most[at] = min(_N_SHIFTS, valences - _LEAST_SHIFT + 1)
