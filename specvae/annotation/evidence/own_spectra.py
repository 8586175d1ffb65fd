"""Evidence of a candidate's own spectra: how those that the library has of it agree with the query.

The evidence is a log-likelihood ratio in nats,
``log p(cosine | same compound) - log p(cosine | another compound of its mass)``. Measured between
spectra of different instrument types (docs/research.md), it is close to a line between two ends.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RATIO_SLOPE = 4.5  # nats per unit of the cosine
_COSINE_OF_RATIO_ZERO = 0.63
_RATIO_RANGE = (-1.7, 1.7)  # nats


def own_spectra_ratios(cosines: NDArray[np.float32], own: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the log-likelihood ratio (nats) of each candidate, float64 (n_candidates,).

    Parameters
    ----------
    cosines
        float32 (n_compounds,): likeness of each library compound's best spectrum to the query.
    own
        int64 (n_candidates,): index into `cosines` of the compound that a candidate is, or -1 for
        one that the library has no spectrum of, whose ratio is 0.
    """
    ratios = _RATIO_SLOPE * (cosines[own].astype(np.float64) - _COSINE_OF_RATIO_ZERO)
    return np.where(own >= 0, np.clip(ratios, *_RATIO_RANGE), 0.0)
