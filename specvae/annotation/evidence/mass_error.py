"""Errors of precursor m/z as evidence: isomers aside, the right candidate has the run's error.

All candidates within the mass window are of nearly the right mass, but the m/z of one run are off
by much the same, and often by far less than the window. What they are off by is estimated from the
run itself (`MassError`): the errors of its queries' candidates, each weighted by its chance of
being right by all other evidence, show a mean and a standard deviation. The evidence for a
candidate is the log-likelihood of its error against that of the most likely error in its list, so
that it is 0 where all have one formula, and never above 0; it is never below ``-LARGEST``
(docs/research.md, section 40).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from specvae.annotation.evidence.chances import Chances
from specvae.counting import counted
from specvae.masses import deviation_ppm
from specvae.molecules.candidates import CandidateSet
from specvae.spectra.adducts import Adduct

FEWEST_QUERIES = 20
"""In runs of fewer queries with accurate m/z nothing is fitted: so few queries show little, and
their scores must not depend on which others are in the file."""

LARGEST = 3.0  # nats
# The prior of the standard deviation, which counts as 20 queries, and of the share of outliers.
_N_PRIOR, _DEVIATION, _OUTLIERS = 20.0, 2.0, 0.05
_FEWEST_OUTLIERS, _MOST_OUTLIERS = 0.01, 0.5
_RANGE = 20.0  # ppm, in which outliers are anywhere: 10 either way
_N_STEPS = 30


def mass_errors(
    precursor_mz: float | None, ions: Sequence[Adduct], candidates: CandidateSet
) -> NDArray[np.float64] | None:
    """Return how far a precursor m/z is above those of candidates' ions, float64 (n,), ppm.

    Isomers have the same to the last digit. None if the m/z or the ion is not known, or the m/z has
    two decimals or fewer, which is not accurate.

    Parameters
    ----------
    precursor_mz
        Of the query, Th.
    ions
        The ion species that it may be of: the only one, or those that the candidates name by their
        numbers.
    candidates
        Of the query.
    """
    if precursor_mz is None or not ions or round(precursor_mz, 2) == precursor_mz:
        return None
    of_each = np.array([ion.precursor_mz(candidates.exact_mass) for ion in ions])
    number = 0 if candidates.ion is None else candidates.ion
    expected = of_each[number, np.arange(len(candidates))]
    # Sums of the masses of the same atoms differ in their last digits.
    return np.asarray(np.round(deviation_ppm(precursor_mz, expected), 3))


@dataclass(frozen=True)
class MassError:
    """What the precursor m/z of a run are off by.

    The error x of the right candidate is ``(1 - e) N(x; b, v) + e / 20 ppm``.

    Attributes
    ----------
    mean, deviation
        b and the root of v, ppm.
    outliers
        e.
    n_queries
        Number of queries that it was fitted to.
    """

    mean: float
    deviation: float
    outliers: float
    n_queries: int

    @classmethod
    def fit(
        cls, errors: Sequence[NDArray[np.float64]], scores: Sequence[NDArray[np.float64]]
    ) -> Self | None:
        """Return the most likely errors of a run, by expectation and maximisation.

        None where fewer than `FEWEST_QUERIES` have an accurate m/z.

        Parameters
        ----------
        errors
            Precursor m/z of each query minus those of its candidates' ions, float64
            (n_candidates,), ppm.
        scores
            Scores of the candidates by all other evidence, float64 (n_candidates,), nats.
        """
        n = len(errors)
        if n < FEWEST_QUERIES:
            return None
        chances = Chances(scores)
        x = chances.of(errors)
        fit = cls(0.0, _DEVIATION, _OUTLIERS, n)
        for _ in range(_N_STEPS):
            weights = chances.given(*fit._densities(x))
            total = float(weights.sum())
            # Where all errors are of outliers, the mean stays near 0.
            mean = float((weights * x).sum()) / max(total, 1.0)
            squares = float((weights * (x - mean) ** 2).sum()) + _N_PRIOR * _DEVIATION**2
            share = (n - total + _N_PRIOR * _OUTLIERS) / (n + _N_PRIOR)
            fit = cls(
                mean,
                float(np.sqrt(squares / (total + _N_PRIOR))),
                float(np.clip(share, _FEWEST_OUTLIERS, _MOST_OUTLIERS)),
                n,
            )
        return fit

    def summary(self) -> str:
        """Return a summary of the fit, as a line for the user."""
        return (
            f"precursor m/z: those of {counted(self.n_queries, 'queries')} are off by "
            f"{round(self.mean, 1) + 0.0:.1f} ppm, give or take {self.deviation:.1f}, by their "
            "candidates, and candidates that agree with this are preferred"
        )

    def evidence(self, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the evidence for a query's candidates, float64 (n_candidates,), nats, 0 at most.

        `errors` are as of `fit`.
        """
        inner, outer = self._densities(errors)
        found = np.log(inner + outer)
        return np.asarray(np.maximum(found - found.max(), -LARGEST))

    def _densities(self, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Return the densities of errors by the run's distribution, (n,), and of outliers."""
        z = (x - self.mean) / self.deviation
        inner = (
            (1.0 - self.outliers) * np.exp(-0.5 * z * z) / (np.sqrt(2.0 * np.pi) * self.deviation)
        )
        return inner, self.outliers / _RANGE
