"""Training objectives as sums of named parts in nats, each built by one small function.

Kutuzova et al. maximise, for a pair (x1, x2) and unpaired x1', x2' (eqs 19-22 and VAEVAE's loss),

    vaevae:  R1(q12) + R2(q12) - KL(q12 || q1) - KL(q12 || q2) + U1(x1') + U2(x2')
    new:     the same + U1(x1) + U2(x2)
    R_i(q) = E_q[log p(x_i | z)],   U_i(x) = R_i(q(z | x)) - KL(q(z | x) || N(0, I)) .

Here their negatives are minimised. Expectations that are over the same posterior share its samples,
every input is encoded once, and each modality is decoded in one call for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import Tensor

from specvae.errors import ConfigError
from specvae.vae import settings
from specvae.vae.distributions import Normal, kl_divergence
from specvae.vae.model import Encoded, MultimodalVAE
from specvae.vae.networks import Input, SparseRows

_PAIRED = "paired"
_UNPAIRED = "unpaired-{}"


@dataclass(frozen=True)
class ObjectiveConfig:
    """Which parts the objective has and what they weigh. The defaults are the paper's.

    Attributes
    ----------
    loss
        ``new`` (SVAE, VAEVAE*) adds U_i on the paired samples to ``vaevae`` (VAEVAE, SVAE*).
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
        Samples of z for each expectation.
    """

    loss: Literal["new", "vaevae"] = "new"
    modality_weights: Mapping[str, float] = field(default_factory=dict)
    beta: float = 1.0
    beta_warmup_epochs: float = 0.0
    path_weights: Mapping[str, float] = field(default_factory=dict)
    n_samples: int = 1

    def __post_init__(self) -> None:
        if self.n_samples < 1:
            raise ConfigError(f"n_samples: must be positive, found {self.n_samples}")
        if self.beta < 0.0 or self.beta_warmup_epochs < 0.0:
            raise ConfigError("beta, beta_warmup_epochs: must not be negative")
        for path in self.path_weights:
            _path_ends(path)

    def beta_at(self, epoch: float) -> float:
        """Return beta after `epoch` epochs, fractions included."""
        if epoch >= self.beta_warmup_epochs:
            return self.beta
        return self.beta * epoch / self.beta_warmup_epochs

    def check_names(self, names: tuple[str, ...]) -> None:
        """Raise a ConfigError if a weight names a modality that is not among `names`."""
        used = set(self.modality_weights)
        for path in self.path_weights:
            used.update(_path_ends(path))
        for name in sorted(used - set(names)):
            raise ConfigError(f"objective: no modality '{name}'; there are {', '.join(names)}")

    def to_json(self) -> dict[str, Any]:
        """Return the configuration as JSON values."""
        return cast(dict[str, Any], settings.to_json(self))

    @classmethod
    def from_json(cls, data: object) -> ObjectiveConfig:
        """Build from JSON values; an unknown key is a ConfigError that names the nearest."""
        return settings.from_json(cls, data)


def _path_ends(path: str) -> tuple[str, str]:
    source, arrow, target = path.partition("->")
    if not (source and arrow and target):
        raise ConfigError(f"path_weights: wanted 'given->target', found '{path}'")
    return source, target


@dataclass(frozen=True, slots=True, eq=False)
class LossParts:
    """An objective and what it is made of.

    Attributes
    ----------
    total
        Scalar to minimise: the sum of weight times part.
    parts
        Scalars by name, in nats, means over the examples, without their weights:
        ``reconstruction/a``, ``kl/joint-a``; ``paired-reconstruction/a``, ``paired-kl/a``;
        ``unpaired-reconstruction/a``, ``unpaired-kl/a``; ``path/a->b``. Reconstructions are
        negative log-likelihoods.
    weights
        The weight of each part.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Reconstruction:
    part: str
    stream: str
    given: frozenset[str]
    target: str


class Evaluation:
    """One evaluation of an objective: terms ask for parts, and the work behind them is shared.

    A stream is ``paired`` or ``unpaired-NAME``, the samples of one modality.
    """

    def __init__(
        self,
        model: MultimodalVAE,
        paired: Mapping[str, Input] | None,
        unpaired: Mapping[str, Input],
        config: ObjectiveConfig,
        beta: float,
        generator: torch.Generator | None,
    ) -> None:
        self.config = config
        self.beta = beta
        self.names = model.config.names
        self.streams: dict[str, Encoded] = {}
        if paired is not None:
            self.streams[_PAIRED] = model.encode(paired)
        for name in self.names:
            if name in unpaired:
                self.streams[_UNPAIRED.format(name)] = model.encode({name: unpaired[name]})
        self._model = model
        self._generator = generator
        self._samples: dict[tuple[str, frozenset[str]], Tensor] = {}
        self._queue: list[_Reconstruction] = []
        self._parts: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def posterior(self, stream: str, *given: str) -> Normal:
        """Return q(z | x_given) of a stream; all its modalities if none is named."""
        return self.streams[stream].posterior(given or None)

    def add(self, part: str, values: Tensor, weight: float) -> None:
        """Add a part from its value for each example, (batch,) or (n_samples, batch)."""
        self._parts[part] = values.mean()
        self._weights[part] = weight

    def add_reconstruction(
        self, part: str, stream: str, given: tuple[str, ...], target: str, weight: float
    ) -> None:
        """Add -E_{q(z|x_given)}[log p(x_target|z)]; a part of weight 0 is left out."""
        if weight == 0.0:
            return
        names = frozenset(given or self.streams[stream].x)
        if (stream, names) not in self._samples:
            q = self.streams[stream].posterior(names)
            samples = q.sample(self.config.n_samples, self._generator)
            self._samples[stream, names] = samples
        self._queue.append(_Reconstruction(part, stream, names, target))
        self._weights[part] = weight

    def modality_weight(self, name: str) -> float:
        """Return the configured weight of the reconstructions of a modality."""
        return self.config.modality_weights.get(name, 1.0)

    def finish(self) -> LossParts:
        """Decode what was asked for, one call for each modality, and sum up."""
        for name in self.names:
            asked: dict[str, list[_Reconstruction]] = {}
            for item in self._queue:
                if item.target == name:
                    asked.setdefault(item.stream, []).append(item)
            if asked:
                self._decode(name, asked)
        parts = {name: self._parts[name] for name in self._weights}
        weighted = [self._weights[name] * value for name, value in parts.items()]
        return LossParts(torch.stack(weighted).sum(), parts, self._weights)

    def _decode(self, name: str, asked: Mapping[str, list[_Reconstruction]]) -> None:
        # The codes of a stream have one target: (terms * n_samples, batch, n_latent).
        codes = {
            stream: torch.cat([self._samples[stream, item.given] for item in items])
            for stream, items in asked.items()
        }
        flat = torch.cat([code.flatten(0, 1) for code in codes.values()])
        likelihood = self._model.likelihood(flat, name)
        pieces = likelihood.split([tuple(code.shape[:2]) for code in codes.values()])
        n_features = self._model.modality(name).n_features
        for (stream, items), piece in zip(asked.items(), pieces, strict=True):
            x = self.streams[stream].x[name]
            target = x.first_columns(n_features) if isinstance(x, SparseRows) else x[:, :n_features]
            values = piece.log_prob(target).chunk(len(items))
            for item, value in zip(items, values, strict=True):
                self._parts[item.part] = -value.mean()


Term = Callable[[Evaluation], None]


def joint_reconstruction(evaluation: Evaluation) -> None:
    """Add -R_i(q12) for each modality, on the pairs."""
    if _PAIRED in evaluation.streams:
        for name in evaluation.names:
            weight = evaluation.modality_weight(name)
            evaluation.add_reconstruction(f"reconstruction/{name}", _PAIRED, (), name, weight)


def joint_to_single_kl(evaluation: Evaluation) -> None:
    """Add KL(q12 || q(z|x_i)) for each modality, on the pairs."""
    if _PAIRED in evaluation.streams:
        joint = evaluation.posterior(_PAIRED)
        for name in evaluation.names:
            single = evaluation.posterior(_PAIRED, name)
            evaluation.add(f"kl/joint-{name}", kl_divergence(joint, single), evaluation.beta)


def _single(evaluation: Evaluation, prefix: str, stream: str, name: str) -> None:
    weight = evaluation.modality_weight(name)
    part = f"{prefix}-reconstruction/{name}"
    evaluation.add_reconstruction(part, stream, (name,), name, weight)
    kl = kl_divergence(evaluation.posterior(stream, name))
    evaluation.add(f"{prefix}-kl/{name}", kl, evaluation.beta)


def paired_singles(evaluation: Evaluation) -> None:
    """Add -U_i(x_i) for each modality of the pairs: what the new loss adds."""
    if _PAIRED in evaluation.streams:
        for name in evaluation.names:
            _single(evaluation, "paired", _PAIRED, name)


def unpaired_singles(evaluation: Evaluation) -> None:
    """Add -U_i(x_i') for each unpaired stream."""
    for name in evaluation.names:
        if (stream := _UNPAIRED.format(name)) in evaluation.streams:
            _single(evaluation, "unpaired", stream, name)


def paths(evaluation: Evaluation) -> None:
    """Add -E_{q(z|x_a)}[log p(x_b|z)] for each configured path a->b, on the pairs."""
    if _PAIRED in evaluation.streams:
        for path, weight in evaluation.config.path_weights.items():
            source, target = _path_ends(path)
            evaluation.add_reconstruction(f"path/{path}", _PAIRED, (source,), target, weight)


LOSSES: Mapping[str, tuple[Term, ...]] = {
    "vaevae": (joint_reconstruction, joint_to_single_kl, unpaired_singles, paths),
    "new": (joint_reconstruction, joint_to_single_kl, paired_singles, unpaired_singles, paths),
}


def loss(
    model: MultimodalVAE,
    paired: Mapping[str, Input] | None,
    unpaired: Mapping[str, Input],
    config: ObjectiveConfig,
    *,
    beta: float | None = None,
    generator: torch.Generator | None = None,
) -> LossParts:
    """Evaluate the objective on one batch of each stream.

    Parameters
    ----------
    model
        With two modalities.
    paired
        All modalities of the same examples, (batch, columns) each; None: no pairs.
    unpaired
        A batch for each modality that has unpaired samples; the batches may differ in size.
    config
        Which parts, and their weights. The streams weigh the same, whatever their sizes.
    beta
        Weight of the KL divergences, if not the configured one (during its warm-up).
    generator
        Source of the samples of z; None: torch's global one.

    Raises
    ------
    ConfigError
        If the model has not two modalities, or a weight names an unknown one.
    """
    if len(model.config.names) != 2:
        raise ConfigError(
            f"loss '{config.loss}' is defined for two modalities, "
            f"the model has {len(model.config.names)}"
        )
    config.check_names(model.config.names)
    if paired is None and not unpaired:
        raise ConfigError("the objective needs a paired or an unpaired batch, found neither")
    evaluation = Evaluation(
        model, paired, unpaired, config, config.beta if beta is None else beta, generator
    )
    for term in LOSSES[config.loss]:
        term(evaluation)
    return evaluation.finish()
