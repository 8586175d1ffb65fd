"""Log-likelihoods of examples under a trained model, by sampling the latent codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from specvae.errors import ConfigError
from specvae.vae.distributions import Posterior, standard_normal
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import Input, SparseRows

# Codes decoded at once: of 1,000 features in float32, 32 MiB.
_CODES = 8192


def log_likelihood(
    model: MultimodalVAE,
    x: Mapping[str, Input],
    *,
    targets: Collection[str] | None = None,
    given: Collection[str] | None = None,
    n_samples: int = 1000,
    generator: torch.Generator | None = None,
    chunk: int = _CODES,
) -> Tensor:
    r"""Return importance-weighted estimates of log p(x_targets), (batch,), in nats.

    .. math:: \log \frac{1}{K} \sum_{k=1}^K \frac{p(x_T | z_k)\, p(z_k)}{q(z_k | x_G)}, \qquad
              z_k \sim q(z | x_G)

    (Burda et al., arXiv:1509.00519, eq 8). Its expectation lies below log p(x_T) and rises with K.
    The codes may come from a posterior given other modalities than the targets. A posterior that is
    narrower than p(z | x_T), because it is given more than the targets, misses codes that matter:
    the estimate then stays too low for any affordable K.

    Parameters
    ----------
    model
        Run in evaluation mode and without gradients; its own mode is restored.
    x
        By modality name: (batch, columns).
    targets
        Modalities T whose joint likelihood is wanted; default: all in `x`.
    given
        Modalities G that the posterior is given; default: the targets.
    n_samples
        K, codes for each example.
    generator
        Source of the codes; None: torch's global one.
    chunk
        Codes that are decoded at once, at least one for each example; limits the memory.

    Raises
    ------
    ConfigError
        If `n_samples` or `chunk` is not positive, or a modality is missing in `x` or unknown.
    """
    names = _present(x, x if targets is None else targets)

    def log_weight(q: Posterior, z: Tensor) -> Tensor:
        return standard_normal(z).log_prob(z) - q.log_prob(z)

    return _log_mean(
        model, x, names, names if given is None else given, n_samples, generator, chunk, log_weight
    )


def conditional_log_likelihood(
    model: MultimodalVAE,
    x: Mapping[str, Input],
    target: str,
    given: Collection[str] | None = None,
    *,
    n_samples: int = 1000,
    generator: torch.Generator | None = None,
    chunk: int = _CODES,
) -> Tensor:
    r"""Return estimates of log p(x_target | x_given), (batch,), in nats.

    .. math:: \log \frac{1}{K} \sum_{k=1}^K p(x_t | z_k), \qquad z_k \sim q(z | x_G)

    This is the density by which the model predicts: q(z | x_G) takes the place of p(z | x_G). For
    large K it approaches the true conditional, from below in expectation, only where q is the exact
    posterior.

    Parameters
    ----------
    model, x, n_samples, generator, chunk
        As for :func:`log_likelihood`.
    target
        Modality whose likelihood is wanted.
    given
        Modalities that the posterior is given; default: all in `x` but `target`.

    Raises
    ------
    ConfigError
        As for :func:`log_likelihood`.
    """
    names = _present(x, [target])
    rest = [name for name in x if name != target] if given is None else given

    def log_weight(_: Posterior, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:-1])

    return _log_mean(model, x, names, rest, n_samples, generator, chunk, log_weight)


def _present(x: Mapping[str, Input], names: Collection[str]) -> list[str]:
    for name in names:
        if name not in x:
            raise ConfigError(f"log-likelihood of '{name}': the batch holds {sorted(x)}")
    if not names:
        raise ConfigError("log-likelihood: no modality is named")
    return list(names)


@torch.no_grad()
def _log_mean(
    model: MultimodalVAE,
    x: Mapping[str, Input],
    targets: list[str],
    given: Collection[str],
    n_samples: int,
    generator: torch.Generator | None,
    chunk: int,
    log_weight: Callable[[Posterior, Tensor], Tensor],
) -> Tensor:
    """Return log 1/K sum_k w(z_k) prod_t p(x_t | z_k), (batch,)."""
    if n_samples < 1 or chunk < 1:
        raise ConfigError(f"n_samples and chunk must be positive, found {n_samples} and {chunk}")
    was_training = model.training
    model.eval()
    try:
        q = model.posterior(x, given)
        wanted = {name: _reconstructed(model, x[name], name) for name in targets}
        n_rows = len(q.mean)
        at_once = max(chunk // max(n_rows, 1), 1)
        # Log-likelihoods of thousands of features are too large for sums in float32.
        total = q.mean.new_full((n_rows,), -math.inf, dtype=torch.float64)
        for start in range(0, n_samples, at_once):
            z = q.sample(min(at_once, n_samples - start), generator)
            values = log_weight(q, z).double()
            for name, value in wanted.items():
                values += model.likelihood(z, name).log_prob(value)
            total = torch.logaddexp(total, torch.logsumexp(values, dim=0))
    finally:
        model.train(was_training)
    return (total - math.log(n_samples)).to(q.mean.dtype)


def _reconstructed(model: MultimodalVAE, x: Input, name: str) -> Input:
    n_features = model.modality(name).n_features
    return x.first_columns(n_features) if isinstance(x, SparseRows) else x[:, :n_features]
