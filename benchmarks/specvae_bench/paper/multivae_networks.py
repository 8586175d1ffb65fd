"""Our networks as multivae's encoders and decoders.

Needs multivae and pythae; :mod:`specvae_bench.paper.multivae_peer` imports this module when it is
asked for something.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from multivae.data.datasets import MultimodalBaseDataset
from multivae.models import JMVAE, MMVAE, MVAE, JMVAEConfig, MMVAEConfig, MVAEConfig
from multivae.models.nn.base_architectures import BaseJointEncoder
from multivae.trainers import BaseTrainer, BaseTrainerConfig
from multivae.trainers.base.callbacks import TrainingCallback
from pythae.data.datasets import DatasetOutput
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn.base_architectures import BaseDecoder, BaseEncoder
from torch import Tensor, nn

from specvae.vae.distributions import Normal
from specvae.vae.model import Decoder as OurDecoder
from specvae.vae.posteriors import PosteriorNetwork

__all__ = [
    "JMVAE",
    "MMVAE",
    "MVAE",
    "BaseTrainer",
    "BaseTrainerConfig",
    "DatasetOutput",
    "Decoder",
    "Encoder",
    "EpochTimer",
    "JMVAEConfig",
    "JointEncoder",
    "MMVAEConfig",
    "MVAEConfig",
    "MultimodalBaseDataset",
]


def _output(q: Normal) -> Any:  # noqa: ANN401 (pythae has no annotations)
    return ModelOutput(embedding=q.mean, log_covariance=q.logvar)


def _body(network: PosteriorNetwork, source: str, use: str) -> nn.Module:
    return network.bodies[source if network.config.share_body else f"{source}->{use}"]


class Encoder(BaseEncoder):  # type: ignore[misc]
    """The expert of one modality."""

    def __init__(self, network: PosteriorNetwork, name: str, head: str) -> None:
        super().__init__()
        self.latent_dim = network.config.n_latent
        self.body, self.head = _body(network, name, name), network.heads[head]

    def forward(self, x: Tensor) -> Any:  # noqa: ANN401
        """Return mean and log-variance of q(z | x), (batch, n_latent)."""
        return _output(self.head(self.body(x)))


class JointEncoder(BaseJointEncoder):  # type: ignore[misc]
    """The joint network of all modalities."""

    def __init__(self, network: PosteriorNetwork) -> None:
        super().__init__()
        names = network.config.names
        key = "+".join(names)
        self.latent_dim = network.config.n_latent
        self.bodies = nn.ModuleDict({name: _body(network, name, key) for name in names})
        self.join = cast(nn.ModuleDict, network.joins)[key]
        self.head = network.heads[key]

    def forward(self, x: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
        """Return mean and log-variance of q(z | x), (batch, n_latent)."""
        features = [body(x[name]) for name, body in self.bodies.items()]
        return _output(self.head(self.join(torch.cat(features, dim=-1))))


class Decoder(BaseDecoder):  # type: ignore[misc]
    """The decoder of one modality."""

    def __init__(self, decoder: OurDecoder) -> None:
        super().__init__()
        self.body, self.output = decoder.body, decoder.output

    def forward(self, z: Tensor) -> Any:  # noqa: ANN401
        """Return logits or means, (batch, n_features)."""
        return ModelOutput(reconstruction=self.output(self.body(z)))


class EpochTimer(TrainingCallback):  # type: ignore[misc]
    """Processor time of each epoch of a trainer, in seconds."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_epoch_begin(self, training_config: object, **_: object) -> None:
        """Start the clock."""
        self._start = time.process_time()

    def on_epoch_end(self, training_config: object, **_: object) -> None:
        """Stop it: the epoch is trained and its model kept if it is the best."""
        self.seconds.append(time.process_time() - self._start)
