"""AdamW: the numbers of torch's own, from its arithmetic alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.optim.adamw import adamw

from specvae.vae import adam
from specvae.vae.adam import AdamW

N_STEPS = 6


def parameters() -> list[Tensor]:
    """Return a matrix that lies in memory by columns, a vector and a weight that never moves."""
    drawn = torch.Generator().manual_seed(1)
    shapes = ((7, 5), (11,), (3,))
    first, *others = (torch.randn(shape, generator=drawn) for shape in shapes)
    return [each.requires_grad_() for each in (first.t(), *others)]


def give_gradients(of_all: list[Tensor], step: int) -> None:
    """Set gradients of a step; the vector has none in the first, the last weight never."""
    drawn = torch.Generator().manual_seed(100 + step)
    for parameter in of_all[: 1 if step == 0 else 2]:
        parameter.grad = torch.randn(parameter.shape, generator=drawn)


def rate_of(step: int) -> float:
    return 0.01 / (1 + step)


def torchs_own(kernel: str) -> list[Tensor]:
    """Return the weights as torch's optimiser makes them, with the kernel of that name."""
    weights = parameters()
    optimizer = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1, **{kernel: True})  # type: ignore[arg-type]
    for step in range(N_STEPS):
        optimizer.zero_grad()
        give_gradients(weights, step)
        optimizer.param_groups[0]["lr"] = rate_of(step)
        optimizer.step()
    return weights


def train(optimizer: AdamW, weights: list[Tensor], steps: range) -> None:
    for step in steps:
        optimizer.zero_grad()
        give_gradients(weights, step)
        optimizer.set_rate(rate_of(step))
        optimizer.step()


def ours() -> list[Tensor]:
    """Return the weights as our optimiser makes them."""
    weights = parameters()
    train(AdamW(weights, 0.01, weight_decay=0.1), weights, range(N_STEPS))
    return weights


@pytest.fixture
def without_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a torch that has no fused kernel for this device, such as 2.3 on a CPU."""

    whole: Callable[..., None] = adamw

    def refusing(*tensors: object, **how: object) -> None:
        if how["fused"]:
            raise NotImplementedError("aten::_fused_adamw_")
        whole(*tensors, **how)

    monkeypatch.setattr(adam, "adamw", refusing)


def test_fused_steps_are_those_of_torch() -> None:
    for own, theirs in zip(ours(), torchs_own("fused"), strict=True):
        assert torch.equal(own, theirs)


@pytest.mark.usefixtures("without_fused")
def test_steps_without_a_fused_kernel_are_those_of_torch() -> None:
    for own, theirs in zip(ours(), torchs_own("foreach"), strict=True):
        assert torch.equal(own, theirs)


def test_a_state_that_is_loaded_goes_on_to_the_same_weights() -> None:
    weights = parameters()
    before = AdamW(weights, 0.01, weight_decay=0.1)
    train(before, weights, range(3))
    # The weight without gradients has no state. What comes from a file lies in memory by rows.
    assert sorted(before.state) == [0, 1]
    held = {
        number: {name: tensor.contiguous() for name, tensor in slots.items()}
        for number, slots in before.state.items()
    }
    after = AdamW(weights, 0.01, weight_decay=0.1)
    after.load(held)
    assert after.state[0]["exp_avg"].stride() == weights[0].stride()
    train(after, weights, range(3, N_STEPS))
    for resumed, whole in zip(weights, ours(), strict=True):
        assert torch.equal(resumed, whole)
