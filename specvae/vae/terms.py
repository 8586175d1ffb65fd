"""The terms of the objectives, each built by one small function."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from specvae.vae.config import path_ends
from specvae.vae.data import PAIRED
from specvae.vae.distributions import standard_normal
from specvae.vae.evaluation import UNPAIRED, Evaluation

Term = Callable[[Evaluation], None]
# The weight of a term in a loss: a function of alpha and the number of modalities.
Factor = Callable[[float, int], float]


def _one(alpha: float, n: int) -> float:
    return 1.0


def _factor(evaluation: Evaluation, factor: Factor) -> float:
    return factor(evaluation.config.share_of_singles, len(evaluation.names))


def joint_reconstruction(evaluation: Evaluation, factor: Factor = _one) -> None:
    """Add -R_i(q) for each modality, q given all of them, on the pairs.

    Of a mixture, the average over its components, which is the expectation over q.
    """
    if PAIRED in evaluation.streams:
        share = _factor(evaluation, factor)
        for name in evaluation.names:
            weight = share * evaluation.modality_weight(name)
            evaluation.add_reconstruction(
                f"reconstruction/{name}", PAIRED, (), name, weight, average=True
            )


def joint_to_prior_kl(evaluation: Evaluation, factor: Factor = _one) -> None:
    """Add KL(q || N(0, I)), q given all modalities, on the pairs.

    Of a mixture, the average over its components, which is at least its own divergence.
    """
    if PAIRED in evaluation.streams:
        q, weight = evaluation.posterior(PAIRED), evaluation.beta * _factor(evaluation, factor)
        evaluation.add_kl("kl/joint-prior", q, None, weight, average=True)


def joint_to_single_kl(evaluation: Evaluation, factor: Factor) -> None:
    """Add KL(q || q(z|x_i)) for each modality, q given all of them, on the pairs."""
    if PAIRED in evaluation.streams:
        q, weight = evaluation.posterior(PAIRED), evaluation.beta * _factor(evaluation, factor)
        for name in evaluation.names:
            evaluation.add_kl(f"kl/joint-{name}", q, evaluation.posterior(PAIRED, name), weight)


def joint_to_smaller_kl(evaluation: Evaluation) -> None:
    """Add KL(q || q(z|x_S)), q given all modalities and S all but one, on the pairs."""
    if PAIRED in evaluation.streams:
        _smaller_kl(evaluation, evaluation.names, "kl/joint")


def _smaller_kl(evaluation: Evaluation, names: tuple[str, ...], part: str) -> None:
    q = evaluation.posterior(PAIRED, *names)
    for smaller in combinations(names, len(names) - 1):
        # Without a single modality no modality is left, and the posterior is the prior.
        p = evaluation.posterior(PAIRED, *smaller) if smaller else None
        evaluation.add_kl(f"{part}-{'+'.join(smaller) or 'prior'}", q, p, evaluation.beta)


def _inner_subsets(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [s for size in range(2, len(names)) for s in combinations(names, size)]


def paired_subsets(evaluation: Evaluation) -> None:
    """Add the terms of each subset of 2 to n - 1 modalities, on the pairs (eqs 30 and 38)."""
    if PAIRED not in evaluation.streams:
        return
    for subset in _inner_subsets(evaluation.names):
        key = "+".join(subset)
        targets = subset if evaluation.config.subset_targets == "given" else evaluation.names
        for name in targets:
            weight = evaluation.modality_weight(name)
            part = f"subset-reconstruction/{key}:{name}"
            evaluation.add_reconstruction(part, PAIRED, subset, name, weight)
        _smaller_kl(evaluation, subset, f"subset-kl/{key}")
        q = evaluation.posterior(PAIRED, *subset)
        evaluation.add_kl(f"subset-kl/{key}-prior", q, None, evaluation.beta)


def random_subsets(evaluation: Evaluation) -> None:
    """Add the negative ELBOs of some subsets of 2 to n - 1 modalities, on the pairs."""
    inner = _inner_subsets(evaluation.names)
    if PAIRED not in evaluation.streams or not inner:
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
            evaluation.add_reconstruction(part, PAIRED, subset, name, weight)
        q = evaluation.posterior(PAIRED, *subset)
        evaluation.add_kl("subset-kl/prior", q, None, evaluation.beta)


def _single(evaluation: Evaluation, prefix: str, stream: str, name: str) -> None:
    weight = evaluation.modality_weight(name)
    part = f"{prefix}-reconstruction/{name}"
    evaluation.add_reconstruction(part, stream, (name,), name, weight)
    q = evaluation.posterior(stream, name)
    evaluation.add_kl(f"{prefix}-kl/{name}", q, None, evaluation.beta, stream=stream)


def paired_singles(evaluation: Evaluation) -> None:
    """Add -U_i(x_i) for each modality of the pairs: what the new loss adds."""
    if PAIRED in evaluation.streams:
        for name in evaluation.names:
            _single(evaluation, "paired", PAIRED, name)


def unpaired_singles(evaluation: Evaluation) -> None:
    """Add -U_i(x_i') for each unpaired stream."""
    for name in evaluation.names:
        if (stream := UNPAIRED.format(name)) in evaluation.streams:
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
    r"""Return the contribution of each code to the doubly reparameterised gradient, as `z`.

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
    # This gradient is for the codes only: the weights of the decoders get another one.
    (gradient,) = torch.autograd.grad(along.sum(), z, retain_graph=True)
    return gradient


def paths(evaluation: Evaluation) -> None:
    """Add -E_{q(z|x_a)}[log p(x_b|z)] for each configured path a->b, on the pairs."""
    if PAIRED in evaluation.streams:
        for path, weight in evaluation.config.path_weights.items():
            source, target = path_ends(path)
            evaluation.add_reconstruction(f"path/{path}", PAIRED, (source,), target, weight)
