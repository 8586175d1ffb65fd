"""Posteriors given any subset of the modalities: networks, and how their outputs are combined."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812 (the customary name)
from torch import Tensor, nn

from specvae.errors import ConfigError
from specvae.vae.config import Modality, ModelConfig
from specvae.vae.distributions import (
    MixtureOfNormals,
    Normal,
    Posterior,
    at_least_float32,
    product,
)
from specvae.vae.kinds import PosteriorKind
from specvae.vae.networks import (
    Body,
    Input,
    NetworkConfig,
    encoder_body,
)


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
    """Networks of the posteriors; subclasses define which there are and how they are combined."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.bodies = nn.ModuleDict()
        self.heads = nn.ModuleDict()

    def _body_key(self, source: str, use: str) -> str:
        return source if self.config.share_body else f"{source}->{use}"

    def _add_body(self, modality: Modality, use: str, network: NetworkConfig) -> int:
        """Create the hidden layers that read `modality` for `use`; return their width."""
        key = self._body_key(modality.name, use)
        if key not in self.bodies:
            n_inputs = modality.n_features + modality.n_context
            self.bodies[key] = encoder_body(n_inputs, network, modality.sparse, modality.n_classes)
        return cast(int, self.bodies[key].n_outputs)

    def _add_head(self, key: str, n_inputs: int) -> None:
        self.heads[key] = GaussianHead(n_inputs, self.config)

    def _add_expert(self, source: Modality, target: str) -> None:
        """Create the network that reads `source` and stands for `target`."""
        width = self._add_body(source, target, source.encoder)
        self._add_head(f"{source.name}->{target}", width)

    def combine(self, encoded: Encodings, given: frozenset[str]) -> Posterior:
        """Return q(z | x_given), (batch, n_latent)."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """The output of a body for the rows of one or several batches.

    Attributes
    ----------
    places
        Places of the batches among those that are encoded together, in the order of their rows.
    sizes
        Rows of each.
    features
        (sum of sizes, width).
    """

    places: tuple[int, ...]
    sizes: list[int]
    features: Tensor

    def split(self, x: Tensor) -> Sequence[Tensor]:
        """Return the rows of each batch, of `x` with a row for each of `features`."""
        return [x] if len(self.sizes) == 1 else torch.split_with_sizes(x, self.sizes)

    def part(self, place: int) -> Tensor:
        """Return the features of the batch at a place."""
        return self.split(self.features)[self.places.index(place)]


class Batches:
    """Batches that are encoded together, and their encodings so far, by place.

    It must not refer to `Encodings`: with a reference cycle, gigabytes of tensors would live until
    Python's garbage collector runs.
    """

    def __init__(self, x: Sequence[Mapping[str, Input]]) -> None:
        self.x = x
        self.bodies: list[dict[str, _Reading]] = [{} for _ in x]
        self.heads: list[dict[str, Normal]] = [{} for _ in x]


def _is_dense(x: Input | None) -> bool:
    return isinstance(x, Tensor) and x.dim() == 2


class Encodings:
    """The encodings of one batch; each network runs at most once.

    :meth:`MultimodalVAE.encode` makes it for one evaluation, while the weights do not change.
    Several batches that are encoded together (:meth:`MultimodalVAE.encode_together`) share the
    calls of the networks that read a modality on its own.
    """

    def __init__(self, network: PosteriorNetwork, batches: Batches, place: int) -> None:
        self.x = batches.x[place]
        self._network = network
        self._batches = batches
        self._place = place
        self._posteriors: dict[frozenset[str], Posterior] = {}

    def features(self, source: str, use: str) -> Tensor:
        """Return the hidden features of modality `source` for `use`, (batch, width)."""
        return self._body(source, use).part(self._place)

    def expert(self, source: str, target: str) -> Normal:
        """Return q_i (`source` = `target`) or q*_j(. | x_i), for the products."""
        return self.head(f"{source}->{target}", source, target)

    def head(self, key: str, source: str, use: str) -> Normal:
        """Return the output of the head `key` for the features of `source` for `use`."""
        heads = self._batches.heads
        if key not in heads[self._place]:
            reading = self._body(source, use)
            q = self._network.heads[key](reading.features)
            means, logvars = reading.split(q.mean), reading.split(q.logvar)
            for place, mean, logvar in zip(reading.places, means, logvars, strict=True):
                heads[place][key] = Normal(mean, logvar)
        return heads[self._place][key]

    def _body(self, source: str, use: str) -> _Reading:
        key = self._network._body_key(source, use)
        bodies = self._batches.bodies
        if key not in bodies[self._place]:
            body = cast(Body, self._network.bodies[key])
            places = [self._place]
            # A network of several modalities has no input in a batch of one of them.
            if body.takes_rows_one_by_one and use in self._network.config.names:
                dense = [n for n, x in enumerate(self._batches.x) if _is_dense(x.get(source))]
                places = dense if self._place in dense else places
            inputs = [self._batches.x[place][source] for place in places]
            whole = inputs[0] if len(inputs) == 1 else torch.cat(cast("list[Tensor]", inputs))
            sizes = [len(x) for x in inputs]
            reading = _Reading(tuple(places), sizes, body(whole))
            for place in places:
                bodies[place][key] = reading
        return bodies[self._place][key]

    def posterior(self, given: Collection[str] | None = None) -> Posterior:
        """Return q(z | x_given), (batch, n_latent); `given` defaults to all of the batch.

        Raises
        ------
        ConfigError
            If `given` is empty or names a modality that the batch lacks.
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
    """Products of experts: SVAE, and VAEVAE (a) and MVAE where the substitutes q* are left out.

    An expert ``i->j`` reads modality i and stands for modality j: ``i->i`` is q_i, the others are
    the substitutes q*_j(. | x_i) for an absent modality. There are n**2 networks.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for source in config.modalities:
            for target in config.names:
                if target == source.name or config.posterior == "product":
                    self._add_expert(source, target)

    def combine(self, encoded: Encodings, given: frozenset[str]) -> Posterior:
        """Return the product of q_i, i given, and of q*_j for each absent j.

        Any given modality can stand in for the absent ones. If several are given, the result is the
        mixture of the products over all choices: the paper sums its objectives over them,
        f(q_ij) = f(q^i_ij) + f(q^j_ij) (eqs 36-38).
        """
        names = self.config.names
        experts = [encoded.expert(name, name) for name in names if name in given]
        absent = [name for name in names if name not in given]
        if not absent or self.config.posterior == "product_own":
            return product(experts, self.config.prior_expert)
        products = [
            product(
                experts + [encoded.expert(stand_in, target) for target in absent],
                self.config.prior_expert,
            )
            for stand_in in names
            if stand_in in given
        ]
        return products[0] if len(products) == 1 else MixtureOfNormals(tuple(products))


class JointPosterior(PosteriorNetwork):
    """Separate networks for subsets of the modalities: VAEVAE (b) and JMVAE.

    VAEVAE (b) has one for each non-empty subset, JMVAE (Suzuki et al., arXiv:1611.01891) one for
    each modality and one for all together. The network of several modalities has a body for each,
    whose features are concatenated; then come a linear layer with ReLU and the head.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.joins = nn.ModuleDict()
        n_modalities = len(config.modalities)
        for size in range(1, n_modalities + 1):
            if config.posterior == "joint_full" and 1 < size < n_modalities:
                continue
            for subset in combinations(config.modalities, size):
                self._add_subset(subset)

    def _add_subset(self, subset: tuple[Modality, ...]) -> None:
        key = "+".join(modality.name for modality in subset)
        if len(subset) == 1:
            self._add_head(key, self._add_body(subset[0], key, subset[0].encoder))
            return
        widths = [
            self._add_body(modality, key, modality.joint_encoder or modality.encoder)
            for modality in subset
        ]
        joint_hidden = self.config.joint_hidden
        if joint_hidden is None:
            joint_hidden = max(widths)
        if joint_hidden == 0:
            self.joins[key] = nn.Identity()
            joint_hidden = sum(widths)
        else:
            self.joins[key] = nn.Sequential(nn.Linear(sum(widths), joint_hidden), nn.ReLU())
        self._add_head(key, joint_hidden)

    def combine(self, encoded: Encodings, given: frozenset[str]) -> Posterior:
        """Return the output of the network of the subset `given`."""
        names = [name for name in self.config.names if name in given]
        key = "+".join(names)
        if key not in self.heads:
            singles = [encoded.posterior([name]) for name in names]
            # Each posterior already contains the prior.
            return product(cast("list[Normal]", singles), prior_expert=False)
        if len(names) == 1:
            return encoded.head(key, names[0], key)
        features = [encoded.features(name, key) for name in names]
        return cast(Normal, self.heads[key](self.joins[key](torch.cat(features, dim=-1))))


class MixturePosterior(PosteriorNetwork):
    """Mixtures of the single posteriors: MMVAE (Shi et al., arXiv:1911.03393)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for modality in config.modalities:
            self._add_expert(modality, modality.name)

    def combine(self, encoded: Encodings, given: frozenset[str]) -> Posterior:
        """Return the mixture, with equal weights, of the experts of the given modalities."""
        experts = [encoded.expert(name, name) for name in self.config.names if name in given]
        return experts[0] if len(experts) == 1 else MixtureOfNormals(tuple(experts))


class MixtureOfProductsPosterior(ProductPosterior):
    """Mixtures of products of the single posteriors: MoPoE (Sutter et al., arXiv:2105.02470)."""

    def combine(self, encoded: Encodings, given: frozenset[str]) -> Posterior:
        """Return the mixture, with equal weights, of the products of all subsets of `given`.

        There are 2**k - 1 of them for k modalities, those of single ones first.
        """
        names = [name for name in self.config.names if name in given]
        products = [
            product([encoded.expert(name, name) for name in subset], self.config.prior_expert)
            for size in range(1, len(names) + 1)
            for subset in combinations(names, size)
        ]
        return products[0] if len(products) == 1 else MixtureOfNormals(tuple(products))


class BridgePosterior(PosteriorNetwork):
    """Single networks and a linear layer over their codes: after Yadav et al. (WACV 2020).

    The bridge of a subset reads the means and log-variances of its single posteriors, so that the
    joint posterior is a Gaussian with a density; the publication bridges samples.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        for modality in config.modalities:
            self._add_expert(modality, modality.name)
        for size in range(2, len(config.modalities) + 1):
            for subset in combinations(config.names, size):
                self._add_head("+".join(subset), 2 * config.n_latent * size)

    def combine(self, encoded: Encodings, given: frozenset[str]) -> Posterior:
        """Return the expert of one modality, or the bridge over those of several."""
        names = [name for name in self.config.names if name in given]
        experts = [encoded.expert(name, name) for name in names]
        if len(experts) == 1:
            return experts[0]
        codes = [part for q in experts for part in (q.mean, q.bounded_logvar)]
        return cast(Normal, self.heads["+".join(names)](torch.cat(codes, dim=-1)))


POSTERIORS: dict[PosteriorKind, type[PosteriorNetwork]] = {
    "product": ProductPosterior,
    "product_own": ProductPosterior,
    "joint": JointPosterior,
    "joint_full": JointPosterior,
    "mixture": MixturePosterior,
    "mixture_of_products": MixtureOfProductsPosterior,
    "bridge": BridgePosterior,
}
