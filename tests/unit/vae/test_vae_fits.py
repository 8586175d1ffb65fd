# mypy: disable-error-code="no-untyped-call"
"""Each kind, trained on linear-Gaussian data, reaches the evidence that is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from vae_examples import (
    gaussian,
    linear_gaussian,
    linear_model,
    set_linear_head,
)

from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.data import TensorSource, TrainingData
from specvae.vae.distributions import kl_divergence
from specvae.vae.estimate import log_likelihood
from specvae.vae.kinds import MODEL_KINDS, LossKind
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import NetworkConfig
from specvae.vae.objective import loss
from specvae.vae.training import fit

EXACT, (X1, X2) = linear_gaussian(400)
X = {"a": X1, "b": X2}
OPTIM = OptimConfig(epochs=50, batch_size=80, learning_rate=0.1, schedule="cosine")
# Decoders of 48 numbers are fitted to these 400 examples: some 48 / (2 * 400) nats above the true
# model. 250 steps on noisy gradients end about as much below their optimum.
NOISE = 0.1


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def evidence(names: str) -> float:
    return EXACT.evidence(*((X[name], "ab".index(name)) for name in names)).mean().item()


def bound(model: MultimodalVAE, objective: ObjectiveConfig, unpaired: dict[str, Tensor]) -> float:
    """The objective, maximised, on all examples, with little noise of its samples."""
    with torch.no_grad():
        values = [
            loss(model, X, unpaired, objective, generator=noise(seed)).total for seed in range(5)
        ]
    return -torch.stack(values).mean().item()


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_each_kind_reaches_the_evidence(kind: str) -> None:
    member = MODEL_KINDS[kind]
    torch.manual_seed(1)
    model = linear_model(EXACT, member.posterior)
    for name in "ab":  # decoders are learned, too
        model.get_submodule(f"decoders.{name}.output").reset_parameters()  # type: ignore[operator]
    # JMVAE's ELBO is only at its maximum for alpha to 0, its loss in alpha is of second order.
    objective = ObjectiveConfig(
        member.loss, n_samples=10 if member.posterior == "mixture" else 1, alpha=0.02
    )
    source = TensorSource({"a": X1, "b": X2})
    # VAEVAE's loss learns log p(x1) and log p(x2) from the unpaired streams only.
    unpaired = {"a": source, "b": source} if member.loss == "vaevae" else {}
    start = bound(model, objective, dict(X) if unpaired else {})
    fit(model, TrainingData(source, unpaired), OPTIM, objective)
    reached = bound(model, objective, dict(X) if unpaired else {})
    pair, single = evidence("ab"), evidence("a") + evidence("b")
    if member.loss in ("new", "vaevae"):
        # R1 + R2 - KL - KL = 2 log p(x1, x2) - log p(x1) - log p(x2), and U1 + U2 the rest (eq 27)
        expected = 2 * pair
    elif member.loss == "mvae":
        expected = pair + single
    elif member.loss == "mvtcae":
        # A share of the ELBO and, for each modality, the evidence of the rest given it.
        expected = 0.98 * pair + 0.02 / 2 * (2 * pair - single)
    elif member.loss == "elbo":
        # Subsets that saw one half fall short. With the true decoders and experts, by closed form:
        experts = {name: EXACT.posterior((X[name], "ab".index(name))) for name in "ab"}
        short = [
            EXACT.expected_log_likelihood(q, X1, 0)
            + EXACT.expected_log_likelihood(q, X2, 1)
            - kl_divergence(q)
            for q in experts.values()
        ]
        least = (pair + sum(value.mean().item() for value in short)) / 3
        assert start < least - 3.0
        assert least - 1.5 * NOISE < reached < pair
        found = log_likelihood(model, X, n_samples=100, generator=noise())
        assert reached < found.mean().item() < pair + NOISE
        return
    elif member.loss == "jmvae":
        terms = loss(model, X, {}, ObjectiveConfig("jmvae", alpha=0.0, n_samples=20)).parts
        of_elbo = ("reconstruction/a", "reconstruction/b", "kl/joint-prior")
        reached, expected = -sum(terms[name].item() for name in of_elbo), pair
    else:
        # A mixture of posteriors that each saw one half: below the evidence, for 10 samples.
        expected = pair
        assert reached < pair
        tighter = -loss(
            model, X, {}, ObjectiveConfig("iwae", n_samples=300), generator=noise()
        ).total
        assert reached < tighter.item() < pair + NOISE
    assert start < expected - 3.0
    assert reached == pytest.approx(expected, abs=1.5 * NOISE)
    # The model itself, whatever it was trained by.
    for names in ("ab", "a", "b"):
        found = log_likelihood(model, X, targets=list(names), n_samples=100, generator=noise())
        assert found.mean().item() == pytest.approx(evidence(names), abs=NOISE), names


@pytest.mark.parametrize("kind", ["new", "vaevae"])
def test_joint_network_finds_the_posterior_where_all_else_is_exact(kind: str) -> None:
    # With exact decoders and single posteriors, R1 + R2 - KL(q12 || q1) - KL(q12 || q2) has its
    # maximum at sqrt(p(x1|z) p(x2|z) q1 q2), normalised, which then is p(z | x1, x2).
    model = linear_model(EXACT, "joint")
    for name in "ab":
        set_linear_head(model, EXACT, name, name)
    model.requires_grad_(False)
    model.get_submodule("posteriors.heads.a+b").requires_grad_(True)
    objective = ObjectiveConfig(kind, n_samples=4)  # type: ignore[arg-type]
    fit(model, TrainingData(TensorSource({"a": X1, "b": X2})), OPTIM, objective)
    value = 2 * evidence("ab") - (evidence("a") + evidence("b") if kind == "vaevae" else 0.0)
    assert bound(model, objective, {}) == pytest.approx(value, abs=0.05)
    found, exact = gaussian(model, X), EXACT.posterior((X1, 0), (X2, 1))
    assert (found.mean - exact.mean).abs().max().item() < 0.1
    assert (found.logvar - exact.logvar).abs().max().item() < 0.1


def test_vaevae_loss_on_pairs_alone_learns_the_conditionals_only() -> None:
    # Eq 25 twice: log p(x1 | x2) + log p(x2 | x1). Unpaired streams have to teach the marginals.
    torch.manual_seed(1)
    model = linear_model(EXACT, "joint")
    objective = ObjectiveConfig("vaevae")
    fit(model, TrainingData(TensorSource({"a": X1, "b": X2})), OPTIM, objective)
    conditionals = 2 * evidence("ab") - evidence("a") - evidence("b")
    assert bound(model, objective, {}) == pytest.approx(conditionals, abs=1.5 * NOISE)
    found = log_likelihood(model, X, n_samples=100, generator=noise()).mean().item()
    assert found < evidence("ab") - 3 * NOISE


def perturbed(shift: float = 0.4) -> MultimodalVAE:
    """A model of one modality with the true decoder and a wrong posterior."""
    model = linear_model(EXACT, "mixture", ("a",))
    set_linear_head(model, EXACT, "a->a", "a")
    with torch.no_grad():
        model.get_parameter("posteriors.heads.a->a.linear.bias").add_(shift)
    return model


def test_importance_weighted_bound_rises_with_the_samples_and_stays_below_the_evidence() -> None:
    model = perturbed()
    values = [
        -loss(
            model, None, {"a": X1}, ObjectiveConfig("iwae", n_samples=k), generator=noise(k)
        ).total.item()
        for k in (1, 4, 16, 64, 500)
    ]
    assert values == sorted(values)
    assert values[0] < evidence("a") - 0.2
    assert values[3] < evidence("a")
    assert values[-1] == pytest.approx(evidence("a"), abs=0.01)


def test_doubly_reparameterised_gradients_have_the_mean_of_iwae_and_less_variance() -> None:
    model = perturbed(0.2)
    parameter = model.get_parameter("posteriors.heads.a->a.linear.bias")
    x = {"a": X1[:50]}
    drawn: dict[str, Tensor] = {}
    for kind in ("iwae", "dreg"):
        config = ObjectiveConfig(kind, n_samples=8)
        generator, gradients = noise(3), []
        for _ in range(200):
            total = loss(model, None, x, config, generator=generator).total
            gradients.append(torch.autograd.grad(total, parameter)[0])
        drawn[kind] = torch.stack(gradients)
    iwae, dreg = drawn["iwae"], drawn["dreg"]
    error = ((iwae.var(0) + dreg.var(0)) / len(iwae)).sqrt()
    assert bool(((iwae.mean(0) - dreg.mean(0)).abs() < 4.5 * error).all())
    assert bool((iwae.mean(0).abs() > 4.5 * error).any())  # there is a gradient to agree on
    assert bool((dreg.var(0) < 0.8 * iwae.var(0)).all())


def draws(model: MultimodalVAE, x: dict[str, Tensor], objective: ObjectiveConfig) -> Tensor:
    """Gradients by all weights, (30, n_weights): each the mean over 100 draws for the one row."""
    rows = {name: value.expand(100, -1) for name, value in x.items()}
    gradients = []
    for seed in range(30):
        total = loss(model, rows, {}, objective, generator=noise(seed)).total
        each = torch.autograd.grad(total, list(model.parameters()))
        gradients.append(torch.cat([gradient.flatten() for gradient in each]))
    return torch.stack(gradients)


@pytest.mark.parametrize("beta", [1.0, 0.2])
@pytest.mark.parametrize("n_samples", [1, 5, 20])
def test_doubly_reparameterised_gradients_of_a_mixture_are_unbiased(
    n_samples: int, beta: float
) -> None:
    # Experts of two modalities that overlap in part; 3,000 draws.
    torch.manual_seed(5)
    layers = NetworkConfig((3,), activation="tanh")
    modalities = (
        Modality("a", 3, NetworkConfig(()), layers),
        Modality("b", 2, NetworkConfig(()), layers, likelihood="gaussian", scale=0.7),
    )
    model = MultimodalVAE(ModelConfig(modalities, 2, "mixture")).double()
    x = {
        "a": torch.tensor([[0.9, 0.1, 1.0]], dtype=torch.float64),
        "b": torch.tensor([[0.8, -1.1]], dtype=torch.float64),
    }
    drawn: dict[str, Tensor] = {}
    kinds: tuple[LossKind, ...] = ("iwae", "dreg")
    for kind in kinds:
        drawn[kind] = draws(model, x, ObjectiveConfig(kind, beta=beta, n_samples=n_samples))
    difference = drawn["dreg"] - drawn["iwae"]  # on the same codes: the noise in common cancels
    encoders = torch.cat(
        [
            torch.full((parameter.numel(),), name.startswith("posteriors"))
            for name, parameter in model.named_parameters()
        ]
    )
    torch.testing.assert_close(drawn["dreg"][:, ~encoders], drawn["iwae"][:, ~encoders])
    found, error = difference.mean(0)[encoders], difference.std(0)[encoders] / math.sqrt(30)
    assert bool((found.abs() < 4.5 * error).all())
    # The noise is small beside the gradient, and all in all smaller than that of plain IWAE.
    assert error.norm().item() < 0.1 * drawn["iwae"].mean(0)[encoders].norm().item()
    variance = {kind: values.var(0)[encoders].sum() for kind, values in drawn.items()}
    assert variance["dreg"] < 0.7 * variance["iwae"]


def test_doubly_reparameterised_gradients_vanish_at_the_exact_posterior() -> None:
    # All weights are equal and nothing depends on z: no noise is left, unlike with IWAE.
    model = perturbed(0.0)
    parameter = model.get_parameter("posteriors.heads.a->a.linear.bias")
    sizes = {}
    for kind in ("iwae", "dreg"):
        config = ObjectiveConfig(kind, n_samples=8)
        total = loss(model, None, {"a": X1}, config, generator=noise()).total
        sizes[kind] = torch.autograd.grad(total, parameter)[0].abs().max().item()
    assert sizes["dreg"] < 1e-10
    assert sizes["iwae"] > 1e-4
