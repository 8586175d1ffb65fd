"""Minimisation of a smooth loss of a few parameters, to fit weights and probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MAX_STEPS = 200
# The largest derivative at which the search ends: far below what moves a probability's last digit.
_FLAT = 1e-8


def minimise(loss: Callable[[Tensor], Tensor], start: Tensor) -> tuple[float, ...]:
    """Return the parameters (n,) that minimise a smooth loss, beginning at `start` (L-BFGS).

    Parameters
    ----------
    loss
        Of the parameters, float64 (n,), a number.
    start
        float64 (n,).
    """
    # Only training fits anything. Torch's own L-BFGS would import torch's compiler, which takes
    # seconds.
    from scipy.optimize import minimize

    def value_and_slope(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = torch.tensor(x, dtype=torch.double, requires_grad=True)
        value = loss(parameters)
        (slope,) = torch.autograd.grad(value, parameters)
        return value.item(), slope.numpy()

    found = minimize(
        value_and_slope,
        start.numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_STEPS, "ftol": 0.0, "gtol": _FLAT},
    )
    return tuple(found.x.tolist())
