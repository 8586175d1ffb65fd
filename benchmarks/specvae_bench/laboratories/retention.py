"""The index of retention, fitted to the times of many laboratories at once.

Each laboratory has its own column, gradient and unit. Its times are therefore laid on the index by
a line of their own; index and lines are fitted in turns.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from scipy.sparse.linalg import lsmr
from scipy.stats import spearmanr

from specvae.annotation.evidence.retention import RetentionIndex, composition_of
from specvae.errors import InputError
from specvae_bench.laboratories.records import Records, Strings

FEWEST_COMPOUNDS = 30
"""Laboratories with a time of fewer compounds are not used."""

LEAST_CORRELATION = 0.4
"""Laboratories whose times the index of the others orders worse are not used: columns that are no
reversed phase, and infusions, whose time is that of the scan."""

STRENGTHS = (1.0, 3.0, 10.0, 30.0)
"""Of the ridge, among which `bench retention` chooses."""

STRENGTH = 10.0
"""Which it chose on MassBank: see docs/research.md, section 18."""

_N_ROUNDS = 3
_BIT = 0.3  # size of a bit beside the standardised numbers of a composition
_FARTHEST = 4.0  # standard deviations
_WEAKEST = 0.3  # correlation: a line through less would lay times very far out
_TOLERANCE = 1e-6


class Times(NamedTuple):
    """Retention times, one for each laboratory and compound.

    Parameters
    ----------
    group
        The laboratory, text (n,).
    compound
        int64 (n,): index into the structures.
    seconds
        float64 (n,): the median of the compound's spectra.
    """

    group: Strings
    compound: NDArray[np.int64]
    seconds: NDArray[np.float64]

    def groups(self) -> list[str]:
        """Return the laboratories, that of most compounds first."""
        names, counts = np.unique(self.group, return_counts=True)
        return [str(names[i]) for i in np.lexsort((names, -counts))]

    def of(self, groups: Collection[str]) -> Times:
        """Return the times of some laboratories."""
        return self.select(np.isin(self.group, list(groups)))

    def without(self, group: str) -> Times:
        """Return the times of all other laboratories and all other compounds."""
        ours = self.group == group
        return self.select(~ours & ~np.isin(self.compound, self.compound[ours]))

    def select(self, kept: NDArray[np.bool_]) -> Times:
        """Return some of the times."""
        return Times(self.group[kept], self.compound[kept], self.seconds[kept])


def times_of(records: Records, rows: NDArray[np.int64]) -> Times:
    """Return the times that some records state, of laboratories with enough compounds.

    A laboratory all of whose compounds have one time has none.
    """
    # A time of 0 is what programs write that know of none.
    rows = rows[(records.retention_time[rows] > 0.0) & (records.group[rows] != "")]
    names, number = np.unique(records.group[rows], return_inverse=True)
    key = number.astype(np.int64) * len(records.smiles) + records.compound[rows]
    order = np.argsort(key, kind="stable")
    distinct, starts = np.unique(key[order], return_index=True)
    of_each = np.split(records.retention_time[rows][order], starts[1:]) if len(rows) else []
    group, compound = np.divmod(distinct, len(records.smiles))
    times = Times(names[group], compound, np.array([float(np.median(each)) for each in of_each]))
    usable = []
    for name in times.groups():
        seconds = times.seconds[times.group == name]
        if len(seconds) >= FEWEST_COMPOUNDS and np.ptp(seconds) > 0.0:
            usable.append(name)
    return times.of(usable)


@dataclass(frozen=True, eq=False)
class Structures:
    """Compounds as the index reads them.

    Attributes
    ----------
    packed
        Fingerprints, uint8 (n, n_bytes), little-endian bits.
    formulas
        Of the compounds.
    """

    packed: NDArray[np.uint8]
    formulas: Sequence[str]

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """Their compositions, float64 (n, n_numbers)."""
        return np.array([composition_of(formula) for formula in self.formulas])


@dataclass(frozen=True)
class Laboratory:
    """What the index of all others says of one laboratory's times.

    Attributes
    ----------
    group
        Its name.
    n_compounds
        How many have a time.
    seconds
        Median of the times.
    correlation
        Spearman's, of its times with an index that knows neither the laboratory nor any of its
        compounds; NaN if there is nobody else.
    is_used
        Whether this is at least `LEAST_CORRELATION`.
    """

    group: str
    n_compounds: int
    seconds: float
    correlation: float
    is_used: bool


def learn_index(
    times: Times, structures: Structures, strength: float = STRENGTH
) -> tuple[RetentionIndex | None, list[Laboratory]]:
    """Return an index fitted to the usable laboratories, and all laboratories.

    The index is None if none is usable. Which laboratories are usable is asked twice: first of an
    index of all others, then of one of those others that passed.
    """
    groups = times.groups()
    used = groups
    correlations: dict[str, float] = {}
    for _ in range(2):
        correlations = left_out_correlations(times, structures, strength, used)
        used = [group for group in groups if correlations[group] >= LEAST_CORRELATION]
    found = times.of(used)
    described = [
        Laboratory(
            group,
            int((times.group == group).sum()),
            float(np.median(times.seconds[times.group == group])),
            correlations[group],
            group in used,
        )
        for group in groups
    ]
    return (fit_index(found, structures, strength) if used else None), described


def fit_index(times: Times, structures: Structures, strength: float = STRENGTH) -> RetentionIndex:
    """Return the index whose ridge regression explains all times, each laboratory's on its line.

    In turns, the index w minimises ``|z - X w|^2 + strength |w|^2``, where X has a row for each
    time with the compound's bits (of size 0.3), its standardised composition and 1; and each
    laboratory's line turns its times into z, by the regression of times on the index. The index has
    a standard deviation of 1 over the times. Its mean is no part of it: what an index means on a
    column, each run finds out for itself.

    Raises
    ------
    InputError
        If there is no time.
    """
    if not len(times.seconds):
        raise InputError("no retention time to fit an index to")
    compounds, row = np.unique(times.compound, return_inverse=True)
    bits = np.unpackbits(structures.packed[compounds], axis=1, bitorder="little")
    numbers = structures.numbers[compounds]
    centre, spread = numbers.mean(axis=0), numbers.std(axis=0)
    spread[spread == 0.0] = 1.0
    dense = np.column_stack([(numbers - centre) / spread, np.ones(len(numbers))])
    matrix = csr_matrix(hstack([csr_matrix(bits * _BIT), csr_matrix(dense)]))[row]
    members = [np.flatnonzero(times.group == group) for group in times.groups()]
    z = _first_places(times, members)
    weights, predicted = np.zeros(matrix.shape[1]), np.zeros(len(z))
    for _ in range(_N_ROUNDS):
        # Without a first guess: the ridge would be around it.
        weights = lsmr(
            matrix, z, np.sqrt(strength), atol=_TOLERANCE, btol=_TOLERANCE, maxiter=2000
        )[0]
        predicted = matrix @ weights
        for ours in members:
            z[ours] = _on_index(times.seconds[ours], predicted[ours])
        z = (z - z.mean()) / z.std()
    weights /= predicted.std()
    n_bits = bits.shape[1]
    return RetentionIndex(weights[:n_bits] * _BIT, weights[n_bits:-1] / spread)


def _first_places(times: Times, members: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Return the times of each laboratory in its standard deviations, (n,)."""
    z = np.empty(len(times.seconds))
    for ours in members:
        seconds = times.seconds[ours]
        # Of the middle two thirds, which times far out do not widen.
        low, middle, high = np.percentile(seconds, [16, 50, 84])
        deviation = (high - low) / 2 or seconds.std()
        z[ours] = np.clip((seconds - middle) / deviation, -3.0, 3.0)
    return z


def _on_index(seconds: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a laboratory's times as indices, (n,): its line of times, turned round."""
    known = np.corrcoef(predicted, seconds)[0, 1] if predicted.std() > 0.0 else 0.0
    scale = predicted.std() / (seconds.std() * max(known, _WEAKEST))
    z = predicted.mean() + scale * (seconds - seconds.mean())
    return np.asarray(np.clip(z, -_FARTHEST, _FARTHEST))


def left_out_correlations(
    times: Times, structures: Structures, strength: float, used: Collection[str]
) -> dict[str, float]:
    """Return Spearman's correlation of each laboratory's times with an index that does not know it.

    That index is fitted to the laboratories `used`, without this one and without any of its
    compounds. NaN where nothing is left.
    """
    return {
        group: _correlation(times.of([group]), times.without(group).of(used), structures, strength)
        for group in times.groups()
    }


def _correlation(ours: Times, others: Times, structures: Structures, strength: float) -> float:
    if not len(others.seconds):
        return float("nan")
    index = fit_index(others, structures, strength)
    return float(spearmanr(indices_of(index, structures, ours.compound), ours.seconds).statistic)


def indices_of(
    index: RetentionIndex, structures: Structures, compounds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the indices of some compounds, float64 (n,)."""
    formulas = [structures.formulas[compound] for compound in compounds.tolist()]
    return index.of(structures.packed[compounds], formulas)
