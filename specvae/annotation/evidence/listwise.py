"""Weights of a score under which the truths of many lists are likeliest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from specvae.annotation.evidence.minimise import minimise

_PENALTY = 1e-3


def fit_listwise(
    columns: Sequence[NDArray[np.float64]],
    truth: Sequence[int],
    shares: NDArray[np.float64],
    *,
    fixed: Sequence[NDArray[np.float64]] | None = None,
    n_positive: int = 0,
) -> tuple[float, ...]:
    """Return the weights w that maximise ``sum_q shares_q log softmax(x_q w + fixed_q)[truth_q]``.

    With a small quadratic penalty on the weights.

    Parameters
    ----------
    columns
        Per query, float64 (n_candidates, n_columns).
    truth
        Index of the truth per query.
    shares
        float64 (n_queries,): weight of each query.
    fixed
        Per query, float64 (n_candidates,): a part of the score that is not fitted; None for none.
    n_positive
        The weights of so many columns, the first, are 0 or more.
    """
    sizes = torch.tensor([len(of_query) for of_query in columns])
    segment = torch.repeat_interleave(torch.arange(len(columns)), sizes)
    x = torch.from_numpy(np.concatenate(columns))
    offset = torch.zeros(len(x), dtype=torch.double)
    if fixed is not None:
        offset = torch.from_numpy(np.concatenate(fixed))
    place = torch.cumsum(sizes, 0) - sizes + torch.tensor(truth)
    weight = torch.from_numpy(shares / shares.sum())

    def weights(parameters: Tensor) -> Tensor:
        # Squares: weights below 0 would only fit noise.
        return torch.cat([parameters[:n_positive].square(), parameters[n_positive:]])

    def loss(parameters: Tensor) -> Tensor:
        scores = x @ weights(parameters) + offset
        highest = torch.full((len(columns),), -torch.inf, dtype=torch.double)
        highest = highest.scatter_reduce(0, segment, scores.detach(), "amax")
        total = torch.zeros_like(highest).index_add(0, segment, (scores - highest[segment]).exp())
        likely = scores[place] - highest - total.log()
        return -(weight * likely).sum() + _PENALTY * weights(parameters).square().sum()

    start = torch.ones(x.shape[1], dtype=torch.double)
    fitted = weights(torch.tensor(minimise(loss, start), dtype=torch.double))
    return tuple(fitted.tolist())
