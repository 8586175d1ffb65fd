"""Sums of the weights exp(u) of ions, and their gradients, in compiled code.

Nearly all of the work of fitting a fragment score is here; all else is done by torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from specvae.annotation.evidence.fragment_peaks import SHIFTS
from specvae.annotation.evidence.ion_weights import (
    LIMIT,
    Joined,
    first_in_scan,
    first_peak,
    is_near,
    limited,
)
from specvae.masses import ELECTRON_MASS, HYDROGEN_MASS
from specvae.molecules.compiling import ZERO, compiled, inner
from specvae.molecules.lanes import N_LANES, add, add_times, exponentials, load, store, zeros
from specvae_bench.fragments.rows import Fragments

_N_SHIFTS = len(SHIFTS)
_LEAST_SHIFT = int(SHIFTS[0])
_PER_LIMIT = np.float32(1 / LIMIT)
_ZERO, _ONE = np.float32(0), np.float32(1)


def ion_sums(
    rows: Tensor,
    outputs: Tensor,
    hidden: Tensor,
    shift: Tensor,
    fragments: Fragments,
    queries: Joined,
) -> tuple[Tensor, Tensor]:
    """Return sums of ``exp(u)`` with ``v = d + shift + O relu(h + hidden)``, u = L tanh(v / L).

    h and d are the sums of a fragment's rows; L is `LIMIT`.

    Parameters
    ----------
    rows
        float32 (n_rows, n_hidden + n_shifts): h, then d.
    outputs
        O, float32 (n_shifts, n_hidden).
    hidden, shift
        What a query adds to both, float32 (n_queries, n_hidden) and (n_queries, n_shifts).
    fragments, queries
        Of all molecules and queries.

    Returns
    -------
    Of each pair the sum over all ions within the scan, float32 (n_pairs,); of each peak of each
    pair the sum over those that agree in mass, float32 (n_cells,).
    """
    n_hidden = outputs.shape[1]
    units, shifts = -n_hidden % N_LANES, N_LANES - _N_SHIFTS
    totals, explained = _IonSums.apply(  # type: ignore[no-untyped-call]
        torch.cat([pad(rows[:, :n_hidden], (0, units)), pad(rows[:, n_hidden:], (0, shifts))], 1),
        pad(outputs, (0, units, 0, shifts)),
        pad(hidden, (0, units)),
        pad(shift, (0, shifts)),
        fragments,
        queries,
    )
    return totals, explained


class _IonSums(torch.autograd.Function):
    """`ion_sums`, with hidden units and shifts filled up with zeros to multiples of `N_LANES`."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        rows: Tensor,
        outputs: Tensor,
        hidden: Tensor,
        shift: Tensor,
        fragments: Fragments,
        queries: Joined,
    ) -> tuple[Tensor, Tensor]:
        sums = np.empty((len(fragments.masses), rows.shape[1]), np.float32)
        n_pairs_of = np.diff(fragments.pairs) @ np.diff(fragments.of_molecule)
        slopes = np.zeros((int(n_pairs_of), N_LANES), np.float32)
        totals, explained = _add_up(
            rows.numpy(),
            np.ascontiguousarray(outputs.numpy().T),
            hidden.numpy(),
            shift.numpy(),
            fragments,
            queries,
            sums,
            slopes,
        )
        ctx.save_for_backward(outputs, hidden)
        ctx.known = (len(rows), fragments, queries, sums, slopes)
        return torch.from_numpy(totals).float(), torch.from_numpy(explained).float()

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        of_totals: Tensor,
        of_explained: Tensor,
    ) -> tuple[Tensor | None, ...]:
        outputs, hidden = ctx.saved_tensors
        n_rows, fragments, queries, sums, slopes = ctx.known
        found = _send_back(
            n_rows,
            of_totals.contiguous().numpy(),
            of_explained.contiguous().numpy(),
            outputs.numpy(),
            hidden.numpy(),
            fragments,
            queries,
            sums,
            slopes,
        )
        return (*map(torch.from_numpy, found), None, None)


@inner
def _log_weights(
    sums: NDArray[np.float32],
    f: int,
    hidden: NDArray[np.float32],
    shift: NDArray[np.float32],
    q: int,
    outputs: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Write v of each shift of a fragment for a query."""
    n_hidden = len(outputs)
    one = add(load(sums, f * sums.shape[1] + n_hidden), load(shift, q * N_LANES))
    other = zeros()
    for j in range(0, n_hidden, 2):
        unit = max(sums[f, j] + hidden[q, j], _ZERO)
        one = add_times(one, unit, load(outputs, j * N_LANES))
        unit = max(sums[f, j + 1] + hidden[q, j + 1], _ZERO)
        other = add_times(other, unit, load(outputs, (j + 1) * N_LANES))
    store(values, ZERO, add(one, other))


@inner
def _weigh(values: NDArray[np.float32], slope: NDArray[np.float32]) -> None:
    """Replace each v by exp(u), and write ``d exp(u) / d v``."""
    logarithms = limited(load(values, ZERO))
    store(slope, ZERO, logarithms)
    store(values, ZERO, exponentials(logarithms))
    for s in range(N_LANES):
        share = slope[s] * _PER_LIMIT
        slope[s] = values[s] * (_ONE - share * share)


@inner
def _sum_rows(
    rows: NDArray[np.float32],
    chosen: NDArray[np.int32],
    start: int,
    end: int,
    sums: NDArray[np.float32],
    f: int,
) -> None:
    """Write the sum of the rows that are chosen from `start` to `end` for a fragment."""
    width = rows.shape[1]
    for j in range(0, width, N_LANES):
        lanes = zeros()
        for i in range(start, end):
            lanes = add(lanes, load(rows, chosen[i] * width + j))
        store(sums, f * width + j, lanes)


@inner
def _add_to_rows(
    of_sums: NDArray[np.float32],
    chosen: NDArray[np.int32],
    start: int,
    end: int,
    to_rows: NDArray[np.float32],
) -> None:
    """Add the gradient of a fragment's sums to that of each of its rows."""
    width = len(of_sums)
    for j in range(0, width, N_LANES):
        lanes = load(of_sums, j)
        for i in range(start, end):
            place = chosen[i] * width + j
            store(to_rows, place, add(load(to_rows, place), lanes))


@inner
def _counted(slopes: NDArray[np.float32], row: int) -> tuple[int, int]:
    """Return the first shift with a slope, and the one after the last."""
    first = ZERO
    end = _N_SHIFTS + ZERO
    while first < end and slopes[row, first] == _ZERO:
        first += 1
    while end > first and slopes[row, end - 1] == _ZERO:
        end -= 1
    return first, end


@compiled
def _add_up(
    rows: NDArray[np.float32],
    outputs: NDArray[np.float32],
    hidden: NDArray[np.float32],
    shift: NDArray[np.float32],
    fragments: Fragments,
    queries: Joined,
    sums: NDArray[np.float32],
    slopes: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both sums; fill in h and d of each fragment, and ``d exp(u) / d v`` of each ion.

    `outputs` is (n_hidden, n_shifts). `slopes` has a row for each fragment and query, and is 0
    where an ion is outside the scan.
    """
    # A field of a named tuple takes longer than an array.
    masses, hydrogens, most, chosen, chosen_ends, of_molecule, pairs, pair, query, cell = fragments
    low, high, marked = queries.low, queries.high, queries.marked
    firsts, ends = queries.firsts, queries.ends
    lowest, signs = queries.lowest, queries.sign
    totals = np.zeros(len(query), np.float64)
    explained = np.zeros(cell[-1], np.float64)
    values = np.empty(N_LANES, np.float32)
    slope = np.empty(N_LANES, np.float32)
    at = ZERO
    for m in range(len(of_molecule) - 1):
        for f in range(of_molecule[m], of_molecule[m + 1]):
            _sum_rows(rows, chosen, chosen_ends[f], chosen_ends[f + 1], sums, f)
            for k in range(pairs[m], pairs[m + 1]):
                n = pair[k]
                q = query[n]
                at += 1
                ion = masses[f] + signs[q] * HYDROGEN_MASS
                first = max(ZERO, -(hydrogens[f] + signs[q]) - _LEAST_SHIFT)
                end = most[f]
                first = first_in_scan(ion, first, end, lowest[q])
                if first >= end:
                    continue
                _log_weights(sums, f, hidden, shift, q, outputs, values)
                _weigh(values, slope)
                for s in range(first, end):
                    slopes[at - 1, s] = slope[s]
                    totals[n] += values[s]
                start = ends[q, 0]
                last = ends[q + 1, 0]
                for s in range(first, end if is_near(masses[f], q, marked, ends) else first):
                    mz = ion + (_LEAST_SHIFT + s) * HYDROGEN_MASS - signs[q] * ELECTRON_MASS
                    p = first_peak(mz, q, firsts, ends)
                    while p < last and low[p] <= mz:
                        if mz <= high[p]:
                            explained[cell[n] - start + p] += values[s]
                        p += 1
    return totals, explained


@inner
def _add_to_layers(
    gradient: NDArray[np.float32],
    first: int,
    end: int,
    units: NDArray[np.float32],
    back: NDArray[np.float32],
    outputs: NDArray[np.float32],
    to_outputs: NDArray[np.float32],
    to_hidden: NDArray[np.float32],
    q: int,
    of_sums: NDArray[np.float32],
) -> None:
    """Add what the gradients of v, of the shifts from `first` to `end`, are of both layers.

    `units` are the hidden ones; `back` is room for as many.
    """
    n_hidden = len(units)
    for j in range(0, n_hidden, N_LANES):
        lanes = zeros()
        of_units = load(units, j)
        for s in range(first, end):
            place = s * n_hidden + j
            lanes = add_times(lanes, gradient[s], load(outputs, place))
            product = add_times(load(to_outputs, place), gradient[s], of_units)
            store(to_outputs, place, product)
        store(back, j, lanes)
    for j in range(n_hidden):
        of_unit = back[j] if units[j] > _ZERO else _ZERO
        of_sums[j] += of_unit
        to_hidden[q, j] += of_unit
    lanes = load(gradient, ZERO)
    store(of_sums, n_hidden, add(load(of_sums, n_hidden), lanes))


@compiled
def _send_back(
    n_rows: int,
    of_totals: NDArray[np.float32],
    of_explained: NDArray[np.float32],
    outputs: NDArray[np.float32],
    hidden: NDArray[np.float32],
    fragments: Fragments,
    queries: Joined,
    sums: NDArray[np.float32],
    slopes: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the gradients of rows, outputs, hidden and shift, given those of both sums.

    `outputs` is (n_shifts, n_hidden); the last two are what `_add_up` filled in.
    """
    masses, _, _, chosen, chosen_ends, of_molecule, pairs, pair, query, cell = fragments
    low, high, marked = queries.low, queries.high, queries.marked
    firsts, ends = queries.firsts, queries.ends
    signs = queries.sign
    n_hidden = outputs.shape[1]
    to_rows = np.zeros((n_rows, sums.shape[1]), np.float32)
    to_outputs = np.zeros(outputs.shape, np.float32)
    to_hidden = np.zeros(hidden.shape, np.float32)
    to_shift = np.zeros((len(hidden), N_LANES), np.float32)
    gradient = np.zeros(N_LANES, np.float32)
    units = np.empty(n_hidden, np.float32)
    back = np.empty(n_hidden, np.float32)
    of_sums = np.empty(sums.shape[1], np.float32)
    at = ZERO
    for m in range(len(of_molecule) - 1):
        # Many small numbers are added up exactly enough in two steps.
        of_outputs = np.zeros(outputs.shape, np.float32)
        for f in range(of_molecule[m], of_molecule[m + 1]):
            of_sums[:] = 0
            for k in range(pairs[m], pairs[m + 1]):
                n = pair[k]
                q = query[n]
                at += 1
                first, end = _counted(slopes, at - 1)
                if first >= end:
                    continue
                gradient[:_N_SHIFTS] = of_totals[n]
                start = ends[q, 0]
                last = ends[q + 1, 0]
                ion = masses[f] + signs[q] * HYDROGEN_MASS
                for s in range(first, end if is_near(masses[f], q, marked, ends) else first):
                    mz = ion + (_LEAST_SHIFT + s) * HYDROGEN_MASS - signs[q] * ELECTRON_MASS
                    p = first_peak(mz, q, firsts, ends)
                    while p < last and low[p] <= mz:
                        if mz <= high[p]:
                            gradient[s] += of_explained[cell[n] - start + p]
                        p += 1
                for s in range(_N_SHIFTS):
                    gradient[s] *= slopes[at - 1, s]
                    to_shift[q, s] += gradient[s]
                for j in range(n_hidden):
                    units[j] = max(sums[f, j] + hidden[q, j], _ZERO)
                _add_to_layers(
                    gradient, first, end, units, back, outputs, of_outputs, to_hidden, q, of_sums
                )
            _add_to_rows(of_sums, chosen, chosen_ends[f], chosen_ends[f + 1], to_rows)
        to_outputs += of_outputs
    return to_rows, to_outputs, to_hidden, to_shift
