"""Weights of all ions of a molecule in one pass over its fragments.

A fragment's part is a dozen rows of a table added up (`FragmentRows`), which depend on the molecule
alone, so that the queries that it is a candidate of share them. What a query adds, and the layer
behind, follow for one query after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.fragment_peaks import SHIFTS, Peaks
from specvae.annotation.evidence.fragment_rows import Described, FragmentRows, describe, room_for
from specvae.annotation.evidence.surroundings import BLOCK, Surroundings, add_cut_rows
from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS
from specvae.molecules.bit_sets import unsigned
from specvae.molecules.compiling import ZERO, compiled_with, inner_with
from specvae.molecules.fragments import N_DESCRIPTORS, FragmentTable
from specvae.molecules.lanes import (
    N_LANES,
    add,
    add_times,
    exponentials,
    load,
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

_N_SHIFTS = len(SHIFTS)
_LEAST_SHIFT = int(SHIFTS[0])
_N_AT_ONCE = 64  # fragments whose weights are computed together

_DOUBLED = np.float32(2 / LIMIT)
_FARTHEST = np.float32(20.0)  # of 2 v / LIMIT, beyond which nothing changes
_HIGHEST, _TWICE_HIGHEST = np.float32(LIMIT), np.float32(2 * LIMIT)
_ONE, _MINUS = np.float32(1.0), np.float32(-1.0)

_LOWEST_BIT = np.uint64(1)
_MASS_BINS_PER_DA = 100
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
    n_metals
        How many hydrogens of an ion are atoms of the adduct's metal; m/z are those with hydrogens.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    marked: NDArray[np.uint64]
    firsts: NDArray[np.int64]
    lowest: float
    sign: int
    n_metals: int = 0

    @classmethod
    def of(cls, peaks: Peaks, n_metals: int = 0) -> Windows:
        """Return the windows of a query with at least one peak."""
        mz = peaks.without_metal(n_metals).mz
        low, high = mz - peaks.widths, mz + peaks.widths
        gained = (_GAINED + peaks.sign) * HYDROGEN_MASS - peaks.sign * ELECTRON_MASS
        ends = [
            (np.maximum(end[:, None] - gained + margin, 0.0) * _MASS_BINS_PER_DA).astype(np.int64)
            for end, margin in ((low, -_ROUNDING_DA), (high, _ROUNDING_DA))
        ]
        is_marked = np.zeros((int(ends[1].max()) + 64) // 64 * 64, np.bool_)
        for further in range(int((ends[1] - ends[0]).max()) + 1):
            is_marked[np.minimum(ends[0] + further, ends[1])] = True
        marked = np.packbits(is_marked, bitorder="little").view("<u8").astype(np.uint64)
        firsts = np.searchsorted(high, np.arange(int(high[-1]) + 1)).astype(np.int64)
        return cls(low, high, marked, firsts, float(mz[0]) - 0.5, peaks.sign, n_metals)


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
    sign, n_metals
        int64 (n_queries,).
    """

    constants: NDArray[np.float32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    marked: NDArray[np.uint64]
    firsts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lowest: NDArray[np.float64]
    sign: NDArray[np.int64]
    n_metals: NDArray[np.int64]

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
            np.array([one.n_metals for one in windows]),
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
    of_molecule = FragmentRows.of(table.graph, table.masks.shape[1], layers.inputs)
    if layers.surroundings is not None:
        add_cut_rows(table.graph, layers.surroundings, of_molecule.rows, of_molecule.first_cut)
    totals, explained = _weigh(
        table.masks,
        table.steps,
        table.graph.bonds,
        of_molecule,
        layers.outputs,
        queries,
        _BETWEEN,
        _NO_WEIGHTS if weights is None else weights,
    )
    return totals, [explained[a:b] for a, b in pairwise(queries.ends[:, 0].tolist())]


class _Weighed(NamedTuple):
    """Fragments that are compared with one query together, and room for that.

    Parameters
    ----------
    added
        The sum of each fragment's rows, float32 (`_N_AT_ONCE`, n_outputs).
    fragment
        The fragments that have ions in the scan, by their numbers there, int64.
    least
        Their first shift, int64.
    values
        The weight exp(u) of each shift of each of them, `N_LANES` of them for each, float32.
    hidden
        Hidden units of two fragments.
    lanes
        Eight numbers.
    """

    added: NDArray[np.float32]
    fragment: NDArray[np.int64]
    least: NDArray[np.int64]
    values: NDArray[np.float32]
    hidden: NDArray[np.float32]
    lanes: NDArray[np.float32]


# Sums may be taken in any order, so that eight numbers are added at once.
_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}
_fast = compiled_with(fastmath=_IN_ANY_ORDER, nogil=True)
_fast_inner = inner_with(fastmath=_IN_ANY_ORDER)


@_fast_inner
def _add_rows_up(
    n: int, rows: NDArray[np.float32], described: Described, added: NDArray[np.float32]
) -> None:
    """Write of each of `n` fragments the sum of its chosen rows into a row."""
    chosen, n_chosen = described.chosen, described.n_chosen
    width = rows.shape[1]
    n_hidden = width - N_LANES
    for i in range(n):
        for first in range(0, n_hidden, BLOCK):
            h0 = zeros()
            h1 = zeros()
            h2 = zeros()
            h3 = zeros()
            v0 = zeros()  # the last columns, which are added up once
            for k in range(n_chosen[unsigned(i)]):
                at = chosen[unsigned(i), unsigned(k)] * width + first
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
def limited(lanes: Any) -> Any:  # noqa: ANN401 (a type of Numba's)
    """Return ``u = LIMIT tanh(v / LIMIT)`` of eight v."""
    # That is LIMIT - 2 LIMIT / (exp(2 v / LIMIT) + 1).
    powers = exponentials(within(times(spread(_DOUBLED), lanes), _FARTHEST))
    below = quotient(spread(_TWICE_HIGHEST), add(powers, spread(_ONE)))
    return add_times(spread(_HIGHEST), _MINUS, below)


@_fast_inner
def _weigh_ions(
    n: int, q: int, constants: NDArray[np.float32], outputs: NDArray[np.float32], weighed: _Weighed
) -> None:
    """Write the weights of the first `n` weighed fragments; two have room in registers."""
    added, fragment, values, hidden = (
        weighed.added,
        weighed.fragment,
        weighed.values,
        weighed.hidden,
    )
    width = added.shape[1]
    first_constant = q * width
    n_hidden = width - N_LANES
    for i in range(0, n, 2):
        one = fragment[unsigned(i)] * width
        other = fragment[unsigned(min(i + 1, n - 1))] * width
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
                v0 = add_times(v0, hidden[unsigned(j)], o0)
                v1 = add_times(v1, hidden[unsigned(j + 1)], o1)
                v2 = add_times(v2, hidden[unsigned(j + 2)], o2)
                v3 = add_times(v3, hidden[unsigned(j + 3)], o3)
                w0 = add_times(w0, hidden[unsigned(BLOCK + j)], o0)
                w1 = add_times(w1, hidden[unsigned(BLOCK + j + 1)], o1)
                w2 = add_times(w2, hidden[unsigned(BLOCK + j + 2)], o2)
                w3 = add_times(w3, hidden[unsigned(BLOCK + j + 3)], o3)
        v0 = limited(add(add(v0, v1), add(v2, v3)))
        w0 = limited(add(add(w0, w1), add(w2, w3)))
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
    while start < end and low[unsigned(start)] <= mz:
        if mz <= high[unsigned(start)]:
            explained[unsigned(start)] += weight
        start += 1


@_fast_inner
def first_in_scan(ion: float, first: int, end: int, lowest: float) -> int:
    """Return the first of the shifts from `first` to `end` whose ion is not below the scan.

    `ion` is the mass without any of `SHIFTS`, and without regard to the electron's.
    """
    while first < end and ion + (_LEAST_SHIFT + first) * HYDROGEN_MASS <= lowest:
        first += 1
    return first


@_fast_inner
def is_near(mass: float, q: int, marked: NDArray[np.uint64], ends: NDArray[np.int64]) -> bool:
    """Return whether a fragment of this mass may have an ion at a peak of a query; few may.

    The arrays are those of `Joined`.
    """
    place = np.int64(mass * _MASS_BINS_PER_DA)
    word = ends[q, 1] + (place >> 6)
    if word >= ends[q + 1, 1]:
        return False
    return bool(marked[unsigned(word)] >> np.uint64(place & 63) & _LOWEST_BIT)


@_fast_inner
def first_peak(mz: float, q: int, firsts: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
    """Return the first peak of a query whose window may hold an m/z, the end of its peaks for none.

    The arrays are those of `Joined`, and peaks count from its first one.
    """
    whole = ends[q, 2] + np.int64(mz)
    return int(ends[q, 0] + firsts[unsigned(whole)] if whole < ends[q + 1, 2] else ends[q + 1, 0])


@_fast_inner
def _take_fragments(
    n: int, q: int, described: Described, queries: Joined, takes_all: bool, weighed: _Weighed
) -> int:
    """Take those of `n` fragments, or all, that have an ion in the scan; return their number."""
    masses, hydrogens, most = described.masses, described.hydrogens, described.most
    fragment, least = weighed.fragment, weighed.least
    sign, lowest = queries.sign[q], queries.lowest[q]
    gained = sign - queries.n_metals[q]  # hydrogens
    n_weighed = ZERO
    for k in range(n):
        at = unsigned(k)
        shift = _LEAST_SHIFT + most[at] - 1 + sign
        if takes_all or masses[at] + shift * HYDROGEN_MASS > lowest:
            least[unsigned(n_weighed)] = max(0, -(hydrogens[at] + gained) - _LEAST_SHIFT)
            fragment[unsigned(n_weighed)] = k
            n_weighed += 1
    return n_weighed


@_fast_inner
def _count(
    n: int,
    q: int,
    described: Described,
    weighed: _Weighed,
    queries: Joined,
    between: NDArray[np.float32],
    explained: NDArray[np.float64],
) -> float:
    """Add up what `n` weighed fragments explain of one query; return the sum of their weights."""
    masses, most = described.masses, described.most
    fragment, least, values = weighed.fragment, weighed.least, weighed.values
    low, high, marked = queries.low, queries.high, queries.marked
    firsts, ends = queries.firsts, queries.ends
    sign, lowest = queries.sign[q], queries.lowest[q]
    sum_of_all = zeros()
    for i in range(n):
        k = unsigned(fragment[unsigned(i)])
        mass, begins, behind = masses[k], least[unsigned(i)], most[k]
        ion = mass + sign * HYDROGEN_MASS
        first = first_in_scan(ion, begins, behind, lowest)
        if first < behind:
            is_counted = load(between, (first * N_LANES + behind) * N_LANES)
            sum_of_all = add(sum_of_all, times(load(values, i * N_LANES), is_counted))
        if is_near(mass, q, marked, ends):
            for s in range(begins, behind):
                mz = ion + (_LEAST_SHIFT + s) * HYDROGEN_MASS - sign * ELECTRON_MASS
                peak = first_peak(mz, q, firsts, ends)
                weight = values[unsigned(i * N_LANES + s)]
                _add_at_peaks(mz, weight, peak, ends[q + 1, 0], low, high, explained)
    store(weighed.lanes, 0, sum_of_all)
    total = 0.0
    for s in range(N_LANES):
        total += weighed.lanes[s]
    return total


@_fast_inner
def _note_weights(
    n: int, begin: int, described: Described, weighed: _Weighed, weights: NDArray[np.float32]
) -> None:
    """Write the weights of the ions of `n` weighed fragments, which follow `begin` others."""
    for i in range(n):
        k = weighed.fragment[i]
        for s in range(weighed.least[i], described.most[k]):
            weights[begin + k, s] = weighed.values[i * N_LANES + s]


@_fast
def _weigh(
    masks: NDArray[np.uint64],
    steps: NDArray[np.uint8],
    bonds: NDArray[np.int16],
    table: FragmentRows,
    outputs: NDArray[np.float32],
    queries: Joined,
    between: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Do what `add_weights` documents, with the queries' peaks one behind the other.

    Some fragments at a time are described, then weighed for one query after the other.
    """
    totals = np.zeros(len(queries.lowest), np.float64)
    explained = np.zeros(len(queries.low), np.float64)
    described = room_for(_N_AT_ONCE, bonds, table)
    weighed = _Weighed(
        np.empty((_N_AT_ONCE, table.rows.shape[1]), np.float32),
        np.empty(_N_AT_ONCE, np.int64),
        np.empty(_N_AT_ONCE, np.int64),
        np.zeros(_N_AT_ONCE * N_LANES, np.float32),
        np.empty(2 * BLOCK, np.float32),
        np.empty(N_LANES, np.float32),
    )
    for begin in range(0, len(masks), _N_AT_ONCE):
        n = min(_N_AT_ONCE, len(masks) - begin)
        describe(begin, n, masks, steps, bonds, table, described)
        _add_rows_up(n, table.rows, described, weighed.added)
        for q in range(len(totals)):
            n_weighed = _take_fragments(n, q, described, queries, len(weights) > 0, weighed)
            _weigh_ions(n_weighed, q, queries.constants, outputs, weighed)
            totals[q] += _count(n_weighed, q, described, weighed, queries, between, explained)
            if len(weights) > 0:
                _note_weights(n_weighed, begin, described, weighed, weights)
    return totals, explained
