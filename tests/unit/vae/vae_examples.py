# mypy: disable-error-code="no-untyped-call,no-any-return"
"""Models and data that several tests of the model core use."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from specvae.vae.config import Modality, ModelConfig
from specvae.vae.data import TensorSource
from specvae.vae.distributions import Normal
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import Input, NetworkConfig, SparseRows

NONE = NetworkConfig(())


def small_model(posterior: str = "product", seed: int = 0, **options: object) -> MultimodalVAE:
    """A Bernoulli modality "a" (6 columns) and a Gaussian "b" (4 columns and 1 of context)."""
    layers = NetworkConfig((7,))
    data = {
        "modalities": (
            Modality("a", 6, layers, layers),
            Modality("b", 4, layers, layers, likelihood="gaussian", n_context=1, scale=0.7),
        ),
        "n_latent": 3,
        "posterior": posterior,
    }
    torch.manual_seed(seed)
    return MultimodalVAE(ModelConfig(**{**data, **options}))  # type: ignore[arg-type]


def small_batch(n: int = 5, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = (torch.rand(n, 6, generator=generator) > 0.5).float()
    return {"a": a, "b": torch.randn(n, 5, generator=generator)}


def gaussian(
    model: MultimodalVAE, x: Mapping[str, Input], given: Collection[str] | None = None
) -> Normal:
    """The posterior of a model of which it is a Gaussian."""
    q = model.posterior(x, given)
    assert isinstance(q, Normal)
    return q


def three_model(posterior: str = "product", seed: int = 0, **options: object) -> MultimodalVAE:
    """Bernoulli "a" (6 columns), Gaussian "b" (4 and 1 of context), Laplace "c" (3), float64."""
    layers = NetworkConfig((7,), activation="tanh")
    data = {
        "modalities": (
            Modality("a", 6, layers, layers),
            Modality("b", 4, layers, layers, likelihood="gaussian", n_context=1, scale=0.7),
            Modality("c", 3, layers, layers, likelihood="laplace", scale=0.5),
        ),
        "n_latent": 3,
        "posterior": posterior,
    }
    torch.manual_seed(seed)
    return MultimodalVAE(ModelConfig(**{**data, **options})).double()  # type: ignore[arg-type]


def three_batch(n: int = 5, seed: int = 1) -> dict[str, Tensor]:
    third = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed + 100))
    return {name: x.double() for name, x in {**small_batch(n, seed), "c": third}.items()}


def small_source(n: int = 40, seed: int = 1) -> TensorSource:
    return TensorSource(small_batch(n, seed))


def random_rows(n_rows: int, n_columns: int, seed: int = 0) -> SparseRows:
    """Rows of 0 to 5 entries; the first and the last row are empty."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 6, (n_rows,), generator=generator)
    lengths[0] = lengths[-1] = 0
    columns = [torch.randperm(n_columns, generator=generator)[:n] for n in lengths.tolist()]
    flat = torch.cat(columns)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return SparseRows(offsets, flat, torch.randn(len(flat), generator=generator), n_columns)


@dataclass(frozen=True)
class LinearGaussian:
    """x_i = W_i z + s_i e with orthogonal columns of W_i, so that all posteriors are diagonal."""

    weights: tuple[Tensor, Tensor]
    scales: tuple[float, float]

    def likelihood_expert(self, x: Tensor, i: int) -> Normal:
        """p(x_i | z) as an unnormalised Gaussian over z."""
        w, s = self.weights[i], self.scales[i]
        precision = w.square().sum(0) / s**2
        mean = (x @ w / s**2) / precision
        return Normal(mean, -precision.log().expand_as(mean))

    def posterior(self, *observed: tuple[Tensor, int]) -> Normal:
        """p(z | the observed), by precisions."""
        first = observed[0][0]
        total = torch.ones(self.weights[0].shape[1], dtype=first.dtype)
        weighted = torch.zeros(len(first), len(total), dtype=first.dtype)
        for x, i in observed:
            expert = self.likelihood_expert(x, i)
            total = total + (-expert.logvar[0]).exp()
            weighted = weighted + expert.mean * (-expert.logvar).exp()
        mean = weighted / total
        return Normal(mean, -total.log().expand_as(mean))

    def evidence(self, *observed: tuple[Tensor, int]) -> Tensor:
        """log p(the observed), from the joint Gaussian of the data."""
        x = torch.cat([x for x, _ in observed], dim=1)
        w = torch.cat([self.weights[i] for _, i in observed])
        variances = [
            torch.full((part.shape[1],), self.scales[i] ** 2, dtype=torch.float64)
            for part, i in observed
        ]
        covariance = w @ w.T + torch.diag(torch.cat(variances))
        zero = torch.zeros(x.shape[1], dtype=x.dtype)
        return torch.distributions.MultivariateNormal(zero, covariance).log_prob(x)

    def expected_log_likelihood(self, q: Normal, x: Tensor, i: int) -> Tensor:
        """R_i(q) = E_q[log p(x_i | z)] in closed form."""
        w, s = self.weights[i], self.scales[i]
        squared = (x - q.mean @ w.T).square().sum(1) + (w.square().sum(0) * q.logvar.exp()).sum(1)
        return -0.5 * (x.shape[1] * math.log(2 * math.pi * s**2) + squared / s**2)


def linear_gaussian(n: int = 6, seed: int = 0) -> tuple[LinearGaussian, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def orthogonal(n_rows: int) -> Tensor:
        matrix = torch.randn(n_rows, 3, generator=generator, dtype=torch.float64)
        columns = torch.linalg.qr(matrix).Q
        return columns * torch.tensor([1.5, 0.8, 0.4], dtype=torch.float64)

    model = LinearGaussian((orthogonal(7), orthogonal(5)), (0.6, 0.9))
    z = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    noises = [torch.randn(n, d, generator=generator, dtype=torch.float64) for d in (7, 5)]
    x1, x2 = (
        z @ w.T + s * noise for w, s, noise in zip(model.weights, model.scales, noises, strict=True)
    )
    return model, (x1, x2)


def linear_model(
    exact: LinearGaussian, posterior: str, only: tuple[str, ...] = ("a", "b")
) -> MultimodalVAE:
    """Linear networks on modalities a and b, with the true decoders; float64.

    All posteriors of the exact model can be represented: single ones, joint ones, and by
    ``product_own`` with likelihood experts.
    """
    modalities = tuple(
        Modality(name, len(exact.weights[i]), NONE, NONE, "gaussian", scale=exact.scales[i])
        for i, name in enumerate(("a", "b"))
        if name in only
    )
    config = ModelConfig(modalities, 3, posterior, joint_hidden=0)  # type: ignore[arg-type]
    model = MultimodalVAE(config).double()
    with torch.no_grad():
        for name in only:
            model.get_parameter(f"decoders.{name}.output.weight").copy_(
                exact.weights["ab".index(name)]
            )
            model.get_parameter(f"decoders.{name}.output.bias").zero_()
    return model


@torch.no_grad()
def set_linear_head(
    model: MultimodalVAE, exact: LinearGaussian, head: str, names: str, prior: float = 1.0
) -> None:
    """Let the linear head `head` of the modalities `names` give p(z | x), or the likelihood.

    With `prior` 0 it is the expert p(x_i | z) of one modality instead.
    """
    chosen = ["ab".index(name) for name in names]
    scaled = [exact.weights[i] / exact.scales[i] ** 2 for i in chosen]
    precision = torch.full((3,), prior, dtype=torch.float64)
    for i, part in zip(chosen, scaled, strict=True):
        precision = precision + (exact.weights[i] * part).sum(0)
    weight = model.get_parameter(f"posteriors.heads.{head}.linear.weight")
    bias = model.get_parameter(f"posteriors.heads.{head}.linear.bias")
    weight.zero_()
    weight[:3] = torch.cat([part / precision for part in scaled]).T
    bias[:3] = 0.0
    bias[3:] = -precision.log()
