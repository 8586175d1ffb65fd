"""Diagonal Gaussians over the latent space, their product, and the likelihoods of the modalities.

All measures for numerical stability are here. Products never exponentiate a log-precision, an
absent expert has infinite variance, and everything runs in at least float32, whatever
``torch.autocast`` is set to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor

from specvae.vae.networks import SparseRows, gather_rows
from specvae.vae.parallel import BatchPart

_LOGVAR_LIMIT = 20.0
_LOGVAR_LEAK = 0.01


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32 if it has half precision, else unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def bounded_logvar(logvar: Tensor) -> Tensor:
    """Return log-variances whose exponentials and their ratios stay finite in float32.

    Values within +-20 are unchanged. Beyond, the slope is 0.01, so that an encoder whose outputs
    diverged still gets a gradient; a hard clamp would give none.
    """
    # A clamp, whose gradient is one kernel in place of five.
    inside = F.hardtanh(logvar, -_LOGVAR_LIMIT, _LOGVAR_LIMIT)
    return torch.lerp(inside, logvar, _LOGVAR_LEAK)


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """Gaussian with diagonal covariance over the latent space.

    Attributes
    ----------
    mean
        (..., batch, n_latent), float.
    logvar
        Same shape: natural logarithm of the variance; ``+inf`` in an absent expert.
    """

    mean: Tensor
    logvar: Tensor
    _bounded: Tensor | None = field(default=None, init=False, repr=False)

    @property
    def bounded_logvar(self) -> Tensor:
        """:func:`bounded_logvar` of `logvar` in at least float32, computed once."""
        if self._bounded is not None:
            return self._bounded
        bounded = bounded_logvar(at_least_float32(self.logvar))
        # A value that was computed without gradients cannot be used where they are needed later.
        if bounded.requires_grad == self.logvar.requires_grad and not bounded.is_inference():
            object.__setattr__(self, "_bounded", bounded)
        return bounded

    @property
    def components(self) -> tuple[Normal, ...]:
        """The Gaussian itself, as the only component of a mixture."""
        return (self,)

    @classmethod
    def stacked(cls, normals: Sequence[Normal]) -> Normal:
        """Return Gaussians of one shape as one, (n, ..., batch, n_latent), of bounded variances."""
        bounded = torch.stack([one.bounded_logvar for one in normals])
        found = cls(torch.stack([at_least_float32(one.mean) for one in normals]), bounded)
        object.__setattr__(found, "_bounded", bounded)
        return found

    def detach(self) -> Normal:
        """Return the same Gaussian without gradients to its parameters."""
        return Normal(self.mean.detach(), self.logvar.detach())

    def sample(
        self,
        n_samples: int = 1,
        generator: torch.Generator | None = None,
        part: BatchPart | None = None,
    ) -> Tensor:
        """Return reparameterised samples, (n_samples, ..., batch, n_latent).

        The noise is drawn on the generator's device: with one on the CPU, samples are the same on a
        GPU. With `part`, the rows are those of a larger batch, whose noise is drawn as a whole.
        """
        device = self.mean.device if generator is None else generator.device
        *others, n_rows, n_latent = self.mean.shape
        shape = (n_samples, *others, n_rows if part is None else part.n_rows, n_latent)
        noise = torch.randn(shape, generator=generator, device=device, dtype=self.mean.dtype)
        if part is not None:
            noise = noise[..., part.first : part.end, :]
        noise = noise.to(self.mean.device)
        return self.mean + torch.exp(0.5 * self.bounded_logvar) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z) summed over the latent dimensions, (..., batch), in nats."""
        logvar = self.bounded_logvar
        squared = (z - self.mean).square() * torch.exp(-logvar)
        return -0.5 * (squared + logvar + math.log(2 * math.pi)).sum(-1)


@dataclass(frozen=True, slots=True, eq=False)
class MixtureOfNormals:
    """Mixture of Gaussians with equal weights.

    Attributes
    ----------
    components
        At least one, all of shape (..., batch, n_latent).
    """

    components: tuple[Normal, ...]

    @property
    def mean(self) -> Tensor:
        """Mean of the mixture, (..., batch, n_latent)."""
        return torch.stack([component.mean for component in self.components]).mean(0)

    def sample(self, n_samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Return samples, (n_samples, ..., batch, n_latent), each from a component drawn at random.

        The choice of a component has no gradient; objectives use each component instead.
        """
        samples = torch.stack([c.sample(n_samples, generator) for c in self.components])
        shape = samples.shape[1:-1]
        device = samples.device if generator is None else generator.device
        chosen = torch.randint(len(self.components), shape, generator=generator, device=device)
        chosen = chosen.to(samples.device)
        index = chosen[None, ..., None].expand(1, *samples.shape[1:])
        return samples.gather(0, index).squeeze(0)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z), (..., batch), in nats."""
        each = torch.stack([component.log_prob(z) for component in self.components])
        return torch.logsumexp(each, dim=0) - math.log(len(self.components))


Posterior = Normal | MixtureOfNormals


def standard_normal(like: Tensor) -> Normal:
    """Return the prior N(0, I) with the shape, dtype and device of `like`."""
    zeros = torch.zeros_like(like)
    return Normal(zeros, zeros)


def product(experts: Sequence[Normal], prior_expert: bool) -> Normal:
    r"""Return the renormalised product of Gaussian experts.

    With log-precisions :math:`t_m = -\log\sigma_m^2`,

    .. math:: \mu = \sum_m \mathrm{softmax}(t)_m \mu_m, \qquad
              \log\sigma^2 = -\mathrm{logsumexp}(t),

    so that no precision is ever exponentiated by itself and no epsilon is needed.

    Parameters
    ----------
    experts
        At least one; all of shape (batch, n_latent). An absent one has ``logvar = +inf``.
    prior_expert
        Multiply by N(0, I) too. Without it, a coordinate is NaN if all its experts are absent;
        callers make sure that one is there.
    """
    means = [at_least_float32(expert.mean) for expert in experts]
    logvars = [at_least_float32(expert.logvar) for expert in experts]
    if prior_expert:
        zero = torch.zeros_like(means[0])
        means.append(zero)
        logvars.append(zero)
    t = -torch.stack(logvars)  # (n_experts, batch, n_latent)
    mean = (torch.softmax(t, dim=0) * torch.stack(means)).sum(0)
    return Normal(mean, -torch.logsumexp(t, dim=0))


def kl_divergence(q: Normal, p: Normal | None = None) -> Tensor:
    """Return KL(q || p) summed over the latent dimensions, (..., batch), in nats.

    Parameters
    ----------
    q, p
        Gaussians of equal shape; `p` None is the prior N(0, I).
    """
    mean, logvar = at_least_float32(q.mean), q.bounded_logvar
    if p is None:
        return 0.5 * (logvar.exp() + mean.square() - 1.0 - logvar).sum(-1)
    other = p.bounded_logvar
    squared = (mean - at_least_float32(p.mean)).square() * torch.exp(-other)
    return 0.5 * (other - logvar + torch.exp(logvar - other) + squared - 1.0).sum(-1)


class Likelihood(Protocol):
    """p(x | z) of one modality for a batch of latent codes, (..., batch, n_features)."""

    @property
    def mean(self) -> Tensor:
        """E[x | z], (..., batch, n_features)."""
        ...

    def log_prob(self, target: Tensor | SparseRows) -> Tensor:
        """Return log p(target | z) summed over the features, (..., batch), in nats."""
        ...

    def split(self, shapes: Sequence[tuple[int, ...]]) -> Sequence[Likelihood]:
        """Split a flat batch into consecutive parts of these shapes, (..., batch)."""
        ...


def _split(x: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    parts = torch.split_with_sizes(x, [math.prod(shape) for shape in shapes])
    return [part.view(*shape, *x.shape[1:]) for part, shape in zip(parts, shapes, strict=True)]


def _dense(target: Tensor | SparseRows, n_features: int) -> Tensor:
    return target.to_dense(n_features) if isinstance(target, SparseRows) else target


@dataclass(frozen=True, slots=True, eq=False)
class Bernoulli:
    """Independent Bernoulli variables; grey targets in [0, 1] are allowed.

    Attributes
    ----------
    logits
        (..., batch, n_features), log-odds of 1.
    """

    logits: Tensor

    @property
    def mean(self) -> Tensor:
        """Probability of 1, (..., batch, n_features)."""
        return torch.sigmoid(self.logits)

    def log_prob(self, target: Tensor | SparseRows) -> Tensor:
        """Return sum of x log p + (1 - x) log(1 - p), (..., batch), in nats."""
        x = _dense(target, self.logits.shape[-1])
        # log p = logit + logsigmoid(-logit), log(1 - p) = logsigmoid(-logit)
        return (x * self.logits + F.logsigmoid(-self.logits)).sum(-1)

    def split(self, shapes: Sequence[tuple[int, ...]]) -> list[Bernoulli]:
        """Split a flat batch into consecutive parts of these shapes, (..., batch)."""
        return [Bernoulli(part) for part in _split(self.logits, shapes)]


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """Independent Gaussians of one fixed standard deviation.

    Attributes
    ----------
    mean
        (..., batch, n_features).
    scale
        Standard deviation, in the units of the features.
    """

    mean: Tensor
    scale: float

    def log_prob(self, target: Tensor | SparseRows) -> Tensor:
        """Return log N(x; mean, scale**2 I), (..., batch), in nats."""
        n_features = self.mean.shape[-1]
        squared = (_dense(target, n_features) - self.mean).square().sum(-1)
        return _gaussian_log_density(squared, n_features, self.scale)

    def split(self, shapes: Sequence[tuple[int, ...]]) -> list[Gaussian]:
        """Split a flat batch into consecutive parts of these shapes, (..., batch)."""
        return [Gaussian(part, self.scale) for part in _split(self.mean, shapes)]


@dataclass(frozen=True, slots=True, eq=False)
class Laplace:
    """Independent Laplace variables of one fixed scale.

    Attributes
    ----------
    mean
        (..., batch, n_features); mean and median.
    scale
        Mean absolute deviation, in the units of the features.
    """

    mean: Tensor
    scale: float

    def log_prob(self, target: Tensor | SparseRows) -> Tensor:
        """Return sum of -|x - mean| / scale - log(2 scale), (..., batch), in nats."""
        n_features = self.mean.shape[-1]
        deviation = (_dense(target, n_features) - self.mean).abs().sum(-1)
        return -deviation / self.scale - n_features * math.log(2.0 * self.scale)

    def split(self, shapes: Sequence[tuple[int, ...]]) -> list[Laplace]:
        """Split a flat batch into consecutive parts of these shapes, (..., batch)."""
        return [Laplace(part, self.scale) for part in _split(self.mean, shapes)]


@dataclass(frozen=True, slots=True, eq=False)
class Categorical:
    """One of several classes at each place, for instance the words of a sentence.

    Attributes
    ----------
    logits
        (..., batch, n_features, n_classes), log-odds up to a constant at each place.
    ignored
        Target class that adds nothing to the likelihood, such as padding; None: all count.
    """

    logits: Tensor
    ignored: int | None = None

    @property
    def mean(self) -> Tensor:
        """Probabilities of the classes, (..., batch, n_features, n_classes)."""
        return torch.softmax(self.logits, dim=-1)

    @property
    def mode(self) -> Tensor:
        """The most probable class at each place, (..., batch, n_features), int64."""
        return self.logits.argmax(-1)

    def log_prob(self, target: Tensor | SparseRows) -> Tensor:
        """Return log p of the classes `target` (..., batch, n_features), int64, in nats.

        Raises
        ------
        TypeError
            If they are sparse rows.
        """
        if isinstance(target, SparseRows):
            raise TypeError("classes come as a dense tensor of integers")
        chosen = target.expand(self.logits.shape[:-1]).unsqueeze(-1)
        # log_softmax at the chosen classes, without keeping it for all of them
        values = self.logits.gather(-1, chosen).squeeze(-1) - torch.logsumexp(self.logits, dim=-1)
        if self.ignored is not None:
            values = values.masked_fill(target == self.ignored, 0.0)
        return values.sum(-1)

    def split(self, shapes: Sequence[tuple[int, ...]]) -> list[Categorical]:
        """Split a flat batch into consecutive parts of these shapes, (..., batch)."""
        return [Categorical(part, self.ignored) for part in _split(self.logits, shapes)]


def _gaussian_log_density(squared_error: Tensor, n_features: int, scale: float) -> Tensor:
    constant = n_features * math.log(2 * math.pi * scale**2)
    return -0.5 * (squared_error / scale**2 + constant)


@dataclass(frozen=True, slots=True, eq=False)
class SparseGaussian:
    r"""Gaussian whose mean o = W h + b comes from a linear layer, for wide, sparse targets.

    The squared error to a sparse x needs neither the dense x nor, in large batches, o:

    .. math:: |x - o|^2 = |x|^2 - 2 \sum_{j: x_j \neq 0} x_j (W_j \cdot h + b_j) + |o|^2,
              \qquad |o|^2 = h^T (W^T W) h + 2 h \cdot W^T b + |b|^2 .

    The Gram matrix costs n_features * n_hidden**2 whatever the size of the batch, the outputs cost
    batch * n_features * n_hidden. The cheaper way is taken.

    Attributes
    ----------
    hidden
        (..., batch, n_hidden), input of the last layer.
    weight, bias
        (n_features, n_hidden) and (n_features,), the last layer.
    scale
        Standard deviation, in the units of the features.
    squared_norm
        (..., batch), :math:`|o|^2`.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor
    scale: float
    squared_norm: Tensor

    @classmethod
    def from_layer(
        cls, hidden: Tensor, weight: Tensor, bias: Tensor, scale: float
    ) -> SparseGaussian:
        """Build from the last layer and its input; computes ``squared_norm``."""
        hidden = hidden.to(weight.dtype)
        n_rows = hidden.numel() // hidden.shape[-1]
        # Full precision: |x - o|^2 is a difference of large numbers.
        with torch.autocast(hidden.device.type, enabled=False):
            # With gradients, two products of n_hidden against three of n_rows.
            if 3 * n_rows > 2 * hidden.shape[-1]:
                # d/dW of h^T W^T W h is 2 W h h^T, symmetric in the two W: one of them is held
                # fixed and the gradient of the other doubled, which saves a product.
                gram = weight.detach().T @ weight
                gram = 2.0 * gram - gram.detach()
                linear = 2.0 * (bias @ weight)
                squared_norm = (hidden * (hidden @ gram + linear)).sum(-1) + bias @ bias
            else:
                squared_norm = F.linear(hidden, weight, bias).square().sum(-1)
        return cls(hidden, weight, bias, scale, squared_norm)

    @property
    def mean(self) -> Tensor:
        """The outputs o, (..., batch, n_features)."""
        return F.linear(self.hidden, self.weight, self.bias)

    def log_prob(self, target: Tensor | SparseRows) -> Tensor:
        """Return log N(x; o, scale**2 I), (..., batch), in nats."""
        n_features = self.weight.shape[0]
        if not isinstance(target, SparseRows):
            return Gaussian(self.mean, self.scale).log_prob(target)
        x = target.first_columns(n_features)
        with torch.autocast(self.hidden.device.type, enabled=False):
            cross = (self.hidden * gather_rows(x, self.weight)).sum(-1)
            cross = cross + gather_rows(x, self.bias.unsqueeze(-1)).squeeze(-1)
            squared = x.squared_norm() - 2.0 * cross + self.squared_norm
        return _gaussian_log_density(squared, n_features, self.scale)

    def split(self, shapes: Sequence[tuple[int, ...]]) -> list[SparseGaussian]:
        """Split a flat batch into consecutive parts of these shapes, (..., batch)."""
        hidden = _split(self.hidden, shapes)
        norms = _split(self.squared_norm, shapes)
        return [
            SparseGaussian(h, self.weight, self.bias, self.scale, norm)
            for h, norm in zip(hidden, norms, strict=True)
        ]
