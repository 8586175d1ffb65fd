# mypy: disable-error-code="no-untyped-call"
"""Importance-weighted log-likelihoods against the evidence of a linear-Gaussian model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from vae_examples import (
    LinearGaussian,
    linear_gaussian,
    linear_model,
    random_rows,
    set_linear_head,
    small_batch,
    small_model,
)

from specvae.errors import ConfigError
from specvae.vae.config import Modality, ModelConfig
from specvae.vae.estimate import conditional_log_likelihood, log_likelihood
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact_model(posterior: str, n: int = 6) -> tuple[MultimodalVAE, LinearGaussian, list[Tensor]]:
    """A model whose decoders, and as far as it has them posteriors, are those of the data."""
    exact, x = linear_gaussian(n)
    model = linear_model(exact, posterior)
    for name in "ab":
        head = name if posterior == "joint" else f"{name}->{name}"
        prior = 0.0 if posterior == "product_own" else 1.0
        set_linear_head(model, exact, head, name, prior)
    if posterior == "joint":
        set_linear_head(model, exact, "a+b", "ab")
    return model, exact, list(x)


@pytest.mark.parametrize("posterior", ["joint", "product_own"])
@pytest.mark.parametrize("given", ["a", "b", "ab"])
def test_one_sample_is_enough_at_the_exact_posterior(posterior: str, given: str) -> None:
    # p(x, z) / p(z | x) does not depend on z. The -log K is there: K does not matter.
    model, exact, x = exact_model(posterior)
    batch = {name: x["ab".index(name)] for name in given}
    evidence = exact.evidence(*((x["ab".index(name)], "ab".index(name)) for name in given))
    for n_samples in (1, 7):
        found = log_likelihood(model, batch, n_samples=n_samples)
        torch.testing.assert_close(found, evidence, atol=1e-9, rtol=0)


def test_mixture_posteriors_give_the_evidence_of_the_pair() -> None:
    model, exact, x = exact_model("mixture")
    evidence = exact.evidence((x[0], 0), (x[1], 1))
    found = log_likelihood(
        model, {"a": x[0], "b": x[1]}, n_samples=20_000, generator=noise(), chunk=12_000
    )
    torch.testing.assert_close(found, evidence, atol=0.05, rtol=0)


def test_targets_and_given_may_differ() -> None:
    model, exact, x = exact_model("joint")
    batch = {"a": x[0], "b": x[1]}
    # The posterior given less is wider: it serves as well, with more samples.
    both = exact.evidence((x[0], 0), (x[1], 1))
    for given in (["a"], ["b"]):
        found = log_likelihood(
            model, batch, given=given, n_samples=60_000, generator=noise(), chunk=30_000
        )
        torch.testing.assert_close(found, both, atol=0.15, rtol=0)
        # One is not enough, as it would be given both.
        one = log_likelihood(model, batch, given=given, n_samples=1, generator=noise())
        assert (one - both).abs().min() > 1e-3
    # Given the targets alone by default: one sample is exact here.
    for i, name in enumerate("ab"):
        found = log_likelihood(model, batch, targets=[name], n_samples=1)
        torch.testing.assert_close(found, exact.evidence((x[i], i)), atol=1e-9, rtol=0)


def test_bound_rises_with_the_samples_towards_the_evidence_from_below() -> None:
    model, exact, x = exact_model("joint", n=400)
    with torch.no_grad():
        model.get_parameter("posteriors.heads.a+b.linear.bias")[:3] += 0.4
        model.get_parameter("posteriors.heads.a+b.linear.bias")[3:] += 0.6
    batch = {"a": x[0], "b": x[1]}
    bounds = [
        log_likelihood(model, batch, n_samples=k, generator=noise()).mean().item()
        for k in (1, 4, 16, 64, 1000)
    ]
    assert bounds == sorted(bounds)
    evidence = exact.evidence((x[0], 0), (x[1], 1)).mean().item()
    assert bounds[0] < evidence - 0.1
    assert bounds[-2] < evidence
    assert bounds[-1] == pytest.approx(evidence, abs=0.01)


def test_conditional_log_likelihood_at_the_exact_posterior() -> None:
    model, exact, x = exact_model("joint")
    batch = {"a": x[0], "b": x[1]}
    both = exact.evidence((x[0], 0), (x[1], 1))
    for target, other in ((0, 1), (1, 0)):
        found = conditional_log_likelihood(
            model, batch, "ab"[target], n_samples=60_000, generator=noise(), chunk=30_000
        )
        expected = both - exact.evidence((x[other], other))
        torch.testing.assert_close(found, expected, atol=0.1, rtol=0)
    # Given the target itself, it is the likelihood of a reconstruction: higher.
    itself = conditional_log_likelihood(model, batch, "a", ["a", "b"], generator=noise())
    assert bool((itself > exact.evidence((x[0], 0))).all())


def test_conditional_log_likelihood_of_a_mixture_is_over_its_components() -> None:
    model, _, x = exact_model("mixture")
    batch = {"a": x[0], "b": x[1]}
    parts = [
        conditional_log_likelihood(model, batch, "a", [name], n_samples=40_000, generator=noise())
        for name in "ab"
    ]
    whole = conditional_log_likelihood(
        model, batch, "a", ["a", "b"], n_samples=80_000, generator=noise(1)
    )
    expected = torch.logaddexp(*parts) - torch.log(torch.tensor(2.0))
    torch.testing.assert_close(whole, expected.to(whole.dtype), atol=0.1, rtol=0)


def test_memory_is_bounded_and_the_model_left_as_it_was() -> None:
    layers = NetworkConfig((7,), batch_norm=True, dropout=0.5)
    modalities = (Modality("a", 6, layers, layers), Modality("b", 5, layers, layers))
    model = MultimodalVAE(ModelConfig(modalities, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    decoded: list[int] = []
    model.decoders["a"].register_forward_hook(
        lambda _, z, __: decoded.append(z[0].shape[:-1].numel())
    )
    batch = {name: torch.rand(5, n) for name, n in (("a", 6), ("b", 5))}
    found = log_likelihood(model, batch, n_samples=10, chunk=16)
    assert decoded == [15, 15, 15, 5]
    assert found.shape == (5,)
    assert not found.requires_grad
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    decoded.clear()
    log_likelihood(model, batch, n_samples=2, chunk=3)
    assert decoded == [5, 5]


def test_sparse_targets_with_context_columns() -> None:
    layers = NetworkConfig((4,))
    wide = Modality("s", 15, layers, layers, "gaussian", n_context=5, sparse=True)
    model = MultimodalVAE(ModelConfig((wide, Modality("f", 6, layers, layers)), 3))
    x, f = random_rows(9, 20), torch.rand(9, 6)
    for estimate in (
        lambda batch: log_likelihood(model, batch, n_samples=8, generator=noise()),
        lambda batch: conditional_log_likelihood(
            model, batch, "s", ["f"], n_samples=8, generator=noise()
        ),
    ):
        sparse, dense = (estimate({"s": s, "f": f}) for s in (x, x.to_dense()))
        torch.testing.assert_close(sparse, dense, atol=1e-3, rtol=0)


def test_mistakes_are_named() -> None:
    model, x = small_model(), small_batch()
    with pytest.raises(ConfigError, match=r"log-likelihood of 'b': the batch holds \['a'\]"):
        log_likelihood(model, {"a": x["a"]}, targets=["b"])
    with pytest.raises(ConfigError, match="must be positive, found 0 and"):
        log_likelihood(model, x, n_samples=0)
    with pytest.raises(ConfigError, match="no modality is named"):
        log_likelihood(model, x, targets=[])
    with pytest.raises(ConfigError, match="given nothing"):
        conditional_log_likelihood(model, {"a": x["a"]}, "a")
