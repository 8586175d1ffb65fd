# mypy: disable-error-code="no-untyped-call,no-untyped-def,no-any-return"
"""Objectives of all kinds against the formulas, written out by hand, in values and gradients.

Every Gaussian draws the same noise here, so that a formula worked out beside the objective sees
the same codes. Products, KL divergences and densities are those of ``torch.distributions`` and
of precisions, not of the code under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor, distributions
from vae_examples import small_batch, small_model, three_batch, three_model

from specvae.errors import ConfigError
from specvae.vae.config import ObjectiveConfig
from specvae.vae.distributions import Bernoulli, Laplace, Normal
from specvae.vae.kinds import LossKind
from specvae.vae.model import MultimodalVAE
from specvae.vae.objective import loss

Batch = dict[str, Tensor]
COLUMNS = {"a": 6, "b": 4, "c": 3}
TWO = {name: x.double() for name, x in small_batch(5, seed=1).items()}
TWO_UNPAIRED = {
    "a": small_batch(4, seed=2)["a"].double(),
    "b": small_batch(3, seed=3)["b"].double(),
}
THREE = three_batch(5, seed=1)
THREE_UNPAIRED = {name: three_batch(n, seed=n)[name] for n, name in ((4, "a"), (3, "b"), (2, "c"))}


def noise_like(mean: Tensor, n_samples: int) -> Tensor:
    generator = torch.Generator().manual_seed(11)
    return torch.randn((n_samples, *mean.shape), generator=generator, dtype=mean.dtype)


@pytest.fixture(autouse=True)
def common_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    def sample(q: Normal, n_samples: int = 1, *_: object) -> Tensor:
        return q.mean + torch.exp(0.5 * q.logvar) * noise_like(q.mean, n_samples)

    monkeypatch.setattr(Normal, "sample", sample)


class ByHand:
    """The networks of a model and the terms of the formulas, for one batch; means over rows."""

    def __init__(self, model: MultimodalVAE, x: Batch, n_samples: int = 1) -> None:
        self.model, self.x, self.n_samples = model, x, n_samples

    def _head(self, key: str, features: Tensor) -> distributions.Normal:
        raw = self.model.get_submodule(f"posteriors.heads.{key}.linear")(features)
        mean, logvar = raw.chunk(2, dim=1)
        return distributions.Normal(mean, torch.exp(0.5 * logvar))

    def _body(self, source: str, use: str) -> Tensor:
        return self.model.get_submodule(f"posteriors.bodies.{source}->{use}")(self.x[source])

    def expert(self, source: str, target: str) -> distributions.Normal:
        return self._head(f"{source}->{target}", self._body(source, target))

    def network(self, names: str) -> distributions.Normal:
        """The network of a subset: one body each, concatenated, linear, ReLU, head."""
        key = "+".join(names)
        if len(names) == 1:
            return self._head(key, self._body(names, key))
        parts = torch.cat([self._body(name, key) for name in names], dim=1)
        joined = self.model.get_submodule(f"posteriors.joins.{key}.0")(parts)
        return self._head(key, torch.relu(joined))

    def log_likelihood(self, q: distributions.Normal, name: str) -> tuple[Tensor, Tensor]:
        """Codes of q and log p(x_name | z), (n_samples, batch)."""
        z = q.mean + q.stddev * noise_like(q.mean, self.n_samples)
        hidden = self.model.get_submodule(f"decoders.{name}.body")(z)
        out = self.model.get_submodule(f"decoders.{name}.output")(hidden)
        target = self.x[name][:, : COLUMNS[name]]
        p: distributions.Distribution = {
            "a": lambda: distributions.Bernoulli(logits=out),
            "b": lambda: distributions.Normal(out, 0.7),
            "c": lambda: distributions.Laplace(out, 0.5),
        }[name]()
        return z, p.log_prob(target.expand_as(out)).sum(-1)

    def r(self, q: distributions.Normal, name: str) -> Tensor:
        return self.log_likelihood(q, name)[1].mean()

    def kl(self, q: distributions.Normal, p: distributions.Normal | None = None) -> Tensor:
        if p is None:
            p = distributions.Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean))
        return distributions.kl_divergence(q, p).sum(-1).mean()

    def u(self, q: distributions.Normal, name: str) -> Tensor:
        return self.r(q, name) - self.kl(q)


def times(*experts: distributions.Normal) -> distributions.Normal:
    """The product of experts with one prior, by precisions."""
    precision = 1.0 + torch.stack([e.variance.reciprocal() for e in experts]).sum(0)
    mean = torch.stack([e.mean / e.variance for e in experts]).sum(0) / precision
    return distributions.Normal(mean, precision.rsqrt())


def singles(model: MultimodalVAE, x: Batch, n_samples: int = 1) -> dict[str, distributions.Normal]:
    """q(z | x_i) of each modality in x."""
    hand, names = ByHand(model, x, n_samples), model.config.names
    if model.config.posterior == "product":
        return {i: times(*(hand.expert(i, j) for j in names)) for i in x}
    if model.config.posterior in ("product_own", "mixture_of_products"):
        return {i: times(hand.expert(i, i)) for i in x}
    if model.config.posterior in ("mixture", "bridge"):
        return {i: hand.expert(i, i) for i in x}
    return {i: hand.network(i) for i in x}


def unpaired_terms(model: MultimodalVAE, unpaired: Batch) -> Tensor:
    """U_1(x_1') + U_2(x_2') + ..."""
    return sum(
        (ByHand(model, {i: x}).u(singles(model, {i: x})[i], i) for i, x in unpaired.items()),
        torch.zeros((), dtype=torch.float64),
    )


def same_with_gradients(model: MultimodalVAE, ours: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-9)
    parameters = list(model.parameters())
    found = torch.autograd.grad(ours, parameters, allow_unused=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    n_seen = 0
    for (name, _), a, b in zip(model.named_parameters(), found, wanted, strict=True):
        assert (a is None) == (b is None), name
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6, msg=name)
            n_seen += bool(b.abs().max() > 0)
    assert n_seen > len(parameters) // 2


def two_modal_loss(model: MultimodalVAE, kind: LossKind) -> Tensor:
    """Eqs 19-22 and VAEVAE's loss, for TWO and TWO_UNPAIRED."""
    hand, q = ByHand(model, TWO), singles(model, TWO)
    if model.config.posterior in ("product", "product_own"):
        q12 = times(hand.expert("a", "a"), hand.expert("b", "b"))
    else:
        q12 = hand.network("ab")
    value = hand.r(q12, "a") + hand.r(q12, "b") - hand.kl(q12, q["a"]) - hand.kl(q12, q["b"])
    if kind == "new":
        value = value + hand.u(q["a"], "a") + hand.u(q["b"], "b")
    return value + unpaired_terms(model, TWO_UNPAIRED)


@pytest.mark.parametrize("kind", ["new", "vaevae"])
@pytest.mark.parametrize("posterior", ["product", "product_own", "joint"])
def test_two_modalities_of_the_general_code_are_the_bimodal_formulas(
    posterior: str, kind: LossKind
) -> None:
    model = small_model(posterior).double()
    ours = loss(model, TWO, TWO_UNPAIRED, ObjectiveConfig(kind)).total
    same_with_gradients(model, -ours, two_modal_loss(model, kind))


@pytest.mark.parametrize("posterior", ["product", "joint", "bridge"])
def test_new_loss_minus_the_other_is_u1_plus_u2_with_gradients(posterior: str) -> None:
    model = small_model(posterior).double()
    new, old = (loss(model, TWO, {}, ObjectiveConfig(kind)).total for kind in ("new", "vaevae"))
    hand, q = ByHand(model, TWO), singles(model, TWO)
    expected = hand.u(q["a"], "a") + hand.u(q["b"], "b")
    torch.testing.assert_close(old - new, expected, atol=1e-9, rtol=0)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(old - new, parameters)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, torch.zeros_like(a) if b is None else b, atol=1e-9, rtol=0)


def test_bridge_joins_the_codes_of_the_single_posteriors() -> None:
    model = small_model("bridge").double()
    hand = ByHand(model, TWO)
    q = {i: hand.expert(i, i) for i in "ab"}
    codes = [part for i in "ab" for part in (q[i].mean, 2.0 * q[i].stddev.log())]
    q12 = hand._head("a+b", torch.cat(codes, dim=1))
    expected = hand.r(q12, "a") + hand.r(q12, "b") - hand.kl(q12, q["a"]) - hand.kl(q12, q["b"])
    expected = expected + unpaired_terms(model, TWO_UNPAIRED)
    ours = loss(model, TWO, TWO_UNPAIRED, ObjectiveConfig("vaevae")).total
    same_with_gradients(model, -ours, expected)


def pairs_by_hand(
    hand: ByHand,
    full: distributions.Normal,
    of_pair: Callable[[str], list[distributions.Normal]],
    q: dict[str, distributions.Normal],
    targets: str,
) -> Tensor:
    """L123 + L12 + L13 + L23, eqs 29 and 30; a sum over the posteriors that a pair has (36-38)."""
    value = sum((hand.r(full, i) for i in "abc"), torch.zeros((), dtype=torch.float64))
    for pair in ("ab", "ac", "bc"):
        for posterior in of_pair(pair):
            value = value - hand.kl(full, posterior)
            for i in pair if targets == "given" else "abc":
                value = value + hand.r(posterior, i)
            value = value - hand.kl(posterior, q[pair[0]]) - hand.kl(posterior, q[pair[1]])
            value = value - hand.kl(posterior)
    return value


@pytest.mark.parametrize("targets", ["given", "all"])
@pytest.mark.parametrize("kind", ["new", "vaevae"])
def test_svae_of_three_modalities_is_eqs_33_to_38(kind: LossKind, targets: str) -> None:
    model = three_model("product")
    hand, q = ByHand(model, THREE), singles(model, THREE)
    third = {"ab": "c", "ac": "b", "bc": "a"}

    def of_pair(pair: str) -> list[distributions.Normal]:
        own = [hand.expert(i, i) for i in pair]
        return [times(*own, hand.expert(speaker, third[pair])) for speaker in pair]

    full = times(hand.expert("a", "a"), hand.expert("b", "b"), hand.expert("c", "c"))
    expected = pairs_by_hand(hand, full, of_pair, q, targets)
    if kind == "new":
        expected = expected + sum(hand.u(q[i], i) for i in "abc")
    expected = expected + unpaired_terms(model, THREE_UNPAIRED)
    config = ObjectiveConfig(kind, subset_targets=targets)  # type: ignore[arg-type]
    ours = loss(model, THREE, THREE_UNPAIRED, config).total
    same_with_gradients(model, -ours, expected)


@pytest.mark.parametrize("targets", ["given", "all"])
@pytest.mark.parametrize("kind", ["new", "vaevae"])
def test_vaevae_of_three_modalities_is_eqs_29_to_32(kind: LossKind, targets: str) -> None:
    model = three_model("joint")
    hand, q = ByHand(model, THREE), singles(model, THREE)
    expected = pairs_by_hand(
        hand, hand.network("abc"), lambda pair: [hand.network(pair)], q, targets
    )
    if kind == "new":
        expected = expected + sum(hand.u(q[i], i) for i in "abc")
    expected = expected + unpaired_terms(model, THREE_UNPAIRED)
    config = ObjectiveConfig(kind, subset_targets=targets)  # type: ignore[arg-type]
    ours = loss(model, THREE, THREE_UNPAIRED, config).total
    same_with_gradients(model, -ours, expected)
    # Unlike in the published three-modal code, unpaired samples train every encoder.
    model.zero_grad()
    loss(model, None, THREE_UNPAIRED, config).total.backward()
    for name in "abc":
        gradient = model.get_parameter(f"posteriors.heads.{name}.linear.weight").grad
        assert gradient is not None
        assert bool(gradient.abs().max() > 0)


@pytest.mark.parametrize("alpha", [1.0, 0.1])
def test_jmvae_is_its_formula(alpha: float) -> None:
    for model, x in (
        (small_model("joint_full").double(), TWO),
        (three_model("joint_full"), THREE),
    ):
        hand, q = ByHand(model, x), singles(model, x)
        full = hand.network("".join(x))
        expected = -hand.kl(full)
        for name in x:
            expected = expected + hand.r(full, name) - alpha * hand.kl(full, q[name])
        ours = loss(model, x, {}, ObjectiveConfig("jmvae", alpha=alpha)).total
        same_with_gradients(model, -ours, expected)


def test_jmvae_minus_the_paired_part_of_vaevae_is_the_kl_of_the_joint_to_the_prior() -> None:
    # The joint network and the single ones are the same for two modalities.
    ours = small_model("joint_full").double()
    other = small_model("joint").double()
    other.load_state_dict(ours.state_dict())
    hand = ByHand(ours, TWO)
    difference = loss(ours, TWO, {}, ObjectiveConfig("jmvae")).total
    difference = difference - loss(other, TWO, {}, ObjectiveConfig("vaevae")).total
    torch.testing.assert_close(difference, hand.kl(hand.network("ab")))


def test_mvae_is_the_sum_of_the_elbos() -> None:
    model = small_model("product_own").double()
    hand, q = ByHand(model, TWO), singles(model, TWO)
    q12 = times(hand.expert("a", "a"), hand.expert("b", "b"))
    elbo = hand.r(q12, "a") + hand.r(q12, "b") - hand.kl(q12)
    expected = elbo + hand.u(q["a"], "a") + hand.u(q["b"], "b")
    expected = expected + unpaired_terms(model, TWO_UNPAIRED)
    ours = loss(model, TWO, TWO_UNPAIRED, ObjectiveConfig("mvae")).total
    same_with_gradients(model, -ours, expected)


def test_mvae_of_three_draws_pairs_by_chance() -> None:
    model = three_model("product_own")
    hand, q = ByHand(model, THREE), singles(model, THREE)
    own = {i: hand.expert(i, i) for i in "abc"}

    def elbo(names: str) -> Tensor:
        joint = times(*(own[i] for i in names))
        return sum((hand.r(joint, i) for i in names), -hand.kl(joint))

    always = elbo("abc") + sum(hand.u(q[i], i) for i in "abc")
    pairs = [elbo("".join(pair)) for pair in combinations("abc", 2)]
    ours = loss(model, THREE, {}, ObjectiveConfig("mvae", n_random_subsets=3)).total
    same_with_gradients(model, -ours, always + sum(pairs))
    none = loss(model, THREE, {}, ObjectiveConfig("mvae", n_random_subsets=0)).total
    torch.testing.assert_close(-none, always)
    drawn = set()
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        value = loss(model, THREE, {}, ObjectiveConfig("mvae"), generator=generator).total
        (which,) = [i for i, pair in enumerate(pairs) if torch.allclose(-value, always + pair)]
        drawn.add(which)
    assert drawn == {0, 1, 2}


def test_mopoe_is_the_mean_of_the_elbos_of_all_subsets() -> None:
    for model, x, unpaired in (
        (small_model("mixture_of_products").double(), TWO, TWO_UNPAIRED),
        (three_model("mixture_of_products"), THREE, THREE_UNPAIRED),
    ):
        hand = ByHand(model, x)
        elbos = []
        for size in range(1, len(x) + 1):
            for subset in combinations(x, size):
                q = times(*(hand.expert(i, i) for i in subset))
                # Whatever the subset saw, all is reconstructed.
                elbos.append(sum((hand.r(q, i) for i in x), -hand.kl(q)))
        assert len(elbos) == 2 ** len(x) - 1
        # Of an incomplete example the subsets of what was observed are left: the one modality.
        expected = torch.stack(elbos).mean() + unpaired_terms(model, unpaired)
        terms = loss(model, x, unpaired, ObjectiveConfig("elbo"))
        same_with_gradients(model, -terms.total, expected)
        weighted = loss(model, x, unpaired, ObjectiveConfig("elbo", {"b": 0.3}, beta=0.5))
        torch.testing.assert_close(
            weighted.total,
            terms.total
            - 0.7 * (terms.parts["reconstruction/b"] + terms.parts["unpaired-reconstruction/b"])
            - 0.5 * sum(value for name, value in terms.parts.items() if "kl/" in name),
        )


def test_the_kl_of_mopoe_is_at_least_that_of_the_mixture() -> None:
    model = three_model("mixture_of_products")
    q = model.posterior(THREE)
    part = loss(model, THREE, {}, ObjectiveConfig("elbo")).parts["kl/joint-prior"]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20000, 5, 3, generator=generator, dtype=torch.float64)
    drawn = [c.mean + torch.exp(0.5 * c.logvar) * noise for c in q.components]
    prior = distributions.Normal(torch.zeros_like(noise), 1.0)
    log_ratios = [q.log_prob(z) - prior.log_prob(z).sum(-1) for z in drawn]
    of_mixture = torch.stack(log_ratios).mean()
    assert 0.0 < of_mixture.item() < part.item() - 0.01


def mvtcae_by_hand(hand: ByHand, x: Batch, alpha: float, beta: float, prior: bool) -> Tensor:
    """Hwang et al.: conditional information bottlenecks beside the ELBO."""
    n, own = len(x), {i: hand.expert(i, i) for i in x}
    if prior:
        full, q = times(*own.values()), {i: times(own[i]) for i in x}
    else:
        precision = torch.stack([e.variance.reciprocal() for e in own.values()]).sum(0)
        mean = torch.stack([e.mean / e.variance for e in own.values()]).sum(0) / precision
        full, q = distributions.Normal(mean, precision.rsqrt()), own
    likelihoods = torch.stack([hand.r(full, i) for i in x]).sum()
    conditional = torch.stack([hand.kl(full, q[i]) for i in x]).sum()
    value = (n - alpha) / n * likelihoods
    return value - beta * ((1 - alpha) * hand.kl(full) + alpha / n * conditional)


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize(("alpha", "beta"), [(0.9, 1.0), (0.25, 2.5), (1.0, 1.0), (0.0, 1.0)])
def test_mvtcae_is_its_formula(alpha: float, beta: float, prior: bool) -> None:
    for model, x in (
        (small_model("product_own", prior_expert=prior).double(), TWO),
        (three_model("product_own", prior_expert=prior), THREE),
    ):
        expected = mvtcae_by_hand(ByHand(model, x), x, alpha, beta, prior)
        ours = loss(model, x, {}, ObjectiveConfig("mvtcae", alpha=alpha, beta=beta)).total
        same_with_gradients(model, -ours, expected)
    default = loss(model, x, {}, ObjectiveConfig("mvtcae")).total
    torch.testing.assert_close(-default, mvtcae_by_hand(ByHand(model, x), x, 0.9, 1.0, prior))


def test_mvtcae_lies_between_the_elbo_and_half_of_vaevae() -> None:
    # (1 - alpha) ELBO + alpha / 2 [R1 + R2 - KL(q || q1) - KL(q || q2)] for two modalities.
    model = small_model("product_own").double()

    def value(kind: LossKind, alpha: float | None = None) -> Tensor:
        return loss(model, TWO, {}, ObjectiveConfig(kind, alpha=alpha)).total

    ends = value("elbo"), 0.5 * value("vaevae")
    torch.testing.assert_close(value("mvtcae", 0.0), ends[0])
    torch.testing.assert_close(value("mvtcae", 1.0), ends[1])
    torch.testing.assert_close(value("mvtcae", 0.3), 0.7 * ends[0] + 0.3 * ends[1])


def test_what_mvtcae_cannot_take_is_refused() -> None:
    model = small_model("product_own").double()
    with pytest.raises(
        ConfigError, match=r"loss 'mvtcae' learns from pairs only, found .* of a, b"
    ):
        loss(model, TWO, TWO_UNPAIRED, ObjectiveConfig("mvtcae"))
    with pytest.raises(ConfigError, match=r"alpha: of loss mvtcae a share from 0 to 1, found 1\.5"):
        ObjectiveConfig("mvtcae", alpha=1.5)
    assert ObjectiveConfig("jmvae", alpha=1.5).share_of_singles == 1.5


def importance_bound(
    model: MultimodalVAE, x: Batch, n_samples: int, beta: float = 1.0, weight_of_b: float = 1.0
) -> Tensor:
    """Mean over the modalities m in x of log 1/K sum_k p(x, z_k) / q(z_k | x), z_k from q_m."""
    hand, q = ByHand(model, x, n_samples), singles(model, x)
    bounds = []
    for name in x:
        z = q[name].mean + q[name].stddev * noise_like(q[name].mean, n_samples)
        prior = distributions.Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1)
        density = torch.stack([q[i].log_prob(z).sum(-1).exp() for i in x]).mean(0)
        weight = beta * (prior - density.log())
        for i in x:
            scale = weight_of_b if i == "b" else 1.0
            weight = weight + scale * hand.log_likelihood(q[name], i)[1]
        bounds.append(torch.log(weight.exp().mean(0)).mean())
    return torch.stack(bounds).mean()


@pytest.mark.parametrize("n_samples", [1, 6])
def test_mmvae_is_the_mean_of_importance_weighted_bounds(n_samples: int) -> None:
    config = ObjectiveConfig("iwae", n_samples=n_samples)
    for model, x, unpaired in (
        (small_model("mixture").double(), TWO, TWO_UNPAIRED),
        (three_model("mixture"), THREE, THREE_UNPAIRED),
    ):
        expected = importance_bound(model, x, n_samples)
        # Experts of modalities that were not observed weigh 0: the bound of the one alone.
        for name, batch in unpaired.items():
            expected = expected + importance_bound(model, {name: batch}, n_samples)
        terms = loss(model, x, unpaired, config)
        same_with_gradients(model, -terms.total, expected)
        assert set(terms.parts) == {"importance/paired"} | {
            f"importance/unpaired-{name}" for name in unpaired
        }


def test_weights_of_mmvae_are_on_the_terms_of_its_log_weights() -> None:
    model = small_model("mixture").double()
    config = ObjectiveConfig("iwae", {"b": 0.3}, beta=0.5, n_samples=4)
    expected = importance_bound(model, TWO, 4, beta=0.5, weight_of_b=0.3)
    same_with_gradients(model, -loss(model, TWO, {}, config).total, expected)
    warming = importance_bound(model, TWO, 4, beta=0.1, weight_of_b=0.3)
    torch.testing.assert_close(-loss(model, TWO, {}, config, beta=0.1).total, warming)


def test_mmvae_of_one_modality_is_iwae_on_the_same_noise() -> None:
    model = small_model("mixture").double()
    config = ObjectiveConfig("iwae", n_samples=8)
    ours = loss(model, None, {"a": TWO["a"]}, config).total
    hand = ByHand(model, TWO, 8)
    q = hand.expert("a", "a")
    z, values = hand.log_likelihood(q, "a")
    weights = values - 0.5 * (z.square() + math.log(2 * math.pi)).sum(-1) - q.log_prob(z).sum(-1)
    expected = torch.log(weights.exp().sum(0) / 8).mean()
    torch.testing.assert_close(-ours, expected, atol=1e-9, rtol=0)
    parameters = [
        parameter
        for name, parameter in model.named_parameters()
        if "a->a" in name or name.startswith("decoders.a")
    ]
    assert parameters
    found = torch.autograd.grad(-ours, parameters)
    wanted = torch.autograd.grad(expected, parameters)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)
    # With one sample it is the negative ELBO, its KL by the same sample.
    one = loss(model, None, {"a": TWO["a"]}, ObjectiveConfig("iwae")).total
    elbo = loss(model, None, {"a": TWO["a"]}, ObjectiveConfig("mvae"))
    z, _ = ByHand(model, TWO, 1).log_likelihood(q, "a")
    kl = (q.log_prob(z) + 0.5 * (z.square() + math.log(2 * math.pi))).sum(-1).mean()
    torch.testing.assert_close(one, elbo.parts["unpaired-reconstruction/a"] + kl)


def test_doubly_reparameterised_value_and_decoder_gradients_are_those_of_iwae() -> None:
    for model, x, unpaired in (
        (small_model("mixture").double(), TWO, TWO_UNPAIRED),
        (three_model("mixture"), THREE, THREE_UNPAIRED),
    ):
        gradients = {}
        values = {}
        kinds: tuple[LossKind, ...] = ("iwae", "dreg")
        for kind in kinds:
            model.zero_grad()
            config = ObjectiveConfig(kind, n_samples=5)
            values[kind] = loss(model, x, unpaired, config).total
            values[kind].backward()
            named = dict(model.named_parameters())
            gradients[kind] = {n: p.grad.clone() for n, p in named.items() if p.grad is not None}
            assert gradients[kind].keys() == named.keys()
        torch.testing.assert_close(values["dreg"], values["iwae"])
        for name, gradient in gradients["iwae"].items():
            if name.startswith("decoders"):
                torch.testing.assert_close(gradients["dreg"][name], gradient)
            else:
                assert not torch.allclose(gradients["dreg"][name], gradient), name


@pytest.mark.parametrize("beta", [1.0, 0.2])
def test_doubly_reparameterised_encoder_gradients_are_those_of_tucker_et_al(beta: float) -> None:
    # Eq 8: sum_k w_k^2 d log w_k / dz_k dz_k / dphi, q's own parameters held; with beta on log q,
    # (1 - beta) w_k + beta w_k^2 by the same derivation.
    model, n_samples = small_model("mixture").double(), 5
    config = ObjectiveConfig("dreg", beta=beta, n_samples=n_samples)
    ours = loss(model, None, {"a": TWO["a"]}, config).total
    head = model.get_submodule("posteriors.heads.a->a.linear")
    parameters = list(head.parameters())
    found = torch.autograd.grad(ours, parameters)
    hand = ByHand(model, TWO, n_samples)
    q = hand.expert("a", "a")
    held = distributions.Normal(q.mean.detach(), q.stddev.detach())
    z, values = hand.log_likelihood(q, "a")
    prior = distributions.Normal(torch.zeros_like(z), 1.0)
    log_weight = values + beta * (prior.log_prob(z) - held.log_prob(z)).sum(-1)
    share = torch.softmax(log_weight, dim=0).detach()
    surrogate = (((1 - beta) * share + beta * share.square()) * log_weight).sum(0).mean()
    for a, b in zip(found, torch.autograd.grad(-surrogate, parameters), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("posterior", "kind"),
    [
        ("product", "new"),
        ("product_own", "mvae"),
        ("joint", "vaevae"),
        ("joint_full", "jmvae"),
        ("mixture", "iwae"),
        ("mixture", "dreg"),
        ("bridge", "vaevae"),
        ("mixture_of_products", "elbo"),
        ("product_own", "mvtcae"),
    ],
)
def test_bfloat16_autocast_keeps_every_objective_in_float32(posterior: str, kind: LossKind) -> None:
    model = three_model(posterior).float()
    x = {name: value.float() for name, value in THREE.items()}
    unpaired = (
        {}
        if kind in ("jmvae", "mvtcae")
        else {n: value.float() for n, value in THREE_UNPAIRED.items()}
    )
    config = ObjectiveConfig(kind, n_samples=3)

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(0)  # of the pairs that mvae draws

    full = loss(model, x, unpaired, config, generator=seeded()).total
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.get_submodule("decoders.a.body")(torch.randn(4, 3))
        assert hidden.dtype is torch.bfloat16
        terms = loss(model, x, unpaired, config, generator=seeded())
        for given in (["a"], ["a", "b"], ["a", "b", "c"]):
            q = model.posterior(x, given)
            z = q.sample(2)
            assert {z.dtype, q.mean.dtype, q.log_prob(z).dtype} == {torch.float32}
            for part in q.components:
                assert part.logvar.dtype is torch.float32
    assert {part.dtype for part in terms.parts.values()} == {torch.float32}
    assert terms.total.item() == pytest.approx(full.item(), rel=0.02)
    terms.total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert {name.split(".")[1] for name in gradients if name.startswith("decoders.")} == set("abc")
    for name, gradient in gradients.items():
        assert bool(gradient.isfinite().all()), name


def test_likelihoods_of_the_examples_are_what_the_formulas_above_take_them_for() -> None:
    model = three_model()
    z = torch.zeros(2, 3, dtype=torch.float64)
    assert isinstance(model.likelihood(z, "a"), Bernoulli)
    assert isinstance(model.likelihood(z, "c"), Laplace)
