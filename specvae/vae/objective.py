"""Training objectives as sums of named parts in nats, each built by one small function.

Kutuzova et al. maximise, for a pair (x1, x2) and unpaired x1', x2' (eqs 19-22 and VAEVAE's loss),

    vaevae:  R1(q12) + R2(q12) - KL(q12 || q1) - KL(q12 || q2) + U1(x1') + U2(x2')
    new:     the same + U1(x1) + U2(x2)
    R_i(q) = E_q[log p(x_i | z)],   U_i(x) = R_i(q(z | x)) - KL(q(z | x) || N(0, I)) ,

and with more modalities (eqs 29-38) the same for every subset S of several of them: R_i(q_S) for i
in S, minus the KLs of q_S to the posteriors of S without one and, if S is not all, to the prior.

    jmvae:   R1(q12) + R2(q12) - KL(q12 || N(0, I)) - alpha [KL(q12 || q1) + KL(q12 || q2)]
    mvae:    the ELBOs of all modalities, of each alone, and of random subsets in between
    mvtcae:  (1 - alpha/n) [R1(q12) + R2(q12)] - (1 - alpha) KL(q12 || N(0, I))
             - alpha/n [KL(q12 || q1) + KL(q12 || q2)], n = 2
    elbo:    R1(q12) + R2(q12) - KL(q12 || N(0, I)) + U1(x1') + U2(x2'), for a mixture q12 the
             mean over its components
    iwae:    mean over modalities m of E_{z_1..z_K ~ q_m} log 1/K sum_k p(x, z_k) / q(z_k | x)
    dreg:    the value of iwae with a doubly reparameterised gradient, unbiased as iwae's is

(JMVAE: Suzuki et al., arXiv:1611.01891, eq 2 of Kutuzova et al. MVAE: Wu and Goodman,
arXiv:1802.05335. MVTCAE: Hwang et al., NeurIPS 2021, its objective with the weight beta on both
KLs. The ELBO of a mixture, for MoPoE: Sutter et al., arXiv:2105.02470, whose KL of the mixture is
bounded by the mean of its components' KLs. IWAE for mixtures: Shi et al., arXiv:1911.03393, eq 3.
DReG: Tucker et al., arXiv:1810.04152; for mixtures and beta, docs/models.md.)

Here their negatives are minimised. Expectations that are over the same posterior share its samples,
every input is encoded once, and each modality is decoded in one call for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor

from specvae import settings
from specvae.errors import ConfigError
from specvae.settings import Count, Range, Weight
from specvae.vae.distributions import (
    Posterior,
    kl_divergence,
    standard_normal,
)
from specvae.vae.kinds import LossKind
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import Input, SparseRows
from specvae.vae.parallel import BatchPart

SubsetTargets = Literal["given", "all"]

_PAIRED = "paired"
_UNPAIRED = "unpaired-{}"


@dataclass(frozen=True)
class ObjectiveConfig:
    """Which parts the objective has and what they weigh. The defaults are the paper's.

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
            _path_ends(path)
        if self.loss == "mvtcae" and self.share_of_singles > 1.0:
            raise ConfigError(
                f"alpha: of loss mvtcae a share from 0 to 1, found {self.share_of_singles:g}"
            )

    @property
    def share_of_singles(self) -> float:
        """`alpha`, or what the loss takes for it where it is None."""
        if self.alpha is not None:
            return self.alpha
        return 0.9 if self.loss == "mvtcae" else 1.0

    def beta_at(self, epoch: float) -> float:
        """Return beta after `epoch` epochs, fractions included."""
        if epoch >= self.beta_warmup_epochs:
            return self.beta
        return self.beta * epoch / self.beta_warmup_epochs

    def check(self, names: tuple[str, ...], unpaired: Collection[str]) -> None:
        """Raise a ConfigError if the objective does not fit modalities or streams.

        Parameters
        ----------
        names
            The model's modalities: every weight must name one of them.
        unpaired
            Those that have unpaired examples, of which not every objective can learn.
        """
        if unpaired and _OF_UNPAIRED.isdisjoint(LOSSES[self.loss]):
            raise ConfigError(
                f"loss '{self.loss}' learns from pairs only, found unpaired examples of "
                f"{', '.join(sorted(unpaired))}"
            )
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
        ``reconstruction/a``, ``kl/joint-a``, ``kl/joint-prior``; ``subset-reconstruction/a+b:a``,
        ``subset-kl/a+b-a``; ``paired-reconstruction/a``, ``paired-kl/a``;
        ``unpaired-reconstruction/a``, ``unpaired-kl/a``; ``importance/paired``; ``path/a->b``.
        Reconstructions and importance-weighted bounds are negative log-likelihoods.
    weights
        The weight of each part.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class _Request:
    """Codes whose likelihood of a stream's modality is wanted, and who takes the answer."""

    stream: str
    target: str
    codes: Tensor  # (n_codes, batch, n_latent)
    take: Callable[[Tensor], None]  # gets log p(x_target | z), (n_codes, batch)


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
        parts: Mapping[str, BatchPart],
        n_processes: int,
    ) -> None:
        self._parts_of = parts
        self._n_processes = n_processes
        self.config = config
        self.beta = beta
        self.generator = generator
        self.names = model.config.names
        batches = {} if paired is None else {_PAIRED: paired}
        for name in self.names:
            if name in unpaired:
                batches[_UNPAIRED.format(name)] = {name: unpaired[name]}
        self.streams = model.encode_together(batches)
        self._model = model
        self._samples: dict[tuple[str, frozenset[str]], tuple[Tensor, ...]] = {}
        self._requests: list[_Request] = []
        self._last: list[Callable[[], None]] = []
        self._parts: dict[str, Tensor] = {}
        self._weights: dict[str, float] = {}

    def posterior(self, stream: str, *given: str) -> Posterior:
        """Return q(z | x_given) of a stream; all its modalities if none is named."""
        return self.streams[stream].posterior(given or None)

    def samples(self, stream: str, *given: str) -> tuple[Tensor, ...]:
        """Return samples of q(z | x_given), (n_samples, batch, n_latent) of each component."""
        key = (stream, frozenset(given or self.streams[stream].x))
        if key not in self._samples:
            self._samples[key] = tuple(
                q.sample(self.config.n_samples, self.generator, self._parts_of.get(stream))
                for q in self.posterior(stream, *given).components
            )
        return self._samples[key]

    def add(self, part: str, value: Tensor, weight: float, stream: str = _PAIRED) -> None:
        """Add to a part: a scalar, or a value for each example, (..., batch), to be averaged."""
        value = value.mean()
        if (rows := self._parts_of.get(stream)) is not None:
            # The mean over the processes is then the mean over the whole batch.
            value = value * (rows.share * self._n_processes)
        self._parts[part] = self._parts[part] + value if part in self._parts else value
        self._weights[part] = weight

    def add_reconstruction(
        self,
        part: str,
        stream: str,
        given: tuple[str, ...],
        target: str,
        weight: float,
        *,
        average: bool = False,
    ) -> None:
        """Add -E_q[log p(x_target|z)], q the components of q(z|x_given): their sum or average.

        A part of weight 0 is left out.
        """
        if weight != 0.0:
            self._weights[part] = weight  # keeps the parts in the order of the terms
            components = self.samples(stream, *given)
            n = len(components) if average else 1
            for codes in components:
                self.decode(
                    stream,
                    target,
                    codes,
                    lambda v: self.add(part, _share(-v, n), weight, stream),
                )

    def add_kl(
        self,
        part: str,
        q: Posterior,
        p: Posterior | None,
        weight: float,
        *,
        average: bool = False,
        stream: str = _PAIRED,
    ) -> None:
        """Add KL(q || p), p None the prior, over the pairs of their components: sum or average."""
        pairs = [(a, b) for a in q.components for b in ((None,) if p is None else p.components)]
        n = len(pairs) if average else 1
        for ours, theirs in pairs:
            self.add(part, _share(kl_divergence(ours, theirs), n), weight, stream)

    def decode(
        self, stream: str, target: str, codes: Tensor, take: Callable[[Tensor], None]
    ) -> None:
        """Let `take` have log p(x_target | z) of codes (n_codes, batch, n_latent) at the end."""
        self._requests.append(_Request(stream, target, codes, take))

    def at_end(self, action: Callable[[], None]) -> None:
        """Run `action` when everything is decoded."""
        self._last.append(action)

    def modality_weight(self, name: str) -> float:
        """Return the configured weight of the reconstructions of a modality."""
        return self.config.modality_weights.get(name, 1.0)

    def finish(self) -> LossParts:
        """Decode what was asked for, one call for each modality, and sum up."""
        for name in self.names:
            asked = [request for request in self._requests if request.target == name]
            if asked:
                self._decode_all(name, asked)
        for action in self._last:
            action()
        # They refer to this object: in a cycle, a step's tensors would outlive it by gigabytes.
        self._requests.clear()
        self._last.clear()
        parts = {name: self._parts[name] for name in self._weights}
        weighted = [_weighted(value, self._weights[name]) for name, value in parts.items()]
        return LossParts(torch.stack(weighted).sum(), parts, self._weights)

    def _decode_all(self, name: str, asked: list[_Request]) -> None:
        # The requests of a stream have one target: their codes go together.
        by_stream: dict[str, list[_Request]] = {}
        for request in asked:
            by_stream.setdefault(request.stream, []).append(request)
        codes = [
            torch.cat([request.codes for request in requests]) for requests in by_stream.values()
        ]
        flat = torch.cat([each.flatten(0, 1) for each in codes])
        likelihood = self._model.likelihood(flat, name)
        pieces = likelihood.split([tuple(each.shape[:2]) for each in codes])
        n_features = self._model.modality(name).n_features
        for (stream, requests), piece in zip(by_stream.items(), pieces, strict=True):
            x = self.streams[stream].x[name]
            target = x.first_columns(n_features) if isinstance(x, SparseRows) else x[:, :n_features]
            sizes = [len(request.codes) for request in requests]
            values = piece.log_prob(target).split_with_sizes(sizes)
            for request, value in zip(requests, values, strict=True):
                request.take(value)


def _share(value: Tensor, n: int) -> Tensor:
    # Every operation is a kernel that a GPU has to start, forward and backward.
    return value if n == 1 else value / n


def _weighted(value: Tensor, weight: float) -> Tensor:
    return value if weight == 1.0 else weight * value


Term = Callable[[Evaluation], None]
# What a loss puts on a term: a function of alpha and the number of modalities.
Factor = Callable[[float, int], float]


def _one(alpha: float, n: int) -> float:
    return 1.0


def _factor(evaluation: Evaluation, factor: Factor) -> float:
    return factor(evaluation.config.share_of_singles, len(evaluation.names))


def joint_reconstruction(evaluation: Evaluation, factor: Factor = _one) -> None:
    """Add -R_i(q) for each modality, q given all of them, on the pairs.

    Of a mixture, the average over its components, which is the expectation over q.
    """
    if _PAIRED in evaluation.streams:
        share = _factor(evaluation, factor)
        for name in evaluation.names:
            weight = share * evaluation.modality_weight(name)
            evaluation.add_reconstruction(
                f"reconstruction/{name}", _PAIRED, (), name, weight, average=True
            )


def joint_to_prior_kl(evaluation: Evaluation, factor: Factor = _one) -> None:
    """Add KL(q || N(0, I)), q given all modalities, on the pairs.

    Of a mixture, the average over its components, which is at least its own divergence.
    """
    if _PAIRED in evaluation.streams:
        q, weight = evaluation.posterior(_PAIRED), evaluation.beta * _factor(evaluation, factor)
        evaluation.add_kl("kl/joint-prior", q, None, weight, average=True)


def joint_to_single_kl(evaluation: Evaluation, factor: Factor) -> None:
    """Add KL(q || q(z|x_i)) for each modality, q given all of them, on the pairs."""
    if _PAIRED in evaluation.streams:
        q, weight = evaluation.posterior(_PAIRED), evaluation.beta * _factor(evaluation, factor)
        for name in evaluation.names:
            evaluation.add_kl(f"kl/joint-{name}", q, evaluation.posterior(_PAIRED, name), weight)


def joint_to_smaller_kl(evaluation: Evaluation) -> None:
    """Add KL(q || q(z|x_S)), q given all modalities and S all but one, on the pairs."""
    if _PAIRED in evaluation.streams:
        _smaller_kl(evaluation, evaluation.names, "kl/joint")


def _smaller_kl(evaluation: Evaluation, names: tuple[str, ...], part: str) -> None:
    q = evaluation.posterior(_PAIRED, *names)
    for smaller in combinations(names, len(names) - 1):
        # Of a single modality nothing is left, and the posterior given nothing is the prior.
        p = evaluation.posterior(_PAIRED, *smaller) if smaller else None
        evaluation.add_kl(f"{part}-{'+'.join(smaller) or 'prior'}", q, p, evaluation.beta)


def _inner_subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [s for size in range(2, len(names)) for s in combinations(names, size)]


def paired_subsets(evaluation: Evaluation) -> None:
    """Add the terms of each subset of 2 to n - 1 modalities, on the pairs (eqs 30 and 38)."""
    if _PAIRED not in evaluation.streams:
        return
    for subset in _inner_subsets(evaluation.names):
        key = "+".join(subset)
        targets = subset if evaluation.config.subset_targets == "given" else evaluation.names
        for name in targets:
            weight = evaluation.modality_weight(name)
            part = f"subset-reconstruction/{key}:{name}"
            evaluation.add_reconstruction(part, _PAIRED, subset, name, weight)
        _smaller_kl(evaluation, subset, f"subset-kl/{key}")
        q = evaluation.posterior(_PAIRED, *subset)
        evaluation.add_kl(f"subset-kl/{key}-prior", q, None, evaluation.beta)


def random_subsets(evaluation: Evaluation) -> None:
    """Add the negative ELBOs of some subsets of 2 to n - 1 modalities, on the pairs."""
    inner = _inner_subsets(evaluation.names)
    if _PAIRED not in evaluation.streams or not inner:
        return
    generator = evaluation.generator
    device = None if generator is None else generator.device
    n_drawn = min(evaluation.config.n_random_subsets, len(inner))
    order = torch.randperm(len(inner), generator=generator, device=device)
    for number in order[:n_drawn].tolist():
        subset = inner[number]
        for name in subset:
            weight = evaluation.modality_weight(name)
            part = f"subset-reconstruction/{name}"
            evaluation.add_reconstruction(part, _PAIRED, subset, name, weight)
        q = evaluation.posterior(_PAIRED, *subset)
        evaluation.add_kl("subset-kl/prior", q, None, evaluation.beta)


def _single(evaluation: Evaluation, prefix: str, stream: str, name: str) -> None:
    weight = evaluation.modality_weight(name)
    part = f"{prefix}-reconstruction/{name}"
    evaluation.add_reconstruction(part, stream, (name,), name, weight)
    q = evaluation.posterior(stream, name)
    evaluation.add_kl(f"{prefix}-kl/{name}", q, None, evaluation.beta, stream=stream)


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


def importance_bounds(evaluation: Evaluation) -> None:
    """Add the negative importance-weighted bound of each stream; experts it lacks weigh 0."""
    for stream, encoded in evaluation.streams.items():
        names = tuple(name for name in evaluation.names if name in encoded.x)
        _importance_bound(evaluation, stream, names)


def _importance_bound(evaluation: Evaluation, stream: str, names: tuple[str, ...]) -> None:
    doubly = evaluation.config.loss == "dreg"
    singles = [evaluation.posterior(stream, name) for name in names]
    experts = [q for single in singles for q in single.components]
    codes = torch.stack([z for name in names for z in evaluation.samples(stream, name)])
    n_experts, n_samples, n_rows, _ = codes.shape
    # The doubly reparameterised gradient reaches the encoders in one way only, through the codes:
    # the densities are held fixed, and the decoders read a copy of the codes.
    z = codes.detach().requires_grad_(codes.requires_grad) if doubly else codes
    densities = [q.detach() for q in experts] if doubly else experts
    log_q = torch.stack([q.log_prob(z) for q in densities])
    log_sum = torch.logsumexp(log_q, dim=0)
    log_mixture = log_sum - math.log(n_experts)
    log_weights = [evaluation.beta * (standard_normal(z).log_prob(z) - log_mixture)]
    for name in names:
        weight = evaluation.modality_weight(name)

        def take(values: Tensor, weight: float = weight) -> None:
            log_weights.append(weight * values.view(n_experts, n_samples, n_rows))

        evaluation.decode(stream, name, z.flatten(0, 1), take)

    def finish() -> None:
        log_weight = torch.stack(log_weights).sum(0)
        bound = torch.logsumexp(log_weight, dim=1) - math.log(n_samples)
        if doubly:
            share = torch.softmax(log_weight.detach(), dim=1)
            surrogate = (share * log_weight).sum(1)  # of the decoders
            if codes.requires_grad:
                membership = torch.exp(log_q - log_sum)
                by_code = _path_gradient(z, log_weight, membership, evaluation.beta)
                surrogate = surrogate + (by_code * codes).sum((1, 3))
            bound = bound.detach() + surrogate - surrogate.detach()
        evaluation.add(f"importance/{stream}", -bound, 1.0, stream)

    evaluation.at_end(finish)


def _path_gradient(z: Tensor, log_weight: Tensor, membership: Tensor, beta: float) -> Tensor:
    r"""Return what each code contributes to the doubly reparameterised gradient, as `z`.

    The bound of expert m depends on the encoders through its codes, and through the density of
    the mixture in the weights. The second part is the expectation over codes of m of

    .. math:: -\beta \sum_k s_k \nabla_\phi \log q(z_k)
              = -\beta \sum_k s_k \sum_j r_j(z_k) \nabla_\phi \log q_j(z_k), \qquad
              r_j = q_j / \textstyle\sum_i q_i ,

    with s the normalised weights. Since :math:`q_m r_j = q_j r_m`, the term of j is the
    expectation of :math:`s_k r_m(z_k) \nabla_\phi \log q_j(z_k)` over a code z_k of j and the other
    codes of m, and there the score may be traded for the path (Tucker et al., eq 7):

    .. math:: -\beta \sum_m \sum_k \nabla_{z_k} [r_m(z_k) s_k^m(z_k)] \nabla_\phi z_k, \qquad
              s_k^m(z_k) = w(z_k) / (w(z_k) + \textstyle\sum_{l \ne k} w(z_l^m)) .

    For one expert and beta 1 it is Tucker et al.'s :math:`\sum_k s_k^2 \nabla_{z_k} \log w_k`.

    Parameters
    ----------
    z
        Codes (n_experts, n_samples, batch, n_latent), leaves of the graph.
    log_weight
        log w of each, (n_experts, n_samples, batch), as a function of `z`.
    membership
        r_m of each: the experts m come first, before the shape of `log_weight`.
    beta
        Weight of log q in log w.
    """
    held = log_weight.detach()
    share = torch.softmax(held, dim=1)
    itself = torch.eye(held.shape[1], dtype=torch.bool, device=held.device)
    others = held.unsqueeze(1).masked_fill(itself.unsqueeze(-1), -math.inf).logsumexp(2)
    exchanged = torch.sigmoid(log_weight - others.unsqueeze(1))  # s_k^m: [m, expert of z_k, k, :]
    along = share * log_weight - beta * (membership * exchanged).sum(0)
    # The weights of the decoders get another gradient: this one goes to the codes alone.
    (gradient,) = torch.autograd.grad(along.sum(), z, retain_graph=True)
    return gradient


def paths(evaluation: Evaluation) -> None:
    """Add -E_{q(z|x_a)}[log p(x_b|z)] for each configured path a->b, on the pairs."""
    if _PAIRED in evaluation.streams:
        for path, weight in evaluation.config.path_weights.items():
            source, target = _path_ends(path)
            evaluation.add_reconstruction(f"path/{path}", _PAIRED, (source,), target, weight)


# The terms that have something to say of unpaired examples.
_OF_UNPAIRED = frozenset({unpaired_singles, importance_bounds})

_VAEVAE = (joint_reconstruction, joint_to_smaller_kl, paired_subsets, unpaired_singles)

LOSSES: Mapping[LossKind, tuple[Term, ...]] = {
    "vaevae": (*_VAEVAE, paths),
    "new": (*_VAEVAE, paired_singles, paths),
    "jmvae": (
        joint_reconstruction,
        joint_to_prior_kl,
        partial(joint_to_single_kl, factor=lambda alpha, n: alpha),
        paths,
    ),
    "mvtcae": (
        partial(joint_reconstruction, factor=lambda alpha, n: 1.0 - alpha / n),
        partial(joint_to_prior_kl, factor=lambda alpha, n: 1.0 - alpha),
        partial(joint_to_single_kl, factor=lambda alpha, n: alpha / n),
        paths,
    ),
    "elbo": (joint_reconstruction, joint_to_prior_kl, unpaired_singles, paths),
    "mvae": (
        joint_reconstruction,
        joint_to_prior_kl,
        paired_singles,
        random_subsets,
        unpaired_singles,
        paths,
    ),
    "iwae": (importance_bounds, paths),
    "dreg": (importance_bounds, paths),
}


def loss(
    model: MultimodalVAE,
    paired: Mapping[str, Input] | None,
    unpaired: Mapping[str, Input],
    config: ObjectiveConfig,
    *,
    beta: float | None = None,
    generator: torch.Generator | None = None,
    parts: Mapping[str, BatchPart] | None = None,
    n_processes: int = 1,
) -> LossParts:
    """Evaluate the objective on one batch of each stream.

    Parameters
    ----------
    model
        Of any kind that has the posteriors which the objective is about.
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
    parts
        By stream (``paired``, ``unpaired-NAME``): which rows of a larger batch these are, if
        several processes share it.
    n_processes
        How many do.

    Raises
    ------
    ConfigError
        If a weight names an unknown modality, or the objective cannot learn from unpaired
        examples and there are some.
    """
    config.check(model.config.names, unpaired)
    if paired is None and not unpaired:
        raise ConfigError("the objective needs a paired or an unpaired batch, found neither")
    evaluation = Evaluation(
        model,
        paired,
        unpaired,
        config,
        config.beta if beta is None else beta,
        generator,
        parts or {},
        n_processes,
    )
    for term in LOSSES[config.loss]:
        term(evaluation)
    return evaluation.finish()
