"""How likely each candidate of a query is by its score, where a run's own numbers are estimated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LEAST_ODDS = 1e-6  # of a candidate, against the best of its list
_CHANCES = 0.9  # as scores are slightly overconfident


def chances(scores: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return which candidates have a chance, bool (n_candidates,), and the chances of these.

    Of long lists, few have any. `scores` are in nats, float64 (n_candidates,).
    """
    odds = np.exp(_CHANCES * (scores - scores.max()))
    kept = odds >= _LEAST_ODDS
    return kept, np.asarray(odds[kept] / odds.sum())
