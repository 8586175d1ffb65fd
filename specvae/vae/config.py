"""Settings of models, objectives and training, as they are kept in checkpoints."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from specvae import settings
from specvae.errors import ConfigError
from specvae.settings import Count, Fraction, Positive, Range, Share, Weight
from specvae.vae.kinds import LossKind, PosteriorKind
from specvae.vae.networks import (
    NetworkConfig,
)

Variance = Literal["logvar", "softplus_var", "softplus_sd"]
SubsetTargets = Literal["given", "all"]


@dataclass(frozen=True)
class Modality:
    """One kind of observation.

    Attributes
    ----------
    name
        Letters, digits and underscores, beginning with a letter.
    n_features
        Columns that are reconstructed: the first ones of the input. Of tokens: their number.
    n_context
        Further input columns, which the encoders see and no decoder reconstructs.
    likelihood
        ``bernoulli`` (from logits; grey targets allowed), ``gaussian``, ``laplace``, or
        ``categorical`` (the input is int64, one class in each column).
    scale
        Standard deviation of the Gaussian, or scale of the Laplace likelihood, in the units of the
        features.
    encoder, decoder
        Their hidden layers.
    joint_encoder
        Hidden layers of the bodies that are concatenated with those of other modalities (posterior
        ``joint``); None: as `encoder`.
    sparse
        The input arrives as :class:`~specvae.vae.networks.SparseRows`.
    n_classes
        Classes of the categorical likelihood.
    ignored_class
        Target class that adds nothing to the likelihood, such as padding; None: all count.
    """

    name: str
    n_features: Count
    encoder: NetworkConfig
    decoder: NetworkConfig
    likelihood: Literal["bernoulli", "gaussian", "laplace", "categorical"] = "bernoulli"
    n_context: Annotated[int, Range(0)] = 0
    scale: Positive = 1.0
    sparse: bool = False
    joint_encoder: NetworkConfig | None = None
    n_classes: int = 0
    ignored_class: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", self.name):
            raise ConfigError(f"modality name: wanted letters, digits and _, found '{self.name}'")
        settings.require_ranges(self, f"modality {self.name}: ")
        categorical = self.likelihood == "categorical"
        if categorical != (self.n_classes > 1) or (categorical and self.n_context):
            raise ConfigError(
                f"modality {self.name}: a categorical likelihood needs n_classes above 1 and no "
                f"context, others no classes; found {self.likelihood}, n_classes {self.n_classes}, "
                f"n_context {self.n_context}"
            )


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
        (VAEVAE (a), MVAE): the same with q* = 1; ``joint`` (VAEVAE (b)): one network for each
        subset; ``joint_full`` (JMVAE): one for each modality and one for all, products of the
        single ones in between; ``mixture`` (MMVAE): single networks and their mixtures;
        ``mixture_of_products`` (MoPoE): single networks and the mixture of the products of all
        subsets; ``bridge``: single networks and a linear layer over what those of a subset give.
    prior_expert
        Multiply N(0, I) into each product of experts (``product``, ``product_own`` and
        ``mixture_of_products``).
    variance
        What a network's second half of outputs is: ``logvar``; ``softplus_var``, variance =
        softplus; ``softplus_sd``, standard deviation = softplus.
    share_body
        All networks that read one modality share the hidden layers and differ in their last layer.
    initial_logvar
        Log-variance at which the encoders start (``variance`` logvar only): below 0, codes carry
        information from the first step, without which the decoders do not begin to learn.
    joint_hidden
        Width of the layer that joins the bodies (``joint`` and ``joint_full``); None: that of the
        widest body among them; 0: no such layer.
    """

    modalities: tuple[Modality, ...]
    n_latent: Count
    posterior: PosteriorKind = "product"
    prior_expert: bool = True
    variance: Variance = "logvar"
    share_body: bool = False
    initial_logvar: float = 0.0
    joint_hidden: Annotated[int, Range(0)] | None = None

    def __post_init__(self) -> None:
        names = [modality.name for modality in self.modalities]
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"modalities: names must be distinct, found {names}")
        settings.require_ranges(self)
        if self.share_body and any(modality.joint_encoder for modality in self.modalities):
            raise ConfigError("share_body: one network for each modality, but joint_encoder is set")
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


@dataclass(frozen=True)
class ObjectiveConfig:
    """The parts of the objective and their weights. The defaults are the paper's.

    Attributes
    ----------
    loss
        ``new`` (SVAE, VAEVAE*) adds U_i on the paired samples to ``vaevae`` (VAEVAE, SVAE*);
        ``jmvae``, ``mvae``, ``mvtcae``, ``elbo`` (MoPoE), and ``iwae`` or ``dreg`` (MMVAE) are
        those of other models.
    modality_weights
        Weight of each reconstruction of a modality; 1 where not given.
    beta
        Weight of all KL divergences.
    beta_warmup_epochs
        Epochs over which beta rises linearly from 0.
    path_weights
        ``"a->b"`` to w: adds w E_{q(z|x_a)}[log p(x_b|z)] on the paired samples, the path that a
        prediction of b from a takes. Empty in the paper.
    n_samples
        Samples of z for each expectation; K of ``iwae`` and ``dreg``.
    alpha
        Weight of KL(q || q_i) beside beta (``jmvae``; None: 1), or the share of the conditional
        information bottlenecks, from 0 to 1 (``mvtcae``; None: 0.9).
    n_random_subsets
        Subsets of 2 to n - 1 modalities drawn in each step (``mvae`` with n > 2 only).
    subset_targets
        What the posterior of a subset of 2 to n - 1 modalities reconstructs (``new`` and
        ``vaevae`` with n > 2): those ``given``, as in the paper, or ``all``, as in its code.
    """

    loss: LossKind = "new"
    modality_weights: Mapping[str, Weight] = field(default_factory=dict)
    beta: Weight = 1.0
    beta_warmup_epochs: Weight = 0.0
    path_weights: Mapping[str, Weight] = field(default_factory=dict)
    n_samples: Count = 1
    alpha: Weight | None = None
    n_random_subsets: Annotated[int, Range(0)] = 1
    subset_targets: SubsetTargets = "given"

    def __post_init__(self) -> None:
        settings.require_ranges(self)
        for path in self.path_weights:
            path_ends(path)
        if self.loss == "mvtcae" and self.share_of_singles > 1.0:
            raise ConfigError(
                f"alpha: of loss mvtcae a share from 0 to 1, found {self.share_of_singles:g}"
            )

    @property
    def share_of_singles(self) -> float:
        """`alpha`, or the loss's own default if it is None."""
        if self.alpha is not None:
            return self.alpha
        return 0.9 if self.loss == "mvtcae" else 1.0

    def beta_at(self, epoch: float) -> float:
        """Return beta after `epoch` epochs, fractions included."""
        if epoch >= self.beta_warmup_epochs:
            return self.beta
        return self.beta * epoch / self.beta_warmup_epochs

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        return cast(dict[str, Any], settings.to_json(self))

    @classmethod
    def from_json(cls, data: object) -> ObjectiveConfig:
        """Build from JSON values; an unknown key is a ConfigError that names the nearest."""
        return settings.from_json(cls, data)


def path_ends(path: str) -> tuple[str, str]:
    """Return the modalities of a path ``a->b``; a ConfigError if it is none."""
    source, arrow, target = path.partition("->")
    if not (source and arrow and target):
        raise ConfigError(f"path_weights: wanted 'given->target', found '{path}'")
    return source, target


@dataclass(frozen=True)
class OptimConfig:
    """How the weights are trained (Adam).

    Attributes
    ----------
    epochs
        Passes over the largest stream, or over `epoch_size` examples.
    batch_size
        Examples of each stream in a step.
    learning_rate
        Highest learning rate.
    weight_decay
        Decoupled weight decay (AdamW).
    clip_norm
        Highest norm of the gradient; None: no clipping.
    schedule
        ``constant``; ``cosine``: falls to 0 over the run; ``onecycle``: rises from 1/25 over the
        first 30 % (or ``warmup``) and falls to 0, both along a cosine.
    warmup
        Share of the steps over which the rate rises linearly from 0 (constant, cosine).
    seed
        Of shuffling, of the samples of z and of dropout.
    patience
        Stop after that many epochs without a better validation value; None: never.
    weight_averaging
        Decay of an exponential moving average of the weights; the average is validated and kept.
        None: no averaging.
    amp
        Matrix products in bfloat16; products of experts and KL stay in float32.
    epoch_size
        Examples in a pass, whatever the sizes of the streams; None: those of the largest.
    """

    epochs: Count
    batch_size: Count
    learning_rate: Positive
    weight_decay: Weight = 0.0
    clip_norm: Positive | None = None
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    warmup: Share = 0.0
    seed: int = 0
    patience: Annotated[int, Range(0)] | None = None
    weight_averaging: Fraction | None = None
    amp: bool = False
    epoch_size: Count | None = None

    def __post_init__(self) -> None:
        settings.require_ranges(self)

    def rate_at(self, step: int, n_steps: int) -> float:
        """Return the learning rate of step `step` (0 first) of `n_steps`."""
        done = step / n_steps
        if self.schedule == "onecycle":
            rise = self.warmup or 0.3
            if done < rise:
                low = 1.0 / 25.0
                return self.learning_rate * (low + (1.0 - low) * _half_cosine(1.0 - done / rise))
            return self.learning_rate * _half_cosine((done - rise) / (1.0 - rise))
        if done < self.warmup:
            return self.learning_rate * (step + 1) / math.ceil(self.warmup * n_steps)
        if self.schedule == "cosine":
            return self.learning_rate * _half_cosine((done - self.warmup) / (1.0 - self.warmup))
        return self.learning_rate

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        return cast(dict[str, Any], settings.to_json(self))

    @classmethod
    def from_json(cls, data: object) -> OptimConfig:
        """Build from JSON values; an unknown key is a ConfigError that names the nearest."""
        return settings.from_json(cls, data)


def _half_cosine(done: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done))
