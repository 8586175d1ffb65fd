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

Here the negatives of these objectives are minimised. Expectations over the same posterior share its
samples, every input is encoded once, and each modality is decoded in one call.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

import torch

from specvae.errors import ConfigError
from specvae.vae.config import ObjectiveConfig, path_ends
from specvae.vae.evaluation import Evaluation, LossParts
from specvae.vae.kinds import LossKind
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import Input
from specvae.vae.parallel import BatchPart
from specvae.vae.terms import (
    Term,
    importance_bounds,
    joint_reconstruction,
    joint_to_prior_kl,
    joint_to_single_kl,
    joint_to_smaller_kl,
    paired_singles,
    paired_subsets,
    paths,
    random_subsets,
    unpaired_singles,
)

# The terms that use unpaired examples.
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
        Of any kind that has the posteriors that the objective needs.
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
        How many processes share it.

    Raises
    ------
    ConfigError
        If a weight names an unknown modality, or the objective cannot learn from unpaired
        examples and there are some.
    """
    require_fit(config, model.config.names, unpaired)
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


def require_fit(config: ObjectiveConfig, names: tuple[str, ...], unpaired: Collection[str]) -> None:
    """Raise a ConfigError if an objective does not fit modalities or streams.

    Parameters
    ----------
    config
        The objective.
    names
        The model's modalities: every weight must name one of them.
    unpaired
        The modalities that have unpaired examples; not every objective can use these.
    """
    if unpaired and _OF_UNPAIRED.isdisjoint(LOSSES[config.loss]):
        raise ConfigError(
            f"loss '{config.loss}' learns from pairs only, found unpaired examples of "
            f"{', '.join(sorted(unpaired))}"
        )
    used = set(config.modality_weights)
    for path in config.path_weights:
        used.update(path_ends(path))
    for name in sorted(used - set(names)):
        raise ConfigError(f"objective: no modality '{name}'; there are {', '.join(names)}")
