"""The least of a smooth loss of a few parameters: how weights and probabilities are fitted."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_MAX_STEPS = 200


def minimise(loss: Callable[[Tensor], Tensor], start: Tensor) -> tuple[float, ...]:
    """Return the parameters (n,) at which a smooth loss, followed from `start`, is least (L-BFGS).

    Parameters
    ----------
    loss
        Of the parameters, float64 (n,), a number.
    start
        float64 (n,).
    """
    parameters = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [parameters], max_iter=_MAX_STEPS, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )

    def step() -> Tensor:
        optimiser.zero_grad()
        value = loss(parameters)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(step)  # type: ignore[no-untyped-call]
    return tuple(parameters.detach().tolist())
