"""The multimodal VAE: posterior given any determined subset of modalities, and likelihoods.

One class for all kinds. Kutuzova et al., "Multimodal Variational Autoencoders for Semi-Supervised
Learning: In Defense of Product-of-Experts", gives the two-modality formulas (eqs 3-5, 11-13).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor, nn

from specvae.errors import ConfigError
from specvae.vae import settings
from specvae.vae.distributions import (
    Bernoulli,
    Gaussian,
    Likelihood,
    Normal,
    SparseGaussian,
    at_least_float32,
    product,
)
from specvae.vae.networks import Input, NetworkConfig, SparseRows, build_body

Variance = Literal["logvar", "softplus_var", "softplus_sd"]


@dataclass(frozen=True)
class Modality:
    """One kind of observation.

    Attributes
    ----------
    name
        Letters, digits and underscores, beginning with a letter.
    n_features
        Columns that are reconstructed: the first ones of the input.
    n_context
        Further input columns that the encoders see and nothing reconstructs.
    likelihood
        ``bernoulli`` (from logits; grey targets allowed) or ``gaussian``.
    scale
        Standard deviation of the Gaussian likelihood, in the units of the features.
    encoder, decoder
        Their hidden layers.
    sparse
        The input arrives as :class:`~specvae.vae.networks.SparseRows`.
    """

    name: str
    n_features: int
    encoder: NetworkConfig
    decoder: NetworkConfig
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    n_context: int = 0
    scale: float = 1.0
    sparse: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", self.name):
            raise ConfigError(f"modality name: wanted letters, digits and _, found '{self.name}'")
        if self.n_features < 1 or self.n_context < 0:
            raise ConfigError(
                f"modality {self.name}: n_features must be positive and n_context not negative, "
                f"found {self.n_features} and {self.n_context}"
            )
        if not self.scale > 0.0:
            raise ConfigError(f"modality {self.name}: scale must be positive, found {self.scale}")


@dataclass(frozen=True)
class ModelConfig:
    """Everything that determines the architecture.

    Attributes
    ----------
    modalities
        In a fixed order, with distinct names.
    n_latent
        Dimensions of z.
    posterior
        ``product`` (SVAE): q(z|x1,x2) = q1 q2 / Z and q(z|x1) = q1 q*2(.|x1) / Z; ``product_own``
        (VAEVAE (a)): the same with q* = 1; ``joint`` (VAEVAE (b)): one network for each subset.
    prior_expert
        Multiply N(0, I) into each product (not used by ``joint``).
    variance
        What a network's second half of outputs is: ``logvar``; ``softplus_var``, variance =
        softplus; ``softplus_sd``, standard deviation = softplus.
    share_body
        All networks that read one modality share the hidden layers and differ in their last layer.
    initial_logvar
        Log-variance at which the encoders start (``variance`` logvar only): below 0, codes carry
        information from the first step, which a reconstruction needs to get off the ground.
    joint_hidden
        Width of the layer that joins the bodies (``joint`` only); None: the widest last hidden
        layer among the encoders.
    """

    modalities: tuple[Modality, ...]
    n_latent: int
    posterior: Literal["product", "product_own", "joint"] = "product"
    prior_expert: bool = True
    variance: Variance = "logvar"
    share_body: bool = False
    initial_logvar: float = 0.0
    joint_hidden: int | None = None

    def __post_init__(self) -> None:
        names = [modality.name for modality in self.modalities]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"modalities: names must be distinct, found {names}")
        if self.n_latent < 1:
            raise ConfigError(f"n_latent: must be positive, found {self.n_latent}")
        if self.initial_logvar and self.variance != "logvar":
            raise ConfigError(f"initial_logvar: needs variance logvar, found {self.variance}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(modality.name for modality in self.modalities)

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        return cast(dict[str, Any], settings.to_json(self))

    @classmethod
    def from_json(cls, data: object) -> ModelConfig:
        """Build from JSON values; an unknown key is a ConfigError that names the nearest."""
        return settings.from_json(cls, data)


def _log_softplus(x: Tensor) -> Tensor:
    # softplus(x) -> exp(x) for x -> -inf, where float32 would underflow to log(0).
    return torch.where(x < -15.0, x, torch.log(F.softplus(x.clamp(min=-15.0))))


_LOGVAR: dict[str, Callable[[Tensor], Tensor]] = {
    "logvar": lambda raw: raw,
    "softplus_var": _log_softplus,
    "softplus_sd": lambda raw: 2.0 * _log_softplus(raw),
}


class GaussianHead(nn.Module):
    """Last layer of an encoder: features (batch, n_inputs) to a Normal over z."""

    def __init__(self, n_inputs: int, config: ModelConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(n_inputs, 2 * config.n_latent)
        self.variance = config.variance
        with torch.no_grad():
            self.linear.bias[config.n_latent :] += config.initial_logvar

    def forward(self, features: Tensor) -> Normal:
        """Return q(z | features)."""
        mean, raw = at_least_float32(self.linear(features)).chunk(2, dim=-1)
        return Normal(mean, _LOGVAR[self.variance](raw))


class PosteriorNetwork(nn.Module):
    """Networks behind the posteriors; subclasses say which there are and how they combine."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.bodies = nn.ModuleDict()
        self.heads = nn.ModuleDict()

    def _body_key(self, source: str, use: str) -> str:
        return source if self.config.share_body else f"{source}->{use}"

    def _add_body(self, modality: Modality, use: str) -> int:
        """Create the hidden layers that read `modality` for `use`; return their width."""
        key = self._body_key(modality.name, use)
        if key not in self.bodies:
            n_inputs = modality.n_features + modality.n_context
            self.bodies[key] = build_body(n_inputs, modality.encoder, modality.sparse)
        return cast(int, self.bodies[key].n_outputs)

    def _add_head(self, key: str, n_inputs: int) -> None:
        self.heads[key] = GaussianHead(n_inputs, self.config)

    def combine(self, encoded: Encoded, given: frozenset[str]) -> Normal:
        """Return q(z | x_given), (batch, n_latent)."""
        raise NotImplementedError


class Encoded:
    """The encodings of one batch: each network runs at most once, whatever asks for it.

    Made by :meth:`MultimodalVAE.encode` for one evaluation with fixed weights and then dropped.
    """

    def __init__(self, network: PosteriorNetwork, x: Mapping[str, Input]) -> None:
        self.x = x
        self._network = network
        self._features: dict[str, Tensor] = {}
        self._experts: dict[str, Normal] = {}
        self._posteriors: dict[frozenset[str], Normal] = {}

    def features(self, source: str, use: str) -> Tensor:
        """Return the hidden features of modality `source` for `use`, (batch, width)."""
        key = self._network._body_key(source, use)
        if key not in self._features:
            self._features[key] = self._network.bodies[key](self.x[source])
        return self._features[key]

    def expert(self, source: str, target: str) -> Normal:
        """Return q_i (`source` = `target`) or q*_j(. | x_i), for the products."""
        key = f"{source}->{target}"
        if key not in self._experts:
            self._experts[key] = self._network.heads[key](self.features(source, target))
        return self._experts[key]

    def posterior(self, given: Collection[str] | None = None) -> Normal:
        """Return q(z | x_given), (batch, n_latent); `given` defaults to all of the batch.

        Raises
        ------
        ConfigError
            If `given` is empty or names a modality that the batch lacks, or the model kind does
            not determine this subset.
        """
        key = frozenset(self.x if given is None else given)
        if not key or not key <= self.x.keys():
            raise ConfigError(
                f"posterior given {sorted(key) or 'nothing'}: the batch holds {sorted(self.x)}"
            )
        if key not in self._posteriors:
            self._posteriors[key] = self._network.combine(self, key)
        return self._posteriors[key]


class ProductPosterior(PosteriorNetwork):
    """Products of experts: SVAE, and VAEVAE (a) where the substitutes q* are left out.

    An expert ``i->j`` reads modality i and speaks for modality j: ``i->i`` is q_i, the others are
    the q*_j(. | x_i) that stand in for an absent modality; n**2 networks in all.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for source in config.modalities:
            for target in config.names:
                if target == source.name or config.posterior == "product":
                    width = self._add_body(source, target)
                    self._add_head(f"{source.name}->{target}", width)

    def combine(self, encoded: Encoded, given: frozenset[str]) -> Normal:
        """Return the product of q_i, i given, and of q*_j for each absent j."""
        names = self.config.names
        experts = [encoded.expert(name, name) for name in names if name in given]
        absent = [name for name in names if name not in given]
        if absent and self.config.posterior == "product":
            if len(given) > 1:
                raise ConfigError(
                    f"posterior given {sorted(given)} of {len(names)} modalities: a product of "
                    "experts is defined given one or all of them"
                )
            (source,) = given
            experts += [encoded.expert(source, target) for target in absent]
        return product(experts, self.config.prior_expert)


class JointPosterior(PosteriorNetwork):
    """One network for each non-empty subset of the modalities: VAEVAE (b).

    The network of several modalities is one body for each of them, concatenated, then a linear
    layer with ReLU, then the head.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.joins = nn.ModuleDict()
        for size in range(1, len(config.modalities) + 1):
            for subset in combinations(config.modalities, size):
                key = "+".join(modality.name for modality in subset)
                widths = [self._add_body(modality, key) for modality in subset]
                if size == 1:
                    self._add_head(key, widths[0])
                    continue
                joint_hidden = config.joint_hidden or max(widths)
                self.joins[key] = nn.Sequential(nn.Linear(sum(widths), joint_hidden), nn.ReLU())
                self._add_head(key, joint_hidden)

    def combine(self, encoded: Encoded, given: frozenset[str]) -> Normal:
        """Return the output of the network of the subset `given`."""
        names = [name for name in self.config.names if name in given]
        key = "+".join(names)
        features = [encoded.features(name, key) for name in names]
        hidden = self.joins[key](torch.cat(features, dim=-1)) if len(names) > 1 else features[0]
        return cast(Normal, self.heads[key](hidden))


_POSTERIORS: dict[str, type[PosteriorNetwork]] = {
    "product": ProductPosterior,
    "product_own": ProductPosterior,
    "joint": JointPosterior,
}


class Decoder(nn.Module):
    """Latent codes to the likelihood of one modality."""

    def __init__(self, modality: Modality, n_latent: int) -> None:
        super().__init__()
        self.modality = modality
        self.body = build_body(n_latent, modality.decoder)
        self.output = nn.Linear(self.body.n_outputs, modality.n_features)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Set the last layer's bias so that an untrained decoder gives `mean`, (n_features,)."""
        if self.modality.likelihood == "bernoulli":
            mean = torch.logit(mean, eps=1e-3)
        self.output.bias.copy_(mean)

    def forward(self, z: Tensor) -> Likelihood:
        """Return p(x | z) for z (..., batch, n_latent)."""
        hidden = self.body(z)
        if self.modality.likelihood == "bernoulli":
            return Bernoulli(at_least_float32(self.output(hidden)))
        scale = self.modality.scale
        if self.modality.sparse:
            layer = self.output
            return SparseGaussian.from_layer(hidden, layer.weight, layer.bias, scale)
        return Gaussian(at_least_float32(self.output(hidden)), scale)


class MultimodalVAE(nn.Module):
    """Variational autoencoder over named modalities.

    Parameters
    ----------
    config
        Modalities, latent size, posterior kind.

    Examples
    --------
    >>> import torch
    >>> layers = NetworkConfig(hidden=(16,))
    >>> config = ModelConfig(
    ...     modalities=(
    ...         Modality("image", 8, layers, layers),
    ...         Modality("sound", 5, layers, layers, likelihood="gaussian"),
    ...     ),
    ...     n_latent=2,
    ... )
    >>> model = MultimodalVAE(config)
    >>> q = model.posterior({"image": torch.rand(3, 8)})
    >>> tuple(q.mean.shape)
    (3, 2)
    >>> tuple(model.likelihood(q.mean, "sound").mean.shape)
    (3, 5)
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.posteriors = _POSTERIORS[config.posterior](config)
        self.decoders = nn.ModuleDict(
            {modality.name: Decoder(modality, config.n_latent) for modality in config.modalities}
        )

    @property
    def n_parameters(self) -> int:
        """Number of trained numbers, all networks included."""
        return sum(parameter.numel() for parameter in self.parameters())

    def modality(self, name: str) -> Modality:
        """Return the modality called `name`; an unknown one is a ConfigError."""
        for modality in self.config.modalities:
            if modality.name == name:
                return modality
        raise ConfigError(f"no modality '{name}'; the model has {', '.join(self.config.names)}")

    def start_at(self, means: Mapping[str, Tensor]) -> None:
        """Let untrained decoders give the data's mean, by modality name: (n_features,)."""
        for name, mean in means.items():
            self.modality(name)
            cast(Decoder, self.decoders[name]).start_at(mean)

    def encode(self, x: Mapping[str, Input]) -> Encoded:
        """Return the encodings of a batch, computed when asked for and at most once.

        Parameters
        ----------
        x
            By modality name: (batch, n_features + n_context), dense or sparse.
        """
        for name, value in x.items():
            modality = self.modality(name)
            wanted = modality.n_features + modality.n_context
            found = value.n_columns if isinstance(value, SparseRows) else value.shape[-1]
            if found != wanted:
                raise ConfigError(f"modality {name}: found {found} columns, wanted {wanted}")
        return Encoded(self.posteriors, x)

    def posterior(self, x: Mapping[str, Input], given: Collection[str] | None = None) -> Normal:
        """Return q(z | x_given), (batch, n_latent); `given` defaults to every modality in `x`."""
        return self.encode(x).posterior(given)

    def likelihood(self, z: Tensor, name: str) -> Likelihood:
        """Return p(x_name | z) for z (..., batch, n_latent)."""
        self.modality(name)
        return cast(Likelihood, self.decoders[name](z))
