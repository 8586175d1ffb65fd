"""Probabilities as log-odds, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def log_odds_of(probability: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``log(p / (1 - p))`` of probabilities, float64 of their shape, infinite at 0 and 1."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probability) - np.log1p(np.negative(probability)))


def logistic(log_odds: float | NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the probabilities of log-odds, float64 of their shape.

    Nothing overflows, and small ones keep their digits.
    """
    return np.asarray(np.exp(-np.logaddexp(0.0, np.negative(log_odds, dtype=np.float64))))
