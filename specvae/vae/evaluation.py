"""One evaluation of an objective: its terms share samples, encodings and decodings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from specvae.vae.config import ObjectiveConfig
from specvae.vae.data import PAIRED
from specvae.vae.distributions import Normal, Posterior, at_least_float32, kl_divergence
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import Input, SparseRows
from specvae.vae.parallel import BatchPart

UNPAIRED = "unpaired-{}"


@dataclass(frozen=True, slots=True, eq=False)
class LossParts:
    """The value of an objective, with its parts.

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
    """A request for the likelihood of a stream's modality, given codes; `take` gets the answer."""

    stream: str
    target: str
    codes: Tensor  # (n_codes, batch, n_latent)
    take: Callable[[Tensor], None]  # gets log p(x_target | z), (n_codes, batch)


@dataclass(frozen=True, slots=True)
class _Value:
    """Values of a part of the objective that are averaged, with the factor of their mean."""

    part: str
    value: Tensor
    factor: float


@dataclass(frozen=True, slots=True)
class _Divergence:
    """A request for the divergence KL(q || p), p None the prior, for a part of the objective."""

    q: Normal
    p: Normal | None
    part: str
    factor: float
    stream: str


class Evaluation:
    """One evaluation of an objective: terms request parts, and the computation is shared.

    Divergences are computed together, and so are all means: every operation is a kernel that a GPU
    has to launch, forward and backward, which limits the speed of small networks.

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
        batches = {} if paired is None else {PAIRED: paired}
        for name in self.names:
            if name in unpaired:
                batches[UNPAIRED.format(name)] = {name: unpaired[name]}
        self.streams = model.encode_together(batches)
        self._model = model
        self._samples: dict[tuple[str, frozenset[str]], tuple[Tensor, ...]] = {}
        self._requests: list[_Request] = []
        self._divergences: list[_Divergence] = []
        self._last: list[Callable[[], None]] = []
        self._values: list[_Value] = []
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

    def add(
        self,
        part: str,
        value: Tensor,
        weight: float,
        stream: str = PAIRED,
        *,
        factor: float = 1.0,
    ) -> None:
        """Add `factor` times a value to a part.

        The value is a scalar, or has a number for each example, (..., batch), to be averaged.
        """
        if (rows := self._parts_of.get(stream)) is not None:
            # The mean over the processes is then the mean over the whole batch.
            factor *= rows.share * self._n_processes
        self._values.append(_Value(part, value, factor))
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
                    lambda v: self.add(part, v, weight, stream, factor=-1.0 / n),
                )

    def add_kl(
        self,
        part: str,
        q: Posterior,
        p: Posterior | None,
        weight: float,
        *,
        average: bool = False,
        stream: str = PAIRED,
    ) -> None:
        """Add KL(q || p), p None the prior, over the pairs of their components: sum or average."""
        pairs = [(a, b) for a in q.components for b in ((None,) if p is None else p.components)]
        n = len(pairs) if average else 1
        self._weights[part] = weight
        self._divergences += (_Divergence(a, b, part, 1.0 / n, stream) for a, b in pairs)

    def decode(
        self, stream: str, target: str, codes: Tensor, take: Callable[[Tensor], None]
    ) -> None:
        """Request log p(x_target | z) of codes (n_codes, batch, n_latent); `take` gets it later."""
        self._requests.append(_Request(stream, target, codes, take))

    def at_end(self, action: Callable[[], None]) -> None:
        """Run `action` when everything is decoded."""
        self._last.append(action)

    def modality_weight(self, name: str) -> float:
        """Return the configured weight of the reconstructions of a modality."""
        return self.config.modality_weights.get(name, 1.0)

    def finish(self) -> LossParts:
        """Decode the requested codes, one call for each modality, and sum up."""
        self._diverge_all()
        for name in self.names:
            asked = [request for request in self._requests if request.target == name]
            if asked:
                self._decode_all(name, asked)
        for action in self._last:
            action()
        # They refer to this object: in a cycle, a step's tensors would outlive it by gigabytes.
        self._requests.clear()
        self._last.clear()
        summed = _summed(self._values, list(self._weights))
        parts = dict(zip(self._weights, summed.unbind(), strict=True))
        if all(weight == 1.0 for weight in self._weights.values()):
            return LossParts(summed.sum(), parts, self._weights)
        weighted = [_weighted(value, self._weights[name]) for name, value in parts.items()]
        return LossParts(torch.stack(weighted).sum(), parts, self._weights)

    def _diverge_all(self) -> None:
        """Compute the requested divergences, those of one shape in one call."""
        alike: dict[object, list[_Divergence]] = {}
        for one in self._divergences:
            alike.setdefault((one.p is None, one.q.mean.shape), []).append(one)
        for group in alike.values():
            q = Normal.stacked([one.q for one in group])
            others = [one.p for one in group if one.p is not None]
            values = kl_divergence(q, Normal.stacked(others) if others else None)
            for one, value in zip(group, values.unbind(), strict=True):
                weight = self._weights[one.part]
                self.add(one.part, value, weight, one.stream, factor=one.factor)
        self._divergences.clear()

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


def _weighted(value: Tensor, weight: float) -> Tensor:
    return value if weight == 1.0 else weight * value


def _summed(values: Sequence[_Value], parts: Sequence[str]) -> Tensor:
    """Return for each part the sum of the means of its values times their factors, (n_parts,)."""
    alike: dict[object, list[_Value]] = {}
    for one in values:
        alike.setdefault((one.value.numel(), one.value.dtype), []).append(one)
    means = torch.cat(
        [
            at_least_float32(torch.stack([one.value.flatten() for one in group])).mean(-1)
            for group in alike.values()
        ]
    )
    in_order = [one for group in alike.values() for one in group]
    factors = tuple(one.factor for one in in_order)
    is_of_part = tuple(tuple(one.part == part for one in in_order) for part in parts)
    scaled = means * _constants(factors, means.dtype, means.device)
    # A mean that is not finite stays in its own part.
    nothing = scaled.new_zeros(())  # on the device: a recorded step cannot take it from the CPU
    chosen = torch.where(_constants(is_of_part, torch.bool, means.device), scaled, nothing)
    return chosen.sum(-1)


_Numbers = tuple[float, ...] | tuple[tuple[bool, ...], ...]
MOST_CONSTANTS = 1000
_constants_made: dict[tuple[_Numbers, torch.dtype, torch.device], Tensor] = {}


def _constants(values: _Numbers, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers as a tensor, the same one each time.

    A recorded step cannot copy from the CPU, and reads the tensor at its address when the step was
    recorded. So no tensor is ever dropped. Random subsets of many modalities would need too many.
    """
    key = values, dtype, device
    if key in _constants_made:
        return _constants_made[key]
    with torch.inference_mode(False):
        made = torch.tensor(values, dtype=dtype, device=device)
    return made if len(_constants_made) >= MOST_CONSTANTS else _constants_made.setdefault(key, made)
