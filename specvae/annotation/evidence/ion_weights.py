"""Weights of all ions of a molecule in one pass over its fragments.

What `specvae.annotation.evidence.fragment_score` learns is a layer on
`FragmentTable.descriptors`, which is sums over the atoms that a fragment has and over the bonds
that it is cut off at. The layer's outputs for each number of atoms of a class, of hydrogens and so
on, and for each bond cut, are tabled per molecule; a fragment's outputs are then a dozen rows of
that table added up. The row numbers themselves are sums over the atoms of a fragment, and are
tabled for each byte of its mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragments import SHIFTS, Peaks
from specvae.annotation.evidence.surroundings import Surroundings, add_cut_rows, atom_features
from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS
from specvae.molecules.fragments import (
    N_DESCRIPTORS,
    FragmentTable,
    cut_sets,
    cut_word,
    lowest_bit,
    words_of,
)
from specvae.molecules.graph import ATOM_CLASSES, BOND_CLASSES, compiled, compiled_with

LIMIT = 12.0
"""Of |u|, beyond which a weight exp(u) changes no more: u is ``LIMIT tanh(v / LIMIT)``."""

# Columns of descriptors.
_N = len(ATOM_CLASSES)
_CUT = 2 * _N
_HAS = _CUT + len(BOND_CLASSES)
_REST = _HAS + 2 * _N
_N_SHIFTS = len(SHIFTS)
_LANES = 8  # numbers that a processor adds at once: room for the shifts
_BLOCK = 32  # hidden units are filled up to a multiple

_MOST_ROWS = 64  # of the joint counts of some classes of atoms
_FIRST_COLUMNS = 2  # of sums by byte: mass, then several small numbers in one
_MASS_UNIT = 1e-10
_CHARGE = 8  # added to each atom's charge, so that no sum is negative

# exp(u) by v, linearly between points so close that it is right to 2e-6.
_PER_UNIT = 256
_RANGE = 40
_POINTS = np.arange(-_RANGE * _PER_UNIT, _RANGE * _PER_UNIT + 2) / _PER_UNIT
_WEIGHTS = np.exp(LIMIT * np.tanh(_POINTS / LIMIT)).astype(np.float32)

_PEAK_BINS_PER_DA = 100


class Layers(NamedTuple):
    """What is learned of ions, and added up: ``v = D x + O relu(H x + hidden) + shift``.

    Parameters
    ----------
    inputs
        H and D, float32 (N_DESCRIPTORS, n_hidden + `_LANES`), for descriptors as they are; hidden
        units are filled up with zeros to a multiple of `_BLOCK`, shifts to `_LANES`.
    outputs
        O, float32 (n_shifts, n_hidden).
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
        n_hidden = -(-len(hidden) // _BLOCK) * _BLOCK
        inputs = np.zeros((N_DESCRIPTORS, n_hidden + _LANES), np.float32)
        inputs[:, : len(hidden)] = hidden.T
        inputs[:, n_hidden : n_hidden + _N_SHIFTS] = direct.T
        padded = np.zeros((_N_SHIFTS, n_hidden), np.float32)
        padded[:, : len(hidden)] = outputs
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
        n_hidden = self.outputs.shape[1]
        row[n_hidden : n_hidden + _N_SHIFTS] += shift
        return np.asarray(row)


@dataclass(frozen=True, eq=False)
class Windows:
    """Where ions at a query's peaks lie.

    Attributes
    ----------
    low, high
        Ends of the m/z that agree with each peak, both ascending, float64 (n_peaks,).
    first
        For each hundredth of a Th the first peak that may agree, -1 if there is none, int16
        (n_bins,).
    lowest
        Ions of lower m/z (without regard to the electron's mass) are outside the scan.
    sign
        1 for positive, -1 for negative ions.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    first: NDArray[np.int16]
    lowest: float
    sign: int

    @classmethod
    def of(cls, peaks: Peaks, tolerance_ppm: float, tolerance_da: float) -> Windows:
        """Return the windows of a query with at least one peak."""
        widths = np.maximum(tolerance_da, tolerance_ppm * 1e-6 * peaks.mz)
        low, high = peaks.mz - widths, peaks.mz + widths
        edges = np.arange(int(high[-1] * _PEAK_BINS_PER_DA) + 3) / _PEAK_BINS_PER_DA
        first = np.searchsorted(high, edges[:-1]).astype(np.int16)
        first[first == np.searchsorted(low, edges[1:], side="right")] = -1
        return cls(low, high, first, float(peaks.mz[0]) - 0.5, peaks.sign)


def add_weights(
    table: FragmentTable,
    layers: Layers,
    constants: NDArray[np.float32],
    windows: Windows,
    explained: NDArray[np.float64],
    *,
    weights: NDArray[np.float32] | None = None,
) -> float:
    """Return the sum of exp(u) over all ions of a molecule, and add those at the peaks up.

    An ion is a fragment with some of `SHIFTS` that it can have; the sum leaves out those below the
    scan.

    Parameters
    ----------
    table
        The molecule's fragments.
    layers, constants
        What is learned, and what `Layers.constants` returned for the query.
    windows
        Of the query's peaks.
    explained
        float64 (n_peaks,): what is found is added in place.
    weights
        float32 (n_fragments, n_shifts): filled with the weight of each ion, 0 where there is none.
    """
    graph = table.graph
    words = words_of(graph)
    rows, sums, places = _rows(graph.atoms, graph.masses, graph.bonds, layers.inputs, constants)
    if layers.surroundings is not None:
        add_cut_rows(atom_features(graph), graph.bonds, layers.surroundings, rows[places[4] :])
    wanted = np.empty((0, _N_SHIFTS), np.float32) if weights is None else weights
    return _add(
        words,
        (0,) * layers.inputs.shape[1],
        table.masks,
        table.steps,
        graph.bonds,
        rows,
        sums,
        places,
        cut_sets(words, len(graph.atoms), graph.bonds),
        layers.outputs,
        windows.low,
        windows.high,
        windows.first,
        windows.lowest,
        windows.sign,
        explained,
        wanted,
    )


@compiled
def _add_row(
    rows: NDArray[np.float32], row: int, inputs: NDArray[np.float32], column: int, factor: float
) -> None:
    for j in range(rows.shape[1]):
        rows[row, j] += np.float32(factor) * inputs[column, j]


@compiled
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


@compiled
def _rows(
    atoms: NDArray[np.int16],
    atom_masses: NDArray[np.float64],
    bonds: NDArray[np.int16],
    inputs: NDArray[np.float32],
    constants: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows that are added up, what they go by for each byte, and where they begin.

    The second are sums over atoms, (n_bytes, 256, 2 + n_groups): the mass, then four numbers of 16
    bits (heavy atoms, hydrogens, neighbours, charge), then the row in each group of classes. The
    third are the first rows by hydrogens, rings, charge, steps, cut bonds, and of each group; those
    by heavy atoms begin at 0.
    """
    n_atoms = len(atoms)
    group, stride, n_rows = _groups(atoms)
    n_groups = len(n_rows)
    hydrogens = 0
    charged = 0
    for a in range(n_atoms):
        hydrogens += atoms[a, 1]
        charged += abs(atoms[a, 3])
    n_rings = max(len(bonds) - n_atoms + 1, 0)
    places = np.empty(5 + n_groups, np.int64)
    places[0] = n_atoms + 1
    places[1] = places[0] + hydrogens + 1
    places[2] = places[1] + n_rings + 1
    places[3] = places[2] + 2 * charged + 1
    places[4] = places[3] + 8
    places[5] = places[4] + 2 * len(bonds)
    for g in range(1, n_groups):
        places[5 + g] = places[4 + g] + n_rows[g - 1]
    rows = np.zeros((places[4 + n_groups] + n_rows[n_groups - 1], inputs.shape[1]), np.float32)
    _fill_counts(rows, places, n_atoms, hydrogens, n_rings, charged, inputs, constants)
    for i in range(len(bonds)):
        for side in range(2):
            row = places[4] + 2 * i + side
            _add_row(rows, row, inputs, atoms[bonds[i, side], 2], 1.0)
            _add_row(rows, row, inputs, _N + atoms[bonds[i, 1 - side], 2], 1.0)
            _add_row(rows, row, inputs, _CUT + bonds[i, 2], 1.0)
            _add_row(rows, row, inputs, _REST + 7, float(bonds[i, 3]))
    _fill_groups(rows, places, atoms, group, stride, n_rows, inputs)
    return rows, _sums(atoms, atom_masses, bonds, group, stride, n_groups), places


@compiled
def _fill_groups(
    rows: NDArray[np.float32],
    places: NDArray[np.int64],
    atoms: NDArray[np.int16],
    group: NDArray[np.int64],
    stride: NDArray[np.int64],
    n_rows: NDArray[np.int64],
    inputs: NDArray[np.float32],
) -> None:
    """Fill in the rows by numbers of atoms of each class."""
    counts = np.zeros(_N, np.int64)
    for a in range(len(atoms)):
        counts[atoms[a, 2]] += 1
    for kind in range(_N):
        for row in range(n_rows[group[kind]] if counts[kind] > 0 else 0):
            n = (row // stride[kind]) % (counts[kind] + 1)
            at = places[5 + group[kind]] + row
            _add_row(rows, at, inputs, _HAS + kind, math.log1p(n))
            _add_row(rows, at, inputs, _HAS + _N + kind, math.log1p(counts[kind] - n))


@compiled
def _sums(
    atoms: NDArray[np.int16],
    atom_masses: NDArray[np.float64],
    bonds: NDArray[np.int16],
    group: NDArray[np.int64],
    stride: NDArray[np.int64],
    n_groups: int,
) -> NDArray[np.int64]:
    """Return what rows go by, for each set of atoms of one byte; see `_rows`."""
    sums = np.zeros((len(atoms) + 7 >> 3, 256, _FIRST_COLUMNS + n_groups), np.int64)
    for a in range(len(atoms)):
        at = 1 << (a & 7)
        mass = atom_masses[a] + atoms[a, 1] * HYDROGEN_MASS
        sums[a >> 3, at, 0] = round(mass / _MASS_UNIT)
        small = 1 + (np.int64(atoms[a, 1]) << 16) + (np.int64(atoms[a, 3] + _CHARGE) << 48)
        sums[a >> 3, at, 1] = small
        sums[a >> 3, at, 2 + group[atoms[a, 2]]] = stride[atoms[a, 2]]
    for i in range(len(bonds)):
        for side in range(2):
            a = bonds[i, side]
            sums[a >> 3, 1 << (a & 7), 1] += np.int64(1) << 32
    for k in range(len(sums)):
        for byte in range(1, 256):
            rest = byte & (byte - 1)  # without its lowest bit
            if rest:
                for c in range(sums.shape[2]):
                    sums[k, byte, c] = sums[k, byte - rest, c] + sums[k, rest, c]
    return sums


@compiled
def _fill_counts(
    rows: NDArray[np.float32],
    places: NDArray[np.int64],
    n_atoms: int,
    hydrogens: int,
    n_rings: int,
    charged: int,
    inputs: NDArray[np.float32],
    constants: NDArray[np.float32],
) -> None:
    """Fill in the rows by heavy atoms, hydrogens, rings, charge and steps."""
    for size in range(n_atoms + 1):
        for j in range(rows.shape[1]):
            rows[size, j] = constants[j]
        _add_row(rows, size, inputs, _REST + 2, size / n_atoms)
        _add_row(rows, size, inputs, _REST + 13, math.log(n_atoms))
        if 1 <= n_atoms - size <= 3:
            _add_row(rows, size, inputs, _REST + 9 + n_atoms - size, 1.0)
    for n in range(hydrogens + 1):
        _add_row(rows, places[0] + n, inputs, _REST, math.log1p(n))
        _add_row(rows, places[0] + n, inputs, _REST + 1, math.log1p(hydrogens - n))
    for n in range(n_rings + 1):
        _add_row(rows, places[1] + n, inputs, _REST + 3, float(n))
    for n in range(2 * charged + 1):
        _add_row(rows, places[2] + n, inputs, _REST + 9, float(n - charged))
    for step in range(4):
        for odd in range(2):
            row = places[3] + 2 * step + odd
            _add_row(rows, row, inputs, _REST + 8, float(odd))
            if step > 0:
                _add_row(rows, row, inputs, _REST + 3 + step, 1.0)


# Sums may be taken in any order, so that eight numbers are added at once.
_fast = compiled_with(fastmath={"reassoc", "contract", "nsz"})


@_fast
def _weight(v: float) -> float:
    """Return exp(LIMIT tanh(v / LIMIT))."""
    place = (v + _RANGE) * _PER_UNIT
    if place < 0 or place >= 2 * _RANGE * _PER_UNIT:
        return math.exp(LIMIT * math.tanh(v / LIMIT))
    k = int(place)
    return float(_WEIGHTS[k] + (place - k) * (_WEIGHTS[k + 1] - _WEIGHTS[k]))


@_fast
def _choose_rows(
    words: tuple[int, ...],
    f: int,
    masks: NDArray[np.uint64],
    step: int,
    bonds: NDArray[np.int16],
    sums: NDArray[np.int64],
    places: NDArray[np.int64],
    sets: NDArray[np.uint64],
    charged: int,
    chosen: NDArray[np.int32],
) -> tuple[int, int, int, int]:
    """Write which rows make up a fragment; return their number, mass, hydrogens and valences."""
    mass = 0
    small = 0
    n_groups = len(places) - 5
    for g in range(n_groups):
        chosen[4 + g] = places[5 + g]
    for k in range(len(sums)):
        byte = np.int64((masks[f, k >> 3] >> np.uint64(8 * (k & 7))) & np.uint64(255))
        mass += sums[k, byte, 0]
        small += sums[k, byte, 1]
        for g in range(n_groups):
            chosen[4 + g] += sums[k, byte, 2 + g]
    n_chosen = 4 + n_groups
    n_cuts = 0
    valences = 0
    for w in range(len(words)):
        word = cut_word(w, f, masks, sets)
        while word != np.uint64(0):
            i = 64 * w + lowest_bit(word)
            word &= word - np.uint64(1)
            a = bonds[i, 0]
            outside = 1 - np.int64((masks[f, a >> 6] >> np.uint64(a & 63)) & np.uint64(1))
            chosen[n_chosen] = places[4] + 2 * i + outside
            n_chosen += 1
            n_cuts += 1
            valences += bonds[i, 3]
    size = small & 0xFFFF
    hydrogens = (small >> 16) & 0xFFFF
    neighbours = (small >> 32) & 0xFFFF
    chosen[0] = size
    chosen[1] = places[0] + hydrogens
    chosen[2] = places[1] + (neighbours - n_cuts) // 2 - size + 1
    chosen[3] = places[3] + 2 * min(step, 3) + (valences & 1)
    if charged:
        chosen[n_chosen] = places[2] + (small >> 48) - _CHARGE * size + (places[3] - places[2]) // 2
        n_chosen += 1
    return n_chosen, mass, hydrogens, valences


@_fast
def _add_rows(
    width: tuple[int, ...],
    rows: NDArray[np.float32],
    chosen: NDArray[np.int32],
    n_chosen: int,
    out: NDArray[np.float32],
) -> None:
    """Write the sum of some rows, three at least; where it is of a hidden unit, 0 if negative."""
    a, b, c = chosen[0], chosen[1], chosen[2]
    for j in range(len(width)):
        out[j] = rows[a, j] + rows[b, j] + rows[c, j]
    for k in range(3, n_chosen - 1, 2):
        # Looked up before the loop: the compiler cannot know that `chosen` stays as it is.
        a, b = chosen[k], chosen[k + 1]
        for j in range(len(width)):
            out[j] += rows[a, j] + rows[b, j]
    if (n_chosen - 3) & 1:
        a = chosen[n_chosen - 1]
        for j in range(len(width)):
            out[j] += rows[a, j]
    for j in range(len(width) - _LANES):
        out[j] = max(out[j], np.float32(0.0))


@_fast
def _add_at_peaks(
    mz: float,
    weight: float,
    p: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    explained: NDArray[np.float64],
) -> None:
    """Add an ion's weight to the peaks from `p` on in whose windows it lies."""
    while p < len(low) and low[p] <= mz:
        if mz <= high[p]:
            explained[p] += weight
        p += 1


@_fast
def _add(
    words: tuple[int, ...],
    width: tuple[int, ...],
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    bonds: NDArray[np.int16],
    rows: NDArray[np.float32],
    sums: NDArray[np.int64],
    places: NDArray[np.int64],
    sets: NDArray[np.uint64],
    outputs: NDArray[np.float32],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    first: NDArray[np.int16],
    lowest: float,
    sign: int,
    explained: NDArray[np.float64],
    weights: NDArray[np.float32],
) -> float:
    """Do what `add_weights` documents; `width` is as long as the rows, for the compiler to know."""
    n_hidden = outputs.shape[1]  # not from `width`: a loop of known length is not vectorised
    out = np.empty(len(width), np.float32)
    chosen = np.empty(len(bonds) + len(places) + 1, np.int32)
    charged = places[3] - places[2] > 1
    total = 0.0
    for f in range(len(masks)):
        n_chosen, units, hydrogens, valences = _choose_rows(
            words, f, masks, steps[f], bonds, sums, places, sets, charged, chosen
        )
        # Rounded as the table's masses are.
        mass = np.floor(units * 1e-3 + 0.5) * 1e-7
        least = max(0, -(hydrogens + sign) - SHIFTS[0])
        most = min(len(SHIFTS), valences - SHIFTS[0] + 1)
        heaviest = mass + (SHIFTS[0] + most - 1 + sign) * HYDROGEN_MASS
        if heaviest <= lowest and len(weights) == 0:
            continue
        _add_rows(width, rows, chosen, n_chosen, out)
        for s in range(least, most):
            v = out[n_hidden + s]
            for j in range(n_hidden):
                v += out[j] * outputs[s, j]
            weight = _weight(v)
            ion = mass + (SHIFTS[s] + sign) * HYDROGEN_MASS
            if ion > lowest:
                total += weight
            if len(weights) > 0:
                weights[f, s] = weight
            mz = ion - sign * ELECTRON_MASS
            place = int(mz * _PEAK_BINS_PER_DA)
            # Few ions are near a peak, and calls with arrays take longer than what else is done.
            if 0 <= place < len(first) and first[place] >= 0:
                _add_at_peaks(mz, weight, first[place], low, high, explained)
    return total
