# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor
from vae_examples import linear_gaussian, random_rows

from specvae.vae.distributions import (
    Bernoulli,
    Categorical,
    Gaussian,
    Laplace,
    Likelihood,
    MixtureOfNormals,
    Normal,
    SparseGaussian,
    bounded_logvar,
    kl_divergence,
    product,
    standard_normal,
)


def experts(n: int = 3, batch: int = 4, n_latent: int = 2) -> list[Normal]:
    generator = torch.Generator().manual_seed(3)
    shape = (n, batch, n_latent)
    means = torch.randn(shape, generator=generator, dtype=torch.float64)
    logvars = torch.randn(shape, generator=generator, dtype=torch.float64)
    return [Normal(mean, logvar) for mean, logvar in zip(means, logvars, strict=True)]


def torch_normal(q: Normal) -> torch.distributions.Normal:
    return torch.distributions.Normal(q.mean, torch.exp(0.5 * q.logvar))


def assert_same(a: Normal, b: Normal, atol: float = 1e-12) -> None:
    torch.testing.assert_close(a.mean, b.mean, atol=atol, rtol=0)
    torch.testing.assert_close(a.logvar, b.logvar, atol=atol, rtol=0)


@pytest.mark.parametrize("prior_expert", [False, True])
def test_product_is_the_precision_weighted_mean(prior_expert: bool) -> None:
    parts = experts()
    precision = sum((torch.exp(-e.logvar) for e in parts), torch.tensor(float(prior_expert)))
    mean = sum((e.mean * torch.exp(-e.logvar) for e in parts), torch.tensor(0.0)) / precision
    assert_same(product(parts, prior_expert), Normal(mean, -precision.log()))


def test_product_of_variances_as_precision_is_one_over_variance() -> None:
    # Discrepancy 2: with precision = 1/sd, as in early pixyz, the mean would be -0.857.
    parts = [
        Normal(torch.tensor([[m]]), torch.tensor([[2 * math.log(sd)]]))
        for m, sd in ((1.0, 0.5), (-2.0, 0.25))
    ]
    q = product(parts, prior_expert=True)
    assert q.mean.item() == pytest.approx(-1.3333, abs=1e-4)
    assert math.exp(0.5 * q.logvar.item()) == pytest.approx(0.2182, abs=1e-4)


def test_product_by_quadrature_and_its_normaliser() -> None:
    grid = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    a, b = experts(2, batch=1, n_latent=1)
    densities = [torch_normal(e).log_prob(grid).exp().squeeze() for e in (a, b)]
    unnormalised = densities[0] * densities[1]
    z = torch.trapezoid(unnormalised, grid)
    total_sd = (a.logvar.exp() + b.logvar.exp()).sqrt()
    normaliser = torch.distributions.Normal(b.mean, total_sd).log_prob(a.mean).exp()
    assert z.item() == pytest.approx(normaliser.item(), abs=1e-10)
    q = product([a, b], prior_expert=False)
    mean = torch.trapezoid(grid * unnormalised, grid) / z
    var = torch.trapezoid((grid - mean) ** 2 * unnormalised, grid) / z
    assert q.mean.item() == pytest.approx(mean.item(), abs=1e-9)
    assert q.logvar.exp().item() == pytest.approx(var.item(), abs=1e-9)


def test_product_does_not_depend_on_the_order_or_grouping() -> None:
    parts = experts()
    whole = product(parts, prior_expert=True)
    for order in permutations(parts):
        assert_same(product(order, prior_expert=True), whole)
    grouped = product([product(parts[:2], False), parts[2]], prior_expert=True)
    assert_same(grouped, whole)


def test_product_is_no_wider_than_any_expert() -> None:
    parts = experts()
    q = product(parts, prior_expert=False)
    assert bool((q.logvar <= torch.stack([e.logvar for e in parts]).amin(0)).all())
    assert bool((product(parts, prior_expert=True).logvar <= 0).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_product_and_kl_with_extreme_log_variances(sign: float, dtype: torch.dtype) -> None:
    mean = torch.tensor([[1.0, -2.0]], dtype=dtype, requires_grad=True)
    logvar = torch.full((1, 2), sign * 2000.0, dtype=dtype, requires_grad=True)
    other = Normal(torch.zeros(1, 2, dtype=dtype), torch.zeros(1, 2, dtype=dtype))
    extreme = Normal(mean, logvar)
    q = product([extreme, other], prior_expert=True)
    expected = mean if sign < 0 else torch.zeros_like(mean)
    torch.testing.assert_close(q.mean, expected)
    kl = kl_divergence(extreme, other) + kl_divergence(other, extreme) + kl_divergence(q)
    (kl + q.mean.sum() + extreme.sample().sum()).sum().backward()
    assert kl.isfinite().all()
    assert mean.grad is not None
    assert mean.grad.isfinite().all()
    assert logvar.grad is not None
    assert logvar.grad.isfinite().all()
    assert bool((logvar.grad.sign() == sign).all())  # descent leads back to sane values


def test_bounded_logvar_is_the_identity_in_the_usual_range() -> None:
    x = torch.linspace(-20, 20, 41)
    assert torch.equal(bounded_logvar(x), x)


def test_absent_expert_changes_nothing_and_has_finite_gradients() -> None:
    present = experts(1)[0]
    mean = torch.zeros_like(present.mean, requires_grad=True)
    logvar = torch.full_like(mean, math.inf).requires_grad_()
    q = product([present, Normal(mean, logvar)], prior_expert=False)
    assert_same(q, present)
    (q.mean.sum() + q.logvar.sum()).backward()
    for leaf in (mean, logvar):
        assert leaf.grad is not None
        assert torch.equal(leaf.grad, torch.zeros_like(leaf))


def test_all_experts_absent_leave_the_prior() -> None:
    zeros = torch.zeros(3, 2)
    absent = Normal(zeros, torch.full_like(zeros, math.inf))
    assert_same(product([absent, absent], prior_expert=True), standard_normal(zeros))


def test_kl_against_torch_and_at_equality() -> None:
    q, p, _ = experts()
    reference = torch.distributions.kl_divergence(torch_normal(q), torch_normal(p)).sum(-1)
    torch.testing.assert_close(kl_divergence(q, p), reference)
    prior = standard_normal(q.mean)
    torch.testing.assert_close(kl_divergence(q), kl_divergence(q, prior))
    assert kl_divergence(q, q).abs().max().item() < 1e-14


def test_samples_are_noise_times_the_deviation_about_the_mean() -> None:
    mean, variance = torch.tensor([[2.0, -3.0]]), torch.tensor([[9.0, 0.25]])
    noise = standard_normal(mean).sample(5, torch.Generator().manual_seed(0))
    z = Normal(mean, variance.log()).sample(5, torch.Generator().manual_seed(0))
    wanted = torch.tensor([2.0, -3.0]) + noise * torch.tensor([3.0, 0.5])
    torch.testing.assert_close(z, wanted, atol=1e-6, rtol=0)


def test_kl_by_monte_carlo_and_sample_moments() -> None:
    q, p, _ = experts(batch=1)
    z = q.sample(200_000, torch.Generator().manual_seed(0))
    estimates = q.log_prob(z) - p.log_prob(z)
    error = estimates.std().item() / math.sqrt(len(z))
    assert abs(estimates.mean().item() - kl_divergence(q, p).item()) < 4 * error
    torch.testing.assert_close(z.mean(0), q.mean, atol=0.02, rtol=0)
    torch.testing.assert_close(z.var(0), q.logvar.exp(), atol=0, rtol=0.03)


def test_log_prob_of_a_normal_against_torch() -> None:
    q = experts(1)[0]
    z = q.sample(2, torch.Generator().manual_seed(0))
    torch.testing.assert_close(q.log_prob(z), torch_normal(q).log_prob(z).sum(-1))


def test_bernoulli_with_grey_targets_and_extreme_logits() -> None:
    logits = torch.tensor([[[0.3, -1.2, 800.0]], [[2.0, 0.0, -800.0]]], dtype=torch.float64)
    x = torch.tensor([[0.25, 1.0, 1.0]], dtype=torch.float64)
    reference = -torch.nn.functional.binary_cross_entropy_with_logits(
        logits, x.expand_as(logits), reduction="none"
    )
    torch.testing.assert_close(Bernoulli(logits).log_prob(x), reference.sum(-1))
    torch.testing.assert_close(Bernoulli(logits).mean, torch.sigmoid(logits))


def test_gaussian_likelihood_against_torch() -> None:
    mean, x = torch.randn(2, 4, 3), torch.randn(4, 3)
    reference = torch.distributions.Normal(mean, 0.3).log_prob(x).sum(-1)
    torch.testing.assert_close(Gaussian(mean, 0.3).log_prob(x), reference)


def test_laplace_likelihood_against_torch() -> None:
    mean, x = torch.randn(2, 4, 3), torch.randn(4, 3)
    reference = torch.distributions.Laplace(mean, 0.01).log_prob(x).sum(-1)
    torch.testing.assert_close(Laplace(mean, 0.01).log_prob(x), reference)
    rows = random_rows(6, 8)
    mean = torch.randn(6, 8)
    torch.testing.assert_close(
        Laplace(mean, 0.5).log_prob(rows), Laplace(mean, 0.5).log_prob(rows.to_dense())
    )


def test_categorical_likelihood_against_torch_with_padding_ignored() -> None:
    logits = 5.0 * torch.randn(2, 4, 6, 9)  # 2 samples of 4 sentences of 6 words out of 9
    x = torch.randint(1, 9, (4, 6))
    x[0, 3:] = 0
    x[2] = 0
    reference = torch.distributions.Categorical(logits=logits).log_prob(x.expand(2, 4, 6))
    whole = Categorical(logits)
    torch.testing.assert_close(whole.log_prob(x), reference.sum(-1))
    torch.testing.assert_close(whole.mean, torch.softmax(logits, -1))
    assert torch.equal(whole.mode, logits.argmax(-1))
    padded = Categorical(logits, ignored=0)
    torch.testing.assert_close(padded.log_prob(x), (reference * (x != 0)).sum(-1))
    assert torch.equal(padded.log_prob(x)[:, 2], torch.zeros(2))
    # What stands at an ignored place gets no gradient, and the constant of the logits is free.
    leaf = logits.clone().requires_grad_()
    Categorical(leaf, ignored=0).log_prob(x).sum().backward()
    assert leaf.grad is not None
    assert torch.equal(leaf.grad[:, 0, 3:], torch.zeros(2, 3, 9))
    assert bool((leaf.grad[:, 0, :3].abs().sum(-1) > 0).all())
    torch.testing.assert_close(Categorical(logits + 3.0).log_prob(x), whole.log_prob(x))
    with pytest.raises(TypeError, match="dense tensor of integers"):
        whole.log_prob(random_rows(4, 6))


def test_split_of_classes_keeps_padding_ignored() -> None:
    logits = torch.randn(13, 6, 9)
    x = torch.randint(0, 9, (9, 6))
    two, one = Categorical(logits, ignored=0).split([(2, 4), (5,)])
    expected = Categorical(logits[:8].view(2, 4, 6, 9), ignored=0).log_prob(x[:4])
    torch.testing.assert_close(two.log_prob(x[:4]), expected)
    last = Categorical(logits[8:], ignored=0).log_prob(x[4:])
    torch.testing.assert_close(one.log_prob(x[4:]), last)


def test_density_of_a_mixture_by_quadrature() -> None:
    a, b, c = (Normal(e.mean.squeeze(0), e.logvar.squeeze(0)) for e in experts(3, 1, 1))
    grid = torch.linspace(-25, 25, 100_001, dtype=torch.float64)
    mixture = MixtureOfNormals((a, b, c))
    density = mixture.log_prob(grid.unsqueeze(-1)).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1.0, abs=1e-9)
    mean = torch.trapezoid(grid * density, grid)
    assert mean.item() == pytest.approx(mixture.mean.item(), abs=1e-9)
    thirds = [torch_normal(e).log_prob(grid).exp() / 3.0 for e in (a, b, c)]
    torch.testing.assert_close(density, sum(thirds[1:], thirds[0]))


def test_samples_of_a_mixture_have_its_moments_and_come_from_single_components() -> None:
    parts = experts(2, batch=3, n_latent=2)
    mixture = MixtureOfNormals(tuple(parts))
    z = mixture.sample(100_000, torch.Generator().manual_seed(0))
    assert z.shape == (100_000, 3, 2)
    second = torch.stack([e.logvar.exp() + e.mean.square() for e in parts]).mean(0)
    torch.testing.assert_close(z.mean(0), mixture.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(z.square().mean(0), second, atol=0, rtol=0.03)
    # All dimensions of a code are of one component, drawn anew for each row and sample.
    narrow = MixtureOfNormals(
        tuple(Normal(torch.full((4, 3), m), torch.full((4, 3), -20.0)) for m in (-1.0, 1.0))
    )
    signs = narrow.sample(1000, torch.Generator().manual_seed(0)).sign()
    assert bool((signs == signs[..., :1]).all())
    shares = (signs[..., 0] > 0).double().mean(0)
    assert bool(((shares - 0.5).abs() < 0.07).all())
    assert not torch.equal(signs[:, 0], signs[:, 1])


def test_a_mixture_of_one_is_its_component() -> None:
    (one,) = experts(1)
    z = one.sample(3)
    torch.testing.assert_close(MixtureOfNormals((one,)).log_prob(z), one.log_prob(z))
    assert one.components == (one,)
    held = Normal(one.mean.requires_grad_(), one.logvar).detach()
    assert not held.mean.requires_grad
    assert torch.equal(held.mean, one.mean)


def layer(n_features: int, n_hidden: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(n_features, n_hidden, generator=generator, dtype=torch.float64)
    bias = torch.randn(n_features, generator=generator, dtype=torch.float64)
    return weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize("n_hidden", [3, 64], ids=["by Gram matrix", "by outputs"])
def test_sparse_gaussian_equals_the_dense_formula_with_gradients(n_hidden: int) -> None:
    x = random_rows(9, 30)  # wider than what is reconstructed: the rest must be ignored
    hidden = torch.randn(2, 9, n_hidden, dtype=torch.float64, requires_grad=True)
    weight, bias = layer(20, n_hidden)
    dense = Gaussian(hidden @ weight.T + bias, 0.5).log_prob(x.to_dense(20).double())
    sparse = SparseGaussian.from_layer(hidden, weight, bias, 0.5)
    ours = sparse.log_prob(x)
    torch.testing.assert_close(ours, dense)
    torch.testing.assert_close(sparse.log_prob(x.to_dense(20)), dense)
    torch.testing.assert_close(sparse.mean, hidden @ weight.T + bias)
    upstream = torch.randn_like(dense)
    leaves = (hidden, weight, bias)
    expected = torch.autograd.grad((dense * upstream).sum(), leaves)
    for gradient, reference in zip(
        torch.autograd.grad((ours * upstream).sum(), leaves), expected, strict=True
    ):
        torch.testing.assert_close(gradient, reference)


def test_split_likelihoods_equal_the_parts() -> None:
    x = random_rows(9, 20)
    weight, bias = layer(20, 3)
    hidden = torch.randn(13, 3, dtype=torch.float64)
    dense = hidden @ weight.T + bias
    wholes: list[Likelihood] = [
        Bernoulli(dense),
        Gaussian(dense, 2.0),
        Laplace(dense, 2.0),
        SparseGaussian.from_layer(hidden, weight, bias, 2.0),
    ]
    for whole in wholes:
        two, one = whole.split([(2, 4), (5,)])  # two samples for four rows, one for five
        expected = whole.log_prob(x.rows(torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 8])))
        found = two.log_prob(x.rows(torch.arange(4)))
        torch.testing.assert_close(found, expected[:8].view(2, 4))
        torch.testing.assert_close(one.log_prob(x.rows(torch.arange(4, 9))), expected[8:])


def test_elbo_at_the_exact_posterior_is_the_evidence() -> None:
    model, (x1, x2) = linear_gaussian()
    both = model.posterior((x1, 0), (x2, 1))
    elbo = (
        model.expected_log_likelihood(both, x1, 0)
        + model.expected_log_likelihood(both, x2, 1)
        - kl_divergence(both)
    )
    torch.testing.assert_close(elbo, model.evidence((x1, 0), (x2, 1)), atol=1e-9, rtol=0)
    for i, x in enumerate((x1, x2)):
        q = model.posterior((x, i))
        elbo = model.expected_log_likelihood(q, x, i) - kl_divergence(q)
        torch.testing.assert_close(elbo, model.evidence((x, i)), atol=1e-9, rtol=0)


def test_equations_25_and_27_at_the_exact_posteriors() -> None:
    model, (x1, x2) = linear_gaussian()
    both = model.posterior((x1, 0), (x2, 1))
    evidence = model.evidence((x1, 0), (x2, 1))
    singles = [model.posterior((x1, 0)), model.posterior((x2, 1))]
    marginals = [model.evidence((x1, 0)), model.evidence((x2, 1))]
    reconstructions = [
        model.expected_log_likelihood(both, x1, 0),
        model.expected_log_likelihood(both, x2, 1),
    ]
    # Eq 25: R1(q12) - KL(q12 || q2) = log p(x1 | x2), and the same with 1 and 2 exchanged.
    for i in (0, 1):
        conditional = reconstructions[i] - kl_divergence(both, singles[1 - i])
        expected = evidence - marginals[1 - i]
        torch.testing.assert_close(conditional, expected, atol=1e-9, rtol=0)
    # Eq 27: the new loss is then 2 log p(x1, x2).
    new = sum(reconstructions, torch.zeros(1, dtype=torch.float64))
    for i, (q, x) in enumerate(zip(singles, (x1, x2), strict=True)):
        new = new - kl_divergence(both, q)
        new = new + model.expected_log_likelihood(q, x, i) - kl_divergence(q)
    torch.testing.assert_close(new, 2 * evidence, atol=1e-9, rtol=0)


def test_the_gap_of_the_elbo_is_the_kl_to_the_posterior() -> None:
    model, (x1, x2) = linear_gaussian()
    exact = model.posterior((x1, 0), (x2, 1))
    q = Normal(exact.mean + 0.3, exact.logvar - 0.7)
    elbo = (
        model.expected_log_likelihood(q, x1, 0)
        + model.expected_log_likelihood(q, x2, 1)
        - kl_divergence(q)
    )
    gap = model.evidence((x1, 0), (x2, 1)) - elbo
    torch.testing.assert_close(gap, kl_divergence(q, exact), atol=1e-9, rtol=0)


def test_likelihood_experts_times_one_prior_are_exact_and_posteriors_count_it_twice() -> None:
    model, (x1, x2) = linear_gaussian()
    exact = model.posterior((x1, 0), (x2, 1))
    likelihoods = [model.likelihood_expert(x1, 0), model.likelihood_expert(x2, 1)]
    assert_same(product(likelihoods, prior_expert=True), exact, atol=1e-10)
    singles = [model.posterior((x1, 0)), model.posterior((x2, 1))]
    twice = product(singles, prior_expert=False)
    assert bool((twice.logvar < exact.logvar).all())


def test_a_look_without_gradients_leaves_the_gradient_of_a_later_one() -> None:
    logvar = torch.tensor([[0.5, -1.0]], requires_grad=True)
    q = Normal(torch.zeros(1, 2), logvar)
    with torch.no_grad():
        kl_divergence(q)
    (found,) = torch.autograd.grad(kl_divergence(q).sum(), logvar)
    torch.testing.assert_close(found, 0.5 * (logvar.detach().exp() - 1.0))
    assert q.bounded_logvar is q.bounded_logvar
