"""Weights of all ions of a molecule in one pass over its fragments.

What `specvae.annotation.evidence.fragment_score` learns is a layer on
`FragmentTable.descriptors`, which is sums over the atoms that a fragment has and over the bonds
that it is cut off at. The layer's outputs for each number of atoms of a class, of hydrogens and so
on, and for each bond cut, are tabled per molecule; a fragment's outputs are then a dozen rows of
that table added up. The row numbers themselves are sums over the atoms of a fragment, and are
tabled for some atoms at a time. All this depends on the molecule alone, so that the queries that it
is a candidate of share it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragments import SHIFTS, Peaks
from specvae.annotation.evidence.surroundings import BLOCK, Surroundings, add_cut_rows
from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS
from specvae.molecules.fragments import (
    CHUNK,
    CHUNK_SETS,
    N_DESCRIPTORS,
    FragmentTable,
    chunk_of,
)
from specvae.molecules.graph import (
    ATOM_CLASSES,
    BOND_CLASSES,
    ZERO,
    compiled,
    compiled_with,
    inner,
    inner_with,
)
from specvae.molecules.lanes import (
    N_LANES,
    add,
    add_times,
    exponentials,
    load,
    lowest_bit,
    quotient,
    rectified,
    spread,
    store,
    times,
    within,
    zeros,
)

LIMIT = 12.0
"""Of |u|, beyond which a weight exp(u) changes no more: u is ``LIMIT tanh(v / LIMIT)``."""

# Columns of descriptors.
_N = len(ATOM_CLASSES)
_CUT = 2 * _N
_HAS = _CUT + len(BOND_CLASSES)
_REST = _HAS + 2 * _N
_N_SHIFTS = len(SHIFTS)
_LEAST_SHIFT = int(SHIFTS[0])
_N_STEPS = 8  # 0 to 3 and more, with an even and an odd number of open valences

_MOST_ROWS = 128  # of the joint counts of some classes of atoms
# Columns of sums by chunk: mass; several small numbers in one; rows in groups; bonds cut.
_MASS, _SMALL, _GROUPS, _CUT_BONDS = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(3)
_FIRST_COLUMNS = 4  # those that all molecules have
_CHUNK, _CHUNK_MASK, _CHUNKS_OF_WORD = np.uint64(CHUNK), np.uint64(CHUNK_SETS - 1), 64 // CHUNK
_MASS_UNIT = 1e-10
_CHARGE = 8  # added to each atom's charge, so that no sum is negative
_N_AT_ONCE = 64  # fragments whose weights are computed together

_DOUBLED = np.float32(2 / LIMIT)
_FARTHEST = np.float32(20.0)  # of 2 v / LIMIT, beyond which nothing changes
_HIGHEST, _TWICE_HIGHEST = np.float32(LIMIT), np.float32(2 * LIMIT)
_ONE, _MINUS = np.float32(1.0), np.float32(-1.0)

_FIRST = np.uint64(1)
MASS_BINS_PER_DA = 100
_ROUNDING_DA = 1e-6  # more than masses are rounded by
_GAINED = np.arange(_LEAST_SHIFT, _LEAST_SHIFT + _N_SHIFTS)


def _lanes_between() -> NDArray[np.float32]:
    """Return 1 for the shifts from ``k // 8`` to before ``k % 8``, else 0, (64, `N_LANES`)."""
    first, end, shift = np.ogrid[:N_LANES, :N_LANES, :N_LANES]
    return ((first <= shift) & (shift < end)).reshape(-1, N_LANES).astype(np.float32)


_BETWEEN = _lanes_between()


_NO_WEIGHTS = np.empty((0, _N_SHIFTS), np.float32)


class Layers(NamedTuple):
    """What is learned of ions, and added up: ``v = D x + O relu(H x + hidden) + shift``.

    Parameters
    ----------
    inputs
        H and D, float32 (N_DESCRIPTORS, n_hidden + `N_LANES`), for descriptors as they are; hidden
        units are filled up with zeros to a multiple of `BLOCK`, shifts to `N_LANES`.
    outputs
        O, float32 (n_hidden, `N_LANES`), filled up in the same way.
    surroundings
        What cut bonds add to H x and D x by their surroundings, with outputs in the columns of
        `inputs`; None where nothing was learned of them.
    """

    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    surroundings: Surroundings | None

    @classmethod
    def fold(
        cls,
        hidden: NDArray[np.float32],
        direct: NDArray[np.float32],
        outputs: NDArray[np.float32],
        surroundings: Mapping[str, NDArray[np.float32]],
    ) -> Layers:
        """Return layers of weights (n_hidden, N_DESCRIPTORS), (n_shifts, N_DESCRIPTORS), O.

        The outputs of the surroundings are of the hidden units, then of the shifts.
        """
        n_hidden = -(-len(hidden) // BLOCK) * BLOCK
        inputs = np.zeros((N_DESCRIPTORS, n_hidden + N_LANES), np.float32)
        inputs[:, : len(hidden)] = hidden.T
        inputs[:, n_hidden : n_hidden + _N_SHIFTS] = direct.T
        padded = np.zeros((n_hidden, N_LANES), np.float32)
        padded[: len(hidden), :_N_SHIFTS] = outputs.T
        if not surroundings:
            return cls(inputs, padded, None)
        columns = np.append(np.arange(len(hidden)), n_hidden + np.arange(_N_SHIFTS))
        return cls(inputs, padded, Surroundings.of(surroundings, columns))

    def constants(
        self,
        hidden: NDArray[np.float32],
        shift: NDArray[np.float32],
        centre: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return what no descriptor changes, in the columns of `inputs`.

        `centre` is what is taken off the descriptors first.
        """
        row = -(centre @ self.inputs)
        row[: len(hidden)] += hidden
        n_hidden = len(self.outputs)
        row[n_hidden : n_hidden + _N_SHIFTS] += shift
        return np.asarray(row)


@dataclass(frozen=True, eq=False)
class Windows:
    """Where ions at a query's peaks lie.

    Attributes
    ----------
    low, high
        Ends of the m/z that agree with each peak, both ascending, float64 (n_peaks,).
    marked
        A bit for each hundredth of a Da, uint64: set if a fragment of this mass may have an ion at
        a peak. They are so few bytes that they are always at hand.
    firsts
        For each whole m/z how many windows end below it, int64; up to the end of the last.
    lowest
        Ions of lower m/z (without regard to the electron's mass) are outside the scan.
    sign
        1 for positive, -1 for negative ions.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    marked: NDArray[np.uint64]
    firsts: NDArray[np.int64]
    lowest: float
    sign: int

    @classmethod
    def of(cls, peaks: Peaks, tolerance_ppm: float, tolerance_da: float) -> Windows:
        """Return the windows of a query with at least one peak."""
        widths = np.maximum(tolerance_da, tolerance_ppm * 1e-6 * peaks.mz)
        low, high = peaks.mz - widths, peaks.mz + widths
        gained = (_GAINED + peaks.sign) * HYDROGEN_MASS - peaks.sign * ELECTRON_MASS
        ends = [
            (np.maximum(end[:, None] - gained + margin, 0.0) * MASS_BINS_PER_DA).astype(np.int64)
            for end, margin in ((low, -_ROUNDING_DA), (high, _ROUNDING_DA))
        ]
        is_marked = np.zeros((int(ends[1].max()) + 64) // 64 * 64, np.bool_)
        for further in range(int((ends[1] - ends[0]).max()) + 1):
            is_marked[np.minimum(ends[0] + further, ends[1])] = True
        marked = np.packbits(is_marked, bitorder="little").view("<u8").astype(np.uint64)
        firsts = np.searchsorted(high, np.arange(int(high[-1]) + 1)).astype(np.int64)
        return cls(low, high, marked, firsts, float(peaks.mz[0]) - 0.5, peaks.sign)


class Joined(NamedTuple):
    """What ions are compared with of some queries, one behind the other.

    Parameters
    ----------
    constants
        What `Layers.constants` returned, (n_queries, n_outputs).
    low, high, marked, firsts
        Of all windows.
    ends
        Numbers of peaks, of words of marks and of `firsts` before and after each query, int64
        (n_queries + 1, 3).
    lowest
        float64 (n_queries,).
    sign
        int64 (n_queries,).
    peaks
        Where the peaks of each query are.
    """

    constants: NDArray[np.float32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    marked: NDArray[np.uint64]
    firsts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lowest: NDArray[np.float64]
    sign: NDArray[np.int64]
    peaks: Sequence[slice]

    @classmethod
    def of(cls, constants: Sequence[NDArray[np.float32]], windows: Sequence[Windows]) -> Joined:
        """Join what is known of one or more queries."""
        ends = np.zeros((len(windows) + 1, 3), np.int64)
        lengths = [(len(one.low), len(one.marked), len(one.firsts)) for one in windows]
        np.cumsum(lengths, axis=0, out=ends[1:])
        return cls(
            np.stack(constants),
            np.concatenate([one.low for one in windows]),
            np.concatenate([one.high for one in windows]),
            np.concatenate([one.marked for one in windows]),
            np.concatenate([one.firsts for one in windows]),
            ends,
            np.array([one.lowest for one in windows]),
            np.array([one.sign for one in windows]),
            [slice(*pair) for pair in pairwise(ends[:, 0].tolist())],
        )


def add_weights(
    table: FragmentTable,
    layers: Layers,
    queries: Joined,
    *,
    weights: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Return the sum of exp(u) over all ions of a molecule, and the sums of those at each peak.

    An ion is a fragment with some of `SHIFTS` that it can have; the sum leaves out those below the
    scan. What is returned for a query does not depend on the other ones.

    Parameters
    ----------
    table
        The molecule's fragments.
    layers
        What is learned.
    queries
        Those that it is a candidate of.
    weights
        float32 (n_fragments, n_shifts): filled with the weight of each ion for the last query, 0
        where there is none.

    Returns
    -------
    float64 (n_queries,), and for each query float64 (n_peaks,).
    """
    n_words = table.masks.shape[1]
    rows, sums, places = _tables(*table.graph, n_words, layers.inputs)
    if layers.surroundings is not None:
        add_cut_rows(table.graph, layers.surroundings, rows, int(places[3]))
    totals, explained = _weigh(
        n_words,
        table.masks,
        table.steps,
        table.graph.bonds,
        rows,
        sums,
        places,
        layers.outputs,
        queries.constants,
        queries.low,
        queries.high,
        queries.marked,
        queries.firsts,
        queries.ends,
        queries.lowest,
        queries.sign,
        _BETWEEN,
        _NO_WEIGHTS if weights is None else weights,
    )
    return totals, [explained[peaks] for peaks in queries.peaks]


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
        counts[atoms[a, 2]] += 1
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
        hydrogens += atoms[a, 1]
        charged += abs(atoms[a, 3])
    n_rings = max(len(bonds) - n_atoms + 1, 0)
    places = np.zeros(5 + len(n_rows), np.int64)
    places[0] = n_atoms + 1
    places[1] = places[0] + hydrogens + 1
    places[2] = places[1] + 2 * charged + 1
    places[3] = places[2] + (n_rings + 1) * _N_STEPS
    places[4] = places[3] + 2 * len(bonds)
    for g in range(len(n_rows)):
        places[5 + g] = places[4 + g] + n_rows[g]
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
    hydrogens = places[1] - places[0] - 1
    charged = (places[2] - places[1]) // 2
    where = np.zeros((3 * places[3] + 8 * len(bonds), 2), np.int64)
    factors = np.zeros(len(where), np.float64)
    n = ZERO
    for size in range(n_atoms + 1):
        n = _term(where, factors, n, size, _REST + 2, size / n_atoms)
        n = _term(where, factors, n, size, _REST + 13, math.log(n_atoms))
    for lost in range(1, min(3, n_atoms) + 1):
        n = _term(where, factors, n, n_atoms - lost, _REST + 9 + lost, 1.0)
    for k in range(hydrogens + 1):
        n = _term(where, factors, n, places[0] + k, ZERO + _REST, math.log1p(k))
        n = _term(where, factors, n, places[0] + k, _REST + 1, math.log1p(hydrogens - k))
    for k in range(2 * charged + 1):
        n = _term(where, factors, n, places[1] + k, _REST + 9, float(k - charged))
    for k in range(places[3] - places[2]):  # rings, steps, and whether valences are odd
        step = k % _N_STEPS // 2
        n = _term(where, factors, n, places[2] + k, _REST + 3, float(k // _N_STEPS))
        n = _term(where, factors, n, places[2] + k, _REST + 8, float(k & 1))
        if step > 0:
            n = _term(where, factors, n, places[2] + k, _REST + 3 + step, 1.0)
    for i in range(len(bonds)):
        for side in range(2):
            row = places[3] + 2 * i + side
            n = _term(where, factors, n, row, ZERO + atoms[bonds[i, side], 2], 1.0)
            n = _term(where, factors, n, row, _N + atoms[bonds[i, 1 - side], 2], 1.0)
            n = _term(where, factors, n, row, _CUT + bonds[i, 2], 1.0)
            n = _term(where, factors, n, row, _REST + 7, float(bonds[i, 3]))
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
        counts[atoms[a, 2]] += 1
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
            _add_row(own, ZERO, inputs, _HAS + _N + kind, math.log1p(counts[kind] - n))
            first = places[4 + group[kind]]
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
    """Fill in what rows go by, for each set of atoms of one chunk; see `_tables`."""
    n_columns = sums.shape[2]
    further = n_columns - n_words  # before the words of cut bonds but for the first
    for a in range(len(atoms)):
        k = a // CHUNK
        at = 1 << (a % CHUNK)
        mass = atom_masses[a] + atoms[a, 1] * HYDROGEN_MASS
        sums[k, at, 0] = round(mass / _MASS_UNIT)
        small = 1 + (np.int64(atoms[a, 1]) << 16) + (np.int64(atoms[a, 3] + _CHARGE) << 48)
        sums[k, at, 1] = small
        g = group[atoms[a, 2]]
        word = 2 if g < 4 else 3 + (g >> 2)
        sums[k, at, word] = stride[atoms[a, 2]] << (16 * (g & 3))
    for i in range(len(bonds)):
        word = 3 if i < 64 else further + (i >> 6)
        for side in range(2):
            a = bonds[i, side]
            sums[a // CHUNK, 1 << (a % CHUNK), 1] += np.int64(1) << 32
            sums[a // CHUNK, 1 << (a % CHUNK), word] |= np.int64(1) << (i & 63)
    for k in range(len(sums)):
        for chunk in range(1, CHUNK_SETS):
            rest = chunk & (chunk - 1)  # without its lowest bit
            if rest:
                for c in range(n_columns):
                    one = sums[k, chunk - rest, c]
                    other = sums[k, rest, c]
                    # A bond with both ends inside is in two of the atoms' sets, and is not cut.
                    sums[k, chunk, c] = one ^ other if c == 3 or c > further else one + other


@compiled
def _tables(
    atoms: NDArray[np.int16],
    atom_masses: NDArray[np.float64],
    bonds: NDArray[np.int16],
    n_words: int,
    inputs: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that are added up, what they go by for each chunk, and where they begin.

    The second are of sets of atoms, int64 (n_chunks, `CHUNK_SETS`, n_columns): the sum of the
    masses; that of four numbers of 16 bits (heavy atoms, hydrogens, neighbours, charge); of the
    rows in four groups of classes; a word of the set of bonds that the set is cut off at. Columns
    for further groups and words are behind these. The third are the first rows by hydrogens,
    charge, rings and steps, cut bonds, and of each group; those by heavy atoms begin at 0.
    """
    group, stride, places = _plan(atoms, bonds)
    where, factors = _terms(atoms, bonds, places)
    rows = np.zeros((places[-1], inputs.shape[1]), np.float32)
    _fill_rows(rows, places, atoms, group, stride, where, factors, inputs)
    n_groups = len(places) - 5
    n_columns = _FIRST_COLUMNS + (n_groups - 1) // 4 + n_words - 1
    sums = np.zeros(((len(atoms) + CHUNK - 1) // CHUNK, CHUNK_SETS, n_columns), np.int64)
    _fill_sums(sums, n_words, atoms, atom_masses, bonds, group, stride)
    return rows, sums, places[:-1]


# Sums may be taken in any order, so that eight numbers are added at once.
_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}
_fast = compiled_with(fastmath=_IN_ANY_ORDER, nogil=True)
_fast_inner = inner_with(fastmath=_IN_ANY_ORDER)


@_fast_inner
def _choose_rows(
    n_words: int,
    begin: int,
    n: int,
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    bonds: NDArray[np.int16],
    sums: NDArray[np.int64],
    places: NDArray[np.int64],
    chosen: NDArray[np.int64],
    n_chosen: NDArray[np.int64],
    masses: NDArray[np.float64],
    hydrogens: NDArray[np.int64],
    most: NDArray[np.int64],
) -> None:
    """Write of `n` fragments which rows make each up; its mass, hydrogens and number of shifts."""
    n_groups = len(places) - 4
    charged = places[2] - places[1] > 1
    for i in range(n):
        f = begin + i
        mass = ZERO
        small = ZERO
        in_groups = ZERO
        word = np.int64(0)
        left = np.uint64(0)
        for k in range(len(sums)):
            # As `chunk_of`, in one pass. Unsigned places are never counted from the end.
            left = left >> _CHUNK if k % _CHUNKS_OF_WORD else masks[f, k // _CHUNKS_OF_WORD]
            place, chunk = np.uint64(k), left & _CHUNK_MASK
            mass += sums[place, chunk, _MASS]
            small += sums[place, chunk, _SMALL]
            in_groups += sums[place, chunk, _GROUPS]
            word ^= sums[place, chunk, _CUT_BONDS]
        for g in range(0, n_groups, 4):
            for k in range(len(sums) if g > 0 else 0):
                in_groups += sums[k, chunk_of(masks, f, k), _FIRST_COLUMNS - 1 + (g >> 2)]
            for h in range(g, min(g + 4, n_groups)):
                chosen[i, 3 + h] = places[4 + h] + (in_groups & 0xFFFF)
                in_groups >>= 16
        found = 3 + n_groups
        n_cuts = ZERO
        valences = ZERO
        for w in range(n_words):
            for k in range(len(sums) if w > 0 else 0):
                word ^= sums[k, chunk_of(masks, f, k), sums.shape[2] - n_words + w]
            cut = np.uint64(word)
            while cut != np.uint64(0):
                bond = 64 * w + lowest_bit(cut)
                cut &= cut - np.uint64(1)
                a = np.int64(bonds[bond, 0])
                outside = 1 - np.int64((masks[f, a >> 6] >> np.uint64(a & 63)) & np.uint64(1))
                chosen[i, found] = places[3] + 2 * bond + outside
                found += 1
                n_cuts += 1
                valences += bonds[bond, 3]
            word = np.int64(0)
        size = small & 0xFFFF
        neighbours = (small >> 32) & 0xFFFF
        rings = (neighbours - n_cuts) // 2 - size + 1
        hydrogens[i] = (small >> 16) & 0xFFFF
        chosen[i, 0] = size
        chosen[i, 1] = places[0] + hydrogens[i]
        chosen[i, 2] = places[2] + _N_STEPS * rings + 2 * min(steps[f], 3) + (valences & 1)
        if charged:
            charge = (small >> 48) - _CHARGE * size
            chosen[i, found] = places[1] + charge + (places[2] - places[1]) // 2
            found += 1
        n_chosen[i] = found
        # Rounded as the table's masses are.
        masses[i] = np.floor(mass * 1e-3 + 0.5) * 1e-7
        most[i] = min(_N_SHIFTS, valences - _LEAST_SHIFT + 1)


@_fast_inner
def _add_rows_up(
    rows: NDArray[np.float32],
    chosen: NDArray[np.int64],
    n_chosen: NDArray[np.int64],
    n: int,
    added: NDArray[np.float32],
) -> None:
    """Write of each of `n` fragments the sum of its chosen rows into a row."""
    width = rows.shape[1]
    n_hidden = width - N_LANES
    for i in range(n):
        for first in range(0, n_hidden, BLOCK):
            h0 = zeros()
            h1 = zeros()
            h2 = zeros()
            h3 = zeros()
            v0 = zeros()  # the last columns, which are added up once
            for k in range(n_chosen[i]):
                at = chosen[i, k] * width + first
                h0 = add(h0, load(rows, at))
                h1 = add(h1, load(rows, at + N_LANES))
                h2 = add(h2, load(rows, at + 2 * N_LANES))
                h3 = add(h3, load(rows, at + 3 * N_LANES))
                v0 = add(v0, load(rows, at + n_hidden - first))
            at = i * width + first
            store(added, at, h0)
            store(added, at + N_LANES, h1)
            store(added, at + 2 * N_LANES, h2)
            store(added, at + 3 * N_LANES, h3)
            store(added, i * width + n_hidden, v0)


@_fast_inner
def _weigh_ions(
    n: int,
    weighed: NDArray[np.int64],
    added: NDArray[np.float32],
    constants: NDArray[np.float32],
    first_constant: int,
    outputs: NDArray[np.float32],
    hidden: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Write the weight exp(u) of each shift of `n` of the fragments; two have room in registers.

    `hidden` is room for the hidden units of both.
    """
    width = added.shape[1]
    n_hidden = width - N_LANES
    for i in range(0, n, 2):
        one = weighed[i] * width
        other = weighed[min(i + 1, n - 1)] * width
        constant = load(constants, first_constant + n_hidden)
        v0 = add(load(added, one + n_hidden), constant)
        w0 = add(load(added, other + n_hidden), constant)
        v1 = zeros()
        v2 = zeros()
        v3 = zeros()
        w1 = zeros()
        w2 = zeros()
        w3 = zeros()
        for first in range(0, n_hidden, BLOCK):
            for j in range(0, BLOCK, N_LANES):
                constant = load(constants, first_constant + first + j)
                store(hidden, j, rectified(add(load(added, one + first + j), constant)))
                said = rectified(add(load(added, other + first + j), constant))
                store(hidden, BLOCK + j, said)
            for j in range(0, BLOCK, 4):
                of_unit = (first + j) * N_LANES
                o0 = load(outputs, of_unit)
                o1 = load(outputs, of_unit + N_LANES)
                o2 = load(outputs, of_unit + 2 * N_LANES)
                o3 = load(outputs, of_unit + 3 * N_LANES)
                v0 = add_times(v0, hidden[j], o0)
                v1 = add_times(v1, hidden[j + 1], o1)
                v2 = add_times(v2, hidden[j + 2], o2)
                v3 = add_times(v3, hidden[j + 3], o3)
                w0 = add_times(w0, hidden[BLOCK + j], o0)
                w1 = add_times(w1, hidden[BLOCK + j + 1], o1)
                w2 = add_times(w2, hidden[BLOCK + j + 2], o2)
                w3 = add_times(w3, hidden[BLOCK + j + 3], o3)
        # LIMIT tanh(v / LIMIT) is LIMIT - 2 LIMIT / (exp(2 v / LIMIT) + 1).
        v0 = within(add_times(zeros(), _DOUBLED, add(add(v0, v1), add(v2, v3))), _FARTHEST)
        w0 = within(add_times(zeros(), _DOUBLED, add(add(w0, w1), add(w2, w3))), _FARTHEST)
        v0 = quotient(spread(_TWICE_HIGHEST), add(exponentials(v0), spread(_ONE)))
        w0 = quotient(spread(_TWICE_HIGHEST), add(exponentials(w0), spread(_ONE)))
        v0 = add_times(spread(_HIGHEST), _MINUS, v0)
        w0 = add_times(spread(_HIGHEST), _MINUS, w0)
        store(values, i * N_LANES, exponentials(v0))
        store(values, (i + 1) * N_LANES, exponentials(w0))


@_fast_inner
def _add_at_peaks(
    mz: float,
    weight: float,
    start: int,
    end: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    explained: NDArray[np.float64],
) -> None:
    """Add an ion's weight to the peaks from `start` to `end` in whose windows it lies."""
    while start < end and low[start] <= mz:
        if mz <= high[start]:
            explained[start] += weight
        start += 1


@_fast_inner
def _count(
    n: int,
    begin: int,
    q: int,
    masses: NDArray[np.float64],
    weighed: NDArray[np.int64],
    least: NDArray[np.int64],
    most: NDArray[np.int64],
    values: NDArray[np.float32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    marked: NDArray[np.uint64],
    firsts: NDArray[np.int64],
    ends: NDArray[np.int64],
    lowest: float,
    sign: int,
    between: NDArray[np.float32],
    sum_: NDArray[np.float32],
    explained: NDArray[np.float64],
    weights: NDArray[np.float32],
) -> float:
    """Add up what some weighed fragments explain of one query; return the sum of their weights."""
    sum_of_all = zeros()
    for i in range(n):
        k = weighed[i]
        ion = masses[k] + sign * HYDROGEN_MASS
        first = least[i]
        while first < most[k] and ion + (_LEAST_SHIFT + first) * HYDROGEN_MASS <= lowest:
            first += 1
        if first < most[k]:
            is_counted = load(between, (first * N_LANES + most[k]) * N_LANES)
            sum_of_all = add(sum_of_all, times(load(values, i * N_LANES), is_counted))
        bin_ = np.int64(masses[k] * MASS_BINS_PER_DA)
        mark = ends[q, 1] + (bin_ >> 6)
        # Few fragments have an ion near a peak.
        if mark < ends[q + 1, 1] and marked[mark] >> np.uint64(bin_ & 63) & _FIRST:
            for s in range(least[i], most[k]):
                mz = ion + (_LEAST_SHIFT + s) * HYDROGEN_MASS - sign * ELECTRON_MASS
                near = ends[q, 2] + np.int64(mz)
                peak = ends[q, 0] + firsts[near] if near < ends[q + 1, 2] else ends[q + 1, 0]
                weight = values[i * N_LANES + s]
                _add_at_peaks(mz, weight, peak, ends[q + 1, 0], low, high, explained)
        if len(weights) > 0:
            for s in range(least[i], most[k]):
                weights[begin + k, s] = values[i * N_LANES + s]
    store(sum_, 0, sum_of_all)
    total = 0.0
    for s in range(N_LANES):
        total += sum_[s]
    return total


@_fast
def _weigh(
    n_words: int,
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    bonds: NDArray[np.int16],
    rows: NDArray[np.float32],
    sums: NDArray[np.int64],
    places: NDArray[np.int64],
    outputs: NDArray[np.float32],
    constants: NDArray[np.float32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    marked: NDArray[np.uint64],
    firsts: NDArray[np.int64],
    ends: NDArray[np.int64],
    lowest: NDArray[np.float64],
    signs: NDArray[np.int64],
    between: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Do what `add_weights` documents, with the queries' peaks one behind the other.

    Some fragments at a time are described, then weighed for one query after the other.
    """
    totals = np.zeros(len(lowest), np.float64)
    explained = np.zeros(len(low), np.float64)
    chosen = np.empty((_N_AT_ONCE, len(bonds) + len(places) + 1), np.int64)
    n_chosen = np.empty(_N_AT_ONCE, np.int64)
    width = rows.shape[1]
    added = np.empty((_N_AT_ONCE, width), np.float32)
    hidden = np.empty(2 * BLOCK, np.float32)
    values = np.zeros(_N_AT_ONCE * N_LANES, np.float32)
    sum_ = np.empty(N_LANES, np.float32)
    fragment_masses = np.empty(_N_AT_ONCE, np.float64)
    hydrogens = np.empty(_N_AT_ONCE, np.int64)
    most = np.empty(_N_AT_ONCE, np.int64)
    weighed = np.empty(_N_AT_ONCE, np.int64)
    least = np.empty(_N_AT_ONCE, np.int64)
    for begin in range(0, len(masks), _N_AT_ONCE):
        n = min(_N_AT_ONCE, len(masks) - begin)
        _choose_rows(
            n_words,
            begin,
            n,
            masks,
            steps,
            bonds,
            sums,
            places,
            chosen,
            n_chosen,
            fragment_masses,
            hydrogens,
            most,
        )
        _add_rows_up(rows, chosen, n_chosen, n, added)
        for q in range(len(lowest)):
            n_weighed = ZERO
            for k in range(n):
                shift = _LEAST_SHIFT + most[k] - 1 + signs[q]
                if fragment_masses[k] + shift * HYDROGEN_MASS > lowest[q] or len(weights) > 0:
                    least[n_weighed] = max(0, -(hydrogens[k] + signs[q]) - _LEAST_SHIFT)
                    weighed[n_weighed] = k
                    n_weighed += 1
            _weigh_ions(n_weighed, weighed, added, constants, q * width, outputs, hidden, values)
            totals[q] += _count(
                n_weighed,
                begin,
                q,
                fragment_masses,
                weighed,
                least,
                most,
                values,
                low,
                high,
                marked,
                firsts,
                ends,
                lowest[q],
                signs[q],
                between,
                sum_,
                explained,
                weights,
            )
    return totals, explained
