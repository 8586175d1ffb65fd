"""Weights of a score under which the truths of many lists are likeliest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
    surprise = _surprise(columns, truth, shares, fixed)

    def weights(parameters: Tensor) -> Tensor:
        # Squares: weights below 0 would only fit noise.
        return torch.cat([parameters[:n_positive].square(), parameters[n_positive:]])

    def loss(parameters: Tensor) -> Tensor:
        w = weights(parameters)
        return surprise(w) + _PENALTY * w.square().sum()

    start = torch.ones(columns[0].shape[1], dtype=torch.double)
    fitted = weights(torch.tensor(minimise(loss, start), dtype=torch.double))
    return tuple(fitted.tolist())


def refit_listwise(
    columns: Sequence[NDArray[np.float64]],
    truth: Sequence[int],
    shares: NDArray[np.float64],
    earlier: Sequence[float],
    strength: Sequence[float],
    *,
    fixed: Sequence[NDArray[np.float64]] | None = None,
) -> tuple[float, ...]:
    """Return weights fitted to other lists than the `earlier` ones were, and not far from these.

    They maximise ``sum_q shares_q log softmax(x_q w + fixed_q)[truth_q]
    - sum_k strength_k (w_k / earlier_k - 1)^2 / 2``: the earlier weights are the means of normal
    priors, whose standard deviations are ``earlier_k / sqrt(strength_k)``.

    Parameters
    ----------
    columns, truth, shares, fixed
        As in `fit_listwise`; shares whose sum is the number of independent lists.
    earlier
        Above 0; the weights are 0 or more.
    strength
        Of each earlier weight, 0 or more.
    """
    surprise = _surprise(columns, truth, shares, fixed)
    mean = torch.tensor(earlier, dtype=torch.double)
    penalties = 0.5 * torch.tensor(strength, dtype=torch.double) / float(shares.sum())

    def loss(parameters: Tensor) -> Tensor:
        ratios = parameters.square()
        return surprise(mean * ratios) + (penalties * (ratios - 1.0).square()).sum()

    ratios = torch.tensor(minimise(loss, torch.ones_like(mean)), dtype=torch.double).square()
    return tuple((mean * ratios).tolist())


def _surprise(
    columns: Sequence[NDArray[np.float64]],
    truth: Sequence[int],
    shares: NDArray[np.float64],
    fixed: Sequence[NDArray[np.float64]] | None,
) -> Callable[[Tensor], Tensor]:
    """Return the mean loss of the truths under given weights, nats, over the lists."""
    sizes = torch.tensor([len(of_query) for of_query in columns])
    segment = torch.repeat_interleave(torch.arange(len(columns)), sizes)
    x = torch.from_numpy(np.concatenate(columns))
    offset = torch.zeros(len(x), dtype=torch.double)
    if fixed is not None:
        offset = torch.from_numpy(np.concatenate(fixed))
    place = torch.cumsum(sizes, 0) - sizes + torch.tensor(truth)
    share = torch.from_numpy(shares / shares.sum())

    def surprise(weights: Tensor) -> Tensor:
        scores = x @ weights + offset
        highest = torch.full((len(columns),), -torch.inf, dtype=torch.double)
        highest = highest.scatter_reduce(0, segment, scores.detach(), "amax")
        total = torch.zeros_like(highest).index_add(0, segment, (scores - highest[segment]).exp())
        return -(share * (scores[place] - highest - total.log())).sum()

    return surprise
