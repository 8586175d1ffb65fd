"""How likely each candidate of a query is by its score, where a run's own numbers are estimated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_LEAST_ODDS = 1e-6  # of a candidate, against the best of its list
_CHANCES = 0.9  # as scores are slightly overconfident


class Chances:
    """The candidates of a run's queries that have a chance of being right: of long lists, few have.

    What is of all these is one array, one query after the other.

    Parameters
    ----------
    scores
        Of each query's candidates, float64 (n_candidates,), nats.

    Attributes
    ----------
    a_priori
        Chances by the scores, float64 (n,); those of a query add up to 1 but for the rest.
    n_each
        How many candidates of each query there are.
    """

    def __init__(self, scores: Sequence[NDArray[np.float64]]) -> None:
        odds = [np.exp(_CHANCES * (of_query - of_query.max())) for of_query in scores]
        self._kept = [of_query >= _LEAST_ODDS for of_query in odds]
        self.a_priori = np.concatenate(
            [one[kept] / one.sum() for one, kept in zip(odds, self._kept, strict=True)]
        )
        self.n_each = [int(kept.sum()) for kept in self._kept]
        self._starts = np.cumsum([0, *self.n_each[:-1]])

    def of(self, values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return values of each query's candidates, float64 (n_candidates,), for these, (n,)."""
        return np.concatenate([one[kept] for one, kept in zip(values, self._kept, strict=True)])

    def given(
        self, inner: NDArray[np.float64], outer: NDArray[np.float64] | float
    ) -> NDArray[np.float64]:
        """Return the chances of being right and no outlier, float64 (n,).

        `inner` and `outer` are the likelihoods of what was measured, as that of the right candidate
        and as an outlier, each times its share.
        """
        joint = self.a_priori * (inner + outer)
        of_query = np.repeat(np.add.reduceat(joint, self._starts), self.n_each)
        return np.asarray(joint / of_query * inner / (inner + outer))
