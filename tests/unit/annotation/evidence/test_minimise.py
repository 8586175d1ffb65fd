"""The least of a smooth loss, where it is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from specvae.annotation.evidence.minimise import minimise


def test_a_bowl_has_its_least_in_its_middle() -> None:
    middle, steepness = torch.tensor([3.0, -1.0, 0.25]), torch.tensor([1.0, 50.0, 0.01])

    def loss(x: Tensor) -> Tensor:
        return (steepness * (x - middle).square()).sum()

    found = minimise(loss, torch.zeros(3, dtype=torch.double))
    assert found == pytest.approx(middle.tolist(), abs=1e-6)


def test_a_curved_valley_is_followed_to_its_end() -> None:
    def loss(x: Tensor) -> Tensor:  # Rosenbrock's, least at (1, 1)
        return (1 - x[0]).square() + 100 * (x[1] - x[0].square()).square()

    found = minimise(loss, torch.tensor([-1.2, 1.0], dtype=torch.double))
    assert found == pytest.approx((1.0, 1.0), abs=1e-6)


def test_the_logit_of_a_share() -> None:
    share = torch.tensor([0.2, 0.2, 0.2], dtype=torch.double)

    def loss(x: Tensor) -> Tensor:
        logits = x.expand(3)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, share)

    (found,) = minimise(loss, torch.zeros(1, dtype=torch.double))
    assert torch.tensor(found).sigmoid().item() == pytest.approx(0.2, abs=1e-8)
