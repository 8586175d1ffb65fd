"""Models of the multivae library (optional extra ``peers``) around our own networks.

multivae (Senellart et al., doi:10.21105/joss.07996) has three members of the family. With these
settings its objectives are ours; differences are in the reductions only:

========  ==========================================  ====================================
kind      settings                                    its loss
========  ==========================================  ====================================
jmvae     ``alpha`` = ours times beta, ``warmup=0``   mean over the batch
mvae      sub-sampling, ``k=0``, ``warmup=0``         mean over the batch
mmvae     normal posterior and prior, prior not       sum over the batch; in ``dreg_looser``
          learned, ``iwae_looser``, ``dreg_looser``   not the bound, but its gradient
========  ==========================================  ====================================

``dreg_looser`` is the published estimator, which squares the weights. Ours corrects it for mixtures
(docs/models.md), so that the encoders' gradients are equal for one modality only.

Likelihoods are summed over the features, KL divergences over the latent dimensions. Weights of
modalities are its likelihood rescaling factors. Its JMVAE puts ``beta`` on KL(q12 || p) alone; its
MMVAE has a ``beta`` that nothing reads.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from specvae.errors import ConfigError
from specvae.vae.config import ModelConfig, ObjectiveConfig, OptimConfig
from specvae.vae.kinds import Kind
from specvae.vae.model import MultimodalVAE

# Keeps the operators declared by _import_torchvision; torch forgets them with this object.
_DECLARED_OPERATORS: list[torch.library.Library] = []
Loop = Literal["trainer", "raw"]
_DISTRIBUTIONS = {"bernoulli": "bernoulli", "gaussian": "normal", "laplace": "laplace"}


def _import_torchvision() -> None:
    """Import torchvision, also a build for CUDA beside a torch without.

    Its compiled operators then do not load, and registering their shapes fails for want of two
    declarations. multivae uses none of them.
    """
    try:
        import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        _DECLARED_OPERATORS.append(library)
        import_module("torchvision")


_NOT_INSTALLED = "multivae is not installed; pip install 'specvae[peers]' brings it"


@cache
def _multivae() -> ModuleType:
    """Return the module that imports multivae; without it a ConfigError says how to get it."""
    if find_spec("multivae") is None:
        raise ConfigError(_NOT_INSTALLED)
    _import_torchvision()
    return import_module("specvae_bench.paper.multivae_networks")


def peer_model(model: MultimodalVAE, objective: ObjectiveConfig) -> nn.Module:
    """Return multivae's model with the modules, and so the weights, of `model`.

    Parameters
    ----------
    model, objective
        Of kind jmvae, mvae (two modalities) or mmvae, dense modalities.

    Raises
    ------
    ConfigError
        If multivae is not installed, or has no counterpart; the message says of what.
    """
    config = model.config
    require_counterpart(config, objective)
    peers = _multivae()
    modalities = {modality.name: modality for modality in config.modalities}
    joint = config.posterior == "joint_full"
    settings: dict[str, Any] = {
        "n_modalities": len(modalities),
        "latent_dim": config.n_latent,
        "input_dims": {name: (modality.n_features,) for name, modality in modalities.items()},
        "decoders_dist": {n: _DISTRIBUTIONS[m.likelihood] for n, m in modalities.items()},
        "decoder_dist_params": {
            n: {"scale": m.scale} for n, m in modalities.items() if m.likelihood != "bernoulli"
        },
        "uses_likelihood_rescaling": True,
        "rescale_factors": {name: objective.modality_weights.get(name, 1.0) for name in modalities},
    }
    encoders = {
        name: peers.Encoder(model.posteriors, name, name if joint else f"{name}->{name}")
        for name in modalities
    }
    decoders = {name: peers.Decoder(model.decoders[name]) for name in modalities}
    built: nn.Module
    if objective.loss == "jmvae":
        alpha = objective.share_of_singles * objective.beta
        settings |= {"alpha": alpha, "beta": objective.beta, "warmup": 0}
        config = peers.JMVAEConfig(**settings)
        built = peers.JMVAE(config, encoders, decoders, peers.JointEncoder(model.posteriors))
    elif objective.loss == "mvae":
        settings |= {"use_subsampling": True, "k": 0, "beta": objective.beta, "warmup": 0}
        built = peers.MVAE(peers.MVAEConfig(**settings), encoders, decoders)
    else:
        settings |= {
            "K": objective.n_samples,
            "prior_and_posterior_dist": "normal",
            "learn_prior": False,
            "loss": f"{objective.loss}_looser",
        }
        built = peers.MMVAE(peers.MMVAEConfig(**settings), encoders, decoders)
    return built


_POSTERIOR_OF = {
    "jmvae": "joint_full",
    "mvae": "product_own",
    "iwae": "mixture",
    "dreg": "mixture",
}


def require_peer(kind: Kind) -> None:
    """Raise a ConfigError if multivae has no counterpart of a model kind, or is not installed."""
    if _POSTERIOR_OF.get(kind.loss) != kind.posterior:
        raise ConfigError(
            f"multivae has no counterpart: loss '{kind.loss}' on posterior '{kind.posterior}'"
        )
    if find_spec("multivae") is None:
        raise ConfigError(_NOT_INSTALLED)


def require_counterpart(config: ModelConfig, objective: ObjectiveConfig) -> None:
    """Raise a ConfigError that says what multivae lacks, if it lacks something."""
    importance = objective.loss in ("iwae", "dreg")
    refused = {
        f"loss '{objective.loss}' on posterior '{config.posterior}'": (
            _POSTERIOR_OF.get(objective.loss) != config.posterior
        ),
        "a product without the prior expert": objective.loss == "mvae" and not config.prior_expert,
        "random subsets": objective.loss == "mvae" and len(config.names) > 2,
        "path weights": bool(objective.path_weights),
        "beta warm-up": objective.beta_warmup_epochs > 0,
        "beta other than 1 in the importance-weighted bound": importance and objective.beta != 1,
        "several samples outside the importance-weighted bound": (
            not importance and objective.n_samples > 1
        ),
        "sparse, categorical or context columns": any(
            modality.sparse or modality.n_context or modality.likelihood not in _DISTRIBUTIONS
            for modality in config.modalities
        ),
    }
    for asked, present in refused.items():
        if present:
            raise ConfigError(f"multivae has no counterpart: {asked}")


@contextlib.contextmanager
def _grey_targets() -> Iterator[None]:
    """Let torch's Bernoulli take targets between 0 and 1, which its argument check refuses."""
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(__debug__)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            yield
    finally:
        logging.disable(disabled)


def peer_loss(peer: nn.Module, x: Mapping[str, Tensor]) -> Tensor:
    """Return multivae's objective on one batch, a scalar, mean over the examples, in nats.

    With ``dreg`` this is its surrogate, whose gradient alone has a meaning.

    Parameters
    ----------
    peer
        From :func:`peer_model`.
    x
        By modality name: (batch, n_features).
    """
    with _grey_targets():
        output = peer(_multivae().DatasetOutput(data=dict(x)))
    n_rows = len(next(iter(x.values())))
    return cast(Tensor, output.loss / n_rows if _sums(peer) else output.loss)


def _sums(peer: nn.Module) -> bool:
    return isinstance(peer, _multivae().MMVAE)


def peer_epoch_seconds(
    peer: nn.Module, x: Mapping[str, Tensor], optim: OptimConfig, loop: Loop
) -> list[float]:
    """Train `peer` in place with Adam; return the processor time of each epoch, in seconds.

    Building the trainer and saving the model at its end do not count.

    Parameters
    ----------
    peer
        From :func:`peer_model`.
    x
        By modality name: (n_examples, n_features), all pairs.
    optim
        Epochs, batch size, learning rate and seed; multivae has no use for the rest.
    loop
        ``trainer``: its BaseTrainer, as its users train; ``raw``: its objective in the shortest
        loop that there is, on batches cut from the tensors.
    """
    with _grey_targets(), _silence(), torch.random.fork_rng([]):
        if loop == "trainer":
            return _by_trainer(peer, x, optim)
        torch.manual_seed(optim.seed)
        return _by_raw_loop(peer, x, optim)


def _by_trainer(peer: nn.Module, x: Mapping[str, Tensor], optim: OptimConfig) -> list[float]:
    peers = _multivae()
    timer = peers.EpochTimer()
    with tempfile.TemporaryDirectory() as room:
        config = peers.BaseTrainerConfig(
            output_dir=room,
            num_epochs=optim.epochs,
            per_device_train_batch_size=optim.batch_size,
            learning_rate=optim.learning_rate,
            seed=optim.seed,
            no_cuda=True,
        )
        data = peers.MultimodalBaseDataset(dict(x))
        peers.BaseTrainer(peer, data, training_config=config, callbacks=[timer]).train()
    return cast(list[float], timer.seconds)


def _by_raw_loop(peer: nn.Module, x: Mapping[str, Tensor], optim: OptimConfig) -> list[float]:
    batch_of = _multivae().DatasetOutput
    adam = torch.optim.Adam(peer.parameters(), lr=optim.learning_rate)
    n_rows = len(next(iter(x.values())))
    peer.train()
    seconds = []
    for _ in range(optim.epochs):
        start = time.process_time()
        for rows in torch.split(torch.randperm(n_rows), optim.batch_size):
            output = peer(batch_of(data={name: table[rows] for name, table in x.items()}))
            adam.zero_grad()
            output.loss.backward()
            adam.step()
        seconds.append(time.process_time() - start)
    return seconds
