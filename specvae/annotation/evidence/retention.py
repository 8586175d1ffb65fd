"""Retention times as evidence: a candidate should leave the column when its query did.

A structure has an index of retention, which is linear in the bits of its fingerprint and in its
composition (`RetentionIndex`); it was fitted once to the retention times of many laboratories. The
relation of index and time on a user's column is estimated from the run itself (`RetentionLine`): a
line is fitted to the times of its queries against the indices of their candidates, each weighted by
its chance of being right by all other evidence. So neither standards nor a gradient nor a unit of
time are needed. Times that do not follow the indices give a line with a wide spread, and hardly
count.

The evidence for a candidate is half of the log-likelihood ratio of the query's time, given its
index, against any time of the run, and at most `LARGEST` nats either way. Only half of it counts,
since the line is fitted to the same queries, and isomers have similar retention (docs/research.md,
section 18).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from specvae.annotation.evidence.bit_sums import bit_sums
from specvae.annotation.evidence.chances import Chances
from specvae.counting import counted
from specvae.masses import atoms_of_formula

INDEX_FILE = Path(__file__).with_name("retention_index.safetensors")
"""The index that comes with the program, fitted by ``specvae bench retention``."""

COMPOSITION = (
    "C", "H", "N", "O", "S", "P", "F", "halogens", "unsaturation", "log_carbons", "root_polar",
)  # fmt: skip
"""The numbers of a formula that an index depends on; see `composition_of`."""

FEWEST_QUERIES = 20
"""In runs of fewer queries with a time no line is fitted: so few queries show little, and their
scores must not depend on which others are in the file."""

LARGEST = 1.0  # nats
_WEIGHT = 0.5
# The prior of the line's spread and share of outliers, which counts as ten queries: in laboratories
# with one method, a third of the variance of times is left.
_N_PRIOR, _VARIANCE, _OUTLIERS = 10.0, 0.35, 0.05
_FEWEST_OUTLIERS, _MOST_OUTLIERS = 0.01, 0.5
_RIDGE = 1e-3
_N_STEPS = 30
# Times so far from most others are errors, such as another unit. They would increase the standard
# deviation of the run so much that all other times seem equal.
_MOST_TIMES, _FARTHEST_FROM_MOST = (0.1, 0.9), 4.0
_FARTHEST = 10.0  # deviations


@dataclass(frozen=True, eq=False)
class RetentionIndex:
    """An index of retention on reversed phases: the higher, the later.

    Attributes
    ----------
    bits
        float64 (n_bits,): what each bit of a `morgan4096` fingerprint adds.
    composition
        float64 (n,): what each number of `COMPOSITION` adds.
    """

    bits: NDArray[np.float64]
    composition: NDArray[np.float64]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the index that `bench retention` wrote."""
        arrays = load_file(path)
        return cls(arrays["bits"].astype(np.float64), arrays["composition"].astype(np.float64))

    def of(self, packed: NDArray[np.uint8], formulas: Sequence[str]) -> NDArray[np.float64]:
        """Return the indices of structures, float64 (n,); equal ones are equal to the last digit.

        Parameters
        ----------
        packed
            Fingerprints, uint8 (n, n_bytes), little-endian bits.
        formulas
            Of the structures.
        """
        (sums,) = bit_sums(packed, self.bits[np.newaxis])
        weights = self.composition.tobytes()
        added = np.array([_added(weights, formula) for formula in formulas], dtype=np.float64)
        return np.asarray(sums + added)


@lru_cache(maxsize=1)
def standard_index() -> RetentionIndex:
    """Return the index that comes with the program."""
    return RetentionIndex.load(INDEX_FILE)


@lru_cache(maxsize=1 << 16)
def composition_of(formula: str) -> tuple[float, ...]:
    """Return the numbers of `COMPOSITION` for a formula in Hill order.

    Elements by their number of atoms; all halogens; rings and double bonds; the logarithm of one
    more than the carbon atoms, and the root of the nitrogen and oxygen atoms.
    """
    atoms = atoms_of_formula(formula)
    c, h, n, o, s, p, f = (atoms.get(element, 0) for element in COMPOSITION[:7])
    halogens = f + sum(atoms.get(element, 0) for element in ("Cl", "Br", "I"))
    unsaturation = c - (h + halogens) / 2 + (n + p) / 2 + 1
    numbers = (c, h, n, o, s, p, f, halogens, unsaturation, np.log1p(c), np.sqrt(n + o))
    return tuple(map(float, numbers))


@lru_cache(maxsize=1 << 16)
def _added(weights: bytes, formula: str) -> float:
    # One product for each formula, so that the result does not depend on the number of candidates.
    return float(np.frombuffer(weights) @ np.array(composition_of(formula)))


@dataclass(frozen=True, slots=True, eq=False)
class Elution:
    """The retention time of a query, and the retention indices of its candidates.

    Attributes
    ----------
    time
        The query's retention time, s.
    index
        The candidates' indices, float64 (n_candidates,): see `RetentionIndex.of`.
    """

    time: float
    index: NDArray[np.float64]

    def select(self, rows: NDArray[np.int64]) -> Elution:
        """Return the same for some of the candidates, int64 (n_rows,)."""
        return Elution(self.time, self.index[rows])


@dataclass(frozen=True)
class RetentionLine:
    """The retention times of one run against the indices of its compounds.

    A time t of a compound of index x is ``(1 - e) N(t; a + b x, v) + e N(t; 0, 1)``, with times in
    standard deviations of the run's from their mean.

    Attributes
    ----------
    mean, deviation
        Of the run's retention times, in their unit, without those that are far from most.
    intercept, slope
        a and b.
    variance
        v: 1 if indices and times are independent.
    outliers
        e.
    n_queries
        Number of queries that it was fitted to.
    """

    mean: float
    deviation: float
    intercept: float
    slope: float
    variance: float
    outliers: float
    n_queries: int

    @classmethod
    def fit(
        cls,
        elutions: Sequence[Elution],
        scores: Sequence[NDArray[np.float64]],
    ) -> Self | None:
        """Return the most likely line of a run, by expectation and maximisation.

        None where fewer than `FEWEST_QUERIES` have a time, or all have the same. Times that are far
        from most others are left out.

        Parameters
        ----------
        elutions
            Times of the queries that state one, with their candidates' indices.
        scores
            Scores of their candidates by all other evidence, float64 (n_candidates,) for each
            query, nats.
        """
        if len(elutions) < FEWEST_QUERIES:
            return None
        times = [each.time for each in elutions]
        inner = _near_most(np.array(times))
        mean, deviation = float(inner.mean()), float(inner.std())
        kept = [n for n, time in enumerate(times) if abs(time - mean) <= _FARTHEST * deviation]
        times = [times[n] for n in kept]
        # Not by their deviation, which for equal times is as small as rounding makes it, not 0.
        if len(times) < FEWEST_QUERIES or min(times) == max(times):
            return None
        chances = Chances([scores[n] for n in kept])
        y = np.repeat((np.array(times) - mean) / deviation, chances.n_each)
        x = chances.of([elutions[n].index for n in kept])
        intercept, slope, variance, outliers = 0.0, 0.0, 1.0, _OUTLIERS
        weights = chances.a_priori
        for _ in range(_N_STEPS):
            total = weights.sum()
            mean_x, mean_y = _dot(weights, x) / total, _dot(weights, y) / total
            from_x = x - mean_x
            slope = _dot(weights, from_x * (y - mean_y)) / (_dot(weights, from_x**2) + _RIDGE)
            intercept = float(mean_y - slope * mean_x)
            rest = y - intercept - slope * x
            variance = float((_dot(weights, rest**2) + _N_PRIOR * _VARIANCE) / (total + _N_PRIOR))
            likely = (1.0 - outliers) * _ratios(y, rest, variance)
            weights = chances.given(likely, outliers)
            n_out = len(times) - weights.sum()
            share = (n_out + _N_PRIOR * _OUTLIERS) / (len(times) + _N_PRIOR)
            outliers = float(np.clip(share, _FEWEST_OUTLIERS, _MOST_OUTLIERS))
        return cls(mean, deviation, intercept, slope, variance, outliers, len(times))

    def summary(self) -> str:
        """Return a summary of the fit, as a line for the user."""
        follows = max(0.0, 1.0 - self.variance)
        return (
            f"retention times: those of {counted(self.n_queries, 'queries')} follow their "
            f"candidates' structures by {follows:.0%} of the variance, and count in scores"
        )

    def evidence(self, elution: Elution) -> NDArray[np.float64]:
        """Return the evidence for a query's candidates, float64 (n_candidates,), nats.

        For a time that is far from most of the run it is 0.
        """
        y = (elution.time - self.mean) / self.deviation
        if abs(y) > _FARTHEST:
            return np.zeros(len(elution.index))
        rest = y - (self.intercept + self.slope * elution.index)
        likely = (1.0 - self.outliers) * _ratios(y, rest, self.variance)
        return np.clip(_WEIGHT * np.log(likely + self.outliers), -LARGEST, LARGEST)


def _near_most(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return times without those that lie far from most others."""
    low, high = np.quantile(times, _MOST_TIMES)
    # If most times are equal, there is no measure of what is far.
    reach = _FARTHEST_FROM_MOST * (high - low) or np.inf
    return np.asarray(times[(times >= low - reach) & (times <= high + reach)])


def _dot(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    # Not as a matrix product, whose last digits depend on the number of threads.
    return float((one * other).sum())


def _ratios(
    y: NDArray[np.float64] | float, rest: NDArray[np.float64], variance: float
) -> NDArray[np.float64]:
    """Return how much likelier times are by the line than as any time of the run."""
    return np.asarray(np.exp(0.5 * (y * y - rest * rest / variance)) / np.sqrt(variance))
