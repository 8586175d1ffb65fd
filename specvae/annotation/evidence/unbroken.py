"""Guessed fragment scores of candidates that were not broken into fragments.

With ``--rescore`` only the best candidates by all other evidence are broken. The others stay below
them: this decides ranks. It cannot decide probabilities: one of the others may be right, and
if their fragments count as the worst that were met, hardly any chance is left to all of them
together, and the first candidate has too much (docs/evaluation.md has figures).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FEWEST = 10  # candidates that a line is fitted to


def guessed_scores(
    others: NDArray[np.float64],
    is_broken: NDArray[np.bool_],
    is_known: NDArray[np.bool_],
    found: NDArray[np.float64],
    weight: float,
) -> NDArray[np.float64]:
    """Return the fragment scores of all candidates, guessed for those that were not broken.

    A line is fitted to the fragment scores of the broken candidates against their other evidence.
    The guess lies above it, so that the exponential of the weighted score equals its expected mean:
    candidates scatter around the line, and those far above it contribute most of the probability.

    Parameters
    ----------
    others
        float64 (n_candidates,): all other evidence, weighted, nats.
    is_broken
        bool (n_candidates,): which were broken, one at least.
    is_known
        bool (n_candidates,): which have own spectra. These are broken whatever their other evidence
        is, so that the line is fitted without them if there are enough others.
    found
        float64 (n_broken,): the fragment scores of the broken candidates, nats.
    weight
        Weight of fragment scores.
    """
    scores = np.empty(len(others))
    scores[is_broken] = found
    told = ~is_known[is_broken]
    if told.sum() < _FEWEST:
        told = np.ones(len(found), np.bool_)
    x, y = others[is_broken][told], found[told]
    spread = float(((x - x.mean()) ** 2).sum())
    slope = 0.0
    if len(x) >= _FEWEST and spread > 0.0:
        slope = max(float((x - x.mean()) @ (y - y.mean())) / spread, 0.0)
    beyond = weight * (y - y.mean() - slope * (x - x.mean()))
    highest = float(beyond.max())
    raised = highest + float(np.log(np.exp(beyond - highest).mean()))
    guess = y.mean() + slope * (others[~is_broken] - x.mean())
    scores[~is_broken] = guess + (raised / weight if weight > 0.0 else 0.0)
    return scores
